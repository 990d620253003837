"""A release of the chart on a control plane, in a namespace that takes restricted pods only."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

from tests.support.chart import CHART, Json, helm
from tests.support.cluster_runs import NAMESPACES
from tests.support.control_plane import ControlPlane
from tests.support.control_plane.plane import Answer

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def helm_environment(plane: ControlPlane) -> dict[str, str]:
    """What helm needs to talk to a plane, and to leave nothing elsewhere."""
    folders = {f"HELM_{kind}_HOME": str(plane.folder / f"helm-{kind.lower()}") for kind in ("CACHE", "CONFIG", "DATA")}
    return folders | {"KUBECONFIG": str(plane.kubeconfig)}


def create_namespace(plane: ControlPlane, name: str, **labels: str) -> None:
    """Create a namespace with labels."""
    answer = plane.request("POST", NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    assert answer.status == 201, answer


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that is called as its namespace."""

    plane: ControlPlane
    name: str
    enabled: str
    """A served namespace where training is enabled."""
    other: str
    """A served namespace where it is not."""

    @property
    def account(self) -> str:
        """The operator's user name."""
        return f"system:serviceaccount:{self.name}:{self.name}"

    @property
    def secret(self) -> str:
        """Path of the certificate's Secret."""
        return f"/api/v1/namespaces/{self.name}/secrets/{self.name}-report-tls"

    @property
    def lease(self) -> tuple[str, ...]:
        """The operator's flags that name its Lease."""
        return ("--lease-namespace", self.name, "--lease-name", self.name)

    def helm(self, *args: str) -> CompletedProcess[str]:
        """Run helm on the plane. Raises AssertionError, with what it said, when it fails."""
        done = helm(*args, env=helm_environment(self.plane))
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def upgrade(self, *values: str) -> CompletedProcess[str]:
        """Install or upgrade it with these values over its own."""
        said = [
            "crds.enabled=false",
            f"namespaces={{{self.enabled},{self.other}}}",
            "admissionPolicies.enabled=true",
            "userRoles.enabled=true",
            *values,
        ]
        flags = [word for each in said for word in ("--set", each)]
        return self.helm("upgrade", "--install", self.name, str(CHART), "--namespace", self.name, "--wait", *flags)

    def token(self, account: str) -> str:
        """A token of a service account of the release."""
        return self.plane.kubectl("-n", self.name, "create", "token", account).stdout.strip()

    def kubeconfig(self) -> Path:
        """The operator's own."""
        return self.plane.kubeconfig_for(self.token(self.name), name=self.name)

    def apply_as_operator(self, *args: str, input: str = "") -> CompletedProcess[str]:  # noqa: A002  # as in subprocess.run
        """Run kubectl as the operator; may fail."""
        return self.plane.kubectl(f"--as={self.account}", *args, input=input, check=False)

    def request_as_operator(self, method: str, path: str, body: Json) -> Answer:
        """One request of the operator, without the others that kubectl makes before it."""
        return replace(self.plane, admin_token=self.token(self.name)).request(method, path, body)

    def apply(self, manifest: Json) -> None:
        """Apply an object as the admin."""
        self.plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))


@contextmanager
def released(plane: ControlPlane, *values: str) -> Iterator[Release]:
    """A release that serves two namespaces, for as long as the block takes; fails when something of it is left."""
    name = f"trainmaster-{secrets.token_hex(3)}"
    release = Release(plane=plane, name=name, enabled=f"{name}-on", other=f"{name}-off")
    create_namespace(plane, name, **RESTRICTED)
    create_namespace(plane, release.enabled, **RESTRICTED | {"trainmaster.io/enabled": "true"})
    create_namespace(plane, release.other, **RESTRICTED)
    try:
        release.upgrade(*values)
        yield release
        release.helm("uninstall", name, "--namespace", name, "--wait")
        left = left_over(release)
        assert not left, f"left behind: {left}"
    finally:
        for namespace in (name, release.enabled, release.other):
            plane.request("DELETE", f"{NAMESPACES}/{namespace}")


def left_over(release: Release) -> Sequence[str]:
    """Objects of the release, wherever they are."""
    kinds = (
        "deployment,pod,service,configmap,secret,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,"
        "poddisruptionbudget,networkpolicy,validatingadmissionpolicy,validatingadmissionpolicybinding"
    )
    label = f"app.kubernetes.io/instance={release.name}"
    return release.plane.kubectl("get", kinds, "-A", "-l", label, "-o", "name").stdout.split()
