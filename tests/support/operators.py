"""An operator that is watched: whatever it decides, writes and does is held against the invariants."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.runs import UID
from tests.support.world import World
from trainmaster.api.conditions import SUCCEEDED, DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import Decision, TrainingRun, TrainingRunStatus
from trainmaster.core import Result, Snapshot, decide
from trainmaster.core.journal import is_open, open_decisions
from trainmaster.core.snapshot import CreateJob, Effect, WriteRecord

ALREADY = Reason.ALREADY_TRAINED
SETTLING_PASSES = 40
"""Passes in which a quiet world comes to rest: each launch, end and finish takes a few."""
WAKE_UPS = 6
"""Wake-ups followed in a quiet world: back-off, deadline, time to live."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of an operator: what it saw and what it decided."""

    snapshot: Snapshot
    result: Result


class WatchedOperator:
    """One pass after the other, each step of it checked."""

    def __init__(self, world: World, *, fenced: bool) -> None:
        self.world = world
        self.fenced = fenced
        """Whether nobody acts on an older decision than the newest: only then can one pod set be promised."""
        self.committed_ids: set[str] = set()
        self.ended: dict[int, TrainingRunStatus] = {}
        """The status with which each rerun ended, by its number."""

    def look(self, *, run_age: int = 0, jobs_age: int = 0) -> Pass:
        snapshot = self.world.cached_snapshot(run_age=run_age, jobs_age=jobs_age)
        result = self.decide(snapshot)
        if result.look_live:
            snapshot = self.world.live_snapshot()
            result = self.decide(snapshot)
            assert not result.look_live, "a live look is the last word"
        return Pass(snapshot=snapshot, result=result)

    def decide(self, snapshot: Snapshot) -> Result:
        spec = snapshot.run.spec.to_wire()
        result = decide(snapshot, self.world.now)
        assert snapshot.run.spec.to_wire() == spec, "I6: spec is never changed"
        assert result == decide(snapshot, self.world.now), "the same snapshot gives the same decision"
        assert snapshot.live or not result.effects, "effects need a live look"
        assert result.wake_at is None or result.wake_at > self.world.now
        for effect in result.effects:
            self.check_recorded(effect, snapshot)
        return result

    def check_recorded(self, effect: Effect, snapshot: Snapshot) -> None:
        """I7, and all that an effect may be about."""
        decisions = [d for d in snapshot.run.status.decisions if is_open(d)]
        if isinstance(effect, CreateJob):
            assert any(d.kind == DecisionKind.LAUNCH and d.launch == effect.plan.launch for d in decisions)
            return
        if isinstance(effect, WriteRecord):
            assert any(d.kind == DecisionKind.RECORD and d.record == effect.record for d in decisions)
            assert effect.name == effect.record.name
            return
        launch = next(job.launch for job in snapshot.jobs if job.uid == effect.uid)
        ends = any(d.kind == DecisionKind.END_LAUNCH and d.launch == launch for d in decisions)
        assert ends or any(d.kind == DecisionKind.CLEAN_UP and d.launch >= launch for d in decisions)

    def commit(self, seen: Pass) -> bool:
        """Write status if it changed; whether the pass may go on to act."""
        base, status = seen.snapshot.run, seen.result.status
        if status.to_wire() == base.status.to_wire():
            return True
        if not self.world.write_status(base, status):
            return False
        self.check_step(base, self.world.run)
        self.world.keep_view()
        return True

    def check_step(self, before: TrainingRun, after: TrainingRun) -> None:
        old, new = before.status, after.status
        assert new.launch >= old.launch, "I2: launches never fall"
        assert generation_of(new) >= generation_of(old), "I2: plan generations never fall"
        assert new.observed_generation == after.metadata.generation
        # What failed before anything was launched begins again when its spec is changed.
        mended = old.phase == Phase.FAILED and not old.launch and after.metadata.generation > old.observed_generation
        if old.phase in Phase.TERMINAL and old.observed_rerun == after.spec.rerun and not mended:
            assert (new.phase, new.completion_time) == (old.phase, old.completion_time), "I4: finished is finished"
            assert not [d for d in fresh(old, new) if d.kind == DecisionKind.LAUNCH], "I4"
        if new.phase in Phase.TERMINAL and (old.phase, old.reruns) != (new.phase, new.reruns):
            self.ended[new.reruns] = new
        ids = [d.id for d in new.decisions]
        assert len(ids) == len(set(ids)), "decisions have names of their own"
        if not self.world.restored:
            assert not self.committed_ids & {d.id for d in fresh(old, new)}, "no name is used twice"
        self.committed_ids |= set(ids)
        settled = {d.id: d.state for d in old.decisions if d.state != DecisionState.RECORDED}
        assert all(settled.get(d.id, d.state) == d.state for d in new.decisions), "what is settled stays so"
        open_before = {d.id for d in old.decisions if d.state == DecisionState.RECORDED}
        assert open_before <= set(ids), "an open decision is never dropped"

    def act(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, CreateJob) and self.fenced:
                assert not self.world.pods, "I1: no pod lives when a Job is created"
                assert all(job.state in {"Complete", "Failed"} for job in self.world.jobs.values()), "I1"
            self.world.execute(effect)
            self.world.keep_view()

    def come_to_rest(self) -> None:
        """I8: a quiet world comes to rest, and stays there until the time that was asked for."""
        for _ in range(WAKE_UPS):
            seen = self.settle()
            if seen.result.wake_at is None:
                return
            self.world.now = seen.result.wake_at
            assert self.changes(self.look()), "a wake-up finds something to do"

    def settle(self) -> Pass:
        for _ in range(SETTLING_PASSES):
            moved = self.end_pods()
            moved |= self.let_trainers_work()
            self.world.keep_view()
            seen = self.look()
            changes = self.changes(seen)
            if not changes and not moved:
                self.check_rest()
                return seen
            assert self.commit(seen), "nobody else writes"
            self.act(seen.result.effects)
        pytest.fail(f"no rest after {SETTLING_PASSES} passes: {self.world.run.status.to_wire()}")

    def changes(self, seen: Pass) -> bool:
        return bool(seen.result.effects) or seen.result.status.to_wire() != seen.snapshot.run.status.to_wire()

    def let_trainers_work(self) -> bool:
        world, moved = self.world, False
        for uid, job in list(world.jobs.items()):
            if job.deleting:
                continue
            if job.state == "Pending":
                world.start_pod(uid)
                moved = True
            elif job.state == "Running":
                before = (world.received, world.trainers[uid])
                world.report(uid)
                world.deliver(-1)
                trainer = world.trainers[uid]
                if {d.id for d in trainer.plan.directives} - set(trainer.applied):
                    world.train(uid, norm=1.0)
                moved |= before != (world.received, world.trainers[uid])
        return moved

    def check_rest(self) -> None:
        world, status = self.world, self.world.run.status
        living = {job.launch for job in world.jobs.values() if job.state not in {"Complete", "Failed"}}
        wanted = {status.launch} if status.launch_outcome is None and status.launch else set()
        assert living == wanted, "I1: what lives is the newest launch, if the run wants one"
        assert set(world.pods.values()) <= wanted
        running = any(job.state == "Running" for job in world.jobs.values())
        finished = status.phase in Phase.TERMINAL
        # A correction waits for a trainer that can take it. One that lost its status to a backup after the trainer had
        # taken it is decided again under the same generation, which that trainer has: the next launch will take it.
        may_wait = not finished and (not running or world.restored)
        waiting = open_decisions(status, DecisionKind.ADJUST) if may_wait else ()
        assert open_decisions(status) == waiting, "every decision has come true or been overtaken"
        assert status.plan is None or status.plan.generation >= 1
        self.check_records()
        if world.exact and self.fenced and not self.world.restored:
            assert status.crashes == world.true_crashes.get(status.reruns, 0), "each crash is counted once"

    def check_records(self) -> None:
        """Each rerun that has ended is recorded once, as it was; one that took a result over is none."""
        world = self.world
        ours = {record.reruns: record for record in world.records.values() if record.run_uid == UID}
        trained = {number: status for number, status in self.ended.items() if reason_of(status) != ALREADY}
        for status in self.ended.values():
            if reason_of(status) == ALREADY:
                assert (status.reruns, status.launch) == (0, 0), "a rerun trains, and what has begun goes on"
                assert any(record.run_uid != UID for record in world.records.values()), "of another object"
        if world.restored:
            # What was decided and then lost to a backup is decided again: otherwise perhaps, or not at all.
            return
        assert set(ours) == set(trained), "each ended rerun has a record, and nothing else has"
        for number, status in trained.items():
            record = ours[number]
            assert (record.outcome, record.reason) == (status.phase, reason_of(status))
            assert (record.completion_time, record.launches) == (status.completion_time, status.launch)
            assert (record.rerun, record.metrics) == (status.observed_rerun, status.metrics)
            assert not record.spec_hash or record.spec_hash in world.trained[record.rerun], "of what was trained"
            assert record.spec_hash or record.outcome != Phase.SUCCEEDED

    def end_pods(self) -> bool:
        """What is to end has ended; whether that changed anything."""
        world = self.world
        ending = [
            uid
            for uid in world.pods
            if uid not in world.jobs or world.jobs[uid].deleting or world.jobs[uid].state in {"Complete", "Failed"}
        ]
        for uid in ending:
            world.end_pod(uid)
        gone = [uid for uid, job in world.jobs.items() if job.deleting and uid not in world.pods]
        for uid in gone:
            world.collect(uid)
        return bool(ending or gone)


def reason_of(status: TrainingRunStatus) -> str:
    return next(condition.reason for condition in status.conditions if condition.type == SUCCEEDED)


def generation_of(status: TrainingRunStatus) -> int:
    return status.plan.generation if status.plan is not None else 0


def fresh(old: TrainingRunStatus, new: TrainingRunStatus) -> list[Decision]:
    known = {d.id for d in old.decisions}
    return [d for d in new.decisions if d.id not in known]
