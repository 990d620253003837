"""What a launch's launcher would report over HTTP, with the token that the API server has made for its pod."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from tests.support.scene import Run
from trainmaster.api.labels import REPORT_AUDIENCE

Wire = dict[str, Any]

TIME = "2026-01-01T00:00:00Z"
"""Trainers' clocks are for display."""
TOTAL_STEPS = 100


class Reporter:
    """Reports of one launch; entries are numbered as they come."""

    def __init__(self, run: Run, *, launch: int) -> None:
        self._run, self._launch, self._seq = run, launch, 0
        meta = run.pods(launch)[0]["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec = {"audiences": [REPORT_AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound}
        path = f"/api/v1/namespaces/{run.scene.namespace}/serviceaccounts/default/token"
        answer = run.scene.plane.request("POST", path, {"spec": spec})
        assert answer.status == 201, answer
        self._token = answer.body["status"]["token"]

    def step(self, step: int, *, crashed: bool = False) -> None:
        """Tell that a step was trained; if `crashed`, also that the process crashed after it."""
        entries = [self._entry("point", step=step, kind="train", metrics={"loss": 1 / (1 + step)})]
        if crashed:
            entries.append(self._entry("crash", crash={"kind": "exit", "code": 1}))
        body = {
            "runUid": self._run.uid,
            "launch": self._launch,
            "generation": 1,
            "phase": "training",
            "step": step,
            "totalSteps": TOTAL_STEPS,
            "entries": entries,
        }
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        url = self._run.scene.operator.report_url
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["haveSeq"] == self._seq

    def _entry(self, entry_type: str, **fields: object) -> Wire:
        self._seq += 1
        return {"seq": self._seq, "type": entry_type, "time": TIME, "generation": 1} | fields
