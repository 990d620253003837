"""The coin-flip twin of bars: their sizes, ranges, volumes and times, with directions that nobody can know.

Each bar is mirrored around the previous close where a fair coin says so, and the closes are chained. Clusters of
volatility and the habits of the hours stay; an accuracy above one half is then a leak, whatever the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from trainmaster_trainer.market.bars import Bars
from trainmaster_trainer.synthetic.ceiling import Ceiling, Floats, Rows

EVEN: Final = 0.5
"""What any honest classifier of up and down expects on a twin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoinTruth:
    """Up and down are equally likely, whatever came before."""

    horizon: int

    def log_probabilities(self, rows: Rows, *, window: int) -> Floats:  # noqa: ARG002  # as the protocol has it
        """(rows, 2): log 1/2."""
        return np.full((len(rows), 2), math.log(EVEN))

    def ceiling(self, rows: Rows, *, window: int) -> Ceiling:  # noqa: ARG002  # as the protocol has it
        """One half. Labels that overlap depend on each other: about rows / horizon of them are independent."""
        return Ceiling(
            bayes_accuracy=EVEN,
            standard_error=EVEN * math.sqrt(self.horizon / len(rows)),
            log_loss=-math.log(EVEN),
        )

    def select(self, rows: Rows) -> CoinTruth:  # noqa: ARG002  # as the protocol has it
        """The same: it says the same of every row."""
        return self


def coin_flip(bars: Bars, *, seed: int) -> Bars:
    """The twin of bars; instruments are flipped each for itself."""
    rng = np.random.default_rng(seed)
    twins = [_flip(part, rng) for part in bars.parts()]
    return replace(
        bars,
        name=f"coin-flip twin of {bars.name}",
        open=np.concatenate([twin.open for twin in twins]),
        high=np.concatenate([twin.high for twin in twins]),
        low=np.concatenate([twin.low for twin in twins]),
        close=np.concatenate([twin.close for twin in twins]),
    )


def _flip(bars: Bars, rng: np.random.Generator) -> Bars:
    closes = np.log(bars.close)
    before = np.concatenate([closes[:1], closes[:-1]])
    sign = rng.choice([-1.0, 1.0], len(closes))
    opened, high, low, close = (np.log(v) - before for v in (bars.open, bars.high, bars.low, bars.close))
    base = closes[0] + np.concatenate([[0.0], np.cumsum(sign * close)[:-1]])
    # Upside down, the lowest price becomes the highest.
    return replace(
        bars,
        open=np.exp(base + sign * opened),
        high=np.exp(base + np.where(sign > 0, high, -low)),
        low=np.exp(base + np.where(sign > 0, low, -high)),
        close=np.exp(base + sign * close),
    )
