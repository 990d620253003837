"""The engine: trains any workload, and can be interrupted at any step without changing the result.

A round: look for an interruption, apply due directives, do one step, checkpoint and report where that is due. At the
end of an epoch: validate, keep the best weights, report, checkpoint, judge patience. `TrainingState` is all it
continues from; a step depends on that and on the workload's data only, never on time, on reporting or on when
checkpoints are written.

A step: the batch of the step, the knobs' values at it, then one slice of the batch after the other, each with random
numbers of its own; the guards judge the sum of their gradients. Out of memory, the same step is done again in twice as
many slices. The host reads from the device at log points only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trainmaster_trainer.checkpoint import CheckpointStore
from trainmaster_trainer.distributed import Group
from trainmaster_trainer.early_stopping import Patience
from trainmaster_trainer.errors import ConfigurationError, TrainerError
from trainmaster_trainer.guards import GuardReport, IntegrationManager
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.memory import OutOfMemoryError, Slices, device_name, free_memory, is_out_of_memory
from trainmaster_trainer.parameters import LEARNING_RATE, ParamScheduler
from trainmaster_trainer.points import Points
from trainmaster_trainer.precision import LOSS_SCALE, Precision, choose_device
from trainmaster_trainer.reporting import Directive, Session
from trainmaster_trainer.sampler import Sampler
from trainmaster_trainer.saving import Checkpointing
from trainmaster_trainer.signature import refuse_another_shape
from trainmaster_trainer.state import Captured, TrainingState, ValidationRecord, seed_everything
from trainmaster_trainer.step import StepKnobs, StepResult, StepStatistics, TrainStep, new_optimizer
from trainmaster_trainer.workload import MAX_GRAD_NORM, WEIGHT_DECAY, Knobs, Workload

log = logging.getLogger(__name__)

TRAIN_POINT_EVERY_STEPS: Final = 20
"""A train point every so many steps: some per epoch of a small data set, and one host read in twenty steps."""
_NO_METRICS: Final[Mapping[str, float]] = {}
_EVALUATION: Final = -1
"""Takes a slice's place in the seed of an evaluation."""


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
        group: Group | None = None,
    ) -> None:
        """Seed, build the model, continue from `resume`. Raises ConfigurationError if that is of other data."""
        self._workload, self._settings = workload, workload.settings
        self._session, self._interruption = session, interruption
        self._every_steps = every_steps
        self._group = group or Group()
        self._device = choose_device(self._settings.device, local_rank=self._group.local_rank)
        self._precision = Precision.choose(self._settings.precision, device=self._device)
        self._sampler = Sampler(
            rows=workload.visits,
            batch_size=self._settings.batch_size,
            seed=self._settings.seed,
            visits=workload.epoch_rows,
        )
        self._per_epoch = self._sampler.steps_per_epoch
        if self._settings.batch_size < self._group.size:
            message = (
                f"hyperparameters.batch_size {self._settings.batch_size} leaves some of {self._group.size} processes "
                "without a row: raise it, or lower resources.processesPerNode"
            )
            raise ConfigurationError(message)
        self.state = self._new_state()
        self._train_step = TrainStep(
            self.state.optimizer,
            guards=self.state.guards,
            scaler=self.state.scaler,
            ranks=self._group if self._group.size > 1 else None,
        )
        self._points = Points(session, settings=self._settings, steps_per_epoch=self._per_epoch)
        self._checkpoints = Checkpointing(
            store, session=session, fingerprint=workload.fingerprint, leads=self._group.leads
        )
        self._refused: set[str] = set()
        self._configured: Knobs = {}
        if resume is not None:
            self._continue_from(resume)

    def _new_state(self) -> TrainingState:
        settings, workload = self._settings, self._workload
        seed_everything(settings.seed)
        workload.to(self._device)
        model = workload.build_model().to(self._device)
        return TrainingState(
            model=model,
            optimizer=new_optimizer(model, weight_decay=settings.knobs[WEIGHT_DECAY]),
            schedules=ParamScheduler(
                settings.schedules,
                base=settings.knobs,
                epochs=settings.epochs,
                steps_per_epoch=self._per_epoch,
                limits=settings.limits,
            ),
            guards=IntegrationManager(settings.guards, rows=workload.train_rows, device=self._device),
            patience=Patience(limit=settings.early_stopping_patience),
            slices=Slices(
                count=max(settings.gradient_accumulation_steps, self._group.size),
                batch_size=settings.batch_size,
                device_name=device_name(self._device),
            ),
            scaler=torch.amp.GradScaler(init_scale=LOSS_SCALE) if self._precision.scales_loss else None,
            statistics=StepStatistics(device=self._device),
        )

    def run(self) -> dict[str, float]:
        """Train to the end, test the best weights, report both; the test metrics.

        Raises InterruptionError after SIGTERM or Ctrl-C, when the checkpoint is written. Whatever else ends training
        leaves a checkpoint of the step before it.
        """
        try:
            if self.state.step == 0 and self._group.leads:
                self._workload.begin(tick=lambda: self._points.progress("starting", self.state))
            while self.state.epoch < self._settings.epochs and self.state.stopped is None:
                self._train_epoch()
                if self.state.stopped is None:
                    self._end_epoch()
            metrics = self._test()
            self._checkpoints.keep_last(self.state)
        except InterruptionError:
            self._save_now()
            raise
        except ConfigurationError:  # nothing is lost, and a person reads the sentence
            raise
        except Exception:
            log.exception("training ends at step %d", self.state.step)
            if not self._train_step.committing:  # half of a step is no place to continue from
                self._save_now()
            raise
        finally:
            self._checkpoints.close()
        self._tell_end(metrics)
        return metrics

    def _tell_end(self, metrics: dict[str, float]) -> None:
        stopped = self.state.stopped
        self._session.done(
            outcome="Completed" if stopped is None else "StoppedEarly",
            reason="Completed" if stopped is None else "StoppedEarly",
            message=f"{self.state.epoch} of {self._settings.epochs} epochs" + (f": {stopped}" if stopped else ""),
            metrics=metrics,
        )

    def _continue_from(self, resume: Resume) -> None:
        path = resume.manifest.path
        if resume.captured["fingerprint"] != self._workload.fingerprint:
            message = (
                f"the data, or what windows, labels and blocks are made of, changed since checkpoint {path} was "
                "written: training on would mix two data sets; put the old values back, or train again from the start "
                "by another spec.rerun (from Python: another run_name)"
            )
            raise ConfigurationError(message)
        refuse_another_shape(resume.captured["model"], self.state.model.state_dict(), path=path)
        try:
            self.state.restore(resume.captured)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            message = f"checkpoint {path} does not fit this training ({error}): change spec.rerun to train again"
            raise ConfigurationError(message) from error
        log.info("continuing from checkpoint %s: step %d, epoch %d", path, self.state.step, self.state.epoch)
        # A crash can fall between a checkpoint and its reports.
        for record in self.state.history:
            self._points.validation(record)
        self._checkpoints.continue_from(resume.manifest, self.state)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        """The steps that this epoch still lacks, or up to a Stop directive."""
        self._points.epoch_begins()
        self.state.model.train()
        end = (self.state.epoch + 1) * self._per_epoch
        while self.state.step < end:
            self._tick("training")
            self._apply_directives()
            if self.state.stopped is not None:
                self._save()
                return
            result = self._step()
            self._checkpoints.collect()
            if self.state.step < end:  # the end of an epoch is reported and saved after its validation
                self._between_steps(result)

    def _step(self) -> StepResult:
        state = self.state
        knobs = self._turned(state.schedules.values(state.step))
        if state.schedules.restarts_at(state.step):
            state.guards.widen()
        rows = self._sampler.batch(state.step).to(self._device, non_blocking=True)
        result = self._attempt(rows, knobs)
        while result is None:
            self._slice_finer()
            result = self._attempt(rows, knobs)
        state.statistics.add(result)
        state.step += 1
        self._train_step.committing = False
        self._points.step_done()
        return result

    def _attempt(self, rows: Tensor, knobs: Knobs) -> StepResult | None:
        """One step; None where memory ran out before anything changed."""
        state = self.state
        batch = state.guards.filter(rows)
        cuts = state.slices.cut(len(rows))
        own = self._group.own(len(cuts))

        def losses_of(index: int) -> Tensor:
            number = own[index]
            begin, end = cuts[number]
            seed_everything(self._settings.seed, state.step, number)
            with self._precision.autocast():
                return self._workload.losses(state.model, batch.rows[begin:end], knobs)

        try:
            return self._train_step.run(
                losses_of,
                slices=len(own),
                batch_size=len(rows),
                batch=batch,
                begin=cuts[own[0]][0],
                knobs=StepKnobs(
                    learning_rate=knobs[LEARNING_RATE],
                    weight_decay=knobs[WEIGHT_DECAY],
                    max_grad_norm=knobs[MAX_GRAD_NORM],
                ),
            )
        except (RuntimeError, MemoryError) as error:
            if self._group.size > 1 or self._train_step.committing or not is_out_of_memory(error):
                raise
            problem = str(error)
        # Outside of the except block: its traceback held the tensors.
        log.warning("step %d: out of memory with %d slices: %s", state.step, state.slices.count, problem)
        return None

    def _slice_finer(self) -> None:
        """Free what the failed step left, and cut the batch twice as fine. Raises OutOfMemoryError if it is one row."""
        self.state.optimizer.zero_grad(set_to_none=True)
        free_memory(self._device)
        if not self.state.slices.double():
            message = "out of memory with a single row: take a smaller model or window, or a larger device"
            raise OutOfMemoryError(message)

    def _turned(self, values: dict[str, float]) -> Knobs:
        """The knobs of a step, put into the model where they are part of it."""
        if values != self._configured:
            self._workload.configure(self.state.model, values)
            self._configured = values
        return values

    def _between_steps(self, result: StepResult) -> None:
        if self._every_steps is not None and self.state.step % self._every_steps == 0:
            self._save()
        if self.state.step % TRAIN_POINT_EVERY_STEPS == 0:
            self._train_point({"loss": float(result.loss), "grad_norm": float(result.grad_norm)})

    def _train_point(self, metrics: dict[str, float]) -> None:
        self._points.train(
            self.state,
            metrics={**metrics, "learning_rate": self._learning_rate(self.state.step - 1)},
            guards=self._read_guards(),
            failures=self._checkpoints.failures,
        )

    def _read_guards(self) -> GuardReport:
        """What the guards did since the last look: told in words, and kept as trouble."""
        report = self.state.guards.read(self.state.model)
        for event in report.events:
            log.warning("%s: %s: %s", event.guard, event.reason, event.message)
        self.state.note_trouble(report)
        return report

    # -- epochs -------------------------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        """Validate, keep the best weights, report, checkpoint, judge."""
        state = self.state
        metrics = self._group.tell(
            {
                **state.statistics.metrics(),
                **self._validate(),
                **state.schedules.metrics(state.step - 1),
                "learning_rate": self._learning_rate(state.step - 1),
            }
        )
        val_loss = metrics["val_loss"]
        state.epoch += 1
        state.statistics = StepStatistics(device=self._device)
        best = state.offer(val_loss)
        judged_now = state.schedules.may_be_judged(state.step)
        if judged_now:  # within a cosine cycle a worse validation is no plateau
            state.guards.validated(val_loss)
        state.schedules.observe(val_loss, steps_done=state.step)
        state.patience.observe(val_loss)
        record = ValidationRecord(
            generation=self._session.generation, step=state.step, epoch=state.epoch, metrics=metrics
        )
        state.history.append(record)
        self._points.validation(record)
        if state.epoch < self._settings.epochs:
            state.stopped = state.patience.verdict(judged_now=judged_now)
        self._train_point({"epoch_seconds": self._points.epoch_seconds})
        self._save(metrics=metrics, best=best)

    def _validate(self) -> dict[str, float]:
        self.state.model.eval()
        seed_everything(self._settings.seed, self.state.step, _EVALUATION)
        with torch.inference_mode(), self._precision.autocast():
            return self._workload.validate(self.state.model, tick=lambda: self._tick("validating"))

    def _test(self) -> dict[str, float]:
        """Metrics of the best weights on the test rows; of the last ones if no epoch had a finite loss."""
        self._tick("testing")
        # One rank judges, the others wait for what it says: nothing in it is computed together.
        metrics: dict[str, float] = self._group.tell(self._judge_best() if self._group.leads else None)
        return metrics

    def _judge_best(self) -> dict[str, float]:
        state = self.state
        last = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        if state.best is not None:
            state.model.load_state_dict(state.best.weights)
        state.model.eval()
        seed_everything(self._settings.seed, state.step, _EVALUATION)
        try:
            history = [(record.epoch, record.metrics) for record in state.history]
            result = self._workload.test(state.model, history=history, tick=self._tick_alone)
        finally:
            state.model.load_state_dict(last)
        metrics = dict(result.metrics)
        if state.best is not None:
            metrics |= {"best_epoch": float(state.best.epoch), "best_val_loss": state.best.val_loss}
        self._checkpoints.keep_artifacts(result.artifacts)
        self._session.point("test", step=state.step, epoch=state.epoch, metrics=metrics)
        return metrics

    # -- what the launcher wants --------------------------------------------------------------------------------------

    def _apply_directives(self) -> None:
        step = self.state.step
        for directive in self._group.tell(self._session.due(step)):
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
                values = self._workload.adjusted(directive.set)
            except ConfigurationError as error:
                problem = str(error)
            else:
                self.state.schedules.rebase(values, step=self.state.step, cause=f"directive {directive.id}")
                return True
        self._refused.add(directive.id)
        log.warning("directive %s is not carried out: %s", directive.id, problem)
        return False

    def _save(self, *, metrics: Mapping[str, float] = _NO_METRICS, best: bool = False) -> None:
        self._points.progress("checkpointing", self.state)
        self._read_guards()  # how clean the steps before it were is part of a checkpoint
        self._checkpoints.save(self.state, metrics=metrics, best=best)

    def _save_now(self) -> None:
        self._points.progress("checkpointing", self.state)
        self._read_guards()
        self._checkpoints.save_now(self.state)

    def _learning_rate(self, step: int) -> float:
        """The schedule's; what the guards made of it is the metric `lr_adapter.multiplier`."""
        return self.state.schedules.values(step)[LEARNING_RATE]

    def _tick(self, phase: str) -> None:
        """Say where training is; all ranks end together where the leading one was asked to."""
        self._points.progress(phase, self.state)
        self._end_if(asked=self._group.tell(self._interruption.requested))

    def _tick_alone(self) -> None:
        """The same for what only the leading rank does: the others wait, and end with it."""
        self._points.progress("testing", self.state)
        self._end_if(asked=self._interruption.requested)

    def _end_if(self, *, asked: bool) -> None:
        if asked:
            message = f"asked to end at step {self.state.step}"
            raise InterruptionError(message)
