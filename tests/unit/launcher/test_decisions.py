"""The launcher's pure decisions, as tables: ends, crashes, hangs, plans, answers of the report server."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.launcher import plan_wire
from trainmaster_launcher.descendants import below
from trainmaster_launcher.finish import TERMINATION_MESSAGE_BYTES, termination_message
from trainmaster_launcher.hang import MOST_PER_LOOK, Silence, exceeded_limit
from trainmaster_launcher.messages import Done, LineError, Point, clean_metrics, parse_line
from trainmaster_launcher.outcome import CrashSignature, Verdict, crash_signature, verdict_of_end
from trainmaster_launcher.plan import Plan, PlanError, newest, of_this_launch, parse_plan, supersedes, wire_with_steps
from trainmaster_launcher.responses import (
    Elsewhere,
    Failed,
    Gone,
    Refused,
    Taken,
    TooLarge,
    backoff,
    confirmed_seq,
    read_response,
)
from trainmaster_launcher.restart import Answer, Crash, LeaseUsedUp, Restart, answer_crash
from trainmaster_launcher.watch import seconds_to_save

DONE = Done(outcome="StoppedEarly", reason="StoppedEarly")
LIMITS = {"starting": 900.0, "training": 300.0, "validating": 900.0, "checkpointing": 600.0, "testing": 900.0}


def plan(**changes: Any) -> Plan:  # noqa: ANN401 - any field of a plan
    return parse_plan(plan_wire(Path("/ckpt"), command=["python", "x.py"], **changes))


@pytest.mark.parametrize(
    ("code", "hung", "done", "terminating", "expected"),
    [
        (0, False, None, False, ("Completed", "Completed", 0)),
        (0, False, DONE, False, ("StoppedEarly", "StoppedEarly", 0)),
        (9, False, DONE, False, ("StoppedEarly", "StoppedEarly", 0)),
        (None, False, DONE, True, ("StoppedEarly", "StoppedEarly", 0)),
        (None, True, DONE, False, ("StoppedEarly", "StoppedEarly", 0)),
        (0, False, None, True, ("Retry", "Disrupted", 75)),
        (75, False, None, True, ("Retry", "Disrupted", 75)),
        (78, False, None, True, ("Retry", "Disrupted", 75)),
        (None, False, None, True, ("Retry", "Disrupted", 75)),
        (75, False, None, False, ("Retry", "Disrupted", 75)),
        (78, False, None, False, ("Failed", "InvalidConfiguration", 78)),
        (1, False, None, False, None),
        (137, False, None, False, None),
        (None, False, None, False, None),
        (None, True, None, False, None),
    ],
)
def test_how_an_end_is_judged(
    *, code: int | None, hung: bool, done: Done | None, terminating: bool, expected: tuple[str, str, int] | None
) -> None:
    verdict = verdict_of_end(code=code, hung=hung, done=done, terminating=terminating, lines=["a", "", "b"])
    assert (verdict and (verdict.outcome, verdict.reason, verdict.exit_code)) == expected


EXIT_1 = CrashSignature(kind="exit", code=1, last_line="boom")
EARLY = Crash(signature=EXIT_1, stepped=False, progressed=False)
LATE = Crash(signature=EXIT_1, stepped=True, progressed=True)
OTHER_LINE = Crash(signature=CrashSignature(kind="exit", code=1, last_line="bang"), stepped=False, progressed=False)


@pytest.mark.parametrize(
    ("crash", "previous", "fruitless", "restarts", "lease", "expected"),
    [
        (EARLY, None, 1, 0, 3, Restart(delay=0)),
        (EARLY, EARLY, 2, 1, 3, "RepeatedCrash"),
        (EARLY, EARLY, 2, 3, 3, "RepeatedCrash"),
        (EARLY, OTHER_LINE, 2, 1, 3, Restart(delay=1.0)),
        (EARLY, LATE, 2, 1, 3, Restart(delay=1.0)),
        (LATE, EARLY, 1, 1, 3, Restart(delay=0)),
        (LATE, LATE, 3, 2, 3, Restart(delay=2.0)),
        (LATE, LATE, 6, 6, 9, Restart(delay=16.0)),
        (LATE, LATE, 7, 7, 9, Restart(delay=30.0)),
        (LATE, LATE, 5000, 6, 9, Restart(delay=30.0)),
        (LATE, LATE, 1, 3, 3, "used up"),
        (EARLY, None, 1, 0, 0, "used up"),
    ],
)
def test_what_answers_a_crash(
    *, crash: Crash, previous: Crash | None, fruitless: int, restarts: int, lease: int, expected: object
) -> None:
    answer: Answer = answer_crash(
        crash,
        previous=previous,
        fruitless=fruitless,
        restarts=restarts,
        lease=lease,
        backoff_first=1.0,
        backoff_last=30.0,
    )
    if isinstance(answer, Verdict):
        assert (answer.reason, answer.exit_code) == (expected, 78)
    elif isinstance(answer, LeaseUsedUp):
        assert (expected, answer.verdict.reason, answer.verdict.exit_code) == ("used up", "Crashed", 1)
    else:
        assert answer == expected


def test_a_crash_is_described_by_kind_code_signal_and_last_line() -> None:
    assert str(crash_signature(code=3, signal_number=None, hung=False, last_line="boom")) == "exit code 3: boom"
    assert str(crash_signature(code=None, signal_number=11, hung=False, last_line="")) == "signal SIGSEGV"
    assert str(crash_signature(code=None, signal_number=9, hung=True, last_line="x")) == "hang: x"
    assert crash_signature(code=None, signal_number=50, hung=False, last_line="").signal == "SIG50"


@pytest.mark.parametrize(
    ("speaks", "phase", "silence", "expected"),
    [
        (True, "training", 300.0, None),
        (True, "training", 300.1, 300.0),
        (True, "validating", 300.1, None),
        (True, "stopping", 601.0, 600.0),
        (True, "done", 601.0, 600.0),
        (False, "training", 1e9, None),
    ],
)
def test_when_silence_is_a_hang(*, speaks: bool, phase: str, silence: float, expected: float | None) -> None:
    assert exceeded_limit(speaks=speaks, phase=phase, silence=silence, limits=LIMITS) == expected


def test_silence_grows_with_looks_and_ends_with_progress() -> None:
    silence = Silence()
    for tenth in range(31):
        silence.look(tenth / 10)
    assert math.isclose(silence.seconds, 3.0)
    assert silence.progress(("training", 1, 0))
    assert silence.look(3.5) == 0.5
    assert not silence.progress(("training", 1, 0))
    assert silence.look(4.0) == 1.0


@pytest.mark.parametrize("jump", [3600.0, 1e9, -5.0])
def test_time_in_which_the_launcher_slept_is_no_silence(jump: float) -> None:
    silence = Silence()
    silence.look(10.0)
    silence.look(10.5)
    assert silence.look(10.5 + jump) <= 0.5 + MOST_PER_LOOK


def directive(identity: str, step: int | None) -> dict[str, Any]:
    return {"id": identity, "generation": 2, "atStep": step}


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        ({"generation": 2}, {"generation": 1}, True),
        ({"generation": 1}, {"generation": 2}, False),
        ({"generation": 2}, {"generation": 2}, False),
        ({"directives": [directive("a", 7)]}, {"directives": [directive("a", None)]}, True),
        ({"directives": [directive("a", None)]}, {"directives": [directive("a", 7)]}, False),
        ({"directives": [directive("a", 8)]}, {"directives": [directive("a", 7)]}, False),
        ({"directives": []}, {"directives": [directive("a", None)]}, False),
        ({"restartLease": 9}, {"restartLease": 1}, False),
    ],
)
def test_which_plan_is_newer(*, new: dict[str, Any], old: dict[str, Any], expected: bool) -> None:
    assert supersedes(plan(**new), plan(**old)) is expected


def test_the_newest_plan_is_taken_and_becomes_this_launchs() -> None:
    own = plan(launch=3, restartLease=5)
    stored = of_this_launch(plan(launch=2, generation=4, restartLease=0), own)
    chosen = newest([own, stored])
    assert (chosen.generation, chosen.launch, chosen.restart_lease) == (4, 3, 5)


def test_recorded_steps_reach_the_process_and_unknown_fields_too() -> None:
    wire = wire_with_steps(plan(directives=[directive("a", None), directive("b", 2)], future="kept"), {"a": 9})
    assert [each["atStep"] for each in wire["directives"]] == [9, 2]
    assert wire["future"] == "kept"


@pytest.mark.parametrize("wire", [None, [], {}, {"protocol": 2}, {"protocol": 1, "runUid": "x"}])
def test_a_plan_that_cannot_be_read_is_refused(wire: object) -> None:
    with pytest.raises(PlanError, match="plan"):
        parse_plan(wire)


REPLY = json.dumps({"protocol": 1, "haveSeq": 3, "plan": {}, "nextReportSeconds": 7}).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (200, REPLY, {}, Taken(have_seq=3, plan={}, pace=7.0)),
        (410, b"", {}, Gone()),
        (413, b"", {}, TooLarge()),
        (421, b"", {"location": "http://b/"}, Elsewhere(location="http://b/")),
        (401, b"bad token", {}, Refused(reason="401 bad token")),
        (426, b"", {}, Refused(reason="426")),
        (503, b"", {"retry_after": "12"}, Failed(reason="503", after=12.0)),
        (429, b"", {"retry_after": "999999"}, Failed(reason="429", after=300.0)),
        (503, b"", {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, Failed(reason="503")),
        (302, b"", {}, Failed(reason="302")),
    ],
)
def test_what_an_answer_means(*, status: int, body: bytes, headers: dict[str, str], expected: object) -> None:
    assert read_response(status, body=body, **headers) == expected


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"haveSeq": "x", "plan": {}}', b'{"haveSeq": 1, "plan": 3}', b"\xff"]
)
def test_a_reply_that_cannot_be_read_is_a_failure(body: bytes) -> None:
    assert isinstance(read_response(200, body=body), Failed)


@pytest.mark.parametrize("pace", ["NaN", "Infinity", "1e999"])
def test_a_reply_with_an_endless_pace_is_a_failure(pace: str) -> None:
    body = f'{{"haveSeq": 1, "plan": {{}}, "nextReportSeconds": {pace}}}'.encode()
    assert isinstance(read_response(200, body=body), Failed)


@pytest.mark.parametrize(
    ("said", "before", "have", "sent", "expected"),
    [
        (0, 0, 0, 0, 0),
        (7, 0, 0, 0, 7),
        (9, 7, 7, 9, 9),
        (4, 4, 4, 2500, 2500),
        (4, 4, 2500, 0, 2500),
        (0, 9, 9, 10, 0),
        (3, 9, 9, 0, 3),
    ],
    ids=["nothing", "first reply", "usual", "above a gap", "still above it", "memory lost", "a part of it lost"],
)
def test_what_need_not_be_sent_again(*, said: int, before: int, have: int, sent: int, expected: int) -> None:
    assert confirmed_seq(said=said, before=before, have=have, sent=sent) == expected


def test_backoff_doubles_to_its_last() -> None:
    assert [backoff(n, first=1.0, last=30.0) for n in (1, 2, 3, 5, 6, 9999)] == [1, 2, 4, 16, 30, 30]


@pytest.mark.parametrize(("grace", "expected"), [(120.0, 110.0), (5.0, 3.75), (40.0, 30.0)])
def test_a_part_of_the_grace_period_is_kept_for_the_last_report(grace: float, expected: float) -> None:
    assert seconds_to_save(grace, margin=10.0) == expected


def test_descendants_are_found_at_any_depth() -> None:
    assert below(1, {2: 1, 3: 2, 4: 3, 5: 0, 6: 5}) == {2, 3, 4}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"loss": 1, "acc": 0.5}, {"loss": 1, "acc": 0.5}),
        ({"loss": "NaN", "norm": "-Inf"}, {"loss": "NaN", "norm": "-Inf"}),
        ({"bad name": 1, "": 1, "x" * 101: 1, "-x": 1, "train/loss.a-b": 1}, {"train/loss.a-b": 1}),
        ({"a": None, "b": True, "c": [1], "d": "1.0", "e": 10**400}, {}),
        ({f"m{i}": i for i in range(100)}, {f"m{i}": i for i in range(64)}),
    ],
)
def test_metrics_are_cleaned_before_the_operator_refuses_them(
    *, metrics: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert clean_metrics(metrics) == expected


def test_bare_nan_in_a_line_is_understood() -> None:
    point = parse_line(b'{"type":"point","kind":"train","generation":1,"step":0,"metrics":{"a":NaN,"b":-Infinity}}')
    assert isinstance(point, Point)
    assert (point.metrics, point.finite) == ({"a": "NaN", "b": "-Inf"}, False)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type":"unknown"}',
        b'{"type":"hello","protocol":2,"pid":1}',
        b'{"type":"progress","phase":"dancing"}',
        b'{"type":"progress","phase":"training","step":-1}',
        b'{"type":"progress","phase":"training","step":1.5}',
        b'{"type":"point","kind":"train","generation":0,"step":1}',
        b'{"type":"point","kind":"train","generation":1,"step":1,"metrics":[1]}',
        b'{"type":"done","outcome":"Failed"}',
        b"[" * 100_000,
    ],
)
def test_lines_outside_the_protocol_are_refused(line: bytes) -> None:
    with pytest.raises(LineError):
        parse_line(line)


@pytest.mark.parametrize("count", [0, 1, 500])
@pytest.mark.parametrize("length", [0, 2000, 100_000])
def test_the_termination_message_always_fits_and_keeps_the_verdict(*, count: int, length: int) -> None:
    checkpoints = [
        {"path": f"1/{n}.pt", "step": n, "epoch": 0, "sha256": "0" * 64, "sizeBytes": 1} for n in range(count)
    ]
    verdict = Verdict(
        outcome="Failed", reason="Crashed", message="\u00e4" * length, metrics={f"m{n}": 1.5 for n in range(64)}
    )
    data = termination_message(verdict, plan=plan(), last_seq=9, step=3, checkpoints=checkpoints, crashes=2)
    message = json.loads(data)
    assert len(data) <= TERMINATION_MESSAGE_BYTES
    assert (message["verdict"]["outcome"], message["lastSeq"], message["crashes"]) == ("Failed", 9, 2)
    assert [each["path"] for each in message.get("checkpoints", [])][-1:] == ([f"1/{count - 1}.pt"] if count else [])
