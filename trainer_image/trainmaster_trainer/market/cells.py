"""Files of cells, CSV or Parquet, read in chunks: a file of any length costs the memory of one chunk.

A CSV file is read as text, so that a message can show the cell as it stands there; a Parquet file brings its types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # brings no types
from numpy.typing import NDArray
from pyarrow import parquet

from trainmaster_trainer.errors import DataError
from trainmaster_trainer.sources import SourceFile

CHUNK_ROWS: Final = 200_000
"""Rows that are parsed at once: some 100 MB as text."""
FIRST_ROWS: Final = 1_000
"""Rows that are parsed to learn the names of the columns."""
FIRST_LINE: Final = 2
"""Line of the first row in a CSV file; line 1 is the header."""
PARQUET_NAMES: Final = (".parquet", ".pq")
PARQUET_MAGIC: Final = b"PAR1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some rows that follow each other."""

    name: str
    """The file's, for messages."""
    frame: pd.DataFrame
    """Its index says where each row stands: the line of a CSV file, the row of a Parquet file."""
    unit: str
    """`line` or `row`."""

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def places(self) -> NDArray[np.int64]:
        """Line or row of each row."""
        return self.frame.index.to_numpy(dtype=np.int64)

    def text(self, column: str) -> pd.Series[str]:
        """A column as text without blanks around it; empty where nothing is known."""
        cells = self.frame[column]
        return cells.astype(str).where(cells.notna(), "").str.strip()

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where the cell is empty. Raises DataError for a cell that is no number."""
        cells = self.frame[column]
        if pd.api.types.is_numeric_dtype(cells):
            return cells.to_numpy(dtype=np.float64, na_value=np.nan)
        text = self.text(column)
        numbers: Any = pd.to_numeric(text, errors="coerce")
        bad = np.asarray(numbers.isna() & (text != "") & (text.str.lower() != "nan"))
        if bad.any():
            self.refuse(bad, column=column, problem="is no number", way_out="correct the cell")
        values: NDArray[np.float64] = numbers.to_numpy(dtype=np.float64)
        return values

    def refuse(self, bad: NDArray[np.bool_], *, column: str, problem: str, way_out: str) -> None:
        """Raise DataError that names the first of some bad cells."""
        at = int(bad.argmax())
        cell = self.text(column).iloc[at]
        count = f" ({int(bad.sum())} such cells in the column)" if bad.sum() > 1 else ""
        shown = repr(cell) if cell else "the empty cell"
        message = f"{self.name}: {self.unit} {self.places[at]}, column {column}: {shown} {problem}{count}; {way_out}"
        raise DataError(message)


def is_parquet(file: SourceFile) -> bool:
    """Whether a file is Parquet, by its name or its first bytes."""
    if PurePosixPath(file.name).suffix.lower() in PARQUET_NAMES:
        return True
    with file.open() as stream:
        return stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC


def read_chunks(file: SourceFile, *, chunk_rows: int | None = None) -> Iterator[Chunk]:
    """The rows of a file, CHUNK_ROWS at once if nothing else is said.

    Raises DataError if it is no such file, or has no rows.
    """
    found = False
    read = _parquet_chunks if is_parquet(file) else _csv_chunks
    for chunk in read(file, chunk_rows or CHUNK_ROWS):
        if len(chunk):
            found = True
            yield chunk
    if not found:
        message = f"{file.name}: there is a header, but no row below it; put one line per bar there"
        raise DataError(message)


def column_names(file: SourceFile) -> tuple[str, ...]:
    """Names of a file's columns, as it writes them. Raises DataError like `read_chunks`."""
    return tuple(str(column) for column in next(read_chunks(file, chunk_rows=FIRST_ROWS)).frame.columns)


def fold(name: object) -> str:
    """A column's name without what people vary: case, blanks and underscores."""
    return str(name).strip().lower().replace(" ", "").replace("_", "")


def find_column(columns: tuple[str, ...], *, meaning: str, names: tuple[str, ...], name: str) -> str | None:
    """The column that has one of these (folded) names; None if there is none. Raises DataError if there are several."""
    found = [column for column in columns if fold(column) in names]
    if len(found) > 1:
        message = f"{name}: columns {', '.join(found)} all mean {meaning}; leave one of them in the file"
        raise DataError(message)
    return found[0] if found else None


def _csv_chunks(file: SourceFile, chunk_rows: int) -> Iterator[Chunk]:
    try:
        with file.open() as stream:
            for frame in pd.read_csv(
                stream,
                dtype=str,
                encoding="utf-8-sig",
                skip_blank_lines=False,
                keep_default_na=False,
                chunksize=chunk_rows,
                compression="gzip" if PurePosixPath(file.name).suffix == ".gz" else None,
            ):
                yield _csv_chunk(frame, name=file.name)
    except (ValueError, OSError, EOFError) as error:  # pandas' own errors derive from ValueError
        message = f"{file.name}: this is no CSV file with a header: {error}; save it as CSV in UTF-8"
        raise DataError(message) from None


def _csv_chunk(frame: pd.DataFrame, *, name: str) -> Chunk:
    if not isinstance(frame.index, pd.RangeIndex) and len(frame):
        # What pandas makes of rows with more cells than the header: the first cells become an index, all columns shift.
        message = (
            f"{name}: the bars have more cells than the header has columns ({len(frame.columns)}); "
            "name every column, and end no line with a comma"
        )
        raise DataError(message)
    if len(frame):
        first = FIRST_LINE + int(frame.index[0])
        frame.index = pd.RangeIndex(first, first + len(frame))
    blank = np.ones(len(frame), dtype=np.bool_)
    for column in frame.columns:
        blank &= np.asarray((frame[column].isna()) | (frame[column].str.strip() == ""))
        if not blank.any():
            break
    return Chunk(name=name, frame=frame[~blank] if blank.any() else frame, unit="line")


def _parquet_chunks(file: SourceFile, chunk_rows: int) -> Iterator[Chunk]:
    begin = 1
    try:
        with file.open() as stream:
            for batch in parquet.ParquetFile(stream).iter_batches(batch_size=chunk_rows):
                frame = batch.to_pandas()
                frame.index = pd.RangeIndex(begin, begin + len(frame))
                begin += len(frame)
                yield Chunk(name=file.name, frame=frame, unit="row")
    except (pa.ArrowException, OSError) as error:
        message = f"{file.name}: this is no Parquet file: {error}; write it again"
        raise DataError(message) from None
