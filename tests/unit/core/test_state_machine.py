"""The core against a hostile world: whatever is lost, doubled, late, stale or restored, the invariants hold.

The names are those of the fault catalogue. I1: at most one living pod set per run. I2: launches and plan generations
never fall. I3: no Job without a run. I4: a finished run does not start again by itself. I6: spec is never changed.
I7: every effect has its decision in committed status. I8: in a quiet world decisions come to rest. What has
ended is recorded once, as it was. I5, promotion at most once, has no code yet, and so no test here.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.kstatus import kstatus
from tests.support.operators import Pass, WatchedOperator
from tests.support.runs import record_of, run_of
from tests.support.world import ENDINGS, World
from trainmaster.api.conditions import CONDITION_TYPES, Phase
from trainmaster.api.trainingrun import TrainingRunStatus, spec_hash
from trainmaster.core.snapshot import CreateJob

FUTURE_STATUS: dict[str, Any] = {
    "futureField": {"kept": [1, 2.5, "three"]},
    "conditions": [
        {
            "type": "Foreseen",
            "status": "True",
            "reason": "Later",
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "futureSeverity": "Info",
        }
    ],
    "decisions": [
        {
            "id": "Teleport-0",
            "kind": "Teleport",
            "reason": "Later",
            "state": "Recorded",
            "time": "2026-03-01T12:00:00Z",
            "launch": 0,
            "generation": 1,
            "futureTarget": {"x": 1},
            "evidence": "",
            "target": {},
        }
    ],
}

RATES = {"": 0.001, "a": 0.002, "b": 0.003, "wrong": -1}
"""What each value of spec.rerun trains. A value that comes back with other fields, unseen in between, is not told
from one that never went: nothing in status says what the fields were."""

OF_OLD = (
    record_of(run_uid="of-old"),
    *(
        record_of(
            run_uid="of-old",
            rerun=token,
            reruns=number,
            spec_hash=spec_hash(run_of(hyperparameters={"learning_rate": RATES[token]})),
        )
        for number, token in enumerate("ab", start=1)
    ),
)
"""Successes of an object that had the name before: the first of them is taken over, those of reruns are not."""

TROUBLES = ("backup", "limits", "kubectl", "kueue", "owner", "wrong rerun", "trained before")
"""Some troubles end a run early, or excuse much; each example has a few of them only, so that others get far."""
FAIR_PASSES = 4
"""Passes from a run that nobody has seen to one whose Job runs, and one more."""

ages = st.one_of(st.just(0), st.integers(0, 30))
picks = st.integers(0, 7)
fates = st.sampled_from(
    ["done", "done", "done", "conflict", "killed before write", "killed after write", "killed acting"]
)


class OneOperator(RuleBasedStateMachine):
    """One operator, killed at any point, seeing the world through caches as old as they like."""

    fenced = True
    """Whether nobody acts on an older decision than the newest."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.operator = WatchedOperator(self.world, fenced=self.fenced)
        self.future = False
        self.troubles: set[str] = set()

    @initialize(future=st.booleans(), troubles=st.sets(st.sampled_from(TROUBLES)))
    def begin(self, *, future: bool, troubles: set[str]) -> None:
        self.future = future
        self.troubles = troubles
        if future:
            status = TrainingRunStatus.model_validate(FUTURE_STATUS)
            self.world.write_status(self.world.run, status)
            self.world.keep_view()
        if "trained before" in troubles:
            for record in OF_OLD:
                self.world.records[record.name] = record
            self.world.keep_view()

    # -- the operator -------------------------------------------------------------------------------------------------

    @rule(run_age=ages, jobs_age=ages, fate=fates, cut=st.integers(0, 3))
    def reconcile(self, *, run_age: int, jobs_age: int, fate: str, cut: int) -> None:
        seen = self.operator.look(run_age=run_age, jobs_age=jobs_age)
        if fate == "conflict":
            self.world.edit_spec()
        if fate == "killed before write" or not self.operator.commit(seen):
            return
        if fate == "killed after write":
            return
        self.operator.act(seen.result.effects[:cut] if fate == "killed acting" else seen.result.effects)

    @rule(norm=st.sampled_from([None, 1.0, float("nan")]), crash=st.booleans())
    def fair_weather(self, *, norm: float | None, crash: bool) -> None:
        """All goes well for a while, so that trouble also finds runs that have come far."""
        for _ in range(FAIR_PASSES):
            for pending in [uid for uid, job in self.world.jobs.items() if job.state == "Pending" and not job.deleting]:
                self.world.start_pod(pending)
            self.world.keep_view()
            self.reconcile(run_age=0, jobs_age=0, fate="done", cut=0)
        uid = self.pick(0, "Running")
        if uid is not None and norm is not None:
            self.world.train(uid, norm=norm)
            if crash:
                self.world.crash_in_place(uid)
            self.world.report(uid)
            self.world.deliver(-1)
            self.reconcile(run_age=0, jobs_age=0, fate="done", cut=0)

    # -- the user -----------------------------------------------------------------------------------------------------

    @rule(suspend=st.booleans())
    def suspend(self, *, suspend: bool) -> None:
        self.world.edit_spec(suspend=suspend)
        self.world.keep_view()

    @rule(token=st.sampled_from(sorted(RATES)))
    def rerun(self, *, token: str) -> None:
        refused = token == "wrong" and "wrong rerun" not in self.troubles
        if token != self.world.run.spec.rerun and not refused:
            self.world.edit_spec(rerun=token, hyperparameters={"learning_rate": RATES[token]})
            self.world.keep_view()

    @precondition(lambda self: "limits" in self.troubles)
    @rule(
        field=st.sampled_from(["activeDeadlineSeconds", "schedulingDeadlineSeconds", "ttlSecondsAfterFinished"]),
        seconds=st.sampled_from([None, 5, 600]),
    )
    def limit(self, *, field: str, seconds: int | None) -> None:
        self.world.edit_spec(**{field: seconds})
        self.world.keep_view()

    @precondition(lambda self: "owner" in self.troubles)
    @rule(suspended=st.booleans())
    def owner(self, *, suspended: bool) -> None:
        self.world.owner_suspended = suspended

    @precondition(lambda self: "backup" in self.troubles)
    @rule(age=st.integers(1, 30))
    def restore(self, *, age: int) -> None:
        self.world.restore(age)
        self.world.keep_view()

    # -- the cluster --------------------------------------------------------------------------------------------------

    def pick(self, number: int, *states: str) -> str | None:
        found = [uid for uid, job in self.world.jobs.items() if job.state in states and not job.deleting]
        return found[number % len(found)] if found else None

    @precondition(lambda self: self.pick(0, "Pending"))
    @rule(number=picks, queue=st.booleans())
    def schedule(self, *, number: int, queue: bool) -> None:
        uid = str(self.pick(number, "Pending"))
        if queue and "kueue" in self.troubles:
            self.world.queue(uid)
        else:
            self.world.start_pod(uid)
        self.world.keep_view()

    @precondition(lambda self: "kueue" in self.troubles and self.pick(0, "Running", "Suspended"))
    @rule(number=picks)
    def kueue(self, *, number: int) -> None:
        uid = str(self.pick(number, "Running", "Suspended"))
        if self.world.jobs[uid].state == "Running":
            self.world.queue(uid)
        else:
            self.world.unqueue(uid)
        self.world.keep_view()

    @precondition(lambda self: self.pick(0, "Running"))
    @rule(
        number=picks,
        how=st.sampled_from(sorted(ENDINGS)),
        heard=st.booleans(),
        linger=st.booleans(),
        crashes=st.integers(0, 2),
        told=st.booleans(),
    )
    def finish(self, *, number: int, how: str, heard: bool, linger: bool, crashes: int, told: bool) -> None:
        uid = str(self.pick(number, "Running"))
        for _ in range(crashes):
            self.world.crash_in_place(uid)
        if told:
            self.world.report(uid)
            self.world.deliver(-1)
        self.world.finish(uid, how=how, heard=heard, linger=linger)
        self.world.keep_view()

    @precondition(lambda self: self.pick(0, "Running"))
    @rule(number=picks)
    def lose_node(self, *, number: int) -> None:
        self.world.lose_node(str(self.pick(number, "Running")))
        self.world.keep_view()

    @precondition(lambda self: "kubectl" in self.troubles and self.world.jobs)
    @rule(number=picks)
    def kubectl_delete_job(self, *, number: int) -> None:
        self.world.delete_job(sorted(self.world.jobs)[number % len(self.world.jobs)])
        self.world.keep_view()

    @rule()
    def pods_end(self) -> None:
        self.operator.end_pods()
        self.world.keep_view()

    @rule(seconds=st.sampled_from([1, 15, 70, 700, 100_000, -3_000]))
    def time(self, *, seconds: int) -> None:
        self.world.advance(seconds)

    # -- the launchers ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pick(0, "Running"))
    @rule(number=picks, norm=st.sampled_from([1.0, 150.0, 1e5, float("nan"), float("inf"), 0.0]))
    def train(self, *, number: int, norm: float) -> None:
        self.world.train(str(self.pick(number, "Running")), norm=norm)

    @precondition(lambda self: self.pick(0, "Running"))
    @rule(number=picks)
    def crash_in_place(self, *, number: int) -> None:
        self.world.crash_in_place(str(self.pick(number, "Running")))

    @precondition(lambda self: self.pick(0, "Running"))
    @rule(number=picks)
    def report(self, *, number: int) -> None:
        self.world.report(str(self.pick(number, "Running")))

    @precondition(lambda self: self.world.outbox)
    @rule(index=st.integers(0, 9))
    def deliver(self, *, index: int) -> None:
        self.world.deliver(index)

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def no_crash_is_counted_that_was_none(self) -> None:
        world = self.world
        if self.world.restored:
            assert world.run.status.crashes <= sum(world.true_crashes.values())
        else:
            assert world.run.status.crashes <= world.true_crashes.get(world.run.status.reruns, 0)

    @invariant()
    def no_disruption_is_counted_that_was_none(self) -> None:
        world = self.world
        if not world.restored:
            assert world.run.status.disruptions <= world.true_disruptions.get(world.run.status.reruns, 0)

    @invariant()
    def what_a_newer_version_wrote_is_there_raw(self) -> None:
        if not self.future or self.world.restored:
            return
        wire = self.world.run.status.to_wire()
        assert wire["futureField"] == FUTURE_STATUS["futureField"]
        assert FUTURE_STATUS["decisions"][0] in wire["decisions"]
        foreign = [c for c in wire["conditions"] if c["type"] not in CONDITION_TYPES]
        assert [{k: c[k] for k in FUTURE_STATUS["conditions"][0]} for c in foreign] == FUTURE_STATUS["conditions"]

    @invariant()
    def kstatus_calls_failed_what_failed(self) -> None:
        run = self.world.run
        if run.status.observed_generation == run.metadata.generation and run.status.phase in Phase.TERMINAL:
            verdict = kstatus(run.to_wire())
            assert verdict == ("Current" if run.status.phase == Phase.SUCCEEDED else "Failed")

    # -- peace --------------------------------------------------------------------------------------------------------

    @rule()
    def quiet(self) -> None:
        """I8: without new trouble everything comes to rest, and stays there until the time that was asked for."""
        self.operator.come_to_rest()

    def teardown(self) -> None:
        """I3: a run that is deleted gets no new Job, whoever still wants one."""
        self.quiet()
        self.world.delete_run()
        self.world.keep_view()
        seen = self.operator.look()
        assert not seen.result.effects
        assert seen.result.status == self.world.run.status
        assert kstatus(self.world.run.to_wire()) == "Terminating"


