"""Errors of the trainer, by what a restart can do about them."""

from __future__ import annotations

from trainmaster.api.errors import TrainmasterError


class TrainerError(TrainmasterError):
    """Training cannot go on; a restart may help."""


class ConfigurationError(TrainerError):
    """Plan, hyperparameters or machine do not fit; no restart helps (exit code 78)."""


class DataError(ConfigurationError):
    """The training data cannot be used; the message names file, row, column, value and a way out."""


class StorageError(TrainerError):
    """Checkpoints cannot be listed: training from the start in spite of them would throw work away."""
