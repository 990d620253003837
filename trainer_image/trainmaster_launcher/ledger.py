"""The journal's memory: numbers entries, keeps the first point of each key, forgets the oldest training points.

Points are keyed by (generation, kind, step): a restarted process replays steps and sends the same points again. The
keys of forgotten training points are not kept; below the highest forgotten step of a generation all count as known,
because a process sends its points in the order of steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Final

from trainmaster_launcher.entries import Entry

TRAIN_POINTS_KEPT: Final = 2000
"""Four reports full; at a point per step it covers what detectors look back on."""


class Ledger:
    """Entries of one launch, oldest first."""

    def __init__(self, *, train_points_kept: int = TRAIN_POINTS_KEPT) -> None:
        self._kept = train_points_kept
        self._entries: dict[int, Entry] = {}
        self._train: dict[int, Entry] = {}
        self._keys: set[tuple[int, str, int]] = set()
        self._forgotten: dict[int, int] = {}
        self._applied: set[tuple[str, int]] = set()
        self.last_seq = 0

    def admits(self, entry: Entry) -> bool:
        """Whether this is news: not a point of a known key, not an acknowledgement that was heard before."""
        if entry.type == "applied" and entry.directive is not None and entry.step is not None:
            return (entry.directive, entry.step) not in self._applied
        if entry.key is None:
            return True
        forgotten = self._forgotten.get(entry.generation, -1) if entry.droppable else -1
        return entry.key not in self._keys and entry.key[2] > forgotten

    def add(self, entry: Entry) -> Entry:
        """Numbers an entry, unless it has its number already, and keeps it."""
        numbered = replace(entry, seq=self.last_seq + 1) if entry.seq == 0 else entry
        self.last_seq = max(self.last_seq, numbered.seq)
        self._entries[numbered.seq] = numbered
        if numbered.key is not None:
            self._keys.add(numbered.key)
        if numbered.type == "applied" and numbered.directive is not None and numbered.step is not None:
            self._applied.add((numbered.directive, numbered.step))
        if numbered.droppable:
            self._train[numbered.seq] = numbered
            self._forget()
        return numbered

    def skip_to(self, seq: int) -> None:
        """Continues numbering after `seq`: the operator has entries that storage has lost."""
        self.last_seq = max(self.last_seq, seq)

    def after(self, seq: int, *, limit: int) -> list[Entry]:
        """The first entries with a number above `seq`."""
        return list(islice((each for number, each in self._entries.items() if number > seq), limit))

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """All that is kept."""
        return list(self._entries.values())

    def _forget(self) -> None:
        while len(self._train) > self._kept:
            seq = next(iter(self._train))
            old = self._train.pop(seq)
            del self._entries[seq]
            if old.key is not None:
                self._keys.discard(old.key)
                self._forgotten[old.generation] = max(self._forgotten.get(old.generation, -1), old.key[2])


def news_of_earlier_launches(journals: Iterable[tuple[list[Entry], int]], *, own: Ledger) -> list[Entry]:
    """What earlier launches measured and the operator may lack: to be journalled again by this launch.

    Each journal is its entries and the number up to which the operator confirmed them. All validation and test points
    count, training points only if unconfirmed.
    """
    seen = set()
    news = []
    for entries, confirmed in journals:
        for entry in entries:
            wanted = entry.key is not None and (not entry.droppable or entry.seq > confirmed)
            if wanted and entry.key not in seen and own.admits(entry):
                seen.add(entry.key)
                news.append(replace(entry, seq=0))
    return news
