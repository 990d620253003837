"""What the trainer asks of the launcher's SDK; `trainmaster_launcher.sdk.Session` is one such session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Directive(Protocol):
    """What the training process shall do before a step."""

    @property
    def id(self) -> str:
        """Identity; applied directives are kept by it in checkpoints."""

    @property
    def kind(self) -> str:
        """`Adjust` or `Stop`."""

    @property
    def generation(self) -> int:
        """What points carry after it."""

    @property
    def set(self) -> Mapping[str, Any]:
        """Hyperparameters to set, for kind `Adjust`."""

    @property
    def reason(self) -> str:
        """For people."""


class Session(Protocol):
    """The way to the launcher; never blocks a step and never raises because nobody listens."""

    @property
    def generation(self) -> int:
        """The plan generation that points carry now."""

    @property
    def applied_directives(self) -> Mapping[str, int]:
        """Directives applied so far, with the step before which they took effect."""

    def progress(
        self,
        phase: str,
        *,
        step: int = 0,
        epoch: int = 0,
        total_steps: int | None = None,
        total_epochs: int | None = None,
    ) -> None:
        """Tell where training is: what keeps the launcher from taking the process for hung."""

    def point(
        self,
        kind: str,
        *,
        step: int,
        metrics: Mapping[str, float],
        epoch: int | None = None,
        generation: int | None = None,
    ) -> None:
        """Report metrics at a step; `generation` for points of the past, sent again."""

    def checkpoint(  # noqa: PLR0913  # the fields of a manifest
        self,
        *,
        path: str,
        step: int,
        epoch: int,
        sha256: str,
        size_bytes: int,
        clean_steps: int | None = None,
        finite: bool | None = None,
        applied: Sequence[str] = (),
        metrics: Mapping[str, float] = ...,
        signature: str | None = None,
    ) -> None:
        """Report a complete checkpoint."""

    def storage_failed(self, message: str) -> None:
        """Report that a checkpoint could not be written, and why."""

    def due(self, step: int) -> Sequence[Directive]:
        """Directives to apply before a step."""

    def applied(self, directive: Any, *, step: int) -> None:  # noqa: ANN401  # the SDK wants its own class back
        """Report that a directive took effect."""

    def done(
        self,
        *,
        outcome: str = "Completed",
        reason: str = "Completed",
        message: str = "",
        metrics: Mapping[str, float] = ...,
    ) -> None:
        """Report the end of training; waits, within bounds, until the launcher has it."""

    def close(self) -> None:
        """End the session; what is not read yet is sent first."""
