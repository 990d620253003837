"""What is left of a run when it is gone, and what one that is created again takes over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.runs import (
    PLAN,
    T0,
    UID,
    Field,
    at,
    job_of,
    look,
    message_of,
    record_of,
    run_of,
    states,
    status_of,
    verdict_of,
)
from trainmaster.api.conditions import SUCCEEDED, DecisionKind, DecisionState, Outcome, Phase, Reason
from trainmaster.api.labels import LABEL_RUN_UID, LABEL_SPEC_HASH, record_name
from trainmaster.api.objects import ObjectMeta
from trainmaster.api.runrecord import RunRecordSpec, new_record
from trainmaster.api.trainingrun import CheckpointStatus, TrackingStatus, TrainingRun, TrainingRunStatus, spec_hash
from trainmaster.core import Result
from trainmaster.core.run.records import asks_for_earlier, earlier_success, unwritten
from trainmaster.core.snapshot import CreateJob, DeleteJob, Owner, WriteRecord

RECORD = DecisionKind.RECORD
NAME = record_name("market", uid=UID, reruns=0)
HASH = spec_hash(run_of())
LIVING = status_of(plan=PLAN.model_copy(update={"spec_hash": HASH}))
OLD = record_of(run_uid="dead-beef-1", completion_time=at(-3600))


def ended(status: TrainingRunStatus = LIVING, *, outcome: str = Outcome.COMPLETED, **spec: Field) -> Result:
    """The pass that sees the newest launch's end."""
    job = job_of("Complete", launch=status.launch, message=message_of(verdict_of(outcome), launch=status.launch))
    return look(run_of(status=status, **spec), job, now=at(90))


def record_in(status: TrainingRunStatus) -> RunRecordSpec:
    (record,) = [d.record for d in status.decisions if d.record is not None]
    return record


def reason(status: TrainingRunStatus) -> str:
    return next(condition.reason for condition in status.conditions if condition.type == SUCCEEDED)


# -- what is recorded -------------------------------------------------------------------------------------------------


def test_the_end_is_decided_then_written_then_settled() -> None:
    first = ended()
    assert (states(first.status), first.effects) == ([(RECORD, 1, DecisionState.RECORDED)], ())

    second = look(run_of(status=first.status), job_of("Complete"), now=at(91))
    record = record_in(first.status)
    assert second.effects == (WriteRecord(name=NAME, record=record, labels=record.labels),)
    assert second.status == first.status, "nothing is settled while it is not seen"

    third = look(run_of(status=first.status), job_of("Complete"), now=at(92), recorded=frozenset({NAME}))
    assert (states(third.status), third.effects) == ([(RECORD, 1, DecisionState.DONE)], ())
    assert third.status.decisions[0].record is None, "status does not keep what the record holds"


def test_a_cache_without_the_record_proves_nothing_and_one_with_it_does() -> None:
    run = run_of(status=ended().status)
    result = look(run, job_of("Complete"), live=False)
    assert (result.look_live, result.effects) == (True, ())
    seen = look(run, job_of("Complete"), live=False, recorded=frozenset({NAME}))
    assert (seen.look_live, states(seen.status)) == (False, [(RECORD, 1, DecisionState.DONE)])


def test_a_record_says_what_was_trained_and_how_it_ended() -> None:
    checkpoint = CheckpointStatus(path="1/step-9.pt", step=9, epoch=1, sha256="ab" * 32, size_bytes=1)
    status = LIVING.model_copy(
        update={
            "running_time": T0,
            "start_time": at(-100),
            "active_seconds": 10,
            "crashes": 2,
            "disruptions": 4,
            "heals": 1,
            "metrics": {"val_loss": "0.5"},
            "checkpoint": checkpoint,
            "mlflow": TrackingStatus(experiment_id="1", run_id="c0ffee"),
            "reruns": 2,
            "observed_rerun": "two",
        }
    )
    assert record_in(ended(status, rerun="two").status).to_wire() == {
        "runName": "market",
        "runUid": UID,
        "rerun": "two",
        "reruns": 2,
        "specHash": HASH,
        "outcome": "Succeeded",
        "reason": "Completed",
        "startTime": "2026-03-01T11:58:20Z",
        "completionTime": "2026-03-01T12:01:30Z",
        "launches": 1,
        "crashes": 2,
        "disruptions": 4,
        "heals": 1,
        "activeSeconds": 100,
        "metrics": {"val_loss": "0.5"},
        "checkpoint": {"path": "1/step-9.pt", "step": 9, "sha256": "ab" * 32},
        "mlflowRunId": "c0ffee",
    }


