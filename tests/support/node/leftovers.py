"""What of a node is still there when nothing should be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.node.addresses import LINK
from tests.support.node.folders import Folders
from tests.support.node.machine import cgroups, is_connected

MOUNT_POINT = 4
"""Field of a line of /proc/self/mountinfo, from 0."""
FIREWALL_MARKS = ("KUBE-", "CNI-")
"""What the chains of kube-proxy, kubelet and the CNI plugins begin with."""


def leftovers(folders: Folders) -> list[str]:
    """One line for each process, mount, interface, firewall rule, cgroup and folder; empty: nothing is left."""
    return [
        *_processes(folders),
        *(f"mount {point}" for point in mounts(folders.root)),
        *_network(),
        *_cgroups(),
        *_folders(folders),
    ]


def _processes(folders: Folders) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(str(folders.run) in word for word in words):
            yield f"process {process.name}: {' '.join(words).strip()}"


def mounts(folder: Path) -> Iterator[str]:
    """Mount points at or below a folder, in this process' namespace."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[MOUNT_POINT])
        if point.is_relative_to(folder):
            yield str(point)


def _network() -> Iterator[str]:
    if is_connected():
        yield f"interface {LINK}"
    if Path("/sys/class/net/cni0").exists():
        yield "interface cni0"
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False)
    for line in rules.stdout.splitlines():
        if any(mark in line for mark in FIREWALL_MARKS):
            yield f"firewall {line}"


def _cgroups() -> Iterator[str]:
    for path in cgroups():
        if path.exists():
            yield f"cgroup {path}"


def _folders(folders: Folders) -> Iterator[str]:
    if folders.run.exists():
        yield f"folder {folders.run}"
