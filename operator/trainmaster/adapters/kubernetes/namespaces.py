"""Whether the namespaces that are served exist: one that does not is no error, it may come, but often it is a typo.

To list what is in a namespace tells nothing: one that does not exist is empty. To look at it takes a permission that
the operator does without. So it is asked first whether we have that, and if not, nothing is known and nothing is said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.client import ApiClient, ApiError

logger = logging.getLogger(__name__)

Json = dict[str, Any]

LOOK_SECONDS: Final = 30
"""Between two looks: whoever makes the namespace sees the warning go before they doubt it."""
REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class NamespaceWatch:
    """Looks after the namespaces that were named; `warnings` says of each that is not there."""

    def __init__(self, client: ApiClient, namespaces: Sequence[str]) -> None:
        """`client` must be one that may write at any time: a question about permissions is a POST."""
        self._client = client
        self._namespaces = namespaces
        self._absent: set[str] = set()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence on each namespace that does not exist."""
        return tuple(_sentence(name) for name in self._namespaces if name in self._absent)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            for name in self._namespaces:
                try:
                    await self.look(name)
                except ApiError as error:
                    logger.debug("namespace %s: %s", name, error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, name: str) -> None:
        """Look once. Raises ApiError: nothing is known of it."""
        if not await self._may_look(name):
            return
        there = await self._client.find(paths.namespace(name)) is not None
        if there and name in self._absent:
            logger.info("namespace %s exists now", name)
        elif not there and name not in self._absent:
            logger.warning("%s", _sentence(name))
        (self._absent.discard if there else self._absent.add)(name)

    async def _may_look(self, name: str) -> bool:
        asked = {"verb": "get", "group": "", "resource": "namespaces", "namespace": name, "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        return bool((await self._client.post(REVIEW, body))["status"]["allowed"])


def _sentence(name: str) -> str:
    return f"namespace {name} does not exist: nothing is served there until it does (--namespace)"
