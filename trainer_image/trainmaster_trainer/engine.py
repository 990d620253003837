"""The engine: trains any workload, and can be interrupted at any step without changing the result.

A round: look for an interruption, apply due directives, do one step, checkpoint and report where that is due. At the
end of an epoch: validate, keep the best weights, report, checkpoint. `TrainingState` is all it continues from; a step
depends on that and on the workload's data only, never on time, on reporting or on when checkpoints are written.
"""

from __future__ import annotations

import logging
import math
import resource
import time
from dataclasses import dataclass
from typing import Final

import torch

from trainmaster_trainer.checkpoint import CheckpointError, CheckpointStore
from trainmaster_trainer.errors import ConfigurationError, TrainerError
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.reporting import Directive, Session
from trainmaster_trainer.sampler import Sampler
from trainmaster_trainer.schedule import Schedule
from trainmaster_trainer.state import Captured, TrainingState, ValidationRecord, seed_everything
from trainmaster_trainer.step import StepResult, StepStatistics, apply_step, new_optimizer
from trainmaster_trainer.workload import Workload

log = logging.getLogger(__name__)

TRAIN_POINT_EVERY_STEPS: Final = 20
"""A train point every so many steps: some per epoch of a small data set, and one host read in twenty steps."""
LAST_TRIES: Final = 5
LAST_PAUSE_SECONDS: Final = 1.0
"""A disk that is full for a moment frees itself within seconds; one that stays full is a person's business."""
BYTES_PER_RSS_UNIT: Final = 1024
"""Linux reports ru_maxrss in KiB."""


