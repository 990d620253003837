"""The trainer: trains what a plan says, and can be killed at any time without changing the result.

1. `__main__` reads the plan, checks that torch works here, and builds the workload that the plan names (`training`).
2. `checkpoint.CheckpointStore` finds the newest valid checkpoint of any launch, or none.
3. `engine.Engine` trains: one guarded step after the other (`step`, `guards`), the order of samples and the random
   numbers of each slice from seed and step alone (`sampler`), all hyperparameters that move from the step alone
   (`parameters`), a validation at each epoch's end, then a checkpoint that is written beside training (`saving`).
4. Between two steps it looks for directives and for SIGTERM; nowhere else can training be changed or interrupted.
5. After the last epoch the weights with the lowest validation loss are tested, once (`evaluation`), and what was made
   of the data is doubted (`audit`).

The engine knows nothing of bars: data, model, losses and metrics come from a `workload.Workload`. `market` is one.
`orchestrator` is the way in from Python, without launcher and manifest.
"""
