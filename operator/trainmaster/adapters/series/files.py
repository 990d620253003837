"""A series store on files: one append-only JSONL file per rerun, `<root>/<uid>/<rerun>.jsonl`.

Taking entries appends their lines with one write and one fsync, then acknowledges. A kill or a full disk can only tear
the end of the file: the next reader cuts what follows the last newline, and as nothing of it was acknowledged, the
launcher sends it again. Train points that have left the window are dead lines; when enough have gathered, the file is
written anew beside the old one and renamed over it.

Lines: `{"have": 7, "ahead": [9], "launch": 1}` (after such a rewrite), `{"launch": 1, "seq": 8, "point": {...}}`,
`{"point": {...}}` (after a rewrite), `{"launch": 1, "entry": {...}}`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trainmaster.adapters.series.memory import Series, point_of
from trainmaster.api.base import NON_FINITE, wire_number
from trainmaster.api.protocol import Entry
from trainmaster.core.series import Point
from trainmaster.ports.series import (
    TRAIN_WINDOW,
    Kind,
    SeriesCorruptError,
    SeriesError,
    SeriesWriteError,
)

COMPACT_AFTER: Final = 10 * TRAIN_WINDOW
"""Dead lines after which a file is rewritten: each line is then rewritten about 0.1 times on average."""
UID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A UID becomes a folder's name: nothing that could lead out of the root."""


class FileSeriesStore:
    """A `SeriesStore` under one folder, read when first asked for. One process at a time (the caller locks)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loaded: dict[Path, Series] = {}

    def take(self, uid: str, *, rerun: int, launch: int, entries: Sequence[Entry]) -> int:
        """Keep entries, on disk before this returns; see `SeriesStore.take`."""
        path = self._path(uid, rerun)
        series = self._series(path)
        fresh = series.fresh(launch, entries)
        if fresh:
            try:
                _append(path, [_entry_line(launch, entry) for entry in fresh])
            except OSError as error:
                # What the file holds now is unknown: the next call reads it anew and cuts a torn end.
                del self._loaded[path]
                raise _write_error(path, error) from error
            for entry in fresh:
                series.keep(launch, entry)
            self._compact(path, series)
        return series.have_seq(launch)

    def have_seq(self, uid: str, launch: int) -> int:
        """The number up to which all entries of the launch are kept."""
        return max((self._series(path).have_seq(launch) for path in self._paths(uid)), default=0)

    def entries(
        self, uid: str, *, rerun: int, launch: int | None = None, entry_type: str | None = None
    ) -> tuple[Entry, ...]:
        """Entries that are no points, by (launch, number)."""
        return self._series(self._path(uid, rerun)).entries(launch=launch, entry_type=entry_type)

    def points(self, uid: str, *, rerun: int, kind: Kind) -> tuple[Point, ...]:
        """Points of one kind, by (step, generation)."""
        return self._series(self._path(uid, rerun)).points(kind)

    def _path(self, uid: str, rerun: int) -> Path:
        if not UID_PATTERN.fullmatch(uid):
            message = f"run UID {uid!r} cannot name a folder; a UID is made of letters, digits, '-', '_' and '.'"
            raise SeriesError(message)
        return self._root / uid / f"{rerun}.jsonl"

    def _paths(self, uid: str) -> list[Path]:
        return sorted(self._path(uid, 0).parent.glob("*.jsonl"))

    def _series(self, path: Path) -> Series:
        if path not in self._loaded:
            try:
                self._loaded[path] = _load(path)
            except OSError as error:
                message = f"cannot read {path}: {error.strerror}; make it readable, training goes on meanwhile"
                raise SeriesError(message) from error
        return self._loaded[path]

    def _compact(self, path: Path, series: Series) -> None:
        if series.superseded < COMPACT_AFTER:
            return
        series.superseded = 0
        beside = path.with_suffix(".new")
        try:
            beside.unlink(missing_ok=True)
            _append(beside, _all_lines(series))
            beside.replace(path)
            _sync_folder(path.parent)
        except OSError:
            # The long file is as true as the short one: no room now, another try after as many lines again.
            beside.unlink(missing_ok=True)


def _write_error(path: Path, error: OSError) -> SeriesWriteError:
    return SeriesWriteError(
        f"cannot write {path}: {error.strerror}; nothing was acknowledged, the launcher keeps what it told and sends "
        "it again: free space or make the folder writable"
    )


def _append(path: Path, lines: Iterable[str]) -> None:
    """Append lines and fsync: what is acknowledged, the launcher may forget, so it must outlive a power cut.

    Raises:
        OSError: The end of the file may be torn now.
    """
    created = not path.exists()
    if created:
        path.parent.mkdir(parents=True, exist_ok=True)
    data = memoryview("".join(f"{line}\n" for line in lines).encode())
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if created:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: Path) -> Series:
    series = Series()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return series
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            _read_line(series, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            message = (
                f"{path}, line {number} cannot be read ({reason}): the disk or a hand damaged it; restore the file, "
                "or move it away: launchers send again what they still have"
            )
            raise SeriesCorruptError(message) from error
    return series


def _read_line(series: Series, line: dict[str, Any]) -> None:
    launch = int(line.get("launch", 0))
    if "entry" in line:
        series.keep(launch, Entry.model_validate(line["entry"]))
    elif "point" in line:
        if "seq" in line:
            series.launches[launch].add(int(line["seq"]))
        series.keep_point(_point(line["point"]))
    else:
        numbers = series.launches[launch]
        numbers.have = int(line["have"])
        numbers.ahead = {int(seq) for seq in line["ahead"]}


def _entry_line(launch: int, entry: Entry) -> str:
    point = point_of(entry)
    if point is None:
        return _json({"launch": launch, "entry": entry.to_wire()})
    return _json({"launch": launch, "seq": entry.seq, "point": _wire(point)})


def _all_lines(series: Series) -> list[str]:
    lines = [
        _json({"launch": launch, "have": numbers.have, "ahead": sorted(numbers.ahead)})
        for launch, numbers in sorted(series.launches.items())
    ]
    lines += [_json({"launch": launch, "entry": entry.to_wire()}) for launch, entry in series.launch_entries()]
    lines += [_json({"point": _wire(point)}) for point in series.all_points()]
    return lines


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _wire(point: Point) -> dict[str, Any]:
    return {
        "generation": point.generation,
        "kind": point.kind,
        "step": point.step,
        "epoch": point.epoch,
        "time": point.time.isoformat(),
        "metrics": {name: wire_number(value) for name, value in point.metrics.items()},
    }


def _point(wire: dict[str, Any]) -> Point:
    return Point(
        generation=int(wire["generation"]),
        kind=str(wire["kind"]),
        step=int(wire["step"]),
        epoch=wire["epoch"],
        time=datetime.fromisoformat(wire["time"]),
        metrics={
            name: NON_FINITE[value] if isinstance(value, str) else float(value)
            for name, value in wire["metrics"].items()
        },
    )
