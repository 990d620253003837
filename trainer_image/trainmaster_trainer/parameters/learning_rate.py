"""The hyperparameter `lr_scheduler` as entries of `spec.parameterSchedules`."""

from __future__ import annotations

from typing import Final

from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.parameter_schedules import ParameterSchedule

LEARNING_RATE: Final = "learning_rate"
EXPONENTIAL_END: Final = 0.01
"""Share of the base at which `exponential` ends: as far as `step` falls with its defaults in 150 epochs."""


def schedules_of(hyperparameters: MarketClassifierHyperparameters) -> tuple[ParameterSchedule, ...]:
    """What `lr_scheduler` and its numbers ask for; nothing for `constant`."""
    h = hyperparameters
    match h.lr_scheduler:
        case "constant":
            return ()
        case "cosine-annealing-warm-restarts":
            shape = ParameterSchedule(
                parameter=LEARNING_RATE, strategy="cosine", to="0", every=h.scheduler_t_0, growth=h.scheduler_t_mult
            )
        case "linear" | "cosine":
            shape = ParameterSchedule(parameter=LEARNING_RATE, strategy=h.lr_scheduler, to="0")
        case "exponential":
            end = repr(h.learning_rate * EXPONENTIAL_END)
            shape = ParameterSchedule(parameter=LEARNING_RATE, strategy="exponential", to=end)
        case "step":
            shape = ParameterSchedule(
                parameter=LEARNING_RATE, strategy="step", every=h.scheduler_step_size, multiply=repr(h.scheduler_gamma)
            )
        case "plateau":
            shape = ParameterSchedule(
                parameter=LEARNING_RATE,
                strategy="plateau",
                multiply=repr(h.lr_plateau_factor),
                patience=h.lr_plateau_patience,
                to=repr(min(h.min_learning_rate, h.learning_rate)),
            )
        case "warmup-cosine":
            shape = ParameterSchedule(parameter=LEARNING_RATE, strategy="warmup-cosine", warmup=h.warmup_epochs)
    return (shape,)
