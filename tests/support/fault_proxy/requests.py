"""What a request to an API server is about, in Kubernetes' own terms, and the log of such requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import orjson

WRITING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
QUIET_RESOURCES = frozenset({"events", "leases"})
"""Told and renewed at the operator's leisure: no step of a run depends on one."""
QUESTIONS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups whose creates store nothing: TokenReview, SubjectAccessReview."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, as its path and method tell; `body` is parsed JSON, or None."""

    method: str
    path: str
    query: Mapping[str, str]
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    """Plural, lower case; empty for paths that are no resource (`/version`, discovery)."""
    namespace: str = ""
    name: str = ""
    """For a create, what its body says."""
    subresource: str = ""
    body: Any = None

    def __str__(self) -> str:
        where = "/".join(part for part in (self.namespace, self.name, self.subresource) if part)
        return f"{self.verb} {self.resource or self.path} {where}".rstrip()


@dataclass(kw_only=True, slots=True)
class Exchange:
    """One request and what became of it. `began` and `ended` are places in one order of all of the proxy's log."""

    number: int
    request: Request
    began: int
    write: int | None = None
    """Number among the operator's writes, from 1; None for what is no write."""
    ended: int | None = None
    """When the server's answer was complete; None: it is under way, or was never forwarded."""
    status: int | None = None
    """What the server said; None: not asked, or no answer yet."""
    reply: Any = None
    """What the server answered to a write, parsed."""
    answered: int | None = None
    """The status that the caller got; None: none, or not yet."""
    faults: list[str] = field(default_factory=list)
    """Names of the faults that struck it."""

    @property
    def committed(self) -> bool:
        """Whether the server took it."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        struck = f" [{', '.join(self.faults)}]" if self.faults else ""
        return f"#{self.number} {self.request} -> {self.status} (caller: {self.answered}){struck}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Which requests a fault is for; what is not given does not matter."""

    resource: str | None = None
    verbs: tuple[str, ...] = ()
    """Kubernetes' verbs: get list watch create update patch delete deletecollection."""
    group: str | None = None
    namespace: str | None = None
    name: str | None = None
    """A shell pattern."""
    subresource: str | None = None
    """`""` matches the object itself only."""
    where: Callable[[Request], bool] | None = None

    def __call__(self, request: Request) -> bool:
        """Whether the request is meant."""
        return (
            self.resource in (None, request.resource)
            and (not self.verbs or request.verb in self.verbs)
            and self.group in (None, request.group)
            and self.namespace in (None, request.namespace)
            and (self.name is None or fnmatchcase(request.name, self.name))
            and self.subresource in (None, request.subresource)
            and (self.where is None or self.where(request))
        )


def is_write(request: Request) -> bool:
    """Whether the request changes what a run depends on: Events, Leases and reviews do not count."""
    return request.verb in WRITING and request.resource not in QUIET_RESOURCES and request.group not in QUESTIONS


ANY = Match()
WRITES = Match(where=is_write)
LISTS = Match(verbs=("list",))
WATCHES = Match(verbs=("watch",))


def parse_json(raw: bytes) -> Any:  # noqa: ANN401  # JSON has any shape: an object, or the list of a patch
    """JSON, or None where there is none (an empty body, YAML, protobuf)."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def parse_request(method: str, path: str, query: Mapping[str, str], raw: bytes) -> Request:
    """The request, in Kubernetes' terms."""
    body = parse_json(raw) if raw else None
    group, version, rest = _root(path.strip("/").split("/"))
    namespace, rest = _namespace(rest)
    resource, name, subresource = (*rest, "", "", "")[:3] if rest else ("", "", "")
    verb = _verb(method, query, named=bool(name), resource=resource)
    if verb == "create" and not name and isinstance(body, dict):
        name = str(body.get("metadata", {}).get("name", ""))
    return Request(
        method=method,
        path=path,
        query=query,
        verb=verb,
        group=group,
        version=version,
        resource=resource,
        namespace=namespace,
        name=name,
        subresource=subresource if len(rest) <= 3 else "/".join(rest[2:]),
        body=body,
    )


def _root(parts: list[str]) -> tuple[str, str, list[str]]:
    match parts:
        case ["api", version, *rest]:
            return "", version, rest
        case ["apis", group, version, *rest]:
            return group, version, rest
        case _:
            return "", "", []


def _namespace(rest: list[str]) -> tuple[str, list[str]]:
    """The namespace, and the path behind it; a namespace itself, with its subresources, is a resource without one."""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        return rest[1], rest[2:]
    return "", rest


def _verb(method: str, query: Mapping[str, str], *, named: bool, resource: str) -> str:
    match method:
        case "GET" | "HEAD" if not resource or named:
            return "get"
        case "GET" | "HEAD":
            return "watch" if query.get("watch", "") in ("true", "1", "True") else "list"
        case "DELETE":
            return "delete" if named else "deletecollection"
        case _:
            return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())
