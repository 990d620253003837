-- Any value that the run has not had trains again; two clicks within one minute are one.
local os = require("os")
obj.spec.rerun = os.date("!argocd-%Y%m%d-%H%M")
return obj
