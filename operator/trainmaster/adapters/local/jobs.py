"""Jobs of local mode: one folder each, with the record that outlives any process."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainmaster.adapters.local.processes import ProcessId
from trainmaster.adapters.local.state_dir import StateDirError, write_atomic
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_CRASHED, EXIT_OK, EXIT_RETRY, Outcome, Reason
from trainmaster.api.protocol import TerminationMessage
from trainmaster.core.snapshot import ObservedJob


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalJob:
    """A Job: what was asked for, and how far its launcher came."""

    name: str
    uid: str
    run_uid: str
    launch: int
    cpus: int
    folder: str
    process: ProcessId | None = None
    running_since: str | None = None
    exit_code: int | None = None
    ended: bool = False
    ended_at: str | None = None
    """When it was seen to end, by the session's clock; None when nobody was there."""
    deleting: bool = False
    deleted: bool = False

    @property
    def lives(self) -> bool:
        """Whether its launcher was started and has not ended."""
        return self.process is not None and not self.ended

    @property
    def path(self) -> Path:
        """The Job's folder."""
        return Path(self.folder)

    @property
    def log(self) -> Path:
        """Output of launcher and training process."""
        return self.path / "launcher.log"

    @property
    def termination_log(self) -> Path:
        """Where the launcher leaves its last word."""
        return self.path / "termination.json"

    @property
    def token_file(self) -> Path:
        """What proves the launcher's identity."""
        return self.path / "token"

    def save(self) -> None:
        """Write the record."""
        write_atomic(self.path / "job.json", json.dumps(asdict(self)) + "\n")


def new_job(*, name: str, run_uid: str, launch: int, cpus: int, folder: Path) -> LocalJob:
    """A Job that has not started."""
    return LocalJob(name=name, uid=str(uuid.uuid4()), run_uid=run_uid, launch=launch, cpus=cpus, folder=str(folder))


def load_jobs(folder: Path) -> list[LocalJob]:
    """The Jobs of one run, by launch. Raises StateDirError on a record that is none."""
    return sorted((_load(path) for path in folder.glob("*/job.json")), key=lambda job: job.launch)


def _load(path: Path) -> LocalJob:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        process = raw["process"]
        # The folder is where the record lies, though the state directory was moved; a newer version's fields wait.
        known = {field.name: raw[field.name] for field in fields(LocalJob) if field.name in raw}
        return LocalJob(**known | {"folder": str(path.parent), "process": ProcessId(**process) if process else None})
    except (ValueError, TypeError, KeyError, OSError) as error:
        message = f"{path} is no readable record of a Job ({error}); move its folder away to start a new launch"
        raise StateDirError(message) from error


def observe_job(job: LocalJob) -> ObservedJob:
    """The Job as decisions see it; one that waits for cores is `Suspended`, as a queue would leave it."""
    message = _message(job)
    exit_code = _exit_code(job, message) if job.ended else None
    observed = ObservedJob(
        name=job.name,
        uid=job.uid,
        run_uid=job.run_uid,
        launch=job.launch,
        state="Running" if job.lives else "Suspended",
        deleting=job.deleting,
        live_pods=int(job.lives),
        running_since=datetime.fromisoformat(job.running_since) if job.running_since else None,
        exit_code=exit_code,
        ended_at=_last_sign_of_life(job) if job.ended else None,
        message=message,
    )
    if not job.ended:
        return observed
    # A launcher that nobody saw end and that left no word fell with the machine or with us: not the training's fault.
    return replace(observed, state="Complete" if exit_code == EXIT_OK else "Failed", disrupted=exit_code is None)


def _last_sign_of_life(job: LocalJob) -> datetime | None:
    """When it was seen to end; else when the launcher last wrote something, which may have been days ago."""
    if job.ended_at is not None:
        return datetime.fromisoformat(job.ended_at)
    written = [path.stat().st_mtime for path in (job.termination_log, job.log) if path.exists()]
    return datetime.fromtimestamp(max(written), UTC) if written else None


def _message(job: LocalJob) -> TerminationMessage | None:
    if not job.ended:
        return None
    try:
        return TerminationMessage.model_validate_json(job.termination_log.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _exit_code(job: LocalJob, message: TerminationMessage | None) -> int | None:
    """The exit code, or what the last word implies where the exit was not seen."""
    if job.exit_code is not None or message is None:
        return job.exit_code
    verdict = message.verdict
    if verdict.outcome in {Outcome.COMPLETED, Outcome.STOPPED_EARLY}:
        return EXIT_OK
    if verdict.outcome == Outcome.RETRY:
        return EXIT_RETRY
    return EXIT_CRASHED if verdict.reason == Reason.CRASHED else EXIT_CONFIGURATION
