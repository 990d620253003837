"""What the node changes on the machine outside its namespaces, and how that is undone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.node.addresses import BRIDGE_IP, HOST_IP, LINK, LINK_BITS, NODE_IP, POD_RANGE, SERVICE_RANGE
from tests.support.node.folders import Folders
from tests.support.node.holder import HERE, Holder

CGROUP = "trainmaster-node"
"""The parent of all cgroups of the kubelet and its pods, in each hierarchy."""
HIERARCHIES = Path("/sys/fs/cgroup")
INHERITED = ("cpuset.cpus", "cpuset.mems")
"""Empty in a new v1 cpuset; no process can be put into one where they are."""
SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What the kubelet sets for the whole machine when it starts."""


def connect(holder: Holder) -> None:
    """Link host and node; pods and Services have routes on the host while the link is there."""
    _ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", str(holder.init.pid))
    holder.inside(
        str(HERE / "network.sh"), f"{NODE_IP}/{LINK_BITS}", f"{BRIDGE_IP}/{POD_RANGE.partition('/')[2]}", SERVICE_RANGE
    )
    _ip("addr", "add", f"{HOST_IP}/{LINK_BITS}", "dev", LINK)
    _ip("link", "set", LINK, "up")
    for target in (POD_RANGE, SERVICE_RANGE):
        _ip("route", "add", target, "via", NODE_IP)


def is_connected() -> bool:
    """Whether the host's end of the link is there."""
    return Path(f"/sys/class/net/{LINK}").exists()


def disconnect() -> None:
    """Remove the link where the kernel has not done so yet: it goes with the node's network."""
    if is_connected():
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        msg = f"ip {' '.join(words)}: {done.stderr.strip()}"
        raise AssertionError(msg)


def cgroups() -> Iterator[Path]:
    """The node's cgroup in each hierarchy, there or not."""
    if (HIERARCHIES / "cgroup.controllers").exists():
        yield HIERARCHIES / CGROUP
        return
    for mount in HIERARCHIES.iterdir():
        # A v1 hierarchy has links to those that share it, and may have a v2 one beside it.
        if mount.is_dir() and not mount.is_symlink():
            yield mount / CGROUP


def make_cgroups() -> None:
    """Make them, ready to take processes."""
    for path in cgroups():
        path.mkdir(exist_ok=True)
        for name in INHERITED:
            if (path / name).exists() and (path.parent / name).exists():
                (path / name).write_text((path.parent / name).read_text())


def remove_cgroups() -> None:
    """Remove them, with what the kubelet has made below; their processes must have ended."""
    for path in cgroups():
        if path.exists():
            folders = sorted((each for each in path.rglob("*") if each.is_dir()), reverse=True)
            for each in [*folders, path]:
                each.rmdir()


def save_sysctls(folders: Folders) -> None:
    """Write down what the kubelet will change."""
    values = {name: Path("/proc/sys", name).read_text().strip() for name in SYSCTLS}
    (folders.run / "sysctls.json").write_text(json.dumps(values))


def restore_sysctls(folders: Folders) -> None:
    """Put back what was written down."""
    path = folders.run / "sysctls.json"
    if path.exists():
        for name, value in json.loads(path.read_text()).items():
            Path("/proc/sys", name).write_text(value)
