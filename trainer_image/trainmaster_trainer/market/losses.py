"""The loss of each row: cross entropy with label smoothing, focal factor and class weights; and noise on the inputs.

With p the model's probabilities of K classes, y the class of a row, e the smoothing, g the focal power, w the weights:

    loss = w_y (1 - p_y)^g ((1 - e) (-log p_y) + e / K sum_k (-log p_k))

p_y is the probability of the hard label: exp of a smoothed loss would be no probability. The engine takes the mean over
the effective batch, so nothing is reduced here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

SURE: Final = 1e-6
"""Floor of 1 - p_y: below it a power under 1 would have an infinite slope."""


def row_losses(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """(rows,) losses of (rows, classes) logits against (rows,) classes, in single precision or better.

    `label_smoothing` is in 0..1, `focal_gamma` 0 or more; with 0, 0 and no weights it is plain cross entropy.
    """
    # Halves have too few digits for a log-softmax.
    log_probabilities = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=1)
    hard = log_probabilities.gather(1, targets[:, None]).squeeze(1)
    losses = -hard
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probabilities.mean(dim=1)
    if focal_gamma:
        losses = losses * (-torch.expm1(hard)).clamp(min=SURE) ** focal_gamma
    return losses if class_weights is None else losses * class_weights[targets]


def noisy(windows: Tensor, *, std: float) -> Tensor:
    """The windows with Gaussian noise of a deviation added, drawn from torch's global generator; 0 draws nothing."""
    return windows + std * torch.randn_like(windows) if std else windows
