"""One Secret as an API server keeps it, with preconditions of version, in place of an ApiClient."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

from tests.support.kubernetes_objects import refusal
from trainmaster.adapters.kubernetes.client import ApiClient

Json = dict[str, Any]


class StoredSecret:
    """Answers `get` and `put` of one path."""

    def __init__(self, path: str, data: dict[str, str] | None = None) -> None:
        self.path = path
        self.writes = 0
        self.refuse: int | None = None
        """Status that all requests are refused with; None: none is."""
        self.refuse_writes: int | None = None
        self._secret: Json = {"metadata": {"resourceVersion": "1", "labels": {"app": "trainmaster"}}}
        if data is not None:
            self._secret["data"] = data

    @property
    def client(self) -> ApiClient:
        """It, as what it stands in for."""
        return cast("ApiClient", self)

    @property
    def data(self) -> dict[str, str]:
        """What it holds, base64."""
        return dict(self._secret.get("data") or {})

    @property
    def metadata(self) -> Json:
        """Its metadata."""
        return dict(self._secret["metadata"])

    def change(self, **data: str) -> None:
        """Change keys as a person would."""
        self._store(self._secret | {"data": self.data | data})

    async def get(self, path: str) -> Json:
        """Read it; other tasks have their turn meanwhile."""
        assert path == self.path
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise refusal(self.refuse, "Because")
        return copy.deepcopy(self._secret)

    async def put(self, path: str, body: Json) -> Json:
        """Replace it, if the version in the body is the stored one."""
        assert path == self.path
        await asyncio.sleep(0)
        if self.refuse_writes is not None:
            raise refusal(self.refuse_writes, "Because")
        if body["metadata"]["resourceVersion"] != self._secret["metadata"]["resourceVersion"]:
            raise refusal(409, "Conflict")
        self._store(body)
        self.writes += 1
        return copy.deepcopy(self._secret)

    def _store(self, body: Json) -> None:
        version = str(int(self._secret["metadata"]["resourceVersion"]) + 1)
        self._secret = copy.deepcopy(body | {"metadata": body["metadata"] | {"resourceVersion": version}})
