"""The log of a run, launch after launch, line after line, as if it were one.

1. Look at the run, then at its pods (by the label of its UID): a pod that was there before the end is not missed.
2. Show the oldest pod that was not shown. Its stream may break off or fall silent for as long as it likes: it is
   opened again from the time of the last line, and lines that come twice are shown once (`launches.Position`).
3. When the container has ended, the rest is read once more and without following: what a cut has swallowed is there.
4. With nothing left to show: done, or wait for what the run's watch says, and look again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.observed import CONTAINER
from trainmaster.api.labels import LABEL_RUN_UID
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client import errors
from trainmaster.client.errors import NoLogsError, RefusedError, UnreachableError
from trainmaster.client.follow import Patience
from trainmaster.client.launches import LaunchPod, Position, launch_pod, next_pod, pods_may_come
from trainmaster.client.transport import FORBIDDEN, NOT_FOUND, QuietError, Stream, Transport
from trainmaster.client.views import LogLine
from trainmaster.client.watching import RunWatch

Json = dict[str, Any]
Note = Callable[[str], None]

LOOK_SECONDS: Final = 5.0
"""Between two looks at the pods while a run says nothing: its operator may be away, its pods start all the same."""
SILENT_SECONDS: Final = 60.0
"""A log that is silent for longer is opened again: the stream may be dead, and nothing is lost by it."""
WAITING: Final = 400
"""The answer about a container that has not begun, or whose node has not said so yet."""
AGAIN_SECONDS: Final = 0.5
"""Before a log is opened again that has ended although its container runs: it is rotated, or was asked for too soon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which lines."""

    launch: int | None = None
    follow: bool = False
    tail: int | None = None
    """Of each pod, at most so many lines that were there when it was opened."""


class LogReader:
    """Reads the logs of one run."""

    def __init__(self, transport: Transport, watch: RunWatch, *, wanted: Wanted, note: Note) -> None:
        self._transport = transport
        self._watch = watch
        self._wanted = wanted
        self._note = note
        self._patience = Patience()
        self._shown: set[str] = set()
        self._troubled: set[str] = set()
        """UIDs of pods whose trouble was told."""

    def lines(self) -> Iterator[LogLine]:
        """The lines. Raises NoLogsError, RunDeletedError, RunReplacedError, RefusedError, UnreachableError."""
        run = self._watch.first()
        while True:
            may_come = pods_may_come(run, launch=self._wanted.launch)
            pods = self._pods(run)
            pod = None if pods is None else next_pod(pods, shown=self._shown, launch=self._wanted.launch)
            if pod is not None and (pod.started or pod.ended):
                yield from self._show(pod, run)
                # That may have taken days, in which nobody listened to the watch.
                self._watch.look()
            elif not self._wanted.follow and pods is not None:
                self._demand_something(run, pod)
                return
            elif pod is None and pods is not None and not may_come:
                return
            else:
                self._watch.pause(LOOK_SECONDS)
            run = self._watch.latest()

    def _show(self, pod: LaunchPod, run: TrainingRun) -> Iterator[LogLine]:
        self._shown.add(pod.uid)
        if not pod.started:
            self._note(f"launch {pod.launch}: the pod {pod.name} has ended before its container began: it has no log")
            return
        self._note(f"launch {pod.launch}: pod {pod.name}")
        for text in self._read(pod, Key(run.metadata.namespace, pod.name)):
            yield LogLine(launch=pod.launch, pod=pod.name, text=text.decode(errors="replace"))

    def _demand_something(self, run: TrainingRun, pod: LaunchPod | None) -> None:
        if self._shown:
            return
        which = "" if self._wanted.launch is None else f" of launch {self._wanted.launch}"
        why = f"its pod {pod.name} has not begun; `-f` waits for it" if pod else "it has no pod (any more)"
        message = f"{errors.describe(run)}: there is no log{which}: {why}"
        raise NoLogsError(message)

    def _pods(self, run: TrainingRun) -> list[LaunchPod] | None:
        """The pods that there are; None: the server cannot say now."""
        selector = {"labelSelector": f"{LABEL_RUN_UID}={run.metadata.uid}"}
        try:
            answer = self._transport.get(paths.pods(run.metadata.namespace), selector)
        except (RefusedError, UnreachableError) as error:
            self._patience.bear(error, at_most=LOOK_SECONDS)
            return None
        self._patience.well()
        return [launch_pod(raw) for raw in answer.get("items") or []]

    def _read(self, pod: LaunchPod, key: Key) -> Iterator[bytes]:
        """All lines of a pod's log, each once."""
        position, ended = Position(), pod.ended or not self._wanted.follow
        while True:
            try:
                with self._open(key, position, follow=not ended) as stream:
                    yield from _fresh(stream, position)
                    whole = not stream.cut
                self._patience.well()
                if ended and whole:
                    return
                ended = ended or self._has_ended(pod, key)
            except QuietError:
                if not ended:
                    continue
                # All of it is there to be read: whoever keeps it back is away.
                message = f"the log of pod {pod.name}: nothing was heard for {SILENT_SECONDS:g} s"
                self._bear(pod, UnreachableError(message))
            except (RefusedError, UnreachableError) as error:
                if isinstance(error, RefusedError) and error.status == NOT_FOUND:
                    self._note(f"launch {pod.launch}: the pod {pod.name} is gone; what it wrote last may be missing")
                    return
                self._bear(pod, error)
            if not ended:
                time.sleep(AGAIN_SECONDS)

    def _open(self, key: Key, position: Position, *, follow: bool) -> Stream:
        query = {"container": CONTAINER, "timestamps": "true"} | ({"follow": "true"} if follow else {})
        if position.since:
            query["sinceTime"] = position.since
        elif self._wanted.tail is not None:
            query["tailLines"] = str(self._wanted.tail)
        stream = self._transport.open(f"{paths.pod(key)}/log", query)
        stream.listen(SILENT_SECONDS)
        position.reopen()
        return stream

    def _has_ended(self, pod: LaunchPod, key: Key) -> bool:
        """Whether the container has ended, or its pod is no more."""
        try:
            now = launch_pod(self._transport.get(paths.pod(key)))
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return True
            raise
        return now.ended or now.uid != pod.uid

    def _bear(self, pod: LaunchPod, error: RefusedError | UnreachableError) -> None:
        """Wait before the next try; whoever does not follow is not kept waiting."""
        if isinstance(error, RefusedError) and error.status == FORBIDDEN:
            message = f"{error}: reading logs needs the permission to get pods/log in this namespace"
            raise RefusedError(message, status=error.status, reason=error.reason) from error
        if not self._wanted.follow:
            raise error
        if isinstance(error, RefusedError) and error.status == WAITING:
            time.sleep(AGAIN_SECONDS)
            return
        if pod.uid not in self._troubled:
            self._troubled.add(pod.uid)
            self._note(f"launch {pod.launch}: the log of pod {pod.name} cannot be read now, trying again: {error}")
        self._patience.bear(error, at_most=LOOK_SECONDS)


def _fresh(stream: Stream, position: Position) -> Iterator[bytes]:
    while (line := stream.line()) is not None:
        text = position.take(line)
        if text is not None:
            yield text