@pytest.mark.parametrize(
    ("result", "outcome", "why"),
    [
        pytest.param(ended(), Phase.SUCCEEDED, Reason.COMPLETED, id="done"),
        pytest.param(ended(outcome=Outcome.STOPPED_EARLY), Phase.SUCCEEDED, Reason.STOPPED_EARLY, id="early"),
        pytest.param(ended(outcome="Later"), Phase.UNKNOWN, Reason.VERDICT_MISSING, id="unheard"),
        pytest.param(
            look(run_of(status=LIVING, recovery={"budgets": {"crashes": 0}}), job_of("Failed", exit_code=1)),
            Phase.FAILED,
            Reason.CRASH_BUDGET_EXHAUSTED,
            id="crashed",
        ),
        pytest.param(
            look(run_of(hyperparameters={"learning_rate": -1})),
            Phase.FAILED,
            Reason.INVALID_CONFIGURATION,
            id="invalid",
        ),
    ],
)
def test_every_end_is_recorded(*, result: Result, outcome: str, why: str) -> None:
    record = record_in(result.status)
    assert (result.status.phase, record.outcome, record.reason) == (outcome, outcome, why)


def test_a_run_that_only_pauses_has_no_record() -> None:
    run = run_of(status=LIVING, suspend=True)
    status = look(run, job_of("Failed", message=message_of(verdict_of(Outcome.RETRY)))).status
    assert (status.phase, unwritten(status)) == (Phase.SUSPENDED, frozenset())


def test_what_other_peoples_code_told_is_cut_to_what_the_api_server_takes() -> None:
    metrics = {f"m{number:02}": "1" for number in range(70)} | {"a" * 101: "1", "b": "9" * 99}
    # As an older version may have stored it: reports with such a path are refused by now.
    checkpoint = CheckpointStatus(path="x", step=9, epoch=1, sha256="ab", size_bytes=1).model_copy(
        update={"path": "x" * 513}
    )
    record = record_in(ended(LIVING.model_copy(update={"metrics": metrics, "checkpoint": checkpoint})).status)
    assert (len(record.metrics), "a" * 101 in record.metrics, record.metrics["b"]) == (64, False, "9" * 64)
    assert record.checkpoint is None


def test_a_decision_that_has_lost_its_record_is_void() -> None:
    """An older CRD prunes fields that it does not know."""
    status = ended().status
    pruned = tuple(d.model_copy(update={"record": None}) for d in status.decisions)
    result = look(run_of(status=status.model_copy(update={"decisions": pruned})), job_of("Complete"), now=at(91))
    assert (states(result.status), result.effects) == ([(RECORD, 1, DecisionState.VOID)], ())


# -- nothing waits for it ---------------------------------------------------------------------------------------------


def test_a_rerun_between_end_and_record_loses_neither() -> None:
    """The user changes what is trained in the moment between."""
    before = ended().status
    spec: dict[str, Any] = {"rerun": "again", "hyperparameters": {"learning_rate": 0.5}}
    rerun = look(run_of(status=before, **spec), job_of("Complete"), now=at(95))
    assert [(d.kind, d.launch) for d in rerun.status.decisions] == [(RECORD, 1), (DecisionKind.LAUNCH, 2)]
    assert rerun.effects == (WriteRecord(name=NAME, record=record_in(before), labels=record_in(before).labels),)

    next_pass = look(run_of(status=rerun.status, **spec), job_of("Complete"), now=at(96))
    assert [type(effect) for effect in next_pass.effects] == [CreateJob, WriteRecord], "the launch comes first"
    assert record_in(next_pass.status) == record_in(before)

    second = ended(rerun.status.model_copy(update={"decisions": ()}), **spec).status
    assert unwritten(second) == {record_name("market", uid=UID, reruns=1)}
    assert record_in(second).spec_hash == spec_hash(run_of(**spec)) != HASH


