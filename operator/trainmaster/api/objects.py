"""Metadata of a Kubernetes object, as far as Trainmaster reads it; the rest survives a round trip."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from trainmaster.api.base import OpenModel, Time


class Key(NamedTuple):
    """Namespace and name: where an object is, not which one it is (that is its UID)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class OwnerReference(OpenModel):
    """Who an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(OpenModel):
    """Metadata of an object."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.namespace, self.name)
