"""Service accounts with chosen permissions: whoever an operator of a test is, and what it may."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.support.control_plane import ControlPlane
from trainmaster.adapters.kubernetes.permissions import PERMISSIONS, Permission, Scope, roles

NAME = "operator"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A service account in the one namespace that its operator serves."""

    plane: ControlPlane
    namespace: str

    @property
    def user(self) -> str:
        """Its name, as the API server says it."""
        return f"system:serviceaccount:{self.namespace}:{NAME}"

    @property
    def role(self) -> str:
        """Name of its roles: those of the cluster are shared by all tests."""
        return f"operator-of-{self.namespace}"

    def grant(self, permissions: Sequence[Permission] = PERMISSIONS) -> None:
        """Let it have these permissions, and no others."""
        needed = [(each, "" if each.scope is Scope.CLUSTER else self.namespace) for each in permissions]
        for role in roles(needed, user=self.user, name=self.role):
            self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(role))

    def token(self, *, bound_to: str = "") -> str:
        """A token; one that is bound to a Secret ends with it."""
        bound = ["--bound-object-kind=Secret", f"--bound-object-name={bound_to}"] if bound_to else []
        return self.plane.kubectl("-n", self.namespace, "create", "token", NAME, *bound).stdout.strip()


@contextmanager
def service_account(plane: ControlPlane, namespace: str) -> Iterator[Account]:
    """A service account that may nothing yet; what it was granted in the cluster ends with the block."""
    plane.kubectl("-n", namespace, "create", "serviceaccount", NAME)
    account = Account(plane=plane, namespace=namespace)
    yield account
    plane.kubectl("delete", "clusterrole,clusterrolebinding", account.role, "--ignore-not-found")


def without(resource: str, verb: str) -> list[Permission]:
    """All that an operator needs, but one verb on one kind."""
    return [
        replace(each, verbs=tuple(v for v in each.verbs if v != verb)) if each.resource == resource else each
        for each in PERMISSIONS
    ]
