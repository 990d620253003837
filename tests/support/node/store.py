"""containerd's images: put in from archives, or straight from buildah."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.node.folders import Folders

NAMESPACE = "k8s.io"
"""containerd's own: that of the kubelet's images and containers."""
ARCHITECTURE = "amd64"


@dataclass(frozen=True, kw_only=True)
class Store:
    """The images of a node's containerd; its socket is reached from the host."""

    folders: Folders

    def answers(self) -> bool:
        """Whether containerd can be asked."""
        return self._ctr("version", check=False).returncode == 0

    def names(self) -> set[str]:
        """Names of the images that are there."""
        return set(self._ctr("images", "list", "--quiet").stdout.split())

    def forget_containers(self) -> bool:
        """Remove containers that no process belongs to any more; whether there were any."""
        old = self._ctr("containers", "list", "--quiet").stdout.split()
        if old:
            self._ctr("containers", "delete", *old)
        return bool(old)

    def add_pause(self, program: Path, *, name: str) -> None:
        """The image of a pod's first process, where it is not there yet."""
        if name in self.names():
            return
        archive = self.folders.run / "pause.tar"
        archive.write_bytes(one_program_image(program, name=name))
        self.add(archive)
        archive.unlink()

    def add(self, archive: Path) -> None:
        """Import the images of an archive of docker's format."""
        self._ctr("images", "import", str(archive))

    def tag(self, name: str, *, like: str) -> None:
        """Give an image one more name."""
        self._ctr("images", "tag", like, name)

    def untag(self, name: str) -> None:
        """Take that name away."""
        self._ctr("images", "delete", "--sync", name)

    def _ctr(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["ctr", f"--address={self.folders.socket}", f"--namespace={NAMESPACE}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            msg = f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done


def one_program_image(program: Path, *, name: str) -> bytes:
    """An image of one static program, as an archive of docker's format."""
    layer = _archive({program.name: program.read_bytes()}, mode=0o755)
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    return _archive({"config.json": config, "layer.tar": layer, "manifest.json": manifest}, mode=0o644)


def _archive(files: dict[str, bytes], *, mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
