"""The launchers of active runs: each reports every 5 s, with a token bound to its kwok pod, until told to stop.

`python -m tests.bench.reporters PLANE_JSON NAMESPACE REPORT_URL`, a process of its own; ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp

Wire = dict[str, Any]

REPORT_SECONDS = 5.0
TOKENS_AT_A_TIME = 8
AUDIENCE = "trainmaster-report"


class Reporters:
    """All launchers of one namespace."""

    def __init__(self, *, plane: Wire, namespace: str, report_url: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._report_url = report_url
        self.sent = 0
        self.refused = 0

    async def run(self) -> None:
        """Report until cancelled."""
        context = ssl.create_default_context(cafile=self._plane["ca"])
        headers = {"Authorization": f"Bearer {self._plane['admin_token']}"}
        gate = asyncio.Semaphore(TOKENS_AT_A_TIME)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers) as api,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as reports,
        ):
            url = f"{self._plane['url']}/api/v1/namespaces/{self._namespace}/pods"
            async with api.get(url) as response:
                pods = (await response.json())["items"]
            print(json.dumps({"pods": len(pods)}), flush=True)  # noqa: T201 - what its parent reads
            async with asyncio.TaskGroup() as group:
                for pod in pods:
                    group.create_task(self._launcher(pod, api=api, reports=reports, gate=gate))

    async def _launcher(
        self, pod: Wire, *, api: aiohttp.ClientSession, reports: aiohttp.ClientSession, gate: asyncio.Semaphore
    ) -> None:
        labels = pod["metadata"]["labels"]
        uid, launch = labels["trainmaster.io/run-uid"], int(labels["trainmaster.io/launch"])
        async with gate:
            token = await self._token(pod, api)
        await asyncio.sleep(random.uniform(0, REPORT_SECONDS))
        seq = 0
        while True:
            seq += 1
            async with reports.post(
                self._report_url, json=_report(uid, launch, seq), headers={"Authorization": f"Bearer {token}"}
            ) as response:
                await response.read()
                self.sent += response.status == 200
                self.refused += response.status != 200
            await asyncio.sleep(REPORT_SECONDS * random.uniform(0.9, 1.1))

    async def _token(self, pod: Wire, api: aiohttp.ClientSession) -> str:
        meta = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec = {"audiences": [AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound}
        url = f"{self._plane['url']}/api/v1/namespaces/{self._namespace}/serviceaccounts/default/token"
        async with api.post(url, json={"spec": spec}) as response:
            return str((await response.json())["status"]["token"])


def _report(uid: str, launch: int, seq: int) -> Wire:
    metrics = dict.fromkeys(("loss", "grad_norm", "learning_rate", "samples_per_second", "clip", "scale"), 0.5)
    now = datetime.now(UTC).isoformat()
    point = {
        "seq": seq,
        "type": "point",
        "time": now,
        "generation": 6,
        "step": seq,
        "kind": "train",
        "metrics": metrics,
    }
    return {
        "runUid": uid,
        "launch": launch,
        "generation": 6,
        "phase": "training",
        "step": seq,
        "totalSteps": 600_000,
        "lastSeq": seq,
        "entries": [point],
    }


async def _main() -> None:
    plane, namespace, report_url = sys.argv[1:]
    reporters = Reporters(plane=json.loads(plane), namespace=namespace, report_url=report_url)
    work = asyncio.create_task(reporters.run())
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
    print(json.dumps({"sent": reporters.sent, "refused": reporters.refused}), flush=True)  # noqa: T201
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main())
