"""An API server whose definition of TrainingRun is older than this program drops what it does not know, silently.

A launch that is stored without its decision looks like one whose Job has vanished: what was kept of such a write has to
go again, and no other write may follow until a person has had time to notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key

PRUNED_SECONDS: Final = 15
"""No status is written for so long after a part of one was dropped: the next one would fare no better."""


class PrunedStatusError(TrainmasterError):
    """The API server dropped a part of status that decisions stand on: its definition of the kind is older than us."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{key}: the API server does not keep status.decisions: apply what `trainmaster crds` prints")


class PruneGuard:
    """Keeps statuses from being written for a while after a part of one was dropped."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until = float("-inf")

    def note(self) -> None:
        """A part of a status was dropped."""
        self._until = self._monotonic() + PRUNED_SECONDS

    def check(self, key: Key) -> None:
        """Raise PrunedStatusError while nothing is to be written."""
        if self._monotonic() < self._until:
            raise PrunedStatusError(key)
