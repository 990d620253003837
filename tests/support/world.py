"""A model of a cluster with one run in it: what is true, what caches show of it, and what launchers tell.

Everything is immutable data in a few mutable slots, so that an operator can be shown any earlier moment of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.support.runs import T0, UID, message_of, run_of, verdict_of
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_RETRY, Outcome, Reason
from trainmaster.api.plan import Plan
from trainmaster.api.runrecord import RunRecordSpec
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus, spec_hash
from trainmaster.core import Snapshot
from trainmaster.core.plan import awaits_plan, build_plan
from trainmaster.core.run.records import earlier_success, unwritten
from trainmaster.core.series import Point
from trainmaster.core.snapshot import (
    CreateJob,
    DeleteJob,
    Effect,
    JobState,
    ObservedJob,
    Owner,
    TrainerState,
    WriteRecord,
)

KEPT_VIEWS = 40
"""Earlier moments that a cache may still show."""
KILLED = 137


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A launcher and its training process, as they really are."""

    plan: Plan
    rerun: int
    step: int = 0
    crashes: int = 0
    applied: dict[str, int] = field(default_factory=dict)

    def generation(self) -> int:
        """The generation that its points carry."""
        applied = [d.generation for d in self.plan.directives if d.id in self.applied]
        return max([self.plan.base_generation, *applied])

    def state(self) -> TrainerState:
        """What it reports now."""
        return TrainerState(
            launch=self.plan.launch,
            generation=self.plan.generation,
            phase="training",
            step=self.step,
            crashes=self.crashes,
            applied=dict(self.applied),
        )


@dataclass(frozen=True, kw_only=True)
class View:
    """One moment, as a list from the API server would show it."""

    run: TrainingRun
    jobs: tuple[ObservedJob, ...]
    pods: tuple[tuple[int, str], ...]
    records: dict[str, RunRecordSpec]


