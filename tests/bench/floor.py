"""The floor: answers each ADDED event of a RunRecord with one POST of a Job, and does nothing else.

`python -m tests.bench.floor PLANE_JSON`. No kopf, no models, no status, no look before the leap: what is left is the
API server's own time. RunRecords stand for runs, so that an operator may be at work beside it. Ends when its input
ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

import aiohttp
import orjson

from tests.bench.cluster_load import run_wire
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest
from trainmaster.adapters.kubernetes.store import parse_run
from trainmaster.api.labels import job_name
from trainmaster.api.trainingrun import PlanStatus
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob

Wire = dict[str, Any]

SETTINGS = LaunchSettings(image="trainer:test", report_url="http://127.0.0.1:1/v1/reports")
RECORDS = "/apis/trainmaster.io/v1alpha1/runrecords"


def job_of(record: Wire) -> Wire:
    """The Job that the operator would create for a run, owned by the record."""
    meta = record["metadata"]
    run = parse_run(run_wire(meta["name"]) | {"metadata": meta | {"generation": 1}})
    plan = PlanStatus(generation=1, base_generation=1, hyperparameters={})
    status = run.status.model_copy(update={"launch": 1, "plan": plan})
    name = job_name(run.metadata.name, uid=run.metadata.uid, launch=1)
    job = job_manifest(run, CreateJob(name=name, plan=build_plan(run, status)), SETTINGS)
    job["metadata"]["ownerReferences"][0] |= {"kind": "RunRecord"}
    job["metadata"]["labels"] = {}
    return job


async def _follow(plane: Wire) -> None:
    context = ssl.create_default_context(cafile=plane["ca"])
    headers = {"Authorization": f"Bearer {plane['admin_token']}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=16), headers=headers) as session,
        asyncio.TaskGroup() as group,
    ):
        async with session.get(f"{plane['url']}{RECORDS}?limit=1") as response:
            version = (await response.json())["metadata"]["resourceVersion"]
        print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - what its parent reads

        async def answer(raw: Wire) -> None:
            url = f"{plane['url']}/apis/batch/v1/namespaces/{raw['metadata']['namespace']}/jobs"
            async with session.post(url, data=orjson.dumps(job_of(raw))) as response:
                assert response.status == 201, await response.text()

        url = f"{plane['url']}{RECORDS}?watch=1&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(url, timeout=timeout, read_bufsize=2**22) as response:
            async for line in response.content:
                event = orjson.loads(line)
                if event["type"] == "ADDED":
                    group.create_task(answer(event["object"]))


async def _main() -> None:
    work = asyncio.create_task(_follow(json.loads(sys.argv[1])))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main())
