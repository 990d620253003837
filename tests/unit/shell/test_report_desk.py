"""The report desk: who may say what, what is kept of it, what is answered, and what a new process still knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.runs import PLAN, T0, UID, Field, run_of, status_of
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.api.plan import Plan
from trainmaster.api.protocol import Crash, Entry, EntryType, Report, ReportedCheckpoint, Verdict
from trainmaster.api.trainingrun import PlannedDirective, Progress, TrackingStatus, TrainingRun
from trainmaster.core.run.words import crash_words
from trainmaster.core.snapshot import TrainerState
from trainmaster.ports.identity import LaunchIdentity
from trainmaster.ports.series import SeriesWriteError
from trainmaster.shell.report_desk import RefusedError, ReportDesk


class Bench:
    """A desk, the run that it knows, and a clock to turn."""

    def __init__(self, **status: Field) -> None:
        self.run: TrainingRun | None = run_of(status=status_of(**status))
        self.series = MemorySeriesStore()
        self.time = T0
        self.told: list[str] = []
        self.gone: set[str] = set()
        self.desk = self.reopen()

    def reopen(self) -> ReportDesk:
        """A desk as a new process has it: with what the series kept, and nothing else."""
        self.desk = ReportDesk(
            series=self.series,
            clock=self,
            find_run=lambda uid: self.run if self.run is not None and uid == self.run.metadata.uid else None,
            localise=_localise,
            on_report=lambda run: self.told.append(run.metadata.name),
            is_gone=lambda uid: uid in self.gone,
        )
        return self.desk

    def now(self) -> datetime:
        return self.time

    def take(self, *, launch: int = 1, identity: LaunchIdentity | None = None, **fields: Field) -> int:
        who = identity or LaunchIdentity(run_uid=UID, launch=launch)
        return self.desk.take(who, report_of(launch=launch, **fields)).have_seq

    @property
    def state(self) -> TrainerState | None:
        assert self.run is not None
        return self.desk.trainer_state(self.run)


def _localise(plan: Plan) -> Plan:
    return plan.model_copy(update={"volumes": {"data": "/folder"}})


def report_of(*, launch: int = 1, **fields: Field) -> Report:
    base: dict[str, Any] = {"run_uid": UID, "generation": 1, "phase": "training"}
    return Report.model_validate(base | fields | {"launch": launch})


def entry_of(seq: int, entry_type: str, **fields: Field) -> Entry:
    return Entry.model_validate({"seq": seq, "type": entry_type, "time": T0, "generation": 1} | fields)


def checkpoint_at(step: int) -> ReportedCheckpoint:
    return ReportedCheckpoint(path=f"1/step-{step}.pt", step=step, epoch=step // 10, sha256="0" * 64, size_bytes=1)


def refusal(bench: Bench, **fields: Field) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        bench.take(**fields)
    assert bench.told == []
    assert bench.state is None
    return caught.value


def test_a_report_is_kept_told_and_answered_with_what_is_there() -> None:
    bench = Bench()
    assert bench.take(entries=[entry_of(1, EntryType.START, start=1)], step=3) == 1
    assert bench.told == ["market"]
    assert len(bench.series.entries(UID, rerun=0, launch=1)) == 1


def test_a_token_of_another_run_or_launch_is_refused() -> None:
    assert refusal(Bench(), identity=LaunchIdentity(run_uid="other", launch=1)).status == 403
    error = refusal(Bench(), identity=LaunchIdentity(run_uid=UID, launch=7))
    assert error.status == 403
    assert "launch 7" in str(error)


def test_a_launch_that_is_not_current_is_gone() -> None:
    error = refusal(Bench(launch=3), launch=2)
    assert error.status == 410
    assert str(error) == "launch 2 is not current; that is 3"


@pytest.mark.parametrize("known", [None, "no plan"])
def test_a_run_that_is_not_known_yet_or_not_planned_is_asked_for_again(known: str | None) -> None:
    bench = Bench(plan=None)
    bench.run = bench.run if known else None
    with pytest.raises(RefusedError) as caught:
        bench.take()
    assert caught.value.status == 503


def test_a_run_that_is_known_to_be_deleted_is_gone() -> None:
    bench = Bench()
    bench.run, bench.gone = None, {UID}
    with pytest.raises(RefusedError, match="is deleted") as caught:
        bench.take()
    assert caught.value.status == 410


def test_a_launch_ahead_of_what_is_known_is_asked_for_again() -> None:
    assert refusal(Bench(launch=2), launch=3).status == 503


def test_a_pod_of_another_namespace_may_not_report_whatever_its_job_says() -> None:
    bench = Bench()
    with pytest.raises(RefusedError, match="the pod is in evil, the run in default") as caught:
        bench.take(identity=LaunchIdentity(run_uid=UID, launch=1, namespace="evil"))
    assert caught.value.status == 403


def test_a_launch_of_a_series_that_a_rerun_has_ended_is_gone() -> None:
    bench = Bench()
    assert bench.run is not None
    bench.run = bench.run.model_copy(update={"spec": bench.run.spec.model_copy(update={"rerun": "again"})})
    with pytest.raises(RefusedError, match=r"spec\.rerun") as caught:
        bench.take()
    assert caught.value.status == 410


def test_a_protocol_that_is_not_spoken_is_told_so() -> None:
    error = refusal(Bench(), protocol=99)
    assert error.status == 426
    assert "protocol 99" in str(error)


def test_the_reply_carries_the_plan_of_the_committed_status_localised() -> None:
    directive = PlannedDirective(id="d1", generation=2, set={"learning_rate": "0.0005"})
    plan = PLAN.model_copy(update={"generation": 2, "directives": (directive,)})
    bench = Bench()
    identity = LaunchIdentity(run_uid=UID, launch=1)
    assert bench.desk.take(identity, report_of()).plan.directives == ()
    bench.run = run_of(status=status_of(plan=plan))
    reply = bench.desk.take(identity, report_of())
    assert [(d.id, d.set) for d in reply.plan.directives] == [("d1", {"learning_rate": 0.0005})]
    assert reply.plan.generation == 2
    assert reply.plan.volumes == {"data": "/folder"}


def test_what_cannot_be_kept_is_neither_acknowledged_nor_told() -> None:
    class Full(MemorySeriesStore):
        def take(self, *_args: object, **_fields: object) -> int:
            raise SeriesWriteError("disk full")

    bench = Bench()
    bench.series = Full()
    bench.reopen()
    with pytest.raises(SeriesWriteError):
        bench.take(entries=[entry_of(1, EntryType.START)])
    assert bench.told == []


def test_entries_of_a_launcher_that_was_told_more_than_is_here_are_left_to_be_sent_again() -> None:
    bench = Bench()
    assert bench.take(after_seq=5, entries=[entry_of(6, EntryType.START)]) == 0
    assert bench.series.entries(UID, rerun=0) == ()
    everything = [entry_of(seq, EntryType.START) for seq in range(1, 7)]
    assert bench.take(after_seq=0, entries=everything) == 6


def test_entries_are_of_the_rerun_that_status_names() -> None:
    bench = Bench(reruns=2)
    bench.take(entries=[entry_of(1, EntryType.START)])
    assert len(bench.series.entries(UID, rerun=2)) == 1


def test_the_state_is_the_newest_report_and_all_entries() -> None:
    bench = Bench()
    crash = Crash(kind="signal", signal="SIGKILL", lines=("one", "last words"))
    entries = [
        entry_of(1, EntryType.CHECKPOINT, checkpoint=checkpoint_at(10).to_wire()),
        entry_of(2, EntryType.CRASH, crash=crash.to_wire()),
        entry_of(3, EntryType.CHECKPOINT, checkpoint=checkpoint_at(20).to_wire()),
        entry_of(4, EntryType.APPLIED, directive="d1", step=12),
    ]
    bench.take(entries=entries, step=25, epoch=2, total_steps=100, total_epochs=10)
    assert bench.state == TrainerState(
        launch=1,
        generation=1,
        phase="training",
        heard_at=T0,
        step=25,
        epoch=2,
        total_steps=100,
        total_epochs=10,
        crashes=1,
        last_crash=crash_words(crash),
        checkpoint=checkpoint_at(20),
        applied={"d1": 12},
    )


def test_a_new_launch_has_no_state_before_its_first_report() -> None:
    bench = Bench()
    bench.take(step=25, entries=[entry_of(1, EntryType.START)])
    bench.run = run_of(status=status_of(launch=2))
    assert bench.state is None


def test_a_new_process_knows_from_the_series_what_happened_and_from_status_how_far_it_was() -> None:
    bench = Bench(progress=Progress(step=17, epoch=1, total_steps=100, total_epochs=10, percent=17))
    verdict = Verdict(outcome="Completed", reason="Completed")
    entries = [
        entry_of(1, EntryType.CHECKPOINT, checkpoint=checkpoint_at(10).to_wire()),
        entry_of(2, EntryType.CRASH, crash={"kind": "exit", "code": 1}, generation=2),
        entry_of(3, EntryType.VERDICT, verdict=verdict.to_wire(), generation=2),
    ]
    bench.take(entries=entries, step=25)
    bench.reopen()
    state = bench.state
    assert state is not None
    assert (state.step, state.epoch, state.total_steps, state.total_epochs) == (17, 1, 100, 10)
    assert (state.phase, state.generation, state.crashes) == ("done", 2, 1)
    assert (state.checkpoint, state.verdict) == (checkpoint_at(10), verdict)
    assert state.steps_per_second is None


def test_a_new_process_trusts_a_checkpoint_that_status_does_not_know_of() -> None:
    bench = Bench(progress=Progress(step=5, epoch=0))
    bench.take(entries=[entry_of(1, EntryType.CHECKPOINT, checkpoint=checkpoint_at(20).to_wire())])
    bench.reopen()
    assert bench.state is not None
    assert (bench.state.step, bench.state.epoch) == (20, 2)


class TestNews:
    """Which reports cannot wait."""

    def news(self, *reports: dict[str, Any]) -> list[bool]:
        """Of each report, whether it was told as news."""
        bench, told = Bench(), list[bool]()
        bench.desk = ReportDesk(
            series=bench.series,
            clock=bench,
            find_run=lambda _uid: bench.run,
            localise=_localise,
            on_report=lambda _run: told.append(True),
            on_quiet_report=lambda _run: told.append(False),
        )
        for report in reports:
            bench.take(**report)
        return told

    def test_the_first_report_is_news_and_more_of_the_same_is_not(self) -> None:
        point = entry_of(1, EntryType.POINT, kind="train", step=1, metrics={"loss": 0.5})
        assert self.news({}, {"step": 1, "entries": [point]}, {"step": 2}) == [True, False, False]

    @pytest.mark.parametrize("value", ["NaN", "Inf", "-Inf"])
    def test_a_number_that_is_not_finite_is_news(self, value: str) -> None:
        point = entry_of(1, EntryType.POINT, kind="train", step=1, metrics={"loss": 0.5, "grad_norm": value})
        assert self.news({}, {"entries": [point]}) == [True, True]

    @pytest.mark.parametrize("kind", [EntryType.CRASH, EntryType.CHECKPOINT, EntryType.APPLIED, EntryType.VERDICT])
    def test_whatever_happened_is_news(self, kind: str) -> None:
        assert self.news({}, {"entries": [entry_of(1, kind)]}) == [True, True]

    def test_another_phase_is_news(self) -> None:
        assert self.news({}, {"phase": "validating"}, {"phase": "validating"}) == [True, True, False]

    def test_storage_that_refuses_and_takes_again_is_news(self) -> None:
        full = {"storage": "No space left on device"}
        assert self.news({}, full, full, {}) == [True, True, False, True]

    def test_another_plan_is_news(self) -> None:
        assert self.news({}, {"generation": 2}) == [True, True]


def test_what_storage_refuses_is_known_as_long_as_reports_say_so() -> None:
    bench = Bench()
    bench.take(storage="No space left on device")
    assert bench.state is not None
    assert bench.state.storage == "No space left on device"
    bench.take()
    assert bench.state.storage == ""


def test_a_forgotten_run_has_no_state_but_what_its_series_tells() -> None:
    bench = Bench()
    bench.take(step=3)
    bench.desk.tracked(UID, rerun=0, where=TrackingStatus(experiment_id="1", run_id="new"))
    bench.desk.forget(UID)
    assert bench.run is not None
    assert bench.state is None
    assert bench.desk.tracking(bench.run) is None


def test_the_plan_is_made_once_for_a_stored_version_of_the_run() -> None:
    bench, made = Bench(), list[int]()

    def localise(plan: Plan) -> Plan:
        made.append(plan.generation)
        return plan

    bench.desk = ReportDesk(
        series=bench.series,
        clock=bench,
        find_run=lambda _uid: bench.run,
        localise=localise,
        on_report=lambda _run: None,
    )
    bench.take()
    bench.take()
    bench.run = run_of(status=status_of(plan=PLAN.model_copy(update={"generation": 2})))
    bench.take()
    assert made == [1, 2]


class TestRate:
    """Steps per second, for the time that is left."""

    def rates(self, *reports: tuple[float, str, int], bench: Bench | None = None) -> list[float | None]:
        bench = bench or Bench()
        found = []
        for seconds, phase, step in reports:
            bench.time = T0 + timedelta(seconds=seconds)
            bench.take(phase=phase, step=step)
            assert bench.state is not None
            found.append(bench.state.steps_per_second)
        return found

    def test_none_before_a_second_step(self) -> None:
        assert self.rates((0, "training", 0), (5, "training", 0)) == [None, None]

    def test_over_the_whole_launch(self) -> None:
        assert self.rates((0, "training", 0), (5, "training", 10), (10, "validating", 10)) == [None, 2.0, 1.0]

    def test_imports_and_a_resumed_step_are_no_speed(self) -> None:
        assert self.rates((0, "starting", 0), (60, "training", 500), (70, "training", 510)) == [None, None, 1.0]

    def test_going_back_behind_the_first_step_begins_anew(self) -> None:
        assert self.rates((0, "training", 50), (5, "training", 40), (10, "training", 50))[1:] == [None, 2.0]

    def test_a_new_launch_begins_anew(self) -> None:
        bench = Bench()
        assert self.rates((0, "training", 0), (5, "training", 10), bench=bench)[-1] == 2.0
        bench.run = run_of(status=status_of(launch=2))
        bench.take(launch=2, step=90)
        assert bench.state is not None
        assert bench.state.steps_per_second is None

    def test_two_reports_at_one_moment_divide_by_nothing(self) -> None:
        assert self.rates((0, "training", 0), (0, "training", 10)) == [None, None]


def test_where_it_is_tracked_is_what_the_tracker_said_last_of_this_rerun() -> None:
    known = TrackingStatus(experiment_id="1", run_id="old")
    bench = Bench(mlflow=known)
    assert bench.run is not None
    assert bench.desk.tracking(bench.run) == known
    fresh = TrackingStatus(experiment_id="1", run_id="new")
    bench.desk.tracked(UID, rerun=1, where=fresh)
    assert bench.desk.tracking(bench.run) == known
    bench.desk.tracked(UID, rerun=0, where=fresh)
    assert bench.desk.tracking(bench.run) == fresh


def test_points_of_all_kinds_come_by_step_and_generation() -> None:
    bench = Bench()
    kinds = [("validation", 10, 1), ("train", 10, 2), ("train", 5, 1), ("test", 20, 2)]
    entries = [
        entry_of(seq, EntryType.POINT, kind=kind, step=step, generation=generation, metrics={"loss": 1})
        for seq, (kind, step, generation) in enumerate(kinds, start=1)
    ]
    bench.take(entries=entries)
    assert bench.run is not None
    points = bench.desk.points(bench.run)
    assert [(p.step, p.generation, p.kind) for p in points] == [
        (5, 1, "train"),
        (10, 1, "validation"),
        (10, 2, "train"),
        (20, 2, "test"),
    ]
