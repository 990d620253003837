"""The words of Trainmaster as types: what users write, what status says, what travels between the parts.

`trainingrun` is the kind users apply; `plan` is what one attempt trains; `protocol` is what a launcher and an operator
say to each other; `runrecord` outlives a run; `hyperparameters` says what a workload understands; `conditions`,
`labels` and `errors` hold the constants. `crds` turns the models into CustomResourceDefinitions, with the schemas of
`structural` and the rules of `cel`; `rules` and `transitions` judge specs and updates offline, as `problems`.

Imports the standard library and pydantic, nothing else: the trainer image carries this package too.
"""
