"""Where the files of the node are. What outlives a cluster, its images, lies beside what is removed with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.build import cache_folder


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Paths below one folder. It may not lie under /var/lib, /var/log or /run: the node has those for itself."""

    root: Path

    @property
    def containerd(self) -> Path:
        """containerd's images; outlives a cluster."""
        return self.root / "containerd"

    @property
    def buildah(self) -> Path:
        """buildah's images; outlives a cluster."""
        return self.root / "buildah"

    @property
    def wheels(self) -> Path:
        """Python packages that images are built from; outlives a cluster."""
        return self.root / "wheels"

    @property
    def lock(self) -> Path:
        """Held while a cluster is started, ended, or given images."""
        return self.root / "lock"

    @property
    def run(self) -> Path:
        """Everything of a running cluster; removed with it."""
        return self.root / "run"

    @property
    def holder(self) -> Path:
        """Which processes hold the namespaces, and what must be put back when they have ended."""
        return self.run / "holder.json"

    @property
    def ready(self) -> Path:
        """Made when the cluster can be used."""
        return self.run / "ready"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def audit(self) -> Path:
        """What the operator's account has asked of the API server: one JSON object per line."""
        return self.logs / "audit.jsonl"

    @property
    def pids(self) -> Path:
        """A file for each daemon: its PID, as the holder's namespace counts."""
        return self.run / "pids"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def config(self) -> Path:
        """Configuration files of the daemons."""
        return self.run / "config"

    @property
    def volumes(self) -> Path:
        """A folder for each persistent volume."""
        return self.run / "volumes"

    @property
    def kubelet(self) -> Path:
        return self.run / "kubelet"

    @property
    def socket(self) -> Path:
        """containerd's."""
        return self.run / "containerd.sock"

    def kubeconfig(self, user: str) -> Path:
        return self.run / f"{user}.kubeconfig"


def default_folders() -> Folders:
    """The folder that all checkouts of a user share: there is one node on a machine."""
    return Folders(root=cache_folder().absolute() / "node")
