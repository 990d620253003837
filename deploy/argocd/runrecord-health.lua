-- Argo CD health of trainmaster.io/RunRecord: it is history. A recorded failure is no trouble of today.
return { status = "Healthy", message = obj.spec.outcome .. ": " .. obj.spec.reason }
