"""What is said of launches that ended and of processes that crashed, and who pays for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.runs import at, job_of, look, message_of, run_of, status_of, trainer_of, verdict_of
from trainmaster.api.conditions import EXIT_RETRY, Outcome, Phase, Reason
from trainmaster.api.protocol import Crash
from trainmaster.api.trainingrun import Progress
from trainmaster.core.run.words import WORDS_MAX, crash_words
from trainmaster.core.snapshot import Told

CRASHES = [
    (
        Crash(kind="exit", code=1, phase="training", step=7, lines=("x", "ValueError: no")),
        "exit code 1 in phase training, step 7: ValueError: no",
    ),
    (Crash(kind="exit", code=3), "exit code 3 in phase starting"),
    (Crash(kind="exit", code=1, lines=("OSError: [Errno 28] No space left on device", " ")), "No space left on device"),
    (Crash(kind="signal", signal="SIGSEGV", phase="training", step=1), "killed by SIGSEGV in phase training, step 1"),
    (Crash(kind="signal", signal="SIGKILL", phase="training", step=1), "where memory runs out"),
    (Crash(kind="hang", phase="validating", step=9), "hung in phase validating, step 9"),
]


@pytest.mark.parametrize(("crash", "words"), CRASHES)
def test_a_crash_is_told_with_what_where_and_its_last_line(crash: Crash, words: str) -> None:
    assert words in crash_words(crash)


def test_a_long_last_line_is_cut() -> None:
    assert len(crash_words(Crash(kind="exit", code=1, lines=("x" * 10_000,)))) == WORDS_MAX


# -- crashes in place -------------------------------------------------------------------------------------------------


def test_a_child_that_was_killed_under_a_living_launcher_is_a_crash_of_the_user_and_no_new_launch() -> None:
    words = crash_words(Crash(kind="signal", signal="SIGKILL", phase="training", step=40))
    result = look(run_of(status=status_of()), job_of(), trainer=trainer_of(crashes=1, last_crash=words))

    status = result.status
    assert (status.phase, status.launch, status.crashes, status.disruptions) == (Phase.RUNNING, 1, 1, 0)
    assert status.last_crash == words
    told = [event.message for event in result.events if event.reason == Reason.CRASHED]
    assert told == [f"crash 1 of this rerun: {words}"]


def test_a_crash_that_only_the_last_word_told_of_is_named_by_it() -> None:
    said = verdict_of(Outcome.FAILED, reason="Crashed", message="exit code 1: no such column")
    job = job_of("Failed", exit_code=1, message=message_of(said, crashes=2))
    status = look(run_of(status=status_of()), job, now=at(90)).status

    assert (status.crashes, status.last_crash) == (2, "exit code 1: no such column")


# -- ends of launches -------------------------------------------------------------------------------------------------

EVICTED = Told(reason="EvictionByEvictionAPI", message="Eviction API: evicting")
ENDS: list[tuple[dict[str, Any], str, tuple[int, int], str]] = [
    # how it ended -> why the next launch is opened, (crashes, disruptions), what stands in the sentence
    ({"disrupted": True, "disruption": EVICTED, "exit_code": 75}, Reason.DISRUPTED, (0, 1), "Eviction API: evicting"),
    ({"exit_code": EXIT_RETRY}, Reason.DISRUPTED, (0, 1), "exit code 75"),
    ({"podless": True}, Reason.DISRUPTED, (0, 1), "its pod was deleted"),
    ({"exit_code": 137, "end_reason": "OOMKilled"}, Reason.OUT_OF_MEMORY, (1, 0), "spec.resources.memory"),
    ({"exit_code": 137}, Reason.CRASHED, (1, 0), "SIGKILL"),
    ({"exit_code": 128, "end_reason": "StartError"}, Reason.CRASHED, (1, 0), "StartError"),
    ({"end_reason": "init container launcher ended with exit code 1"}, Reason.CRASHED, (1, 0), "init container"),
]


@pytest.mark.parametrize(("end", "reason", "charged", "words"), ENDS)
def test_the_next_launch_says_how_the_last_one_ended(
    *, end: dict[str, Any], reason: str, charged: tuple[int, int], words: str
) -> None:
    result = look(run_of(status=status_of()), job_of("Failed", node="n1", **end), now=at(600))

    status = result.status
    assert (status.launch, (status.crashes, status.disruptions)) == (2, charged)
    launch = status.decisions[-1]
    assert launch.reason == reason
    assert words in launch.evidence
    assert any(words in event.message for event in result.events)
    assert (words in status.last_crash) == bool(charged[0])


def test_that_a_pod_is_gone_is_believed_of_the_server_only() -> None:
    gone = job_of("Failed", podless=True)
    result = look(run_of(status=status_of()), gone, live=False)

    assert (result.look_live, result.status.launch, result.status.disruptions) == (True, 1, 0)


def test_a_job_that_somebody_deleted_is_named() -> None:
    assert "deleted its Job" in look(run_of(status=status_of())).status.decisions[-1].evidence


# -- memory -----------------------------------------------------------------------------------------------------------

OOM: dict[str, Any] = {"exit_code": 137, "end_reason": "OOMKilled", "node": "n1"}


def test_memory_that_runs_out_twice_at_the_same_place_ends_the_run() -> None:
    once = look(run_of(status=status_of(progress=Progress(step=40))), job_of("Failed", **OOM), now=at(600)).status
    twice = look(run_of(status=once), job_of("Failed", launch=2, **OOM), now=at(1200)).status

    assert (twice.phase, twice.crashes, twice.launch) == (Phase.FAILED, 2, 2)
    assert twice.conditions[0].reason == Reason.OUT_OF_MEMORY
    assert "twice" in twice.conditions[0].message


def test_memory_that_lasted_longer_the_second_time_is_tried_again() -> None:
    once = look(run_of(status=status_of(progress=Progress(step=40))), job_of("Failed", **OOM), now=at(600)).status
    further = once.model_copy(update={"progress": Progress(step=90)})
    twice = look(run_of(status=further), job_of("Failed", launch=2, **OOM), now=at(1200)).status

    assert (twice.launch, twice.crashes, twice.launch_outcome) == (3, 2, None)
