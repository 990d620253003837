"""Keeps the plan beside the checkpoints: a launcher that starts while the operator is away finds it there."""

from __future__ import annotations

import time

from trainmaster_launcher.errors import os_words
from trainmaster_launcher.log import log
from trainmaster_launcher.plan import Plan, store_plan


class PlanKeeper:
    """Writes the newest plan, and what storage refused again every `retry` seconds."""

    def __init__(self, *, retry: float) -> None:
        self._retry = retry
        self._unkept: Plan | None = None
        self._again_at = 0.0
        self._trouble = ""

    def keep(self, plan: Plan) -> None:
        """Writes a plan. Raises nothing: `trouble` tells."""
        try:
            store_plan(plan.folder, plan)
        except OSError as error:
            if self._unkept is not plan:
                log(f"plan of generation {plan.generation} cannot be kept: {error}")
            self._unkept, self._again_at = plan, time.monotonic() + self._retry
            self._trouble = f"the plan cannot be kept: {os_words(error)}"
        else:
            self._unkept, self._trouble = None, ""

    def trouble(self) -> str:
        """What storage has against the newest plan now, in words; empty: nothing. Tries again where it is time to."""
        if self._unkept is not None and time.monotonic() >= self._again_at:
            self.keep(self._unkept)
        return self._trouble
