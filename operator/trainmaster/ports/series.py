"""The port to a run's series: everything that its trainers told, kept so that it can be told again.

Detectors, status and tracking read from here; nothing that was acknowledged to a launcher is ever lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.protocol import Entry
from trainmaster.core.series import Point

Kind = Literal["train", "validation", "test"]
KINDS: Final[tuple[Kind, ...]] = ("train", "validation", "test")

TRAIN_WINDOW: Final = 2000
"""Train points kept per rerun: the longest window a detector looks back over, with room; all others are kept whole."""


class SeriesError(TrainmasterError):
    """The series of a run cannot be read or written."""


class SeriesWriteError(SeriesError):
    """Entries could not be stored, so they were not acknowledged: the launcher keeps them and sends them again."""


class SeriesCorruptError(SeriesError):
    """A stored series is damaged before its last line: no kill does that, only a disk or a hand."""


class SeriesStore(Protocol):
    """Keeps entries and points by run (UID), rerun and launch. One writer at a time; not thread-safe."""

    def take(self, uid: str, *, rerun: int, launch: int, entries: Sequence[Entry]) -> int:
        """Keep entries; taking one twice changes nothing.

        An entry is named by (launch, sequence number), a point besides by (generation, kind, step), because replays
        after a crash are bit-identical: the first one stands. Entries behind a gap are kept, but not acknowledged.

        Returns:
            The sequence number up to which all entries of the launch are kept; 0 for none.

        Raises:
            SeriesWriteError: Nothing of this call is acknowledged; taking it again later is safe.
            SeriesCorruptError: What was stored before cannot be read.
        """

    def have_seq(self, uid: str, launch: int) -> int:
        """The sequence number up to which all entries of the launch are kept; launches are unique within a UID."""

    def entries(
        self, uid: str, *, rerun: int, launch: int | None = None, entry_type: str | None = None
    ) -> tuple[Entry, ...]:
        """The entries that are no points, by (launch, sequence number): all, or those of one launch, of one type."""

    def points(self, uid: str, *, rerun: int, kind: Kind) -> tuple[Point, ...]:
        """The points of one kind by (step, generation): of `train` the newest `TRAIN_WINDOW` by (generation, step)."""
