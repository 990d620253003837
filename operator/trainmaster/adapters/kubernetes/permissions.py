"""What the operator may do in a cluster: the one list that RBAC, the self-test and the tests of both are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from trainmaster.api.labels import GROUP

Json = dict[str, Any]

SERVICE_ACCOUNT: Final = "system:serviceaccount:"
LEASE: Final = "trainmaster"
"""The Lease of an installation called `trainmaster`, and wherever --lease-name names no other."""
TLS_SECRET: Final = "trainmaster-report-tls"  # noqa: S105 - a name
"""The Secret that --tls-secret names in an installation called `trainmaster`."""


class Scope(Enum):
    """Where a permission is needed."""

    SERVED = "served"
    """In every namespace that is served, or in the whole cluster."""
    CLUSTER = "cluster"
    """Of a kind that is in no namespace."""
    OWN = "own"
    """In the namespace of the Lease."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """Verbs on one kind."""

    group: str
    resource: str
    """Plural; a subresource follows a slash."""
    verbs: tuple[str, ...]
    why: str
    scope: Scope = Scope.SERVED
    names: tuple[str, ...] = ()
    """Objects that it is good for; none named: all. What is to be created has no name yet."""

    @property
    def name(self) -> str:
        """The kind as kubectl writes it: `jobs.batch`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def rule(self) -> Json:
        """As a rule of a Role."""
        named = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], **named, "verbs": list(self.verbs)}


_ALWAYS: Final = (
    Permission(group=GROUP, resource="trainingruns", verbs=("get", "list", "watch"), why="see what is asked for"),
    Permission(group=GROUP, resource="trainingruns/status", verbs=("patch",), why="decide, and say so"),
    Permission(
        group=GROUP, resource="runrecords", verbs=("get", "list", "watch", "create"), why="keep what a run came to"
    ),
    Permission(
        group="batch", resource="jobs", verbs=("get", "list", "watch", "create", "delete"), why="start and end launches"
    ),
    Permission(group="", resource="pods", verbs=("get", "list", "watch"), why="see how launches go"),
    Permission(group="", resource="events", verbs=("get", "create", "patch"), why="tell people"),
    Permission(
        group="authentication.k8s.io",
        resource="tokenreviews",
        verbs=("create",),
        why="know who reports",
        scope=Scope.CLUSTER,
    ),
    Permission(
        group="coordination.k8s.io",
        resource="leases",
        verbs=("create",),
        why="be the first one who acts",
        scope=Scope.OWN,
    ),
)
"""No update of a spec, nothing of RBAC. `get` on what is watched: a decision looks at the server first."""


def permissions(*, tls_secret: str = TLS_SECRET, lease: str = LEASE) -> tuple[Permission, ...]:
    """All that an operator needs.

    `tls_secret` is what --tls-secret names, empty where a certificate is given to it; `lease` what --lease-name does.
    """
    leads = Permission(
        group="coordination.k8s.io",
        resource="leases",
        verbs=("get", "update"),
        why="be the only one who acts",
        scope=Scope.OWN,
        names=(lease,),
    )
    if not tls_secret:
        return (*_ALWAYS, leads)
    keeps = Permission(
        group="",
        resource="secrets",
        verbs=("get", "update"),
        why="keep the report server's certificate",
        scope=Scope.OWN,
        names=(tls_secret,),
    )
    return (*_ALWAYS, leads, keeps)


PERMISSIONS: Final = permissions()
"""Those of an installation that is called `trainmaster`."""


def roles(needed: Iterable[tuple[Permission, str]], *, user: str, name: str = "trainmaster") -> list[Json]:
    """Roles that grant a user permissions in namespaces (empty: the whole cluster), and their bindings.

    `user` is a name as the API server says it: a service account's begins with `system:serviceaccount:`.
    """
    by_namespace: dict[str, list[Json]] = {}
    for permission, namespace in needed:
        by_namespace.setdefault(namespace, []).append(permission.rule())
    made: list[Json] = []
    for namespace, rules in by_namespace.items():
        made += _role(rules, namespace=namespace, name=name, subject=_subject(user))
    return made


def _role(rules: Sequence[Json], *, namespace: str, name: str, subject: Json) -> list[Json]:
    kind = "Role" if namespace else "ClusterRole"
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    group = "rbac.authorization.k8s.io"
    head = {"apiVersion": f"{group}/v1", "metadata": metadata}
    return [
        head | {"kind": kind, "rules": list(rules)},
        head
        | {
            "kind": f"{kind}Binding",
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def _subject(user: str) -> Json:
    """A user name as a binding names it."""
    if user.startswith(SERVICE_ACCOUNT):
        namespace, _, name = user.removeprefix(SERVICE_ACCOUNT).partition(":")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
