import torch

from trainmaster_trainer.market.model import HybridCNNLSTMv2


def _model(*, lstm_layers: int = 1) -> HybridCNNLSTMv2:
    torch.manual_seed(0)
    return HybridCNNLSTMv2(features=5, classes=3, hidden=8, lstm_layers=lstm_layers, heads=2, dropout=0.5)


def test_a_window_becomes_one_logit_per_class() -> None:
    assert _model(lstm_layers=2)(torch.randn(7, 12, 5)).shape == (7, 3)


def test_a_window_is_judged_alone_whatever_else_is_in_the_batch() -> None:
    model = _model().eval()
    windows = torch.randn(7, 12, 5)

    torch.testing.assert_close(model(windows)[3:4], model(windows[3:4]))


def test_every_weight_is_trained_and_every_bar_of_the_window_counts() -> None:
    model = _model().eval()
    windows = torch.randn(4, 12, 5, requires_grad=True)

    model(windows).pow(2).sum().backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert windows.grad is not None
    assert bool((windows.grad.abs().sum(dim=(0, 2)) > 0).all())
