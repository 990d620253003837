"""A cluster as e2e tests use it: the node of this package, or one that was given."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.build import NODE_PROGRAMS, PROGRAMS, find_programs
from tests.support.node.folders import Folders, default_folders
from tests.support.node.node import Node, running_node, start_node

USE_GIVEN = "TRAINMASTER_E2E_USE_CLUSTER"
"""Environment variable: 1 means that KUBECONFIG's cluster is used, whatever else is there."""


class NodeError(Exception):
    """A cluster cannot be had; says why, and the way out."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster in which pods run."""

    kubeconfig: Path
    kubectl_program: str
    helm_program: str
    node: Node | None = None
    """The node, where it is ours: its daemons can be stopped. None for a given cluster."""

    def kubectl(self, *args: str, input: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:  # noqa: A002  # as in subprocess.run
        """Run kubectl as the admin.

        Raises:
            AssertionError: it failed and `check` is set; with what it printed.
        """
        return self._run([self.kubectl_program, *args], input=input, check=check)

    def helm(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run helm as the admin. Raises as `kubectl`."""
        return self._run([self.helm_program, *args], input="", check=check)

    def _run(self, command: list[str], *, input: str, check: bool) -> subprocess.CompletedProcess[str]:  # noqa: A002  # as in subprocess.run
        done = subprocess.run(
            command,
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
        )
        if check and done.returncode != 0:
            msg = f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done


@contextmanager
def use_cluster(folders: Folders | None = None) -> Iterator[Cluster]:
    """The given cluster, or the node that runs, or one that is started now and ended afterwards.

    Raises:
        NodeError: none of them can be had.
    """
    folders = folders or default_folders()
    if os.environ.get(USE_GIVEN) == "1":
        yield _given()
        return
    running = running_node(folders)
    node = running or start_node(folders)
    try:
        yield _of(node)
    finally:
        if running is None:
            node.end()


def _given() -> Cluster:
    kubeconfig = os.environ.get("KUBECONFIG", "")
    if not Path(kubeconfig).is_file():
        msg = f"{USE_GIVEN}=1, but KUBECONFIG is {kubeconfig!r}: expected a file"
        raise NodeError(msg)
    return Cluster(
        kubeconfig=Path(kubeconfig).absolute(),
        kubectl_program=shutil.which("kubectl") or str(find_programs(PROGRAMS)["kubectl"]),
        helm_program=shutil.which("helm") or str(find_programs(NODE_PROGRAMS)["helm"]),
    )


def _of(node: Node) -> Cluster:
    return Cluster(
        kubeconfig=node.folders.kubeconfig("admin"),
        kubectl_program=str(node.binaries["kubectl"]),
        helm_program=str(node.binaries["helm"]),
        node=node,
    )
