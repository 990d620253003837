"""An API server double that also serves logs of pods: what kwok's pods, which run nothing, do not have.

It keeps the part of the contract that a reader depends on: times in front of lines, `sinceTime` in whole seconds (so
that lines come twice), `tailLines`, `follow` until the container has ended, 400 before it has begun, 404 when the pod
is gone. Every line is a tenth of a second after the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.support.api_server_double import ApiServerDouble
from tests.support.fault_proxy.faults import status_object
from trainmaster.adapters.kubernetes.observed import CONTAINER
from trainmaster.api.labels import API_VERSION, LABEL_LAUNCH, LABEL_RUN_UID

Wire = dict[str, Any]

NAMESPACE = "default"
RUN = f"/apis/trainmaster.io/v1alpha1/namespaces/{NAMESPACE}/trainingruns/market"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
UID = "0c9a1f7e-1111-2222-3333-444455556666"
T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STEP = timedelta(milliseconds=100)


class PodLogDouble(ApiServerDouble):
    """One run, its pods, and what they write."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[datetime, str]]] = {}
        self._clock = T0
        self._open: list[web.BaseRequest] = []
        self.asked: list[dict[str, str]] = []
        """The queries of logs, in order."""
        self.failures = 0
        """How many of the next questions for a log are answered as of a node that is away."""
        super().__init__()

    # -- what a cluster does ------------------------------------------------------------------------------------------

    def run(self, *, phase: str, launch: int = 1, uid: str = UID, **status: object) -> None:
        """Create the run, or let its operator say how it stands."""
        meta = {"name": "market", "namespace": NAMESPACE, "uid": uid, "generation": 1}
        told = {"observedGeneration": 1, "phase": phase, "launch": launch, **status}
        spec = {"workload": "custom", "command": ["x"]}
        self.put(RUN, apiVersion=API_VERSION, kind="TrainingRun", metadata=meta, spec=spec, status=told)

    def start(self, pod: str, *, launch: int) -> None:
        """A pod whose container runs."""
        labels = {LABEL_RUN_UID: UID, LABEL_LAUNCH: str(launch)}
        meta = {"name": pod, "namespace": NAMESPACE, "uid": f"uid-{pod}", "labels": labels}
        state = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
        self.put(f"{PODS}/{pod}", metadata=meta, status=_status("Running", state))

    def wait_for_image(self, pod: str, *, launch: int) -> None:
        """A pod whose container has not begun."""
        labels = {LABEL_RUN_UID: UID, LABEL_LAUNCH: str(launch)}
        meta = {"name": pod, "namespace": NAMESPACE, "uid": f"uid-{pod}", "labels": labels}
        self.put(f"{PODS}/{pod}", metadata=meta, status=_status("Pending", {"waiting": {"reason": "Creating"}}))

    def end(self, pod: str, *, exit_code: int = 0) -> None:
        """Its container ends."""
        phase = "Failed" if exit_code else "Succeeded"
        state = {"terminated": {"exitCode": exit_code, "startedAt": "2026-03-01T12:00:00Z"}}
        self.put(f"{PODS}/{pod}", status=_status(phase, state))

    def evict(self, pod: str) -> None:
        """The pod is gone at once, and its log with it."""
        self.delete(f"{PODS}/{pod}")

    def write(self, pod: str, *texts: str) -> None:
        """Its container writes lines."""
        self._thread.run(self._write(pod, texts))

    def cut(self) -> None:
        """Every open log breaks off."""
        self._thread.call(self._abort)

    # -- the server ---------------------------------------------------------------------------------------------------

    async def _write(self, pod: str, texts: tuple[str, ...]) -> None:
        for text in texts:
            self._lines.setdefault(pod, []).append((self._clock, text))
            self._clock += STEP
        async with self._changed:
            self._changed.notify_all()

    def _abort(self) -> None:
        for request in self._open:
            if request.transport is not None:
                request.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.endswith("/log"):
            return await super()._handle(request)
        path = request.path.removesuffix("/log")
        pod = path.rpartition("/")[2]
        if path not in self.objects:
            return _refusal(404, f'pods "{pod}" not found')
        if _state(self.objects[path]) == "waiting":
            return _refusal(400, f'container "{CONTAINER}" in pod "{pod}" is waiting to start')
        if self.failures:
            self.failures -= 1
            return _refusal(500, "dial tcp 10.0.0.7:10250: connection refused")
        self.asked.append(dict(request.query))
        return await self._stream(request, path, pod)

    async def _stream(self, request: web.BaseRequest, path: str, pod: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        since = datetime.fromisoformat(request.query.get("sinceTime", T0.isoformat()))
        sent = sum(moment < since for moment, _ in self._lines.get(pod, []))
        if "tailLines" in request.query:
            sent = max(sent, len(self._lines.get(pod, [])) - int(request.query["tailLines"]))
        self._open.append(request)
        try:
            while True:
                # Whether it has ended is asked before the lines are: what it wrote before is then sent for sure.
                ended = path not in self.objects or _state(self.objects[path]) == "terminated"
                for moment, text in self._lines.get(pod, [])[sent:]:
                    sent += 1
                    await response.write(f"{_stamp(moment)} {text}\n".encode())
                if ended or request.query.get("follow") != "true":
                    return response
                async with self._changed:
                    if sent == len(self._lines.get(pod, [])):
                        await self._changed.wait()
        finally:
            self._open = [other for other in self._open if other is not request]


def _status(phase: str, state: Wire) -> Wire:
    return {"phase": phase, "containerStatuses": [{"name": CONTAINER, "state": state}]}


def _state(pod: Wire) -> str:
    return str(next(iter(pod["status"]["containerStatuses"][0]["state"])))


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response(status_object(status, message=message), status=status)


@contextmanager
def pod_log_double() -> Iterator[PodLogDouble]:
    """A server that lives as long as the block."""
    server = PodLogDouble()
    try:
        yield server
    finally:
        server.close()
