"""HybridCNNLSTMv2: convolutions, an LSTM and self-attention over a window of bars."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERNEL = 3
"""Bars that one convolution sees; two of them see five."""


class HybridCNNLSTMv2(nn.Module):
    """(batch, window, features) -> (batch, classes) logits.

    Two convolutions find local shapes, the LSTM carries them through the window, attention looks back over it from
    every bar; the last bar and the mean over the window decide. LayerNorm, not BatchNorm: no running statistics, so
    train and eval compute the same function and a last small batch harms nothing.
    """

    def __init__(  # the architecture's knobs, all by keyword
        self, *, features: int, classes: int, hidden: int, lstm_layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(features, hidden, KERNEL, padding=KERNEL // 2),
            nn.GELU(),
            nn.Conv1d(hidden, hidden, KERNEL, padding=KERNEL // 2),
            nn.GELU(),
        )
        self.dropout = nn.Dropout(dropout)
        # nn.LSTM drops out between layers only, and warns about a rate with a single one.
        self.lstm = nn.LSTM(
            hidden, hidden, num_layers=lstm_layers, batch_first=True, dropout=dropout if lstm_layers > 1 else 0.0
        )
        # No dropout on its weights: with it, a CPU keeps all window x window of them, of each head, for backward.
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of each window."""
        shapes = self.convolutions(windows.transpose(1, 2)).transpose(1, 2)
        states, _ = self.lstm(self.dropout(shapes))
        # The weights are not needed; asking for them forces the slow path.
        context, _ = self.attention(states, states, states, need_weights=False)
        merged = self.norm(states + context)
        summary = torch.cat([merged[:, -1], merged.mean(dim=1)], dim=1)
        logits: Tensor = self.head(self.dropout(summary))
        return logits
