from __future__ import annotations

import pytest

from tests.support.runs import job_of, message_of, trainer_of, verdict_of
from trainmaster.api.conditions import Outcome, Reason
from trainmaster.api.protocol import Verdict
from trainmaster.core.run.outcome import classify

COMPLETED = verdict_of(Outcome.COMPLETED)
EARLY = verdict_of(Outcome.STOPPED_EARLY, reason="patience")
RETRY = verdict_of(Outcome.RETRY)
CRASHED = verdict_of(Outcome.FAILED, reason=Reason.CRASHED)
BAD_DATA = verdict_of(Outcome.FAILED, reason=Reason.INVALID_CONFIGURATION)
REPEATED = verdict_of(Outcome.FAILED, reason=Reason.REPEATED_CRASH)
UNWRITABLE = verdict_of(Outcome.FAILED, reason="no such file: 'x'")
FROM_THE_FUTURE = verdict_of("Promoted")

TABLE = [
    # state, exit code, disrupted, verdict -> kind, reason
    ("Complete", 0, False, COMPLETED, "Succeeded", Reason.COMPLETED),
    ("Complete", 0, False, EARLY, "Succeeded", Reason.STOPPED_EARLY),
    ("Complete", 0, False, None, "Unknown", Reason.VERDICT_MISSING),
    ("Complete", None, False, None, "Unknown", Reason.VERDICT_MISSING),
    ("Complete", 0, False, FROM_THE_FUTURE, "Unknown", Reason.VERDICT_MISSING),
    ("Complete", 0, False, CRASHED, "Failed", Reason.CRASHED),
    ("Complete", 0, False, RETRY, "Disrupted", Reason.DISRUPTED),
    ("Failed", 1, False, CRASHED, "Crashed", Reason.CRASHED),
    ("Failed", 1, False, None, "Crashed", Reason.CRASHED),
    ("Failed", 137, False, None, "Crashed", Reason.CRASHED),
    ("Failed", None, False, None, "Crashed", Reason.CRASHED),
    ("Failed", 75, False, RETRY, "Disrupted", Reason.DISRUPTED),
    ("Failed", 75, False, None, "Disrupted", Reason.DISRUPTED),
    ("Failed", None, False, RETRY, "Disrupted", Reason.DISRUPTED),
    ("Failed", 78, False, BAD_DATA, "Failed", Reason.INVALID_CONFIGURATION),
    ("Failed", 78, False, REPEATED, "Failed", Reason.REPEATED_CRASH),
    ("Failed", 78, False, None, "Failed", Reason.INVALID_CONFIGURATION),
    ("Failed", 78, False, UNWRITABLE, "Failed", Reason.INVALID_CONFIGURATION),
    ("Failed", None, False, REPEATED, "Failed", Reason.REPEATED_CRASH),
    ("Failed", 137, True, None, "Disrupted", Reason.DISRUPTED),
    ("Failed", 1, True, CRASHED, "Disrupted", Reason.DISRUPTED),
    ("Failed", None, True, None, "Disrupted", Reason.DISRUPTED),
    ("Failed", 1, True, BAD_DATA, "Failed", Reason.INVALID_CONFIGURATION),
    ("Failed", 137, True, COMPLETED, "Succeeded", Reason.COMPLETED),
    ("Failed", 1, False, EARLY, "Succeeded", Reason.STOPPED_EARLY),
]


@pytest.mark.parametrize("by", ["termination message", "report"])
@pytest.mark.parametrize(("state", "code", "disrupted", "verdict", "kind", "reason"), TABLE)
def test_a_launch_ends_as_its_launcher_says_and_else_as_its_job_shows(
    *, by: str, state: str, code: int | None, disrupted: bool, verdict: Verdict | None, kind: str, reason: str
) -> None:
    said = verdict if by == "termination message" else None
    told = verdict if by == "report" else None
    job = job_of(
        "Complete" if state == "Complete" else "Failed",
        exit_code=code,
        disrupted=disrupted,
        message=message_of(said) if said else None,
    )

    ending = classify(job, trainer_of(verdict=told))

    assert (ending.kind, ending.reason) == (kind, reason)


def test_the_termination_message_is_the_last_word() -> None:
    job = job_of("Failed", exit_code=1, message=message_of(CRASHED))
    assert classify(job, trainer_of(verdict=COMPLETED)).kind == "Crashed"


@pytest.mark.parametrize("by", ["termination message", "report"])
def test_the_verdict_of_another_launch_says_nothing(by: str) -> None:
    said = message_of(COMPLETED, launch=1) if by == "termination message" else None
    told = trainer_of(launch=1, verdict=COMPLETED)
    assert classify(job_of("Complete", launch=2, message=said), told).kind == "Unknown"


def test_an_ending_carries_the_launchers_words() -> None:
    job = job_of("Failed", exit_code=78, message=message_of(verdict_of(Outcome.FAILED, message="no column close")))
    assert classify(job, None).message == "no column close"


def test_an_ending_without_words_names_the_exit_code() -> None:
    assert "137" in classify(job_of("Failed", exit_code=137), None).message