def test_a_run_that_ends_while_a_rerun_to_something_else_is_wanted_records_what_was_trained() -> None:
    record = record_in(ended(rerun="again", hyperparameters={"learning_rate": 0.5}).status)
    assert (record.spec_hash, record.rerun, record.reruns) == (HASH, "", 0)


def test_a_run_whose_status_was_lost_records_that_nobody_knows_what_was_trained() -> None:
    status = ended(TrainingRunStatus().model_copy(update={"launch": 3})).status
    assert (status.phase, record_in(status).spec_hash) == (Phase.SUCCEEDED, "")


def test_a_clean_up_does_not_wait_for_the_record() -> None:
    status = look(run_of(status=ended().status, ttlSecondsAfterFinished=0), job_of("Complete"), now=at(91)).status
    effects = look(run_of(status=status, ttlSecondsAfterFinished=0), job_of("Complete"), now=at(92)).effects
    assert [type(effect) for effect in effects] == [DeleteJob, WriteRecord]


def test_a_deleted_run_asks_for_nothing() -> None:
    run = run_of(status=ended().status, meta={"deletion_timestamp": T0})
    assert look(run, job_of("Complete")).effects == ()


# -- an object that is created again ----------------------------------------------------------------------------------


def test_a_run_created_again_takes_over_the_result() -> None:
    result = look(run_of(), earlier=OLD)
    status = result.status
    assert (status.phase, reason(status), status.completion_time) == (Phase.SUCCEEDED, Reason.ALREADY_TRAINED, T0)
    assert (status.launch, status.plan, status.decisions, status.metrics) == (0, None, (), {"val_loss": "0.25"})
    (event,) = result.events
    for part in (OLD.name, "dead-beef-1", "2026-03-01T11:00:00Z", "spec.rerunPolicy: Always", "spec.rerun "):
        assert part in event.message

    again = look(run_of(status=status), earlier=OLD, now=at(10**6))
    assert (again.status, again.effects, again.wake_at) == (status, (), None)


def test_absence_of_an_earlier_result_needs_a_live_look() -> None:
    result = look(run_of(), live=False)
    assert (result.look_live, result.status.launch) == (True, 0)


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_suspended_run_created_again_stays_suspended_and_takes_over_when_it_is_resumed(*, seen_before: bool) -> None:
    suspended = look(run_of(suspend=True), earlier=OLD).status
    assert (suspended.phase, suspended.completion_time) == (Phase.SUSPENDED, None)
    held = look(run_of(), earlier=OLD, owner=Owner(uid="study", suspended=True)).status
    assert held.phase == Phase.SUSPENDED
    resumed = look(run_of(status=suspended if seen_before else held), earlier=OLD).status
    assert reason(resumed) == Reason.ALREADY_TRAINED


@pytest.mark.parametrize("status", [look(run_of(), earlier=OLD).status, look(run_of(suspend=True)).status])
def test_any_change_of_rerun_trains(status: TrainingRunStatus) -> None:
    launched = look(run_of(status=status, rerun="again"), earlier=OLD).status
    assert (launched.launch, launched.reruns, launched.metrics, launched.completion_time) == (1, 1, {}, None)
    assert [type(e) for e in look(run_of(status=launched, rerun="again"), earlier=OLD).effects] == [CreateJob]
    assert record_in(ended(launched, rerun="again").status).reruns == 1


def test_policy_always_trains() -> None:
    assert look(run_of(rerunPolicy="Always"), earlier=OLD).status.launch == 1


@pytest.mark.parametrize("status", [LIVING, status_of(launch_outcome="Disrupted"), status_of(plan=None)])
def test_what_has_begun_goes_on(status: TrainingRunStatus) -> None:
    result = look(run_of(status=status), earlier=OLD)
    assert (result.status.phase in Phase.TERMINAL, asks_for_earlier(run_of(status=status))) == (False, False)


def test_a_run_whose_status_was_lost_but_whose_job_lives_goes_on() -> None:
    assert look(run_of(), job_of(launch=3), earlier=OLD).status.phase == Phase.RUNNING


# -- which result counts ----------------------------------------------------------------------------------------------

WANTED = record_of(run_uid="other")


