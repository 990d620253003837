"""Looks at a cluster as the operator would meet it: version, kinds, permissions. Nothing is changed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from trainmaster.adapters.kubernetes.client import NOT_FOUND, ApiClient, ApiError
from trainmaster.adapters.kubernetes.permissions import Permission, Scope
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.labels import API_VERSION, GROUP, VERSION

Json = dict[str, Any]

OLDEST: Final = (1, 31)
"""Kubernetes' version that made podFailurePolicy stable; CEL rules in definitions have been since 1.29."""
SHOWN_PATHS: Final = 3
"""Differing fields that a message names; the way out is the same for all."""
PUBLISH_TRIES: Final = 10
PUBLISH_PAUSE_SECONDS: Final = 1.0
"""A server publishes the schema of a fresh kind some two seconds after it serves it, a busy one in ten."""
APPLY: Final = "trainmaster crds | kubectl apply --server-side -f -"
REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class UnfitClusterError(TrainmasterError):
    """The operator cannot work there; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """Verbs that we lack on one kind in one namespace; empty: in the whole cluster."""

    permission: Permission
    namespace: str


class ClusterInspection:
    """The checks of one cluster. Each returns a detail, or raises TrainmasterError."""

    def __init__(self, client: ApiClient, *, namespaces: Sequence[str], lease_namespace: str) -> None:
        self._client = client
        self._namespaces = tuple(namespaces) or ("",)
        self._lease_namespace = lease_namespace

    async def version(self) -> str:
        """The API server answers, and is new enough."""
        told = await self._client.get("/version")
        found = tuple(int(re.sub(r"\D.*", "", str(told.get(part) or "")) or 0) for part in ("major", "minor"))
        if found < OLDEST:
            needed = ".".join(map(str, OLDEST))
            message = f"{told.get('gitVersion')} is older than {needed}, which Jobs with podFailurePolicy need: upgrade"
            raise UnfitClusterError(message)
        return f"{told.get('gitVersion')} at {self._client.server}"

    async def user(self) -> str:
        """Who we are there."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return str((await self._client.post(WHO, body))["status"]["userInfo"]["username"])

    async def kind(self, crd: Json) -> str:
        """A kind of ours is served in our version, as this version of the program knows it."""
        kind, plural = crd["spec"]["names"]["kind"], crd["spec"]["names"]["plural"]
        theirs = await self._published(kind, plural)
        if theirs is None:
            others = [version for version in await self._versions() if version != VERSION]
            served = f"; served are {', '.join(others)}" if others else ""
            message = f"{plural}.{GROUP} is not served in version {VERSION}{served}: {APPLY}"
            raise UnfitClusterError(message)
        ours = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        return _judge(dict(_constraints(ours)), dict(_constraints(theirs)))

    async def _published(self, kind: str, plural: str) -> Json | None:
        """The schema of a kind that is served, once it is published; None: it is not served."""
        for tries_left in range(PUBLISH_TRIES - 1, -1, -1):
            schema = await self._schema(kind)
            if schema is not None or not await self._serves(plural):
                return schema
            await asyncio.sleep(PUBLISH_PAUSE_SECONDS if tries_left else 0)
        message = f"{plural}.{GROUP} is served, but its schema is not published yet: try again in a few seconds"
        raise UnfitClusterError(message)

    async def _serves(self, plural: str) -> bool:
        served = await self._client.find(f"/apis/{API_VERSION}") or {}
        return any(resource.get("name") == plural for resource in served.get("resources") or [])

    async def _schema(self, kind: str) -> Json | None:
        try:
            document = await self._client.get(f"/openapi/v3/apis/{API_VERSION}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        wanted = {"group": GROUP, "version": VERSION, "kind": kind}
        schemas: list[Json] = list(document.get("components", {}).get("schemas", {}).values())
        return next((s for s in schemas if wanted in s.get("x-kubernetes-group-version-kind", [])), None)

    async def _versions(self) -> list[str]:
        try:
            group = await self._client.get(f"/apis/{GROUP}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return []
            raise
        return [str(version["version"]) for version in group.get("versions", [])]

    async def missing(self, permission: Permission) -> list[Missing]:
        """What we lack of a permission."""
        found = []
        for namespace in self._where(permission):
            verbs = tuple([verb for verb in permission.verbs if not await self._may(permission, verb, namespace)])
            if verbs:
                found.append(Missing(permission=replace(permission, verbs=verbs), namespace=namespace))
        return found

    def _where(self, permission: Permission) -> tuple[str, ...]:
        match permission.scope:
            case Scope.CLUSTER:
                return ("",)
            case Scope.OWN:
                return (self._lease_namespace,)
            case _:
                return self._namespaces

    async def _may(self, permission: Permission, verb: str, namespace: str) -> bool:
        resource, _, subresource = permission.resource.partition("/")
        asked = {"verb": verb, "group": permission.group, "resource": resource, "namespace": namespace}
        asked |= {"subresource": subresource} if subresource else {}
        return all([await self._asked(asked | {"name": name}) for name in permission.names or ("",)])

    async def _asked(self, attributes: Json) -> bool:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool((await self._client.post(REVIEW, body))["status"]["allowed"])


def _judge(ours: dict[str, Json], theirs: dict[str, Json]) -> str:
    """Whether their schema will do for us: a newer one that only has more will."""
    lacking, extra = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if lacking:
        message = f"{API_VERSION} is older than this program: it lacks {_some(lacking)}: {APPLY}"
        raise UnfitClusterError(message)
    if extra:
        return f"{API_VERSION}, newer than this program: it also has {_some(extra)}"
    differing = sorted(path for path in ours if ours[path] != theirs[path])
    if differing:
        message = f"{API_VERSION} has other rules than this program, for {_some(differing)}: {APPLY}"
        raise UnfitClusterError(message)
    return f"{API_VERSION}, as this program knows it"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN_PATHS} more" if len(paths) > SHOWN_PATHS else ""
    return ", ".join(paths[:SHOWN_PATHS]) + more


def _constraints(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """What a schema says of each field of spec and status, by its path, descriptions apart."""
    inner = {"properties", "items", "additionalProperties", "description"}
    if path:
        yield path, {word: value for word, value in schema.items() if word not in inner}
    for name, field in schema.get("properties", {}).items():
        if path or name in {"spec", "status"}:
            yield from _constraints(field, f"{path}.{name}" if path else name)
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), dict):
            yield from _constraints(schema[word], path + mark)
