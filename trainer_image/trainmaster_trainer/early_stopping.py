"""Patience: training ends when the validation loss has not improved for so many epochs.

A cosine schedule with restarts raises the learning rate again at the begin of each cycle, and the loss with it; within
a cycle no epoch but the last tells how good it was. So with such a schedule patience is judged at the end of a cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class Patience:
    """Counts epochs without a better validation loss."""

    limit: int
    """Epochs; 0 turns it off."""
    best: float = math.inf
    waited: int = 0
    """Epochs since the best."""

    def observe(self, val_loss: float) -> None:
        """Take in one epoch; a loss that is not finite is no improvement, and is never the best."""
        if math.isfinite(val_loss) and val_loss < self.best:
            self.best, self.waited = val_loss, 0
        else:
            self.waited += 1

    def verdict(self, *, judged_now: bool) -> str | None:
        """The reason to end, or None; `judged_now` says whether the schedule lets this epoch be judged."""
        if not self.limit or self.waited < self.limit or not judged_now:
            return None
        return f"no better validation loss than {self.best:.6g} for {self.waited} epochs (early_stopping_patience)"

    def state_dict(self) -> dict[str, float | int]:
        """For a checkpoint."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Go on from a checkpoint; the limit is the plan's."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
