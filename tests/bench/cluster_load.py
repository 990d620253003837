"""Load on a control plane: runs as a bad night leaves them, runs created at a steady pace, and when Jobs appeared."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from tests.support.control_plane import ControlPlane
from trainmaster.api.conditions import Condition, DecisionKind, DecisionState, Phase, Reason
from trainmaster.api.trainingrun import (
    Attempt,
    CheckpointStatus,
    Decision,
    Health,
    PlannedDirective,
    PlanStatus,
    Progress,
    TrackingStatus,
    TrainingRunStatus,
)

Wire = dict[str, Any]

RUNS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/trainingruns"
RECORDS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/runrecords"
IN_FLIGHT = 16
"""Requests at a time while a cluster is filled."""
HEALS = 5
EPOCH = datetime(2026, 11, 1, tzinfo=UTC)


def run_wire(name: str) -> Wire:
    """A run that trains nothing: its pods are kwok's."""
    spec = {"workload": "custom", "command": ["python", "train.py"], "hyperparameters": {"learning_rate": 0.001}}
    return {
        "apiVersion": "trainmaster.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": name},
        "spec": spec | {"resources": {"cpu": 1}},
    }


def record_wire(name: str) -> Wire:
    """A RunRecord: what the floor answers to, so that the operator does not."""
    return {
        "apiVersion": "trainmaster.io/v1alpha1",
        "kind": "RunRecord",
        "metadata": {"name": name},
        "spec": {
            "runName": name,
            "runUid": name,
            "specHash": "hash",
            "outcome": "Succeeded",
            "reason": "Completed",
            "completionTime": EPOCH.isoformat(),
        },
    }


def healed_status(*, active: bool) -> Wire:
    """Status as a bad night leaves it: five corrections, twenty decisions, a dozen metrics; above 6 KiB.

    An active one waits for its Job: the launch is recorded, and the operator creates it.
    """
    at = [EPOCH + timedelta(minutes=n) for n in range(30)]
    evidence = "grad_norm 412.7 at step 1210, 38.2 times its median 10.8 over the last 200 steps (threshold 10 times)"
    decisions = [
        Decision(
            id=f"Adjust-1-{n + 2}-{1793491200 + n}",
            kind=DecisionKind.ADJUST,
            reason=Reason.GRADIENT_EXPLOSION,
            state=DecisionState.DONE,
            time=at[n],
            launch=1,
            generation=n + 2,
            observed_step=1210 + n,
            evidence=evidence,
            target={"learning_rate": f"{0.001 / 2**n:g}"},
            applied_step=1215 + n,
        )
        for n in range(19)
    ]
    state = DecisionState.RECORDED if active else DecisionState.DONE
    decisions.append(
        Decision(
            id="Launch-1-1-1793491100", kind=DecisionKind.LAUNCH, reason=Reason.FIRST_LAUNCH, state=state,
            time=at[0], launch=1,
        )
    )  # fmt: skip
    phase, outcome = (Phase.PENDING, None) if active else (Phase.SUCCEEDED, Reason.COMPLETED)
    directives = tuple(
        PlannedDirective(
            id=f"Adjust-1-{n + 2}-{1793491200 + n}", generation=n + 2, at_step=1215 + n,
            set={"learning_rate": f"{0.001 / 2**n:g}"}, reason=Reason.GRADIENT_EXPLOSION,
        )
        for n in range(HEALS)
    )  # fmt: skip
    status = TrainingRunStatus(
        observed_generation=1,
        phase=phase,
        conditions=_conditions(active=active, at=at[0]),
        start_time=at[0],
        completion_time=None if active else at[29],
        plan=PlanStatus(
            generation=HEALS + 1, base_generation=1, hyperparameters={"learning_rate": "3.125e-05"},
            base_hyperparameters={"learning_rate": 0.001}, directives=directives,
        ),
        launch=1,
        launch_time=at[0],
        launch_outcome=outcome,
        heals=HEALS,
        attempts=tuple(
            Attempt(
                number=n + 1, cause=Reason.GRADIENT_EXPLOSION, start_time=at[n], launch=1,
                corrections=(f"learning_rate {0.001 / 2**n:g} -> {0.0005 / 2**n:g}",), outcome="Corrected",
            )
            for n in range(HEALS)
        ),
        decisions=tuple(decisions),
        progress=Progress(epoch=12, step=48_000, total_epochs=150, total_steps=600_000, percent=8, eta_seconds=7_000),
        metrics={f"val_{name}": "0.693147" for name in ("loss", "accuracy", "f1", "precision", "recall", "ece")},
        health=Health(problems=()),
        checkpoint=CheckpointStatus(
            path="1/step-000048000-epoch-0012.pt", step=48_000, epoch=12, sha256="a" * 64, size_bytes=10**8
        ),
        mlflow=TrackingStatus(experiment_id="1", run_id="b" * 32, url=f"https://mlflow.example/#/1/runs/{'b' * 32}"),
    )  # fmt: skip
    return status.to_wire()


