"""One run, watched: fenced by its UID, so that another run of its name is never taken for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from pydantic import ValidationError

from trainmaster.adapters.kubernetes import paths
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.client import errors
from trainmaster.client.errors import ClientError, RunEndedError, WaitTimeoutError
from trainmaster.client.follow import QUIET_SECONDS, Change, Follower
from trainmaster.client.goals import Goal, Verdict, is_current, judge
from trainmaster.client.transport import FOREVER, Transport
from trainmaster.client.views import RunChange

logger = logging.getLogger(__name__)

Json = dict[str, Any]
OnChange = Callable[[TrainingRun], None]


class UnreadableRunError(ClientError):
    """A stored run is not what this version understands."""


def read_run(raw: Json) -> TrainingRun:
    """A run as the API server has it; fields that a newer version wrote into spec are left out.

    Raises UnreadableRunError.
    """
    try:
        known = TrainingRun.model_validate(raw | {"status": {}}, extra="ignore")
        return known.model_copy(update={"status": TrainingRunStatus.model_validate(raw.get("status") or {})})
    except ValidationError as error:
        meta, first = raw["metadata"], error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = (
            f"TrainingRun {meta.get('namespace')}/{meta.get('name')} cannot be read by this version: {place}: "
            f"{first['msg']}; is the cluster's Trainmaster newer? Upgrade this one"
        )
        raise UnreadableRunError(message) from error


def follow_runs(transport: Transport, *, namespace: str, selector: str) -> Iterator[RunChange]:
    """All runs as they are, then each change, for ever; runs that cannot be read are logged and left out."""
    query = {"labelSelector": selector} if selector else {}
    with Follower(transport, paths.everywhere(paths.OURS, paths.RUNS, namespace=namespace), query=query) as follower:
        while True:
            for change in follower.changes(QUIET_SECONDS):
                try:
                    yield RunChange(run=read_run(change.raw), gone=change.gone)
                except UnreadableRunError as error:
                    logger.warning("%s", error)


class RunWatch:
    """Follows one run by its name, and keeps to its UID. Use it in a `with`."""

    def __init__(self, transport: Transport, key: Key, *, uid: str = "") -> None:
        """`uid` is the run's that is meant; empty: whichever has the name at the first look."""
        self._key = key
        self._uid = uid
        path = paths.everywhere(paths.OURS, paths.RUNS, namespace=key.namespace)
        self._follower = Follower(transport, path, query={"fieldSelector": f"metadata.name={key.name}"})
        self._run: TrainingRun | None = None
        self._gone = False
        self._successor = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.__exit__()

    def first(self, *, seconds: float = QUIET_SECONDS) -> TrainingRun:
        """The run as it is at the first look, for which there are `seconds`.

        Raises RunNotFoundError, RunReplacedError, UnreachableError.
        """
        self._take_all(self._follower.changes(min(seconds, QUIET_SECONDS)))
        if self._run is None and self._successor:
            message = f"TrainingRun {self._key} with uid {self._uid} is gone: another one has its name now"
            raise errors.RunReplacedError(message + f" (uid {self._successor}); ask again to mean that one")
        if self._run is None:
            raise errors.not_found(self._key)
        return self._run

    def latest(self) -> TrainingRun:
        """The run as it was seen last. Raises RunDeletedError, RunReplacedError."""
        if self._run is None:
            return self.first()
        if self._successor:
            raise errors.replaced(self._run, uid=self._successor)
        if self._gone:
            raise errors.deleted(self._run)
        return self._run

    def pause(self, seconds: float) -> bool:
        """Block until something has changed, `seconds` at most; whether it has."""
        return self._take_all(self._follower.changes(seconds))

    def look(self) -> bool:
        """Ask what is there now, past the watch, which may be dead or far behind; whether that was news."""
        return self._take_all(self._follower.look())

    def _take_all(self, changes: Sequence[Change]) -> bool:
        for change in changes:
            self._take(change.raw, gone=change.gone)
        return bool(changes)

    def _take(self, raw: Json, *, gone: bool) -> None:
        uid = str(raw["metadata"]["uid"])
        if not self._uid and not gone:
            self._uid = uid
        if uid == self._uid:
            self._gone = gone
            if not gone:
                self._run = read_run(raw)
        elif not gone:
            self._successor = uid

    def wait_for(self, goal: Goal, *, timeout: float | None, on_change: OnChange) -> TrainingRun:
        """The run when it is there. Raises RunEndedError, WaitTimeoutError, RunDeletedError, RunReplacedError."""
        deadline = time.monotonic() + (FOREVER if timeout is None else timeout)
        run = self.first(seconds=deadline - time.monotonic())
        while True:
            on_change(run)
            verdict = judge(goal, run)
            if verdict is Verdict.MET:
                return run
            if verdict is Verdict.NEVER:
                message = f"{errors.describe(run)} has ended, and {goal} can no longer come; spec.rerun trains again"
                raise RunEndedError(message, run=run)
            while not self.pause(min(deadline - time.monotonic(), QUIET_SECONDS)):
                if time.monotonic() < deadline:
                    continue
                if self.look():
                    break
                raise WaitTimeoutError(_late(run, goal, timeout), run=run)
            run = self.latest()

    def wait_gone(self, *, timeout: float | None) -> None:
        """Return when the run is no more. Raises WaitTimeoutError."""
        deadline = time.monotonic() + (FOREVER if timeout is None else timeout)
        run = self.first(seconds=deadline - time.monotonic())
        while not self._gone and not self._successor:
            if time.monotonic() >= deadline:
                message = f"{errors.describe(run)} is still there after {timeout or 0:g} s"
                raise WaitTimeoutError(message, run=run)
            self.pause(min(deadline - time.monotonic(), QUIET_SECONDS))


def _late(run: TrainingRun, goal: Goal, timeout: float | None) -> str:
    said = f"{errors.describe(run)} was not {goal} after {timeout or 0:g} s"
    if not is_current(run):
        return f"{said}; no operator has looked at its spec as it is now: does one serve {run.metadata.namespace}?"
    return f"{said}; nothing was changed, wait again"
