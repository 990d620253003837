"""Earlier answers to lists, so that the server can be made to go back in time."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import orjson

from tests.support.fault_proxy.requests import Request

KEPT_OLDEST = 4
KEPT = 16
"""Answers kept per list: the first few, and the newest."""
BYTES_MAX = 4 * 1024 * 1024
"""Larger pages are not kept: they come from benchmarks, and nobody goes back to them."""
SELECTORS = ("labelSelector", "fieldSelector")

ListKey = tuple[str, tuple[tuple[str, str], ...]]


class KeptLists:
    """Answers by path and selectors; each a list of the pages that it came in."""

    def __init__(self) -> None:
        self._kept: dict[ListKey, list[list[bytes]]] = {}

    def keep(self, request: Request, body: bytes) -> None:
        """Keep an answer; a page that continues another is put to it."""
        if len(body) > BYTES_MAX:
            return
        answers = self._kept.setdefault(_key(request), [])
        if request.query.get("continue") and answers:
            answers[-1].append(body)
            return
        answers.append([body])
        if len(answers) > KEPT:
            del answers[KEPT_OLDEST]

    def older(self, request: Request, *, index: int) -> bytes | None:
        """An answer as one page; None if there is none, or if the request asks for a further page."""
        answers = self._kept.get(_key(request), [])
        if request.query.get("continue") or not -len(answers) <= index < len(answers):
            return None
        pages = [orjson.loads(page) for page in answers[index]]
        meta = {name: value for name, value in pages[0]["metadata"].items() if name != "resourceVersion"}
        meta = {name: value for name, value in meta.items() if name not in ("continue", "remainingItemCount")}
        meta["resourceVersion"] = pages[-1]["metadata"].get("resourceVersion", "")
        return orjson.dumps(pages[0] | {"metadata": meta, "items": [item for page in pages for item in page["items"]]})

    def urls(self) -> list[str]:
        """Path and selectors of every list that was answered so far."""
        return [f"{path}?{urlencode(selectors)}" for path, selectors in self._kept]


def _key(request: Request) -> ListKey:
    query: Mapping[str, str] = request.query
    return request.path, tuple((name, query[name]) for name in SELECTORS if query.get(name))
