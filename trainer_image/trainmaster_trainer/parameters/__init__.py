"""How hyperparameters move over the training: one owner for each knob.

1. `learning_rate.schedules_of` turns the hyperparameter `lr_scheduler` into entries as `spec.parameterSchedules` has
   them, so that there is one code for both.
2. `segment.Segment` is one entry in whole steps: a pure function of the step, of the value before it and of the
   hyperparameter's own value. Only `plateau` remembers something: how often validation got no better.
3. `scheduler.ParamScheduler` strings the entries of each hyperparameter together. The value of a knob at a step is
   what its entries make of the plan's value, scaled by what directives have made of that value since; guards multiply
   it after that. So a schedule never undoes a correction, and a correction never breaks a schedule.
4. At each validation it notes which knobs have changed: the history, bounded, that checkpoints carry.

Nothing here imports torch or draws random numbers.
"""

from trainmaster_trainer.parameters.learning_rate import LEARNING_RATE, schedules_of
from trainmaster_trainer.parameters.plateau import Plateau
from trainmaster_trainer.parameters.scheduler import Change, ParamScheduler
from trainmaster_trainer.parameters.segment import Segment

__all__ = ["LEARNING_RATE", "Change", "ParamScheduler", "Plateau", "Segment", "schedules_of"]
