"""A series store in memory, and the bookkeeping that every series store shares."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter

from trainmaster.api.protocol import Entry, EntryType
from trainmaster.core.series import Point
from trainmaster.ports.series import KINDS, TRAIN_WINDOW, Kind

STEP_ORDER = attrgetter("step", "generation")


def point_of(entry: Entry) -> Point | None:
    """The point that an entry tells; None for other entries and for points of a kind that this version lacks."""
    if entry.type != EntryType.POINT or entry.kind not in KINDS or entry.step is None:
        return None
    return Point(
        generation=entry.generation,
        kind=entry.kind,
        step=entry.step,
        epoch=entry.epoch,
        time=entry.time,
        metrics=dict(entry.metrics),
    )


class SequenceNumbers:
    """Which numbers of one launch are kept: all up to `have`, and some behind a gap."""

    def __init__(self, have: int = 0, ahead: Iterable[int] = ()) -> None:
        self.have = have
        self.ahead = set(ahead)

    def __contains__(self, seq: int) -> bool:
        return seq <= self.have or seq in self.ahead

    def add(self, seq: int) -> None:
        """Keep one number; a gap that it closes moves `have`."""
        if seq > self.have:
            self.ahead.add(seq)
        while self.have + 1 in self.ahead:
            self.have += 1
            self.ahead.remove(self.have)


class Series:
    """What the launches of one rerun told: no I/O, so that memory and files cannot disagree."""

    def __init__(self) -> None:
        self.launches: defaultdict[int, SequenceNumbers] = defaultdict(SequenceNumbers)
        self._entries: dict[tuple[int, int], Entry] = {}
        self._points: dict[str, dict[tuple[int, int], Point]] = {kind: {} for kind in KINDS}
        self._sorted: dict[str, tuple[Point, ...]] = {}
        """By kind, what `points` answered since the last change."""
        self._train_order: list[tuple[int, int]] = []
        self.superseded = 0
        """Train points that were kept once and have left the window."""

    def have_seq(self, launch: int) -> int:
        """The number up to which all entries of the launch are kept."""
        return self.launches[launch].have if launch in self.launches else 0

    def fresh(self, launch: int, entries: Sequence[Entry]) -> list[Entry]:
        """Entries that are not kept yet, each once, by number."""
        known = self.launches[launch] if launch in self.launches else SequenceNumbers()
        by_seq: dict[int, Entry] = {}
        for entry in entries:
            if entry.seq not in known:
                by_seq.setdefault(entry.seq, entry)
        return [by_seq[seq] for seq in sorted(by_seq)]

    def keep(self, launch: int, entry: Entry) -> None:
        """Keep an entry that is fresh."""
        self.launches[launch].add(entry.seq)
        point = point_of(entry)
        if point is not None:
            self.keep_point(point)
        elif entry.type != EntryType.POINT:
            self._entries[launch, entry.seq] = entry

    def keep_point(self, point: Point) -> None:
        """Keep a point, unless one of its name is kept, or it is a train point from before the window."""
        points = self._points[point.kind]
        key = (point.generation, point.step)
        if key in points:
            return
        if point.kind == "train":
            full = len(self._train_order) >= TRAIN_WINDOW
            if full:
                self.superseded += 1
                if key < self._train_order[0]:
                    return
                del points[self._train_order.pop(0)]
            insort(self._train_order, key)
        points[key] = point
        self._sorted.pop(point.kind, None)

    def entries(self, *, launch: int | None = None, entry_type: str | None = None) -> tuple[Entry, ...]:
        """Entries that are no points, by (launch, number)."""
        return tuple(
            entry
            for (of_launch, _), entry in sorted(self._entries.items(), key=lambda item: item[0])
            if launch in (None, of_launch) and entry_type in (None, entry.type)
        )

    def launch_entries(self) -> list[tuple[int, Entry]]:
        """Entries that are no points, each with its launch."""
        return [(launch, self._entries[launch, seq]) for launch, seq in sorted(self._entries)]

    def all_points(self) -> list[Point]:
        """The points of all kinds."""
        return [point for points in self._points.values() for point in points.values()]

    def points(self, kind: Kind) -> tuple[Point, ...]:
        """Points of one kind, by (step, generation)."""
        known = self._sorted.get(kind)
        if known is None:
            # Every reconcile asks, most of them without a new point of most kinds.
            known = self._sorted[kind] = tuple(sorted(self._points[kind].values(), key=STEP_ORDER))
        return known


class MemorySeriesStore:
    """A `SeriesStore` that forgets everything when its process ends: for tests and for trying things."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[int, Series]] = {}
        """By UID and rerun."""

    def take(self, uid: str, *, rerun: int, launch: int, entries: Sequence[Entry]) -> int:
        """Keep entries; see `SeriesStore.take`."""
        series = self._runs.setdefault(uid, {}).setdefault(rerun, Series())
        for entry in series.fresh(launch, entries):
            series.keep(launch, entry)
        return series.have_seq(launch)

    def have_seq(self, uid: str, launch: int) -> int:
        """The number up to which all entries of the launch are kept."""
        return max((series.have_seq(launch) for series in self._runs.get(uid, {}).values()), default=0)

    def forget(self, uid: str) -> None:
        """Forget a run that is gone, and all that was told of it."""
        self._runs.pop(uid, None)

    def _of(self, uid: str, rerun: int) -> Series:
        return self._runs.get(uid, {}).get(rerun) or Series()

    def entries(
        self, uid: str, *, rerun: int, launch: int | None = None, entry_type: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries that are no points, by (launch, number)."""
        return self._of(uid, rerun).entries(launch=launch, entry_type=entry_type)

    def points(self, uid: str, *, rerun: int, kind: Kind) -> tuple[Point, ...]:
        """Points of one kind, by (step, generation)."""
        return self._of(uid, rerun).points(kind)
