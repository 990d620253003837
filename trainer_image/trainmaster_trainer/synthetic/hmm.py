"""The sticky hidden Markov chain: a table of features and labels, and the exact truth about it.

With stickiness s, prior p and a window x_1 .. x_w the forward algorithm is

    a_1(k) ~ p(k) N(x_1; m_k, 1),    a_j(k) ~ (s a_{j-1}(k) + (1 - s) p(k)) N(x_j; m_k, 1)

each normalised; a_w is the probability of the state at the window's end, given the window and nothing before it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainmaster.api.synthetic import HmmSource
from trainmaster_trainer.market.dataset import Dataset
from trainmaster_trainer.synthetic.ceiling import Ceiling, Floats, Rows, block_standard_error

FIRST_TIME: Final = np.datetime64("2000-01-01T00:00", "ns")
STEP: Final = np.timedelta64(60, "s")
"""One row a minute: the largest table is 38 years long, which nanoseconds since 1970 can tell."""
CHUNK: Final = 1 << 16
"""Rows that are drawn or judged at once: a bound on memory."""
BLOCK_LIVES: Final = 4
"""A block of the standard error is this many mean lives of the longest-lived state: hits further apart hardly depend on
each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HmmTruth:
    """The exact probabilities of the classes, given a window."""

    likelihoods: NDArray[np.float32]
    """(rows, states): log-likelihood of each row in each state, up to a constant of the row."""
    labels: NDArray[np.int64]
    prior: Floats
    stay: float
    label_noise: float

    def log_probabilities(self, rows: Rows, *, window: int) -> Floats:
        """(rows, classes): log P(label of the row | the window that ends there); rows are at least window - 1."""
        parts = [self._forward(rows[i : i + CHUNK], window=window) for i in range(0, len(rows), CHUNK)]
        known = np.concatenate(parts) @ label_probabilities(len(self.prior), noise=self.label_noise)
        # Without label noise a state far away leaves nothing: its logarithm shall be a number.
        return np.log(np.maximum(known, np.finfo(np.float64).tiny))

    def ceiling(self, rows: Rows, *, window: int) -> Ceiling:
        """Accuracy and log-loss of the true probabilities on these rows."""
        known = self.log_probabilities(rows, window=window)
        targets = self.labels[rows]
        hits = (known.argmax(axis=1) == targets).astype(np.float64)
        longest = 1 / ((1 - self.stay) * (1 - self.prior.max()))
        block = max(window, math.ceil(BLOCK_LIVES * longest))
        return Ceiling(
            bayes_accuracy=float(hits.mean()),
            standard_error=block_standard_error(hits, block=block),
            log_loss=-float(known[np.arange(len(rows)), targets].mean()),
        )

    def select(self, rows: Rows) -> HmmTruth:
        """The truth about some rows, which must follow each other."""
        return HmmTruth(
            likelihoods=self.likelihoods[rows],
            labels=self.labels[rows],
            prior=self.prior,
            stay=self.stay,
            label_noise=self.label_noise,
        )

    def _forward(self, rows: Rows, *, window: int) -> Floats:
        """(rows, states): probability of the state at each row, given its window."""
        belief = np.broadcast_to(self.prior, (len(rows), len(self.prior)))
        for back in range(window - 1, -1, -1):
            # At the window's first row the belief is the prior, which one more step of the chain leaves as it is.
            seen = self.likelihoods[rows - back].astype(np.float64)
            ahead = self.stay * belief + (1 - self.stay) * self.prior
            belief = ahead * np.exp(seen - seen.max(axis=1, keepdims=True))
            belief = belief / belief.sum(axis=1, keepdims=True)
        return belief


def make_hmm(source: HmmSource) -> Dataset:
    """The table of a source, the same one each time."""
    rng = np.random.default_rng(source.seed)
    prior = prior_of(source)
    means = _means(source, rng)
    states = _states(source, prior, rng)
    labels = _labels(source, states, rng)
    values, likelihoods = _observe(source, states, means, rng)
    return Dataset(
        name=f"synthetic://hmm with separation {source.separation:g}, seed {source.seed}",
        fingerprint=hashlib.sha256(source.model_dump_json().encode()).hexdigest(),
        feature_names=tuple(f"x{n}" for n in range(values.shape[1])),
        values=values,
        labels=labels,
        classes=tuple(str(n) for n in range(source.states)),
        time=FIRST_TIME + STEP * np.arange(source.rows),
        horizon=1,
        truth=HmmTruth(
            likelihoods=likelihoods, labels=labels, prior=prior, stay=source.stay, label_noise=source.label_noise
        ),
    )


def prior_of(source: HmmSource) -> Floats:
    """Stationary probability of each state."""
    prior = np.full(source.states, (1 - source.majority) / (source.states - 1))
    prior[source.states // 2] = source.majority
    return prior


def label_probabilities(states: int, *, noise: float) -> Floats:
    """(states, classes): probability of each label in each state."""
    table = np.full((states, states), noise / (states - 1))
    np.fill_diagonal(table, 1 - noise)
    return table


def _means(source: HmmSource, rng: np.random.Generator) -> NDArray[np.float32]:
    """(states, columns): orthogonal, each pair `separation` apart, turned so that every column shows something."""
    rotation, _ = np.linalg.qr(rng.standard_normal((source.columns, source.columns)))
    means: NDArray[np.float32] = (rotation[: source.states] * source.separation / math.sqrt(2)).astype(np.float32)
    return means


def _states(source: HmmSource, prior: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    drawn_anew = rng.random(source.rows) >= source.stay
    drawn_anew[0] = True
    draws = rng.choice(source.states, size=int(drawn_anew.sum()), p=prior)
    states: NDArray[np.int64] = draws[np.cumsum(drawn_anew) - 1]
    return states


def _labels(source: HmmSource, states: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    wrong = rng.random(source.rows) < source.label_noise
    shift = rng.integers(1, source.states, size=source.rows)
    return np.where(wrong, (states + shift) % source.states, states)


def _observe(
    source: HmmSource, states: NDArray[np.int64], means: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and log-likelihoods of all rows, filled chunk by chunk."""
    values = np.empty((source.rows, source.columns + source.noise_columns), dtype=np.float32)
    likelihoods = np.empty((source.rows, source.states), dtype=np.float32)
    half_squares = (means.astype(np.float64) ** 2).sum(axis=1) / 2
    for begin in range(0, source.rows, CHUNK):
        part = slice(begin, min(begin + CHUNK, source.rows))
        rng.standard_normal(out=values[part], dtype=np.float32)
        values[part, : source.columns] += means[states[part]]
        shown = values[part, : source.columns].astype(np.float64)
        likelihoods[part] = shown @ means.T.astype(np.float64) - half_squares
    return values, likelihoods
