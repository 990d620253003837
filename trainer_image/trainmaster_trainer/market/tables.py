"""Feature tables from a CSV or Parquet file: columns of numbers and a column `label`, ready-made.

A file with a column `label` is such a table. Labels are whole numbers, one per class; an empty one is not known. A
column of times and one of instruments are optional; every other column is a feature. Without times the order of the
rows is that of time. Nothing is computed from the features, so what looks into the future here is the table's fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.market.cells import Chunk, column_names, find_column, read_chunks
from trainmaster_trainer.market.dataset import UNKNOWN
from trainmaster_trainer.market.features import Allocate
from trainmaster_trainer.market.instruments import INSTRUMENT_NAMES, Places
from trainmaster_trainer.market.store import Stored
from trainmaster_trainer.market.times import TIME_NAMES, Times
from trainmaster_trainer.sources import SourceFile

LABEL_NAMES: Final = ("label",)
MOST_CLASSES: Final = 100
"""More different labels than this are a measured number, no class."""
MOST_GAPS: Final = 0.2
"""Above this share of rows with a gap a table is refused: the rest would be a sample that the gaps have chosen."""
FLOAT_LIMIT: Final = float(np.finfo(np.float32).max)
"""Features are kept in single precision: larger numbers have no place there."""


def is_table(file: SourceFile) -> bool:
    """Whether a file is a feature table: it has a column `label`. Raises DataError if it cannot be read."""
    return find_column(column_names(file), meaning="label", names=LABEL_NAMES, name=file.name) is not None


def read_table(file: SourceFile, *, allocate: Allocate | None = None) -> Stored:
    """The rows of a feature table.

    `allocate` gives the array of (rows, features) to fill. Raises DataError with file, row, column, value, way out.
    """
    columns = _find_columns(file)
    places = Places(name=file.name, time_column=columns.time or "", instrument_column=columns.instrument)
    times = None if columns.time is None else Times(columns.time, name=file.name)
    gathered = _Gathered(name=file.name, features=columns.features)
    for chunk in read_chunks(file):
        gathered.add(chunk, label=columns.label)
        places.add(chunk)
        if times is not None:
            times.add(chunk)
    notes = gathered.judge_gaps()
    labels, classes = gathered.classes(column=columns.label)
    time = np.arange(len(labels)).astype("datetime64[ns]") if times is None else times.finish()
    arrangement = places.arrange(time)
    values = gathered.values(allocate)
    if not arrangement.as_it_is:
        values[:] = arrangement.apply(values)
    return Stored(
        feature_names=columns.features,
        values=values,
        labels=arrangement.apply(labels),
        classes=classes,
        time=arrangement.apply(time),
        timed=times is not None,
        instruments=arrangement.instruments,
        starts=arrangement.starts,
        notes=(*notes, *places.notes),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    label: str
    time: str | None
    instrument: str | None
    features: tuple[str, ...]


def _find_columns(file: SourceFile) -> _Columns:
    columns = column_names(file)
    label = find_column(columns, meaning="label", names=LABEL_NAMES, name=file.name)
    if label is None:
        message = f"{file.name}: a feature table has a column `label`; this file has: {', '.join(columns)}"
        raise DataError(message)
    time = find_column(columns, meaning="time", names=TIME_NAMES, name=file.name)
    instrument = find_column(columns, meaning="instrument", names=INSTRUMENT_NAMES, name=file.name)
    features = tuple(column for column in columns if column not in {label, time, instrument})
    if not features:
        message = f"{file.name}: there is no column besides {', '.join(columns)}: give at least one of features"
        raise DataError(message)
    return _Columns(label=label, time=time, instrument=instrument, features=features)


@dataclass(kw_only=True, slots=True)
class _Gathered:
    """Features and labels of the chunks so far."""

    name: str
    features: tuple[str, ...]
    _values: list[NDArray[np.float32]] = field(default_factory=list)
    _labels: list[NDArray[np.float64]] = field(default_factory=list)
    _gaps: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Empty cells of each column that has any, and where the first is."""
    _rows_with_gaps: int = 0

    def add(self, chunk: Chunk, *, label: str) -> None:
        values = np.empty((len(chunk), len(self.features)), dtype=np.float32)
        for position, column in enumerate(self.features):
            numbers = chunk.numbers(column)
            large = np.abs(numbers) > FLOAT_LIMIT
            if large.any():
                way_out = "correct it, or leave the cell empty if it is not known"
                chunk.refuse(large, column=column, problem="is no finite number of single precision", way_out=way_out)
            values[:, position] = numbers
            self._note_gaps(np.isnan(numbers), chunk, column=column)
        self._rows_with_gaps += int(np.isnan(values).any(axis=1).sum())
        self._values.append(values)
        self._labels.append(_labels(chunk, column=label))

    def _note_gaps(self, missing: NDArray[np.bool_], chunk: Chunk, *, column: str) -> None:
        if missing.any():
            count, first = self._gaps.get(column, (0, f"{chunk.unit} {chunk.places[int(missing.argmax())]}"))
            self._gaps[column] = (count + int(missing.sum()), first)

    def judge_gaps(self) -> tuple[str, ...]:
        """What is said about empty cells. Raises DataError if too many rows have one."""
        if not self._gaps:
            return ()
        rows = sum(len(labels) for labels in self._labels)
        worst = sorted(self._gaps.items(), key=lambda item: -item[1][0])[:3]
        where = "; ".join(f"{column}: {count} empty, the first on {first}" for column, (count, first) in worst)
        told = f"{self._rows_with_gaps} of {rows} rows lack a feature ({where})"
        if self._rows_with_gaps > MOST_GAPS * rows:
            message = f"{self.name}: {told}: more than {MOST_GAPS:.0%}; fill the gaps or remove the columns"
            raise DataError(message)
        return (f"{told}: no window with one of them is used",)

    def classes(self, *, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Labels as numbers from 0 on, UNKNOWN where they are empty, and their names, in the order of the numbers."""
        given = np.concatenate(self._labels)
        known = ~np.isnan(given)
        found = np.unique(given[known])
        if len(found) < 2:
            label = f"{found[0]:g}" if len(found) else "none"
            message = (
                f"{self.name}: column {column}: all labels are equal ({label}): there is nothing to tell apart; give "
                "rows of two classes or more"
            )
            raise DataError(message)
        if len(found) > MOST_CLASSES:
            message = (
                f"{self.name}: column {column}: {len(found)} different labels are no classes; give at most "
                f"{MOST_CLASSES}, the number of a class each"
            )
            raise DataError(message)
        labels = np.full(len(given), UNKNOWN, dtype=np.int64)
        labels[known] = np.searchsorted(found, given[known])
        return labels, tuple(f"{each:g}" for each in found)

    def values(self, allocate: Allocate | None) -> NDArray[np.float32]:
        """All features; each chunk is let go when it is copied."""
        shape = (sum(len(piece) for piece in self._values), len(self.features))
        values = np.empty(shape, dtype=np.float32) if allocate is None else allocate(shape)
        begin = 0
        while self._values:
            piece = self._values.pop(0)
            values[begin : begin + len(piece)] = piece
            begin += len(piece)
        return values


def _labels(chunk: Chunk, *, column: str) -> NDArray[np.float64]:
    labels = chunk.numbers(column)
    broken = ~np.isnan(labels) & (labels != np.rint(labels))
    if broken.any():
        chunk.refuse(broken, column=column, problem="is no class", way_out="labels are whole numbers, one per class")
    return labels
