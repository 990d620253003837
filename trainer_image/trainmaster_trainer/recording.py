"""A session without a launcher: keeps what the engine reports, and shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trainmaster_trainer.epoch_metrics import EpochMetrics
from trainmaster_trainer.progress_line import ProgressLine
from trainmaster_trainer.reporting import Directive

_NO_METRICS: Final[Mapping[str, float]] = {}


class RecordingSession:
    """What an engine tells in process; a `reporting.Session`. Nobody gives it directives."""

    generation = 1

    def __init__(self, *, applied: Mapping[str, int], line: ProgressLine | None = None) -> None:
        self.outcome: str | None = None
        self.message = ""
        self.checkpoint_path: str | None = None
        self._applied = dict(applied)
        self._line = line
        self._epochs: dict[int, EpochMetrics] = {}
        self._waiting: dict[int, tuple[int, Mapping[str, float]]] = {}
        self._share, self._total = 0.0, 0

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """The epochs so far, each once, oldest first; of those before a restart time and memory are not known."""
        for epoch in tuple(self._waiting):
            self._take(epoch, _NO_METRICS)
        return tuple(self._epochs[epoch] for epoch in sorted(self._epochs))

    @property
    def applied_directives(self) -> Mapping[str, int]:
        """Those of the checkpoint that training continues from."""
        return dict(self._applied)

    def progress(
        self,
        phase: str,
        *,
        step: int = 0,
        epoch: int = 0,
        total_steps: int | None = None,
        total_epochs: int | None = None,
    ) -> None:
        """Draw the line."""
        del phase
        self._total = total_epochs or self._total
        self._share = step / total_steps if total_steps else self._share
        if self._line is not None and self._total:
            newest = self._epochs[max(self._epochs)].shown() if self._epochs else _NO_METRICS
            self._line.step(done=epoch, total=self._total, share=self._share, metrics=newest)

    def point(
        self,
        kind: str,
        *,
        step: int,
        metrics: Mapping[str, float],
        epoch: int | None = None,
        generation: int | None = None,
    ) -> None:
        """Keep the epochs: a validation point, and the train point after it with the epoch's time."""
        del generation
        if epoch is None:
            return
        if kind == "validation":
            self._waiting[epoch] = (step, dict(metrics))
        elif kind == "train" and "epoch_seconds" in metrics and epoch in self._waiting:
            done = self._take(epoch, metrics)
            if self._line is not None:
                self._line.epoch(done=epoch, total=self._total or epoch, share=self._share, metrics=done.shown())

    def checkpoint(self, *, path: str, **facts: Any) -> None:  # noqa: ANN401  # newer engines tell more of a checkpoint
        """Keep where the newest one is."""
        del facts
        self.checkpoint_path = path

    def due(self, step: int) -> Sequence[Directive]:
        """Nothing: nobody steers."""
        del step
        return ()

    def applied(self, directive: Directive, *, step: int) -> None:
        """Keep it, as the launcher would."""
        self._applied[directive.id] = step

    def storage_failed(self, message: str | None = None, **facts: Any) -> None:  # noqa: ANN401  # see checkpoint
        """The engine logs it itself."""

    def done(
        self,
        *,
        outcome: str = "Completed",
        reason: str = "Completed",
        message: str = "",
        metrics: Mapping[str, float] = _NO_METRICS,
    ) -> None:
        """Keep how it ended."""
        del reason, metrics
        self.outcome, self.message = outcome, message

    def close(self) -> None:
        """Leave the progress line standing."""
        if self._line is not None:
            self._line.close()

    def _take(self, epoch: int, train: Mapping[str, float]) -> EpochMetrics:
        step, validation = self._waiting.pop(epoch)
        self._epochs[epoch] = EpochMetrics.of_points(epoch=epoch, step=step, validation=validation, train=train)
        return self._epochs[epoch]
