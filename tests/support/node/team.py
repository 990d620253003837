"""A namespace of somebody who trains, with words for what tests do and see in it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.launcher import wait_until
from tests.support.node.cluster import Cluster
from trainmaster.api.labels import API_VERSION, LABEL_LAUNCH, LABEL_RUN_UID

Json = dict[str, Any]

PATIENCE = 120.0
"""Seconds for what takes a few on a quiet machine."""
CLAIM = "checkpoints"
"""Where runs save unless told otherwise."""
TEAM = "trainmaster.io/test-team"
"""Label of namespaces that tests have made."""
DISBANDED = "180s"
"""For namespaces with pods in them to be gone."""
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
STUB = ("python", "/opt/trainmaster/training.py")
"""Program of the stub image; see tests/e2e/stub/training.py."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """A namespace."""

    cluster: Cluster
    name: str

    def kubectl(self, *args: str, input: str = "", check: bool = True) -> str:  # noqa: A002  # as in subprocess.run
        """What kubectl prints, in this namespace."""
        return self.cluster.kubectl(f"--namespace={self.name}", *args, input=input, check=check).stdout

    def apply(self, *objects: Json) -> None:
        """Apply objects."""
        self.kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, *args: str) -> list[Json]:
        """Objects of a kind."""
        items: list[Json] = json.loads(self.kubectl("get", kind, *args, "--output=json"))["items"]
        return items

    def train(self, name: str, hyperparameters: Json | None = None, **spec: Any) -> Run:  # noqa: ANN401  # fields of a spec
        """Apply a run of the stub program."""
        given = {"workload": "custom", "command": list(STUB), "resources": {"cpu": 1}, **spec}
        body = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": name}}
        self.apply(body | {"spec": given | {"hyperparameters": hyperparameters or {}}})
        return self.run(name)

    def run(self, name: str) -> Run:
        """A run that is there."""
        return Run(team=self, name=name)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A TrainingRun of a team."""

    team: Team
    name: str

    @property
    def wire(self) -> Json:
        found: Json = json.loads(self.team.kubectl("get", "trainingrun", self.name, "--output=json"))
        return found

    @property
    def status(self) -> Json:
        status: Json = self.wire.get("status", {})
        return status

    def condition(self, kind: str) -> Json:
        """A condition by its type; empty where it is not there."""
        return next((each for each in self.status.get("conditions", []) if each["type"] == kind), {})

    def jobs(self) -> list[Json]:
        return self.team.get("jobs", f"--selector={LABEL_RUN_UID}={self.wire['metadata']['uid']}")

    def pods(self, launch: int | None = None) -> list[Json]:
        """Pods of the run, or of one of its launches."""
        selector = f"{LABEL_RUN_UID}={self.wire['metadata']['uid']}"
        return self.team.get("pods", f"--selector={selector}" + (f",{LABEL_LAUNCH}={launch}" if launch else ""))

    def pod(self, launch: int) -> str:
        """Name of the pod of a launch."""
        found = self.pods(launch)
        assert len(found) == 1, f"launch {launch} of {self.name} has {len(found)} pods"
        return str(found[0]["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.wire["metadata"]["uid"])

    def step(self) -> int:
        """The step that the operator knows of."""
        return int((self.status.get("progress") or {}).get("step", 0))

    def wait_phase(self, *phases: str, patience: float = PATIENCE) -> Json:
        """Wait for one of these phases, so many seconds at most; the status then.

        Raises:
            AssertionError: it did not come; with the status and what the pods said.
        """
        self.wait_for(
            lambda status: status.get("phase") in phases, what=f"phase {' or '.join(phases)}", patience=patience
        )
        return self.status

    def wait_for(self, condition: Callable[[Json], bool], *, what: str, patience: float = PATIENCE) -> None:
        """Wait for something to be true of the status. Raises as `wait_phase`."""
        try:
            wait_until(lambda: condition(self.status), what=f"{self.name}: {what}", timeout=patience)
        except AssertionError as error:
            msg = f"{error}\nstatus: {json.dumps(self.status, indent=1)}\n{self._told()}"
            raise AssertionError(msg) from error

    def _told(self) -> str:
        pods = self.team.kubectl("get", "pods", "--output=wide")
        selector = f"--selector={LABEL_RUN_UID}={self.wire['metadata']['uid']}"
        return pods + self.team.kubectl("logs", selector, "--tail=20", "--prefix", check=False)


def claim(name: str = CLAIM, size: str = "1Gi") -> Json:
    """A claim of the cluster's default class."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


@contextmanager
def new_team(cluster: Cluster) -> Iterator[Team]:
    """A fresh namespace that takes restricted pods only, with a claim; `wait_disbanded` waits for its deletion."""
    name = f"team-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    labels = RESTRICTED | {TEAM: "yes"}
    cluster.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
    team = Team(cluster=cluster, name=name)
    team.apply(claim())
    try:
        yield team
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def wait_disbanded(cluster: Cluster) -> None:
    """Wait until no team is left. One at a time it would take ten seconds for each test."""
    cluster.kubectl("wait", "--for=delete", "namespace", f"--selector={TEAM}", f"--timeout={DISBANDED}")
