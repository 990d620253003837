"""The design that the v2 trainer replaces, as such trainers are commonly written.

`tests.bench.trainer` compares with it. Everything in it is ordinary and right; nothing is made slower than it has to
be. What it does otherwise than the trainer: float32 throughout; a bidirectional LSTM of two layers; attention that asks
for its weights; windows copied into a DataLoader's data set; loss and gradient norm read by the host, clipped and
logged at every step. Its sizes are those that the 11.7 GB at batch 256 were traced back to: convolutions of 64, 128 and
256 channels, an LSTM of 2 x 256 and 8 heads over windows of 256 bars; smaller ones keep the proportions.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

log = logging.getLogger(__name__)

KERNEL: Final = 3
LSTM_LAYERS: Final = 2


class ReplacedNetwork(nn.Module):
    """(batch, window, features) -> (batch, classes) logits: three convolutions, a BiLSTM of two layers, attention."""

    def __init__(self, *, features: int, classes: int, hidden: int, heads: int, dropout: float) -> None:
        """`hidden` is the width of attention and each LSTM direction; convolutions have 1/4, 1/2 and all of it."""
        super().__init__()
        widths = (features, hidden // 4, hidden // 2, hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Dropout(dropout))
        self.lstm = nn.LSTM(
            hidden, hidden, num_layers=LSTM_LAYERS, batch_first=True, bidirectional=True, dropout=dropout
        )
        self.merge = nn.Linear(2 * hidden, hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, dropout=dropout, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of each window."""
        shapes = self.convolutions(windows.transpose(1, 2)).transpose(1, 2)
        states = self.merge(self.lstm(shapes)[0])
        context, _weights = self.attention(states, states, states)  # need_weights=True is the default
        merged = self.norm(states + context)
        logits: Tensor = self.head(torch.cat([merged[:, -1], merged.mean(dim=1)], dim=1))
        return logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Windows (rows, window, features) and their classes, copied out of the table."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is trained with; the same numbers as the trainer's."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    scheduler_t_0: int
    scheduler_t_mult: int
    evaluation_batch: int
    seed: int


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a training came to: one entry per epoch."""

    seconds: list[float] = field(default_factory=list)
    """Of the training steps; validation is not in it."""
    val_loss: list[float] = field(default_factory=list)
    """Log-loss on the validation rows."""
    samples_per_epoch: int = 0


def train(model: nn.Module, *, training: Windows, validation: Windows, recipe: Recipe, device: torch.device) -> Outcome:
    """Train for all epochs; nothing is kept but the last weights."""
    torch.manual_seed(recipe.seed)
    model.to(device)
    loader = DataLoader(
        TensorDataset(training.inputs, training.targets), batch_size=recipe.batch_size, shuffle=True, drop_last=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=recipe.scheduler_t_0, T_mult=recipe.scheduler_t_mult
    )
    outcome = Outcome(samples_per_epoch=len(loader) * recipe.batch_size)
    for epoch in range(recipe.epochs):
        model.train()
        began = time.perf_counter()
        total = 0.0
        for step, (inputs, targets) in enumerate(loader):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs.to(device)), targets.to(device))
            loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimizer.step()
            scheduler.step(epoch + (step + 1) / len(loader))
            value = loss.item()
            total += value
            log.info("epoch %d step %d: loss %.4f, gradient norm %.4f", epoch, step, value, norm.item())
        outcome.seconds.append(time.perf_counter() - began)
        outcome.val_loss.append(_validate(model, validation, recipe=recipe, device=device))
        log.info("epoch %d: loss %.4f, validation %.4f", epoch, total / len(loader), outcome.val_loss[-1])
    return outcome


def _validate(model: nn.Module, windows: Windows, *, recipe: Recipe, device: torch.device) -> float:
    model.eval()
    with torch.no_grad():
        losses = torch.cat(list(_losses(model, windows, recipe=recipe, device=device)))
    return float(losses.mean())


def _losses(model: nn.Module, windows: Windows, *, recipe: Recipe, device: torch.device) -> Iterator[Tensor]:
    for inputs, targets in DataLoader(
        TensorDataset(windows.inputs, windows.targets), batch_size=recipe.evaluation_batch
    ):
        logits = model(inputs.to(device)).double()
        yield functional.cross_entropy(logits, targets.to(device), reduction="none")
