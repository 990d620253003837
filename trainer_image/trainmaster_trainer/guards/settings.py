"""The hyperparameters of the guards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardSettings:
    """What a plan says about the guards; defaults are those of the catalogue of hyperparameters."""

    learning_rate: float
    """Base learning rate, over 0: `min_learning_rate` is held against it, not against the schedule."""
    adaptive_clipping: bool = True
    """False: every gradient is clipped at `max_grad_norm`, whatever came before."""
    emergency_grad_norm: float = 1000.0
    """A norm (unscaled, before clipping) above this is an emergency."""
    lr_plateau_patience: int = 10
    """Validations without improvement before the learning rate is cut, 1 or more."""
    lr_plateau_factor: float = 0.5
    """What a plateau multiplies the learning rate with, over 0 and under 1."""
    min_learning_rate: float = 1e-7
    """Guards never bring the base learning rate below this, 0 or more; a schedule may."""
    emergency_lr_factor: float = 0.1
    """What a rescue multiplies the learning rate with, over 0 and under 1."""
    max_lr_rescues: int = 3
    """Rescues in one training, 0 or more."""
    quarantine: bool = True
    """Whether rows with a non-finite loss are left out of later batches."""