def _conditions(*, active: bool, at: datetime) -> tuple[Condition, ...]:
    reason = Reason.STARTING if active else Reason.COMPLETED
    values = {"Ready": "True", "Succeeded": "Unknown" if active else "True"}
    return tuple(
        Condition.model_validate(
            {"type": kind, "status": value, "reason": reason, "message": "Completed 150 of 150 epochs"}
            | {"lastTransitionTime": at, "observedGeneration": 1}
        )
        for kind, value in values.items()
    )


@dataclass
class JobWatch:
    """When each run's Job appeared, on the monotonic clock of this process."""

    appeared: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for(self, names: Sequence[str], *, seconds: float) -> list[str]:
        """Wait until all of these runs have Jobs; those that have none in time."""
        deadline = time.monotonic() + seconds
        while (missing := [name for name in names if name not in self.appeared]) and time.monotonic() < deadline:
            self.changed.clear()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self.changed.wait()
            except TimeoutError:
                break
        return missing


class Load:
    """Requests of an admin, in one session."""

    def __init__(self, session: aiohttp.ClientSession, plane: ControlPlane) -> None:
        self._session = session
        self._plane = plane

    async def request(self, method: str, path: str, body: Wire | None = None) -> Wire:
        """One request. Raises AssertionError on a refusal."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self._session.request(
            method, self._plane.url + path, json=body, headers={"Content-Type": kind}
        ) as response:
            raw: Wire = await response.json(content_type=None)
            assert response.status < 300, f"{method} {path}: {raw}"
            return raw

    async def fill(self, namespace: str, names: Sequence[str], *, active: bool) -> None:
        """Create runs that look back on a bad night."""
        status, gate = healed_status(active=active), asyncio.Semaphore(IN_FLIGHT)

        async def one(name: str) -> None:
            async with gate:
                await self.request("POST", RUNS.format(namespace), run_wire(name))
                await self.request("PATCH", f"{RUNS.format(namespace)}/{name}/status", {"status": status})

        await asyncio.gather(*(one(name) for name in names))

    async def create(self, namespace: str, name: str) -> float:
        """Create a run; the moment just before."""
        moment = time.monotonic()
        await self.request("POST", RUNS.format(namespace), run_wire(name))
        return moment

    async def create_record(self, namespace: str, name: str) -> float:
        """Create a RunRecord; the moment just before."""
        moment = time.monotonic()
        await self.request("POST", RECORDS.format(namespace), record_wire(name))
        return moment

    async def open_loop(
        self, namespace: str, names: Sequence[str], *, per_second: float, records: bool = False
    ) -> dict[str, float]:
        """Create runs, or RunRecords, at a steady pace, whatever becomes of them; when each was asked for."""
        begin, tasks, create = time.monotonic(), [], self.create_record if records else self.create
        for number, name in enumerate(names):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))
            tasks.append(asyncio.create_task(create(namespace, name)))
        return dict(zip(names, await asyncio.gather(*tasks), strict=True))

    async def _follow(self, watch: JobWatch) -> None:
        version = (await self.request("GET", "/apis/batch/v1/jobs?limit=1"))["metadata"]["resourceVersion"]
        while True:
            url = f"{self._plane.url}/apis/batch/v1/jobs?watch=1&resourceVersion={version}&timeoutSeconds=3600"
            timeout = aiohttp.ClientTimeout(total=None)
            async with self._session.get(url, timeout=timeout, read_bufsize=2**22) as response:
                async for line in response.content:
                    moment, event = time.monotonic(), json.loads(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    owners = event["object"]["metadata"].get("ownerReferences") or [{"name": ""}]
                    watch.appeared.setdefault(owners[0]["name"], moment)
                    watch.changed.set()

    @asynccontextmanager
    async def jobs(self) -> AsyncIterator[JobWatch]:
        """A watch of all Jobs, for as long as the block takes."""
        watch = JobWatch()
        task = asyncio.create_task(self._follow(watch))
        await asyncio.sleep(0.5)
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def admin(plane: ControlPlane) -> AsyncIterator[Load]:
    """An admin's session."""
    context = ssl.create_default_context(cafile=str(plane.ca))
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    connector = aiohttp.TCPConnector(ssl=context, limit=64)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Load(session, plane)