class World:
    """The truth about one run."""

    def __init__(self) -> None:
        self.now: datetime = T0
        self.run: TrainingRun = run_of(recovery={"budgets": {"crashes": 4, "heals": 2}})
        self.owner_suspended = False
        self.jobs: dict[str, ObservedJob] = {}
        self.trainers: dict[str, Trainer] = {}
        self.pods: dict[str, int] = {}
        """Living pods by UID of their Job, with its launch; they may outlive it."""
        self.points: dict[int, list[Point]] = {}
        self.outbox: list[TrainerState] = []
        self.received: TrainerState | None = None
        self.true_crashes: dict[int, int] = {}
        self.true_disruptions: dict[int, int] = {}
        self.exact = True
        """Whether nothing was lost that counters are made from."""
        self.restored = False
        """Whether status ever came back from a backup."""
        self.created: list[int] = []
        self.records: dict[str, RunRecordSpec] = {}
        """RunRecords by name, those of others too."""
        self.trained: dict[str, set[str]] = {self.run.spec.rerun: {spec_hash(self.run)}}
        """Hashes of what each value of spec.rerun stood for."""
        self.views: list[View] = []
        self.keep_view()

    # -- what is seen -------------------------------------------------------------------------------------------------

    def keep_view(self) -> None:
        """Note this moment, so that caches can show it later."""
        self.views = [*self.views, self.view()][-KEPT_VIEWS:]

    def view(self) -> View:
        """This moment."""
        jobs = tuple(replace(job, live_pods=int(uid in self.pods)) for uid, job in self.jobs.items())
        pods = tuple((launch, uid) for uid, launch in self.pods.items())
        return View(run=self.run, jobs=jobs, pods=pods, records=dict(self.records))

    def live_snapshot(self) -> Snapshot:
        """What a look at the server shows."""
        return self._snapshot(run=self.run, seen=self.view(), live=True)

    def cached_snapshot(self, *, run_age: int, jobs_age: int) -> Snapshot:
        """What caches show that lag by so many changes."""
        run = self.views[max(0, len(self.views) - 1 - run_age)].run
        return self._snapshot(run=run, seen=self.views[max(0, len(self.views) - 1 - jobs_age)], live=False)

    def _snapshot(self, *, run: TrainingRun, seen: View, live: bool) -> Snapshot:
        uids = {job.uid for job in seen.jobs}
        return Snapshot(
            run=run,
            jobs=seen.jobs,
            stray_pods=frozenset(launch for launch, uid in seen.pods if uid not in uids),
            owner=Owner(uid="study", suspended=self.owner_suspended),
            trainer=self.received,
            points=tuple(self.points.get(run.status.reruns, [])),
            recorded=unwritten(run.status) & set(seen.records),
            earlier=earlier_success(run, seen.records.values()) if live else None,
            live=live,
        )

    # -- what the API server does -------------------------------------------------------------------------------------

    def edit_spec(self, **fields: object) -> None:
        """A user's update."""
        spec = self.run.spec.model_validate(self.run.spec.to_wire() | fields)
        metadata = self.run.metadata.model_copy(update={"generation": self.run.metadata.generation + 1})
        self._store(self.run.model_copy(update={"spec": spec, "metadata": metadata}))
        self.trained.setdefault(spec.rerun, set()).add(spec_hash(self.run))

    def delete_run(self) -> None:
        """A user deletes the run; its children follow through their ownerReferences."""
        metadata = self.run.metadata.model_copy(update={"deletion_timestamp": self.now})
        self._store(self.run.model_copy(update={"metadata": metadata}))
        self.jobs.clear()

    def write_status(self, base: TrainingRun, status: TrainingRunStatus) -> bool:
        """A status write with a precondition; whether it was taken. It goes through JSON, as a real one does."""
        if base.metadata.resource_version != self.run.metadata.resource_version:
            return False
        read_back = TrainingRunStatus.model_validate(status.to_wire())
        self._store(self.run.model_copy(update={"status": read_back}))
        return True

    def restore(self, age: int) -> None:
        """An older status comes back, as from a backup; the cluster goes on as it is."""
        old = self.views[max(0, len(self.views) - 1 - age)].run.status
        self.exact, self.restored = False, True
        self._store(self.run.model_copy(update={"status": old}))

    def _store(self, run: TrainingRun) -> None:
        version = str(int(self.run.metadata.resource_version or "0") + 1)
        metadata = run.metadata.model_copy(update={"resource_version": version})
        self.run = run.model_copy(update={"metadata": metadata})

    def execute(self, effect: Effect) -> None:
        """A create or a delete, as the API server takes it: names are unique, deletes are fenced by UID."""
        if isinstance(effect, WriteRecord):
            self.records.setdefault(effect.name, effect.record)
        elif isinstance(effect, DeleteJob):
            if effect.uid in self.jobs:
                self.jobs[effect.uid] = replace(self.jobs[effect.uid], deleting=True)
        elif self.run.metadata.deletion_timestamp is None and effect.name not in {j.name for j in self.jobs.values()}:
            self._create(effect)

    def _create(self, effect: CreateJob) -> None:
        self.created.append(effect.plan.launch)
        uid = f"job-{len(self.created)}"
        launch = effect.plan.launch
        self.jobs[uid] = ObservedJob(
            name=effect.name, uid=uid, run_uid=UID, launch=launch, state="Pending", created_at=self.now
        )
        self.trainers[uid] = Trainer(plan=effect.plan, rerun=int(effect.plan.storage.root.rsplit("/", 1)[1]))

    # -- what the cluster does ----------------------------------------------------------------------------------------

    def start_pod(self, uid: str) -> None:
        """The scheduler finds a node."""
        self.pods[uid] = self.jobs[uid].launch
        self.jobs[uid] = replace(self.jobs[uid], state="Running", running_since=self.now)

    def queue(self, uid: str) -> None:
        """A queue takes the Job's quota away; its pods end."""
        self._lose_words(uid)
        self.pods.pop(uid, None)
        self.jobs[uid] = replace(self.jobs[uid], state="Suspended", running_since=None)

    def unqueue(self, uid: str) -> None:
        """The queue admits the Job."""
        self.jobs[uid] = replace(self.jobs[uid], state="Pending")

    def lose_node(self, uid: str) -> None:
        """The node is gone; the Job fails, its pod lingers until somebody confirms that it is dead."""
        self._lose_words(uid)
        self._count_disruption(uid)
        self.jobs[uid] = replace(self.jobs[uid], state="Failed", disrupted=True, ended_at=self.now)

    def delete_job(self, uid: str) -> None:
        """Somebody deletes the Job, in the background: its pod, if there is one, is left to end."""
        self._forget(uid)
        self._count_disruption(uid)
        del self.jobs[uid]

    def end_pod(self, uid: str) -> None:
        """A pod is gone for good; of a Job that is being deleted that was the last."""
        self.pods.pop(uid, None)

    def collect(self, uid: str) -> None:
        """A Job that is being deleted and has no pod left is gone."""
        self._forget(uid)
        del self.jobs[uid]

    def _forget(self, uid: str) -> None:
        """A Job goes; if its end is not in status yet, what only the Job knew is lost."""
        job, status = self.jobs[uid], self.run.status
        if status.launch > job.launch or (status.launch == job.launch and status.launch_outcome is not None):
            return
        self.exact = self.exact and job.exit_code != KILLED
        self._lose_words(uid)

    def _lose_words(self, uid: str) -> None:
        """Crashes that were not reported by now, nobody will ever hear of."""
        trainer, told = self.trainers[uid], self.received
        heard = told.crashes if told is not None and told.launch == trainer.plan.launch else 0
        self.exact = self.exact and trainer.crashes <= heard

    # -- what launchers do --------------------------------------------------------------------------------------------

    def crash_in_place(self, uid: str) -> None:
        """The training process dies; the launcher starts another one, and counts."""
        trainer = self.trainers[uid]
        self.trainers[uid] = replace(trainer, crashes=trainer.crashes + 1)
        self._count_crash(trainer.rerun)

    def _count_disruption(self, uid: str) -> None:
        rerun = self.trainers[uid].rerun
        self.true_disruptions[rerun] = self.true_disruptions.get(rerun, 0) + 1

    def _count_crash(self, rerun: int) -> None:
        self.true_crashes[rerun] = self.true_crashes.get(rerun, 0) + 1

    def train(self, uid: str, *, norm: float) -> None:
        """One step, with this gradient norm; directives are applied before it."""
        trainer = self.trainers[uid]
        due = {d.id: trainer.step for d in trainer.plan.directives if d.id not in trainer.applied}
        trainer = replace(trainer, step=trainer.step + 1, applied=trainer.applied | due)
        self.trainers[uid] = trainer
        points = self.points.setdefault(trainer.rerun, [])
        known = {(p.generation, p.step) for p in points}
        if (trainer.generation(), trainer.step) not in known:
            metrics = {"grad_norm": norm}
            points.append(
                Point(generation=trainer.generation(), kind="train", step=trainer.step, time=self.now, metrics=metrics)
            )

    def report(self, uid: str) -> None:
        """The launcher sends what it has to say; it arrives when, and if, and as often as the network likes."""
        self.outbox = [*self.outbox, self.trainers[uid].state()][-10:]

    def deliver(self, index: int) -> None:
        """A report arrives; the reply carries the plan in status, if the launch is current."""
        told = self.outbox[index % len(self.outbox)]
        status = self.run.status
        if told.launch != status.launch or status.plan is None or awaits_plan(status):
            return
        before = self.received
        if before is not None and before.launch == told.launch:
            # Entries are kept once they have come, in whatever order; only the header is the last one's.
            crashes = max(before.crashes, told.crashes)
            told = replace(told, crashes=crashes, applied={**before.applied, **told.applied})
        self.received = told
        if self.run.spec.rerun != status.observed_rerun:
            return
        plan = build_plan(self.run, status)
        for uid, trainer in self.trainers.items():
            if trainer.plan.launch == told.launch and plan.generation > trainer.plan.generation:
                self.trainers[uid] = replace(trainer, plan=plan)

    def finish(self, uid: str, *, how: str, heard: bool, linger: bool) -> None:
        """The launcher ends: with a verdict and last words that are heard or not, or killed; its pod may linger."""
        trainer, job = self.trainers[uid], self.jobs[uid]
        if how == "crashed" and not trainer.crashes:
            self.crash_in_place(uid)
            trainer = self.trainers[uid]
        exit_code, outcome, reason = ENDINGS[how]
        message = None
        if how == "retry":
            self._count_disruption(uid)
        if how == "killed":
            self._count_crash(trainer.rerun)
            self._lose_words(uid)
            # One that we ended ourselves is not charged, however it goes down.
            ends = [d for d in self.run.status.decisions if d.kind == "EndLaunch" and d.launch == job.launch]
            self.exact = self.exact and not ends
        elif outcome and heard:
            message = message_of(verdict_of(outcome, reason=reason), launch=job.launch, crashes=trainer.crashes)
        else:
            self._lose_words(uid)
        state: JobState = "Complete" if exit_code == 0 else "Failed"
        self.jobs[uid] = replace(job, state=state, exit_code=exit_code, message=message, ended_at=self.now)
        if not linger:
            self.pods.pop(uid, None)

    def advance(self, seconds: int) -> None:
        """Time goes by, or the clock goes back."""
        self.now += timedelta(seconds=seconds)


ENDINGS: dict[str, tuple[int, str, str]] = {
    "completed": (0, Outcome.COMPLETED, Reason.COMPLETED),
    "stopped-early": (0, Outcome.STOPPED_EARLY, "patience"),
    "silent": (0, "", ""),
    "retry": (EXIT_RETRY, Outcome.RETRY, Reason.DISRUPTED),
    "configuration": (EXIT_CONFIGURATION, Outcome.FAILED, Reason.INVALID_CONFIGURATION),
    "crashed": (EXIT_CRASHED, Outcome.FAILED, Reason.CRASHED),
    "killed": (KILLED, "", ""),
}
"""How launchers end: exit code, outcome and reason of the verdict."""
