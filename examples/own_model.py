"""One's own network in the market classifier:  trainmaster local run examples/own-model.yaml"""

from torch import Tensor, nn

from trainmaster_trainer.market.workload import MarketClassifier


class LastStates(nn.Module):
    """(batch, window, features) -> (batch, classes) logits."""

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.gru(windows)
        logits: Tensor = self.head(self.dropout(states[:, -1]))
        return logits


class OwnModel(MarketClassifier):
    def build_model(self) -> nn.Module:
        h = self.hyperparameters
        return LastStates(self.data.inputs.shape[1], len(self.classes), h.hidden_size, h.dropout)
