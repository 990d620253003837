"""Images for the node: the project's Dockerfile, built by buildah on a base made from Debian packages.

No registry is asked for images. Python packages are downloaded once, by lock with hashes, into a folder that the build
sees: it needs no network. What is built lies in buildah's store, by layers, and is piped into containerd from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.node.folders import Folders
from tests.support.node.holder import TOOLS
from tests.support.node.store import Store

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
BASE = "localhost/trainmaster/base:bookworm"
"""Debian's Python; holds nothing of ours."""
OPERATOR = "localhost/trainmaster/operator:e2e"
TRAINER = "localhost/trainmaster/trainer:e2e"
STUB = "localhost/trainmaster/stub:e2e"
"""A trainer's image without torch: the launcher, and programs that report through it."""
FOREIGN = "localhost/trainmaster/foreign:e2e"
"""Somebody else's image: python3, and nothing of ours. It is the base."""
STUB_FILE = Path("tests/e2e/stub/Dockerfile")
"""In a checkout."""
PYTHON = "3.11"
"""The base's: what packages are downloaded for."""
MEGABYTES = {"KB": 1e-3, "MB": 1.0, "GB": 1e3}
"""By the units that buildah tells sizes in."""
QUOTED_LINES = 30
"""Lines of a failed command's output that the error quotes."""


class ImageError(Exception):
    """An image could not be made; with what was said last."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """buildah's images in a node's folder."""

    folders: Folders
    source: Path = ROOT
    """The checkout that they are made of."""

    def make_base(self) -> None:
        """Make the base where it is not there yet: a minute."""
        if self._buildah("images", "--quiet", "--filter", f"reference={BASE}"):
            return
        with tempfile.TemporaryDirectory(dir=self._scratch()) as folder:
            self._run([str(HERE / "base.sh"), BASE, folder, *self._store()])

    def make_operator(self, name: str = OPERATOR) -> None:
        """The operator's image."""
        self._build(name, ["--target=operator"], locks=("build", "operator"))

    def make_stub(self, name: str = STUB) -> None:
        """The stub's image."""
        self._build(name, [f"--file={self.source / STUB_FILE}"])

    def bring_trainer(self, store: Store) -> None:
        """Make the trainer's image, with torch, and bring it into a node's containerd.

        It is several GB: it is never kept twice, so that all of it is made anew each time, in some ten minutes.
        """
        with tempfile.TemporaryDirectory(dir=self._scratch()) as folder:
            archive = Path(folder) / "image.tar"
            options = ["--target=trainer", "--layers=false"]
            self._build(f"docker-archive:{archive}:{TRAINER}", options, locks=("build", "trainer", "data"))
            store.add(archive)

    def bring(self, store: Store) -> None:
        """Make the images of operator, stub and somebody else, and bring them into a node's containerd."""
        self.make_operator()
        self.make_stub()
        self._buildah("tag", BASE, FOREIGN)
        for name in (OPERATOR, STUB, FOREIGN):
            self.hand_over(name, store)

    def identity(self, name: str) -> str:
        """The ID of an image: what it holds, in one word."""
        return self._buildah("images", "--quiet", "--no-trunc", name)

    def config(self, name: str) -> dict[str, Any]:
        """How an image is run: user, entry point, labels."""
        found: dict[str, Any] = self._inspect(name)["OCIv1"]["config"]
        return found

    def layers(self, name: str) -> list[str]:
        """Digests of an image's layers, from the base up."""
        found: list[str] = self._inspect(name)["OCIv1"]["rootfs"]["diff_ids"]
        return found

    def megabytes(self, name: str) -> float:
        """Size of an image's files; millions of bytes."""
        number, unit = json.loads(self._buildah("images", "--json", name))[0]["size"].split()
        return float(number) * MEGABYTES[unit]

    def _inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._buildah("inspect", "--type=image", name))
        return found

    def hand_over(self, name: str, store: Store) -> None:
        """Bring an image into a node's containerd, unless it has it in this form already."""
        marker = store.folders.containerd / f"{name.replace('/', '-').replace(':', '-')}.id"
        identity = self.identity(name)
        if name in store.names() and marker.exists() and marker.read_text() == identity:
            return
        with tempfile.TemporaryDirectory(dir=self._scratch()) as folder:
            archive = Path(folder) / "image.tar"
            self._buildah("push", "--quiet", name, f"docker-archive:{archive}:{name}")
            store.add(archive)
        marker.write_text(identity)

    def _build(self, name: str, options: Sequence[str], *, locks: Sequence[str] = ()) -> None:
        self.make_base()
        self.folders.wheels.mkdir(parents=True, exist_ok=True)
        for lock in locks:
            self._download(lock)
        self._buildah(
            "bud",
            "--isolation=chroot",
            "--pull-never",
            "--layers",
            "--quiet",
            f"--volume={self.folders.wheels}:/wheels:ro",
            f"--build-arg=BASE_IMAGE={BASE}",
            "--build-arg=PIP_NO_INDEX=1",
            "--build-arg=PIP_FIND_LINKS=/wheels",
            f"--tag={name}",
            *options,
            str(self.source),
        )

    def _download(self, lock: str) -> None:
        """Download the packages of a lock, where this form of it has not been downloaded yet."""
        file = self.source / "requirements" / f"{lock}.lock"
        marker = self.folders.wheels / f".{lock}-{hashlib.sha256(file.read_bytes()).hexdigest()}.lock"
        if marker.exists():
            return
        with tempfile.TemporaryDirectory(dir=self._scratch()) as folder:
            # The environment that runs this may have no pip.
            self._run([sys.executable, "-m", "venv", folder])
            options = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={PYTHON}"]
            target = [f"--dest={self.folders.wheels}", f"--requirement={file}"]
            self._run([f"{folder}/bin/pip", "download", "--quiet", "--progress-bar=off", *options, *target])
        marker.touch()

    def _scratch(self) -> Path:
        """Where archives lie for a moment; not /tmp, which may be memory."""
        folder = self.folders.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _store(self) -> list[str]:
        return ["buildah", f"--root={self.folders.buildah}", f"--runroot={self.folders.root / 'buildah-run'}"]

    def _buildah(self, *words: str) -> str:
        return self._run([*self._store(), *words])

    def _run(self, command: Sequence[str]) -> str:
        """What a command prints. It has mounts of its own: buildah leaves one behind, and it ends with the command.

        Raises:
            ImageError: it failed; with its last lines.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BUILDAH_")}
        done = subprocess.run(
            ["unshare", "--mount", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment | {"PATH": TOOLS},
        )
        if done.returncode != 0:
            quoted = "\n".join((done.stdout + done.stderr).splitlines()[-QUOTED_LINES:])
            msg = f"{' '.join(command)}: exit code {done.returncode}\n{quoted}"
            raise ImageError(msg)
        return done.stdout.strip()
