-- Argo CD health of trainmaster.io/TrainingRun.
-- Progressing until the run has ended, Healthy when it has succeeded, Degraded when it has failed or is held up.
-- Stalled is asked before Succeeded=Unknown: a run whose Job a quota refuses goes on as soon as somebody steps in, and
-- one whose Job completed without a verdict never does. Both need a person.
local hs = { status = "Progressing", message = "Waiting for the operator" }
local st = obj.status
if st == nil then return hs end
if st.observedGeneration ~= nil and st.observedGeneration ~= obj.metadata.generation then
  hs.message = "The operator has not seen this spec yet"
  return hs
end
local conditions = {}
if st.conditions ~= nil then
  for _, condition in ipairs(st.conditions) do conditions[condition.type] = condition end
end
local function is(kind, value) return conditions[kind] ~= nil and conditions[kind].status == value end
local function tell(status, kind)
  local condition = conditions[kind]
  hs.status = status
  hs.message = condition.reason
  if condition.message ~= nil and condition.message ~= "" then hs.message = condition.reason .. ": " .. condition.message end
  return hs
end
if is("Succeeded", "True") then return tell("Healthy", "Succeeded") end
if is("Succeeded", "False") then return tell("Degraded", "Succeeded") end
if is("Stalled", "True") then return tell("Degraded", "Stalled") end
if is("Suspended", "True") then return tell("Suspended", "Suspended") end
if conditions["Succeeded"] ~= nil then return tell("Progressing", "Succeeded") end
return hs
