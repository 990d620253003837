-- Which actions make sense for this TrainingRun now.
local phase = nil
if obj.status ~= nil then phase = obj.status.phase end
local ended = phase == "Succeeded" or phase == "Failed" or phase == "Unknown"
local suspended = obj.spec.suspend == true
return {
  ["suspend"] = { ["disabled"] = suspended or ended },
  ["resume"] = { ["disabled"] = not suspended },
  ["rerun"] = { ["disabled"] = not ended },
}
