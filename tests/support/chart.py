"""The chart as tests see it: helm, rendered objects by kind and name, and what is true of each of them.

`python -m tests.support.chart` builds helm, unless it is there, and prints where it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.control_plane.build import BuildError, Program, find_programs

Json = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "trainmaster"
NAMESPACE = "trainmaster-system"
HELM = Program(name="helm", module="helm", package="helm.sh/helm/v3/cmd/helm")
HOOK = "helm.sh/hook"
ASSUMED = "--kube-version=1.31.0"
"""The oldest Kubernetes that is served, where helm asks no server. One built from Go modules assumes 1.20 by itself."""
CLUSTERED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
"""Kinds of the chart that are in no namespace."""


class NoHelmError(Exception):
    """There is no helm; says how to get one."""


@cache
def helm_program() -> Path:
    """`$HELM`, else the one that was built from Go modules into the tests' cache.

    Raises:
        NoHelmError: neither is there.
    """
    given = os.environ.get("HELM")
    program = Path(given) if given else HELM.cached()
    if program.exists():
        return program.absolute()
    msg = f"no helm at {program}: build it by `make chart-tools` (minutes the first time), or set HELM to one"
    raise NoHelmError(msg)


def helm(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm in the repository; with its exit code and what it said."""
    return subprocess.run(
        [str(helm_program()), *args],
        cwd=REPOSITORY,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def render(*args: str, values: Path | None = None, release: str = "trainmaster") -> Rendered:
    """The chart with these values. Raises AssertionError, with what helm said, when it is refused."""
    given = ["--values", str(values)] if values else []
    done = helm("template", release, str(CHART), "--namespace", NAMESPACE, ASSUMED, *given, *args)
    assert done.returncode == 0, done.stderr
    return Rendered(objects=tuple(parsed for parsed in yaml.safe_load_all(done.stdout) if parsed), text=done.stdout)


def refusal(*args: str) -> str:
    """What helm says where it refuses values. Raises AssertionError when it takes them."""
    done = helm("template", "trainmaster", str(CHART), "--namespace", NAMESPACE, ASSUMED, *args)
    assert done.returncode != 0, f"taken: {args}"
    return done.stderr


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Rendered objects."""

    objects: Sequence[Json]
    text: str

    def of(self, kind: str, *, hooks: bool = False) -> list[Json]:
        """Objects of a kind; those of `helm test` only if asked for."""
        return [each for each in self.objects if each["kind"] == kind and (hooks or not is_hook(each))]

    def one(self, kind: str, name: str = "") -> Json:
        """The only object of a kind, or of a kind and name. Raises AssertionError when it is not one."""
        found = [each for each in self.of(kind) if name in {"", each["metadata"]["name"]}]
        assert len(found) == 1, f"{len(found)} objects of kind {kind}, name {name!r}"
        return found[0]

    @property
    def test_pod(self) -> Json:
        """The pod of `helm test`."""
        (pod,) = self.of("Pod", hooks=True)
        return pod

    @property
    def pods(self) -> list[Json]:
        """Specs of all pods that come of it."""
        made = [each["spec"]["template"]["spec"] for each in self.of("Deployment")]
        return made + [each["spec"] for each in self.of("Pod", hooks=True)]

    @property
    def flags(self) -> dict[str, list[str]]:
        """The operator's flags, each with its values."""
        found: dict[str, list[str]] = {}
        command, *flags = self.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert command == "operator"
        for flag in flags:
            name, _, value = flag.partition("=")
            found.setdefault(name, []).append(value)
        return found


def is_hook(item: Json) -> bool:
    """Whether it belongs to `helm test`."""
    return HOOK in (item["metadata"].get("annotations") or {})


def unrestricted(pod: Json) -> Iterable[str]:
    """What a pod does that the Pod Security Standard `restricted`, or our own rules on top of it, forbid."""
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or not security.get("runAsUser", 0):
        yield "may run as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    yield from (f"has {word}" for word in ("hostNetwork", "hostPID", "hostIPC") if pod.get(word))
    allowed = {"name", "configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim"}
    yield from (f"volume {volume}" for volume in pod.get("volumes", []) if not set(volume) <= allowed)
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if own != expected:
            yield f"container {container['name']}: {own}"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"container {container['name']}: hostPort"


def main() -> None:
    """Run as a program; exit code 1 when helm cannot be built."""
    try:
        found = os.environ.get("HELM") or find_programs((HELM,))["helm"]
    except BuildError as error:
        sys.exit(f"helm: {error}")
    sys.stdout.write(f"{found}\n")


if __name__ == "__main__":
    main()
