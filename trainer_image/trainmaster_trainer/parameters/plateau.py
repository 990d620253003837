"""Counts validations without a better loss: what `plateau` remembers, and all that it remembers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

LEAST_IMPROVEMENT: Final = 1e-4
"""Share of the best loss by which a loss must be lower to be better; the `threshold` of torch's ReduceLROnPlateau."""


@dataclass(kw_only=True, slots=True)
class Plateau:
    """How often validation loss has stood still for longer than `patience` validations.

    Equal to torch's ReduceLROnPlateau with its default threshold. A loss that is NaN, infinite or 0 (what a broken
    metric shows) is passed over: it is neither better nor worse than another.
    """

    patience: int
    """Validations without a better loss that are borne; the one after them cuts."""
    cuts: int = 0
    best: float = math.inf
    waited: int = 0
    """Validations since the best, or since the last cut."""

    def observe(self, val_loss: float) -> bool:
        """Take in one validation; whether it cuts."""
        if not math.isfinite(val_loss) or val_loss == 0.0:
            return False
        if val_loss < self._bar():
            self.best, self.waited = val_loss, 0
            return False
        self.waited += 1
        if self.waited <= self.patience:
            return False
        self.cuts, self.waited = self.cuts + 1, 0
        return True

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"cuts": self.cuts, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint; patience is the plan's."""
        self.cuts, self.best, self.waited = int(state["cuts"]), float(state["best"]), int(state["waited"])

    def _bar(self) -> float:
        """A loss below it is better."""
        return self.best - abs(self.best) * LEAST_IMPROVEMENT if math.isfinite(self.best) else math.inf
