"""Looking at local runs without driving them."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from trainmaster.adapters.local.jobs import LocalJob, load_jobs
from trainmaster.adapters.local.objects import ObjectStore
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.api.conditions import Phase
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun


class NotFoundError(TrainmasterError):
    """There is no such run, launch or log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """One event of a run, as it was told."""

    time: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalView:
    """One run and what lies around it."""

    run: TrainingRun
    jobs: tuple[LocalJob, ...]
    events: tuple[StoredEvent, ...]
    attended: bool
    """Whether a process drives it now."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen unless somebody runs it."""
        return self.run.status.phase in Phase.TERMINAL or not self.attended

    @property
    def silent(self) -> bool:
        """Whether nothing writes into its logs any more: launchers outlive their session by a last checkpoint."""
        return self.ended and not any(job.process is not None and job.process.alive() for job in self.jobs)

    @property
    def unattended(self) -> bool:
        """Whether it is under way by its status, but nobody drives it: a session was killed."""
        status = self.run.status
        return self.ended and status.completion_time is None and status.phase not in {"", Phase.SUSPENDED}

    def log(self, launch: int | None = None) -> Path:
        """The log of a launch, the newest by default. Raises NotFoundError."""
        found = [job for job in self.jobs if launch in {None, job.launch} and job.log.exists()]
        if not found:
            launches = ", ".join(str(job.launch) for job in self.jobs) or "none"
            which = "a launch" if launch is None else f"launch {launch}"
            message = f"{self.run.metadata.key}: no log of {which}; launches: {launches}"
            raise NotFoundError(message)
        return found[-1].log


def view_run(state: StateDir, key: Key) -> LocalView:
    """One run. Raises NotFoundError, with the nearest name."""
    run = ObjectStore(state).get(key)
    if run is None:
        names = [str(each) for each in ObjectStore(state)]
        near = difflib.get_close_matches(str(key), names, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names) or 'no runs'}"
        message = f"no run {key} in {state.root}{hint}"
        raise NotFoundError(message)
    folder = state.jobs(run.metadata.uid)
    return LocalView(
        run=run,
        jobs=tuple(load_jobs(folder)),
        events=tuple(_events(folder / "events.jsonl")),
        attended=state.is_locked(key),
    )


def view_runs(state: StateDir) -> tuple[LocalView, ...]:
    """All runs of a state directory, by namespace and name."""
    return tuple(view_run(state, key) for key in ObjectStore(state))


def _events(path: Path) -> list[StoredEvent]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(StoredEvent(**json.loads(line)))
        except ValueError:
            # Killed while writing it: the rest of the file is whole.
            continue
    return found
