"""Nodes for one test, which no other test's pods come to.

On a held one the test is the kubelet: nothing happens to its pods but what the test says. The node controller takes it
for lost after a minute without a word, so a test on it is short.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.control_plane import ControlPlane
from tests.support.scene import Run

Wire = dict[str, Any]

POOL: Final = "test.trainmaster.io/pool"
"""Label and taint of such nodes; the value is one test's own."""
NODES: Final = "/api/v1/nodes"


@dataclass(frozen=True, kw_only=True)
class OwnNodes:
    """Some nodes, and the fields of spec that lead a run's pods to them."""

    plane: ControlPlane
    value: str
    names: tuple[str, ...]

    @property
    def spec(self) -> Wire:
        """Fields of a run's spec."""
        return {"nodeSelector": {POOL: self.value}, "tolerations": [{"key": POOL, "operator": "Exists"}]}

    def set_ready(self, name: str, status: str) -> None:
        """Let the node controller hear from a node, or not: True, or Unknown."""
        reason = {"True": "KubeletReady", "Unknown": "NodeStatusUnknown"}[status]
        condition = {"type": "Ready", "status": status, "reason": reason, "message": "as a test says"}
        path = f"{NODES}/{name}/status"
        kind = "application/strategic-merge-patch+json"
        answer = self.plane.request("PATCH", path, {"status": {"conditions": [condition]}}, content_type=kind)
        assert answer.status == 200, answer

    def taints(self, name: str) -> set[str]:
        """Keys of the node's taints."""
        return {taint["key"] for taint in self.plane.request("GET", f"{NODES}/{name}").body["spec"].get("taints", [])}

    def remove(self, name: str) -> None:
        """Delete the Node object, as a cloud does with a machine that is gone."""
        assert self.plane.request("DELETE", f"{NODES}/{name}").status in {200, 404}


@contextmanager
def own_nodes(plane: ControlPlane, count: int, *, held: bool = False) -> Iterator[OwnNodes]:
    """Nodes that are removed with the test."""
    value = secrets.token_hex(4)
    names = tuple(f"own-{value}-{n}" for n in range(count))
    nodes = OwnNodes(plane=plane, value=value, names=names)
    for name in names:
        plane.add_node(name, only_for=f"{POOL}={value}", held=held)
    try:
        yield nodes
    finally:
        for name in names:
            nodes.remove(name)


# -- what a kubelet says of the newest pod ----------------------------------------------------------------------------


def says_waiting(run: Run, *, launch: int, reason: str, message: str = "") -> None:
    """Its container waits."""
    _say(run, launch=launch, state={"waiting": {"reason": reason, "message": message}}, phase="Pending")


def says_running(run: Run, *, launch: int) -> None:
    """Its container runs."""
    _say(run, launch=launch, state={"running": {"startedAt": _now()}}, phase="Running", ready="True")


def says_ended(run: Run, *, launch: int, exit_code: int, reason: str = "Error", **status: object) -> None:
    """Its container has ended, and with it the pod."""
    end = {"exitCode": exit_code, "reason": reason, "startedAt": _now()}
    _say(run, launch=launch, state={"terminated": end}, phase="Failed" if exit_code else "Succeeded", more=status)


def lets_go(run: Run, *, launch: int) -> None:
    """The pod is ended and removed, as a kubelet does at the end of the grace period."""
    says_ended(run, launch=launch, exit_code=75)
    pod = run.pods(launch)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{run.scene.namespace}/pods/{pod}"
    assert run.scene.plane.request("DELETE", path, {"gracePeriodSeconds": 0}).status in {200, 404}


def _now() -> str:
    """As kubelets write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(
    run: Run, *, launch: int, state: Wire, phase: str, ready: str = "False", more: Mapping[str, object] | None = None
) -> None:
    container = {"name": "trainer", "image": "trainer:test", "imageID": "", "ready": ready == "True", "restartCount": 0}
    own = [{"type": kind, "status": ready} for kind in ("Ready", "ContainersReady")]
    others = [
        c for c in run.pods(launch)[0]["status"].get("conditions", []) if c["type"] not in {o["type"] for o in own}
    ]
    said: Wire = {"phase": phase, "containerStatuses": [container | {"state": state}], "conditions": [*others, *own]}
    run.patch_pod_status(launch=launch, status=said | dict(more or {}))
