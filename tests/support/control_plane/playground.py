"""A control plane to play with: it stays until Ctrl-C, and nothing of it is left then."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.support.control_plane.plane import ControlPlane
from tests.support.control_plane.start import start_control_plane

NODE: Final = "playground"
GPUS: Final = 8
VOLUMES: Final = 10
"""Nobody makes volumes there: these wait for claims."""
INTRODUCTION: Final = """# An API server with one fake node ({node}, {gpus} GPUs) and {volumes} volumes for claims.
# Pods are scheduled and said to run; nothing of them does. In other shells:
export KUBECONFIG={kubeconfig}
alias kubectl={kubectl}
# Then docs/how-to/run-the-operator.md. Ctrl-C here ends it, and everything in it is gone."""


def play() -> None:
    """Start a plane, say how to reach it, and keep it up until SIGINT or SIGTERM. Raises BuildError, PlaneError."""
    signal.signal(signal.SIGTERM, _end)
    try:
        print("starting ...", file=sys.stderr, flush=True)  # noqa: T201  # the command's output
        with start_control_plane() as plane:
            furnish(plane)
            print(introduction(plane), flush=True)  # noqa: T201  # the command's output
            signal.pause()
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)  # noqa: T201  # the command's output


def furnish(plane: ControlPlane) -> None:
    """Make what a cluster has that somebody cares for: a node, and volumes."""
    plane.add_node(NODE, gpus=GPUS)
    for number in range(VOLUMES):
        answer = plane.request("POST", "/api/v1/persistentvolumes", _volume(f"{NODE}-{number}"))
        assert answer.status == 201, answer


def introduction(plane: ControlPlane) -> str:
    """How to reach it, for a shell."""
    return INTRODUCTION.format(
        node=NODE, gpus=GPUS, volumes=VOLUMES, kubeconfig=plane.kubeconfig, kubectl=plane.kubectl_program
    )


def _volume(name: str) -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "capacity": {"storage": "100Gi"},
        "hostPath": {"path": str(Path("/nonexistent") / name)},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
