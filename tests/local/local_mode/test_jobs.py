"""How a local Job looks to decisions, for every state that its record and its launcher's last word can be in."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.runs import T0, UID, Field, message_of, verdict_of
from trainmaster.adapters.local.jobs import LocalJob, load_jobs, new_job, observe_job
from trainmaster.adapters.local.processes import ProcessId
from trainmaster.adapters.local.state_dir import StateDirError
from trainmaster.api.conditions import Outcome

PROCESS = ProcessId(pid=4, start_ticks=5)
RUNNING: dict[str, Field] = {"process": PROCESS, "running_since": T0.isoformat()}
ENDED = RUNNING | {"ended": True}


def job_of(folder: Path, **fields: Field) -> LocalJob:
    job = new_job(name="market-1", run_uid=UID, launch=1, cpus=2, folder=folder)
    return replace(job, **fields)


@pytest.mark.parametrize(
    ("fields", "state", "pods"),
    [
        pytest.param({}, "Suspended", 0, id="waits for cores"),
        pytest.param(RUNNING, "Running", 1, id="runs"),
        pytest.param(RUNNING | {"deleting": True}, "Running", 1, id="is ending"),
        pytest.param(ENDED | {"exit_code": 0}, "Complete", 0, id="ended well"),
        pytest.param(ENDED | {"exit_code": 75}, "Failed", 0, id="wants a new pod"),
        pytest.param(ENDED | {"exit_code": 78}, "Failed", 0, id="bad configuration"),
        pytest.param(ENDED | {"exit_code": 137}, "Failed", 0, id="killed"),
        pytest.param({"ended": True}, "Failed", 0, id="never started by a session that was killed"),
    ],
)
def test_state(tmp_path: Path, fields: dict[str, Field], state: str, pods: int) -> None:
    observed = observe_job(job_of(tmp_path, **fields))
    assert (observed.state, observed.live_pods) == (state, pods)
    assert observed.deleting == bool(fields.get("deleting"))
    assert observed.running_since == (T0 if "running_since" in fields else None)
    assert observed.exit_code == fields.get("exit_code")
    assert (observed.name, observed.run_uid, observed.launch) == ("market-1", UID, 1)


@pytest.mark.parametrize(
    ("outcome", "reason", "exit_code", "state"),
    [
        (Outcome.COMPLETED, "Completed", 0, "Complete"),
        (Outcome.STOPPED_EARLY, "Patience", 0, "Complete"),
        (Outcome.RETRY, "Disrupted", 75, "Failed"),
        (Outcome.FAILED, "Crashed", 1, "Failed"),
        (Outcome.FAILED, "RepeatedCrash", 78, "Failed"),
        (Outcome.FAILED, "InvalidConfiguration", 78, "Failed"),
    ],
)
def test_an_exit_that_nobody_saw_is_what_the_last_word_says(
    tmp_path: Path, outcome: str, reason: str, exit_code: int, state: str
) -> None:
    job = job_of(tmp_path, **ENDED)
    job.termination_log.write_text(message_of(verdict_of(outcome, reason=reason)).model_dump_json(by_alias=True))
    observed = observe_job(job)
    assert (observed.exit_code, observed.state, observed.disrupted) == (exit_code, state, False)
    assert observed.message is not None
    assert observed.message.verdict.reason == reason


def test_an_end_is_dated_by_the_last_sign_of_life_not_by_who_looks_days_later(tmp_path: Path) -> None:
    job = job_of(tmp_path, **ENDED)
    assert observe_job(job).ended_at is None
    job.log.write_text("launcher: goes on\n")
    os.utime(job.log, (T0.timestamp(), T0.timestamp()))
    assert observe_job(job).ended_at == T0
    assert observe_job(job_of(tmp_path, **RUNNING)).ended_at is None


def test_an_end_without_witness_and_word_is_a_disruption(tmp_path: Path) -> None:
    observed = observe_job(job_of(tmp_path, **ENDED))
    assert (observed.exit_code, observed.disrupted, observed.message) == (None, True, None)


@pytest.mark.parametrize("word", [b"", b"{", b"\xff\xfe", b'{"outcome": 3}'])
def test_a_torn_last_word_is_none(tmp_path: Path, word: bytes) -> None:
    job = job_of(tmp_path, **ENDED, exit_code=1)
    job.termination_log.write_bytes(word)
    observed = observe_job(job)
    assert (observed.message, observed.state, observed.disrupted) == (None, "Failed", False)


def test_a_last_word_counts_only_after_the_end(tmp_path: Path) -> None:
    job = job_of(tmp_path, **RUNNING)
    job.termination_log.write_text(message_of(verdict_of()).model_dump_json(by_alias=True))
    assert observe_job(job).message is None


class TestRecord:
    def test_comes_back_as_it_was(self, tmp_path: Path) -> None:
        jobs = [
            job_of(tmp_path / "market-2", **ENDED, exit_code=75, launch=2, name="market-2"),
            job_of(tmp_path / "market-10", launch=10, name="market-10"),
        ]
        for job in reversed(jobs):
            job.save()
        assert load_jobs(tmp_path) == jobs

    def test_is_where_it_lies_though_the_state_directory_was_moved(self, tmp_path: Path) -> None:
        job_of(tmp_path / "old" / "market-1").save()
        (tmp_path / "old").rename(tmp_path / "new")
        assert [job.path for job in load_jobs(tmp_path / "new")] == [tmp_path / "new" / "market-1"]

    def test_of_a_newer_version_is_read(self, tmp_path: Path) -> None:
        job_of(tmp_path / "market-1").save()
        path = tmp_path / "market-1" / "job.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"gpus": 2}))
        assert [job.launch for job in load_jobs(tmp_path)] == [1]

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"process": {"pid": 1}}', '{"process": null, "name": "a"}'])
    def test_that_is_none_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "market-1").mkdir()
        path = tmp_path / "market-1" / "job.json"
        path.write_text(text)
        with pytest.raises(StateDirError, match="no readable record of a Job") as caught:
            load_jobs(tmp_path)
        assert str(path) in str(caught.value)

    def test_of_none_is_none(self, tmp_path: Path) -> None:
        assert load_jobs(tmp_path / "nothing") == []
