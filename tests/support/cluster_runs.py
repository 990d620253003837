"""Runs on a real control plane as users make them, and what is there of them: plain requests of the admin."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer
from tests.support.operator_process import PATIENCE_SECONDS
from trainmaster.api.conditions import Outcome
from trainmaster.api.labels import API_VERSION, LABEL_RUN_UID, job_name

Wire = dict[str, Any]

RUNS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/trainingruns"
RECORDS = "/apis/trainmaster.io/v1alpha1/namespaces/{}/runrecords"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
NAMESPACES = "/api/v1/namespaces"
CLAIM = "checkpoints"
"""The claim of `spec.storage`'s default."""
SPEC: Wire = {"workload": "custom", "command": ["python", "train.py"], "resources": {"cpu": 1}}
PAUSE_SECONDS = 0.05
"""Between two looks: each is a connection of its own."""


@contextmanager
def fresh_namespace(plane: ControlPlane, *, claim: str = "") -> Iterator[str]:
    """A namespace, with a bound claim if named; its deletion is not waited for, names are never used twice."""
    name = f"test-{secrets.token_hex(4)}"
    assert plane.request("POST", NAMESPACES, {"metadata": {"name": name}}).status == 201
    if claim:
        plane.add_claim(name, claim)
    yield name
    plane.request("DELETE", f"{NAMESPACES}/{name}")


def run_manifest(name: str, spec: Wire) -> Wire:
    """A TrainingRun as its user writes it."""
    return {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}


def refused_fields(answer: Answer) -> set[str]:
    """The fields that a refusal blames."""
    details = answer.body.get("details") or {}
    return {cause["field"] for cause in details.get("causes") or []}


@dataclass(frozen=True, kw_only=True)
class UserRun:
    """A TrainingRun by its name, whatever object has it."""

    plane: ControlPlane
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"{RUNS.format(self.namespace)}/{self.name}"

    # -- what its user does -------------------------------------------------------------------------------------------

    def create(self, **spec: object) -> Wire:
        """Create it with these fields over those of `SPEC`; its stored form."""
        answer = self.plane.request("POST", RUNS.format(self.namespace), run_manifest(self.name, SPEC | spec))
        assert answer.status == 201, answer
        created: Wire = answer.body
        return created

    def edit(self, **spec: object) -> None:
        assert self.plane.request("PATCH", self.path, {"spec": spec}).status == 200

    def write_status(self, status: Wire) -> Wire:
        """Merge into status, past the operator; the stored form."""
        answer = self.plane.request("PATCH", f"{self.path}/status", {"status": status})
        assert answer.status == 200, answer
        written: Wire = answer.body
        return written

    def delete(self) -> None:
        assert self.plane.request("DELETE", self.path).status == 200

    # -- what its pods do ---------------------------------------------------------------------------------------------

    def end(
        self, exit_code: int, *, outcome: str = "", reason: str = "", crashes: int = 0, metrics: Wire | None = None
    ) -> None:
        """Wait until the newest launch's pod runs and is known to, then end it; with `outcome`, its last word too."""
        self.until(lambda: self.status.get("runningTime") and self.running_pods(), what="a running pod")
        pod = self.running_pods()[-1]["metadata"]["name"]
        message = self.last_word(outcome, reason=reason, crashes=crashes, metrics=metrics or {}) if outcome else ""
        self.plane.finish_pod(self.namespace, pod, exit_code=exit_code, message=message)

    def succeed(self) -> None:
        """Wait until it runs, end it well, and wait until that is known and recorded."""
        self.end(0, outcome=Outcome.COMPLETED, metrics={"val_loss": 0.25})
        self.until_condition("Succeeded", "True")
        self.until(lambda: all(d["state"] == "Done" for d in self.status["decisions"]), what="all decisions done")

    def last_word(self, outcome: str, *, reason: str, crashes: int, metrics: Wire) -> str:
        """A launcher's termination message."""
        run = self.get()
        verdict = {"outcome": outcome, "reason": reason or outcome, "message": f"said {outcome}", "metrics": metrics}
        return json.dumps(
            {
                "runUid": run["metadata"]["uid"],
                "launch": run["status"]["launch"],
                "generation": run["status"]["plan"]["generation"],
                "lastSeq": 9,
                "step": 7,
                "verdict": verdict,
                "crashes": crashes,
            }
        )

    # -- what is there ------------------------------------------------------------------------------------------------

    def get(self) -> Wire:
        """The object; empty if there is none."""
        answer = self.plane.request("GET", self.path)
        found: Wire = answer.body if answer.status == 200 else {}
        return found

    @property
    def status(self) -> Wire:
        found: Wire = self.get().get("status", {})
        return found

    def condition(self, kind: str) -> Wire:
        """A condition; empty if there is none of this type."""
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), {})

    def decisions(self, kind: str) -> list[Wire]:
        """The decisions of one kind."""
        return [d for d in self.status.get("decisions", []) if d["kind"] == kind]

    def job(self, launch: int, *, uid: str = "") -> str:
        """Name of a launch's Job."""
        return job_name(self.name, uid=uid or self.get()["metadata"]["uid"], launch=launch)

    def jobs(self, *, uid: str = "") -> list[Wire]:
        """The Jobs of the object with this UID, by launch; of the one that is there now by default."""
        items = self._of(JOBS, uid=uid)
        return sorted(items, key=lambda item: int(item["metadata"]["labels"]["trainmaster.io/launch"]))

    def running_pods(self) -> list[Wire]:
        return [pod for pod in self._of(PODS, uid="") if pod["status"]["phase"] == "Running"]

    def pods(self, *, uid: str = "") -> list[Wire]:
        return self._of(PODS, uid=uid)

    def _of(self, collection: str, *, uid: str) -> list[Wire]:
        uid = uid or self.get()["metadata"]["uid"]
        answer = self.plane.request("GET", f"{collection.format(self.namespace)}?labelSelector={LABEL_RUN_UID}={uid}")
        items: list[Wire] = answer.body["items"]
        return items

    def records(self) -> list[Wire]:
        """Its RunRecords, of whatever UID, in the order of their ends."""
        items = self.plane.request("GET", RECORDS.format(self.namespace)).body["items"]
        ours = [item["spec"] for item in items if item["spec"]["runName"] == self.name]
        return sorted(ours, key=lambda spec: (spec["completionTime"], spec.get("reruns", 0)))

    # -- waiting ------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Return when a condition holds; fails the test if it does not in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; status: {self.status}"
            time.sleep(PAUSE_SECONDS)

    def until_condition(self, kind: str, status: str, *, reason: str = "") -> Wire:
        """Return a condition when it has this status, and this reason if one is given."""

        def holds() -> bool:
            found = self.condition(kind)
            return found.get("status") == status and reason in {"", found["reason"]}

        self.until(holds, what=f"{kind}={status} {reason}")
        return self.condition(kind)

    def until_running(self, launch: int = 1) -> None:
        """Return when this launch runs, and status says so."""

        def runs() -> bool:
            status = self.status
            return (status.get("phase"), status.get("launch")) == ("Running", launch)

        self.until(runs, what=f"launch {launch} to run")
