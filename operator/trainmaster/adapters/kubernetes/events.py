"""Events, told in the background: one object per thing to say, counted when it is said again.

An Event's name is a hash of what it says, so a repetition finds the first one, whichever process wrote it. A server
that is slow or refuses never holds up a run: beyond `WAITING` the newest are dropped, with one line in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import NOT_FOUND, ApiClient, ApiError
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import API_VERSION, JOB_NAME_MAX
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.snapshot import Event
from trainmaster.ports.clock import Clock

logger = logging.getLogger(__name__)

Json = dict[str, Any]

WAITING: Final = 5000
"""Events that wait to be sent: a flood of runs has one or two each."""
REMEMBERED: Final = 4096
"""Events whose count is known without asking."""
MESSAGE_MAX: Final = 1024
"""Characters that the API server takes."""
SENDERS: Final = 2
ALREADY_EXISTS: Final = 409


class EventRecorder:
    """Sends Events about runs."""

    def __init__(
        self, *, client: ApiClient, clock: Clock, identity: str, on_sent: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._on_sent = on_sent
        self._clock = clock
        self._identity = identity
        self._queue: asyncio.Queue[tuple[TrainingRun, Event, datetime]] = asyncio.Queue(WAITING)
        self._counts: OrderedDict[Key, int] = OrderedDict()
        self.dropped = 0

    def record(self, run: TrainingRun, event: Event) -> None:
        """Have an Event sent."""
        try:
            self._queue.put_nowait((run, event, self._clock.now()))
        except asyncio.QueueFull:
            if not self.dropped:
                logger.warning("more than %d Events wait to be sent; newer ones are dropped", WAITING)
            self.dropped += 1

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send_all())

    async def flush(self) -> None:
        """Return when all that was recorded is sent or given up."""
        await self._queue.join()

    async def _send_all(self) -> None:
        while True:
            run, event, moment = await self._queue.get()
            try:
                await self._send(run, event, moment)
                self._on_sent()
            except TrainmasterError as error:
                # Events are for people and complement status: one that is refused (a namespace on its way out), or that
                # falls into a moment in which this replica may not write, is gone.
                logger.info("the Event %s of %s is not told: %s", event.reason, run.metadata.key, error)
            finally:
                self._queue.task_done()

    async def _send(self, run: TrainingRun, event: Event, moment: datetime) -> None:
        key = Key(run.metadata.namespace, event_name(run, event))
        body = self._body(run, event, name=key.name, moment=moment)
        count = self._counts.get(key, 0)
        if not count:
            try:
                await self._client.post(paths.events(key.namespace), body)
            except ApiError as error:
                if error.status != ALREADY_EXISTS:
                    raise
            else:
                self._note(key, 1)
                return
            count = int((await self._client.get(paths.event(key))).get("count") or 1)
        try:
            await self._client.patch(paths.event(key), {"count": count + 1, "lastTimestamp": body["lastTimestamp"]})
            self._note(key, count + 1)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            # The server forgets Events after an hour; what is said then is said anew.
            await self._client.post(paths.events(key.namespace), body)
            self._note(key, 1)

    def _note(self, key: Key, count: int) -> None:
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def _body(self, run: TrainingRun, event: Event, *, name: str, moment: datetime) -> Json:
        time = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = run.metadata
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": "TrainingRun",
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:MESSAGE_MAX],
            "source": {"component": "trainmaster"},
            "reportingComponent": "trainmaster",
            "reportingInstance": self._identity,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }


def event_name(run: TrainingRun, event: Event) -> str:
    """The name of the Event that says this about this run."""
    said = f"{run.metadata.uid}\n{event.type}\n{event.reason}\n{event.message}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return f"{run.metadata.name[: JOB_NAME_MAX - 17].rstrip('-.')}.{digest}"