@pytest.mark.parametrize(
    ("run", "record"),
    [
        pytest.param(run_of(), record_of(), id="its own"),
        pytest.param(run_of(), WANTED.model_copy(update={"outcome": Phase.FAILED}), id="a failure"),
        pytest.param(run_of(), WANTED.model_copy(update={"outcome": Phase.UNKNOWN}), id="nobody knows"),
        pytest.param(run_of(), WANTED.model_copy(update={"spec_hash": ""}), id="nobody knows of what"),
        pytest.param(run_of(), WANTED.model_copy(update={"run_name": "bonds"}), id="another name"),
        pytest.param(run_of(hyperparameters={"learning_rate": 0.002}), WANTED, id="another training"),
        pytest.param(run_of(rerun="again"), WANTED, id="a rerun that was not trained yet"),
        pytest.param(run_of(), WANTED.model_copy(update={"rerun": "one"}), id="a rerun that is not asked for"),
    ],
)
def test_other_results_do_not_count(run: TrainingRun, record: RunRecordSpec) -> None:
    assert earlier_success(run, [record]) is None


def test_the_newest_success_counts() -> None:
    newer = WANTED.model_copy(update={"completion_time": at(5), "run_uid": "third"})
    failed = WANTED.model_copy(update={"completion_time": at(9), "outcome": Phase.FAILED})
    assert earlier_success(run_of(suspend=True), [WANTED, newer, failed]) == newer


def test_a_value_of_rerun_that_was_trained_counts() -> None:
    trained = WANTED.model_copy(update={"rerun": "two", "reruns": 1})
    assert earlier_success(run_of(rerun="two"), [WANTED, trained]) == trained


# -- hash, name, labels -----------------------------------------------------------------------------------------------


def test_the_hash_is_of_what_defines_the_training_and_of_nothing_else() -> None:
    same = run_of(
        rerun="x", suspend=True, rerunPolicy="Always", activeDeadlineSeconds=9, meta={"name": "other", "uid": "u"}
    )
    assert spec_hash(same) == HASH
    others = [
        run_of(hyperparameters={"learning_rate": 0.001}),
        run_of(data={"source": "package://bars/other.csv"}),
        run_of(resources={"cpu": 3}),
        run_of(storage={"checkpoints": "pvc://elsewhere"}),
        run_of(env=[{"name": "A", "value": "1"}]),
        run_of(workload="custom", command=["a"]),
        run_of(workload="custom", command=["b"]),
    ]
    assert len({HASH, *(spec_hash(other) for other in others)}) == len(others) + 1


def test_the_hash_is_the_same_in_every_version_that_adds_optional_fields() -> None:
    """The literal is what records in etcd hold; if it changes, finished runs are trained again."""
    assert HASH == "f88bb70c0c5c395f50c86ebec37b0a662fcd30bf4f7b0504e80655af3673b48f"


def test_the_order_in_which_a_mapping_is_written_makes_no_difference() -> None:
    assert spec_hash(run_of(hyperparameters={"epochs": 3, "learning_rate": 0.001})) == HASH


@pytest.mark.parametrize(
    ("run", "reruns", "expected"),
    [
        ("market", 0, "market-0c9a1f7e-0"),
        ("m" * 253, 12, "m" * 51 + "-0c9a1f7e-12"),
        ("a" * 50 + ".b", 0, "a" * 50 + ".b-0c9a1f7e-0"),
        ("a" * 51 + ".b", 0, "a" * 51 + "-0c9a1f7e-0"),
    ],
)
def test_a_record_has_a_name_that_a_label_could_hold(*, run: str, reruns: int, expected: str) -> None:
    name = record_name(run, uid=UID, reruns=reruns)
    assert (name, len(name) <= 63) == (expected, True)


def test_a_record_is_found_by_uid_and_hash_and_belongs_to_nobody() -> None:
    record = new_record(record_of(), namespace="team")
    assert record.metadata == ObjectMeta(
        name=NAME, namespace="team", labels={LABEL_RUN_UID: UID, LABEL_SPEC_HASH: HASH[:63]}
    )


def test_records_of_a_newer_version_can_be_read() -> None:
    wire = record_of().to_wire() | {"futureField": [1]}
    assert RunRecordSpec.model_validate(wire).to_wire() == wire
