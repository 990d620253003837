"""The trainer: trains what a plan says, and can be killed at any time without changing the result.

1. `__main__` reads the plan, checks that torch works here, and builds the workload that the plan names.
2. `checkpoint.CheckpointStore` finds the newest valid checkpoint of any launch, or none.
3. `engine.Engine` trains: one guarded step after the other (`step`), the order of samples from seed and epoch alone
   (`sampler`), the learning rate from the step alone (`schedule`), a validation at each epoch's end, then a checkpoint.
4. Between two steps it looks for directives and for SIGTERM; nowhere else can training be changed or interrupted.
5. After the last epoch the weights with the lowest validation loss are tested, once.

The engine knows nothing of bars: data, model, losses and metrics come from a `workload.Workload`.
"""