class TwoOperators(OneOperator):
    """A leader that was deposed wakes up and acts on what it decided then."""

    fenced = False

    def __init__(self) -> None:
        super().__init__()
        self.stalled: list[Pass] = []
        self.paused: list[Pass] = []

    @rule(run_age=ages, jobs_age=ages, write=st.booleans())
    def fall_asleep(self, *, run_age: int, jobs_age: int, write: bool) -> None:
        """Just before its write, or between the write and the effects."""
        seen = self.operator.look(run_age=run_age, jobs_age=jobs_age)
        if not write:
            self.stalled.append(seen)
        elif self.operator.commit(seen):
            self.paused.append(seen)

    @rule()
    def fall_asleep_with_a_job_to_create(self) -> None:
        for _ in range(FAIR_PASSES):
            seen = self.operator.look()
            if any(isinstance(effect, CreateJob) for effect in seen.result.effects):
                self.paused.append(seen)
                return
            self.operator.commit(seen)

    @precondition(lambda self: self.stalled)
    @rule(number=picks)
    def wake_up_and_write(self, *, number: int) -> None:
        seen = self.stalled.pop(number % len(self.stalled))
        self.operator.commit(seen)
        self.paused.append(seen)

    @precondition(lambda self: self.paused)
    @rule(number=picks)
    def wake_up_and_act(self, *, number: int) -> None:
        seen = self.paused.pop(number % len(self.paused))
        before = set(self.world.jobs)
        self.operator.act(seen.result.effects)
        for uid in set(self.world.jobs) - before:
            assert self.world.jobs[uid].launch <= self.world.run.status.launch or self.world.restored
        names = [job.name for job in self.world.jobs.values()]
        assert len(names) == len(set(names)), "a double is adopted, not made"


EXAMPLES, STEPS, SOAK_FACTOR = 150, 60, 50
QUIET = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("machine", [OneOperator, TwoOperators])
def test_invariants_hold_whatever_happens(machine: type[OneOperator]) -> None:
    run_state_machine_as_test(machine, settings=QUIET)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [OneOperator, TwoOperators])
def test_invariants_hold_for_long(machine: type[OneOperator]) -> None:
    run_state_machine_as_test(machine, settings=settings(QUIET, max_examples=SOAK_FACTOR * EXAMPLES))