class InterruptionError(TrainerError):
    """The process was asked to end; a checkpoint was written, if the disk let it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resume:
    """A checkpoint to continue from."""

    manifest: Manifest
    captured: Captured


class Engine:
    """Trains one workload for one plan."""

    def __init__(
        self,
        workload: Workload,
        *,
        store: CheckpointStore,
        session: Session,
        interruption: Interruption,
        every_steps: int | None = None,
        resume: Resume | None = None,
    ) -> None:
        """Seed, build the model, continue from `resume`. Raises ConfigurationError if that is of other data."""
        settings = workload.settings
        seed_everything(settings.seed)
        model = workload.build_model()
        self._workload = workload
        self._settings = settings
        self._store = store
        self._session = session
        self._interruption = interruption
        self._every_steps = every_steps
        self._sampler = Sampler(rows=workload.train_rows, batch_size=settings.batch_size, seed=settings.seed)
        self._per_epoch = self._sampler.steps_per_epoch
        self._schedule = Schedule(
            name=settings.lr_scheduler,
            steps_per_epoch=self._per_epoch,
            t_0=settings.scheduler_t_0,
            t_mult=settings.scheduler_t_mult,
        )
        self.state = TrainingState(
            model=model,
            optimizer=new_optimizer(model, weight_decay=settings.weight_decay),
            learning_rate=settings.learning_rate,
        )
        self._saved: tuple[int, int] | None = None
        self._checkpoint_failures = 0
        self._refused: set[str] = set()
        self._epoch_began = self._point_began = time.perf_counter()
        self._steps_since_point = 0
        if resume is not None:
            self._continue_from(resume)

    def run(self) -> dict[str, float]:
        """Train to the end, test the best weights, report both; the test metrics.

        Raises InterruptionError after SIGTERM or Ctrl-C, when the checkpoint is written.
        """
        try:
            while self.state.epoch < self._settings.epochs and self.state.stopped is None:
                self._train_epoch()
                if self.state.stopped is None:
                    self._end_epoch()
            metrics = self._test()
        except InterruptionError:
            self._checkpoint()
            raise
        self._keep_last()
        stopped = self.state.stopped
        self._session.done(
            outcome="Completed" if stopped is None else "StoppedEarly",
            reason="Completed" if stopped is None else "StoppedEarly",
            message=f"{self.state.epoch} of {self._settings.epochs} epochs" + (f": {stopped}" if stopped else ""),
            metrics=metrics,
        )
        return metrics

    def _continue_from(self, resume: Resume) -> None:
        path = resume.manifest.path
        if resume.captured["fingerprint"] != self._workload.fingerprint:
            message = (
                f"the data changed since checkpoint {path} was written: training on would mix two data sets; "
                "put the old file back, or change spec.rerun to train again from the start"
            )
            raise ConfigurationError(message)
        try:
            self.state.restore(resume.captured)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            message = f"checkpoint {path} does not fit this model ({error}): change spec.rerun to train again"
            raise ConfigurationError(message) from error
        log.info("continuing from checkpoint %s: step %d, epoch %d", path, self.state.step, self.state.epoch)
        self._saved = (self.state.step, self.state.epoch)
        # A crash can fall between a checkpoint and its reports.
        for record in self.state.history:
            self._send(record)
        self._announce(resume.manifest)

    def _train_epoch(self) -> None:
        """The steps that this epoch still lacks, or up to a Stop directive."""
        self._epoch_began = self._point_began = time.perf_counter()
        self._steps_since_point = 0
        self.state.model.train()
        end = (self.state.epoch + 1) * self._per_epoch
        while self.state.step < end:
            self._tick("training")
            self._apply_directives()
            if self.state.stopped is not None:
                self._checkpoint()
                return
            result = self._step()
            if self.state.step < end:  # the end of an epoch is reported and saved after its validation
                self._between_steps(result)

    def _step(self) -> StepResult:
        state, settings = self.state, self._settings
        loss = self._workload.training_loss(state.model, self._sampler.batch(state.step))
        result = apply_step(
            loss,
            optimizer=state.optimizer,
            learning_rate=self._learning_rate(state.step),
            max_grad_norm=settings.max_grad_norm,
        )
        state.statistics.add(result)
        state.step += 1
        self._steps_since_point += 1
        return result

    def _between_steps(self, result: StepResult) -> None:
        failures = self._checkpoint_failures
        if self._every_steps is not None and self.state.step % self._every_steps == 0:
            self._checkpoint()
        if self.state.step % TRAIN_POINT_EVERY_STEPS == 0 or self._checkpoint_failures > failures:
            self._train_point({"loss": float(result.loss), "grad_norm": float(result.grad_norm)})

    def _end_epoch(self) -> None:
        """Validate, keep the best weights, report, checkpoint."""
        state = self.state
        metrics = {
            **state.statistics.metrics(),
            **self._validate(),
            "learning_rate": self._learning_rate(state.step - 1),
        }
        state.epoch += 1
        state.statistics = StepStatistics()
        best = state.offer(metrics["val_loss"])
        record = ValidationRecord(
            generation=self._session.generation, step=state.step, epoch=state.epoch, metrics=metrics
        )
        state.history.append(record)
        self._send(record)
        val_loss = metrics["val_loss"]
        self._checkpoint(val_loss=val_loss if math.isfinite(val_loss) else None, best=best)
        self._train_point({"epoch_seconds": time.perf_counter() - self._epoch_began})

    def _validate(self) -> dict[str, float]:
        self.state.model.eval()
        with torch.inference_mode():
            return self._workload.validate(self.state.model, tick=lambda: self._tick("validating"))

    def _test(self) -> dict[str, float]:
        """Metrics of the best weights on the test rows; of the last ones if no epoch had a finite loss."""
        state = self.state
        self._tick("testing")
        last = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        if state.best is not None:
            state.model.load_state_dict(state.best.weights)
        state.model.eval()
        try:
            with torch.inference_mode():
                metrics = self._workload.test(state.model, tick=lambda: self._tick("testing"))
        finally:
            state.model.load_state_dict(last)
        if state.best is not None:
            metrics = {**metrics, "best_epoch": float(state.best.epoch), "best_val_loss": state.best.val_loss}
        self._session.point("test", step=state.step, epoch=state.epoch, metrics=metrics)
        return metrics

    def _apply_directives(self) -> None:
        step = self.state.step
        for directive in self._session.due(step):
            if directive.id not in self._refused and self._carry_out(directive):
                self._session.applied(directive, step=step)
                log.info("directive %s is in effect from step %d: %s", directive.id, step, directive.reason)

    def _carry_out(self, directive: Directive) -> bool:
        """Whether it was done; what this trainer cannot do is refused once, aloud, and training goes on."""
        problem = f"this trainer knows Adjust and Stop, not {directive.kind}"
        if directive.kind == "Stop":
            self.state.stopped = directive.reason or "a Stop directive"
            return True
        if directive.kind == "Adjust":
            try:
                self.state.learning_rate = self._workload.adjusted_learning_rate(directive.set)
            except ConfigurationError as error:
                problem = str(error)
            else:
                return True
        self._refused.add(directive.id)
        log.warning("directive %s is not carried out: %s", directive.id, problem)
        return False

    def _checkpoint(self, *, val_loss: float | None = None, best: bool = False) -> None:
        """Save the state, unless this very place is saved; a failing disk never ends training."""
        state = self.state
        here = (state.step, state.epoch)
        if here == self._saved:
            return
        self._progress("checkpointing")
        captured = state.capture(applied=self._session.applied_directives, fingerprint=self._workload.fingerprint)
        try:
            manifest = self._store.save(captured, val_loss=val_loss, best=best)
        except CheckpointError as error:
            self._checkpoint_failures += 1
            log.warning("%s; training goes on, the checkpoint before it stays good", error)
            return
        self._saved = here
        self._announce(manifest)

    def _keep_last(self) -> None:
        """The last checkpoint holds the model: training without it is no success. Raises CheckpointError."""
        for _ in range(LAST_TRIES):
            self._checkpoint()
            if self._saved == (self.state.step, self.state.epoch):
                return
            time.sleep(LAST_PAUSE_SECONDS)
        message = (
            f"the last checkpoint, of step {self.state.step}, cannot be written: the trained model would be lost; "
            "free space where the checkpoints are"
        )
        raise CheckpointError(message)

    def _announce(self, manifest: Manifest) -> None:
        self._session.checkpoint(
            path=manifest.path,
            step=manifest.step,
            epoch=manifest.epoch,
            sha256=manifest.sha256,
            size_bytes=manifest.size_bytes,
        )

    def _send(self, record: ValidationRecord) -> None:
        self._session.point(
            "validation",
            step=record.step,
            epoch=record.epoch,
            metrics=record.metrics,
            generation=record.generation,
        )

    def _train_point(self, metrics: dict[str, float]) -> None:
        """What may differ between two equal trainings goes here, never into a validation point."""
        now = time.perf_counter()
        samples = self._steps_since_point * self._settings.batch_size
        self._session.point(
            "train",
            step=self.state.step,
            epoch=self.state.epoch,
            metrics={
                **metrics,
                "learning_rate": self._learning_rate(self.state.step - 1),
                "samples_per_second": samples / max(now - self._point_began, 1e-9),
                "max_rss_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RSS_UNIT),
                "checkpoint_failures": float(self._checkpoint_failures),
            },
        )
        self._point_began, self._steps_since_point = now, 0

    def _learning_rate(self, step: int) -> float:
        return self.state.learning_rate * self._schedule.factor(step)

    def _tick(self, phase: str) -> None:
        self._progress(phase)
        if self._interruption.requested:
            message = f"asked to end at step {self.state.step}"
            raise InterruptionError(message)

    def _progress(self, phase: str) -> None:
        settings = self._settings
        self._session.progress(
            phase,
            step=self.state.step,
            epoch=self.state.epoch,
            total_steps=settings.epochs * self._per_epoch,
            total_epochs=settings.epochs,
        )
