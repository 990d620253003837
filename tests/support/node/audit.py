"""What the operator's account has asked of the API server, by the server's own book."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tests.support.node.folders import Folders

DECISION = "authorization.k8s.io/decision"
"""Annotation: what the authorizers said. A namespace that is being deleted refuses as well, and is none of them."""


@dataclass(frozen=True, kw_only=True, order=True)
class Verb:
    """A verb on a kind."""

    group: str
    resource: str
    """With its subresource."""
    verb: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request."""

    verb: Verb
    namespace: str
    at: datetime
    forbidden: bool
    """By the rules of RBAC."""


def read_audit(folders: Folders) -> Iterator[Request]:
    """All requests since the node was started, but for discovery, which is about no object."""
    for line in folders.audit.read_text().splitlines():
        event = json.loads(line)
        what = event.get("objectRef") or {}
        if "resource" not in what:
            continue
        resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
        yield Request(
            verb=Verb(group=what.get("apiGroup", ""), resource=resource, verb=event["verb"]),
            namespace=what.get("namespace", ""),
            at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
            forbidden=(event.get("annotations") or {}).get(DECISION) == "forbid",
        )
