"""Starting and ending the node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.build import NODE_PROGRAMS, PROGRAMS, find_programs
from tests.support.control_plane.process import locked
from tests.support.launcher import wait_until
from tests.support.node.addresses import NODE
from tests.support.node.configs import PAUSE_IMAGE, write_configs
from tests.support.node.daemons import ORDER, Daemons
from tests.support.node.folders import Folders
from tests.support.node.holder import Holder, read_holder, start_holder
from tests.support.node.leftovers import leftovers, mounts
from tests.support.node.machine import (
    connect,
    disconnect,
    is_connected,
    make_cgroups,
    remove_cgroups,
    restore_sysctls,
    save_sysctls,
)
from tests.support.node.objects import first_objects
from tests.support.node.pki import write_credentials
from tests.support.node.store import Store

PACKAGES = Path(__file__).parents[3] / "scripts" / "packages.sh"
GONE_SECONDS = 30.0
"""For the kernel to remove a link whose network is gone, and cgroups whose processes are."""


class MachineError(Exception):
    """This machine cannot have a node; says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that runs."""

    folders: Folders
    daemons: Daemons

    @property
    def binaries(self) -> Mapping[str, Path]:
        return self.daemons.binaries

    @property
    def holder(self) -> Holder:
        return self.daemons.holder

    @property
    def images(self) -> Store:
        """containerd's images."""
        return Store(folders=self.folders)

    def kubectl(self, *args: str, input: str = "") -> str:  # noqa: A002  # as in subprocess.run
        """What kubectl prints, as the admin."""
        done = subprocess.run(
            [str(self.binaries["kubectl"]), f"--kubeconfig={self.folders.kubeconfig('admin')}", *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            msg = f"kubectl {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done.stdout

    def end(self) -> None:
        """End it and remove every trace.

        Raises:
            AssertionError: something is left; names it.
        """
        with locked(self.folders.lock):
            end_node(self.folders)


def running_node(folders: Folders) -> Node | None:
    """The node that was started and is ready; None where there is none."""
    holder = read_holder(folders)
    if holder is None or not holder.alive or not folders.ready.exists():
        return None
    return Node(folders=folders, daemons=Daemons(holder=holder, folders=folders, binaries=_binaries()))


def start_node(folders: Folders) -> Node:
    """Start one; what a killed one has left is removed first.

    Raises:
        MachineError: the machine lacks something.
        AssertionError: a part did not start; with the end of its log.
    """
    _check_machine()
    binaries = _binaries()
    folders.root.mkdir(parents=True, exist_ok=True)
    with locked(folders.lock):
        end_node(folders)
        try:
            return _start(folders, binaries)
        except BaseException:
            kept = folders.root / "failed-logs"
            shutil.rmtree(kept, ignore_errors=True)
            if folders.logs.exists():
                shutil.copytree(folders.logs, kept)
            end_node(folders)
            raise


def end_node(folders: Folders) -> None:
    """End what runs, in the order in which nothing is in the way of the next step. Fine where nothing is there."""
    holder = read_holder(folders)
    if holder is not None:
        holder.end()
    wait_until(lambda: not _still_connected(), what="the end of the link", timeout=GONE_SECONDS)
    wait_until(_try_remove_cgroups, what="the end of the cgroups' processes", timeout=GONE_SECONDS)
    restore_sysctls(folders)
    still = list(mounts(folders.run))
    if still:
        msg = f"not removing {folders.run}: there are mounts below it: {', '.join(still)}"
        raise AssertionError(msg)
    if folders.run.exists():
        shutil.rmtree(folders.run)
    left = leftovers(folders)
    if left:
        msg = "\n".join(["the node has left something behind:", *left])
        raise AssertionError(msg)


def _still_connected() -> bool:
    disconnect()
    return is_connected()


def _try_remove_cgroups() -> bool:
    try:
        remove_cgroups()
    except OSError:
        return False
    return True


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise MachineError("a node needs namespaces, mounts and cgroups: run as root, or give a cluster by KUBECONFIG")
    done = subprocess.run([str(PACKAGES), "--check"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(done.stderr.strip())


def _binaries() -> dict[str, Path]:
    return find_programs(PROGRAMS) | find_programs(NODE_PROGRAMS)


def _start(folders: Folders, binaries: Mapping[str, Path]) -> Node:
    for folder in (folders.logs, folders.pids, folders.config, folders.volumes):
        folder.mkdir(parents=True)
    write_credentials(folders)
    write_configs(folders)
    save_sysctls(folders)
    make_cgroups()
    holder = start_holder(folders)
    connect(holder)
    daemons = Daemons(holder=holder, folders=folders, binaries=binaries)
    node = Node(folders=folders, daemons=daemons)
    daemons.start("containerd")
    daemons.start_control_plane()
    _start_containerd(node)
    for name in ("kubelet", "kube-proxy", "coredns"):
        daemons.start(name)
    node.kubectl("apply", "--server-side", "--filename=-", input=json.dumps(first_objects(folders.volumes)))
    daemons.wait_for(lambda: _is_ready(node), what=f"node {NODE}", needed=ORDER)
    folders.ready.touch()
    return node


def _start_containerd(node: Node) -> None:
    """Its store outlives nodes: containers of an earlier one are forgotten before the kubelet asks for them."""
    needed = ("containerd",)
    node.daemons.wait_for(node.images.answers, what="containerd", needed=needed)
    if node.images.forget_containers():
        # Its CRI part has read them already.
        node.daemons.stop("containerd")
        node.daemons.start("containerd")
        node.daemons.wait_for(node.images.answers, what="containerd", needed=needed)
    node.images.add_pause(node.binaries["pause"], name=PAUSE_IMAGE)


def _is_ready(node: Node) -> bool:
    path = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
    return node.kubectl("get", "nodes", f"--output=jsonpath={path}") == "True"
