import sys

import onnx
import pytest
import torch
from torch import Tensor, nn

from trainmaster_trainer.evaluation import onnx_export
from trainmaster_trainer.evaluation.calibration import Calibration
from trainmaster_trainer.evaluation.onnx_export import (
    EXPORTERS,
    OPSET,
    PARITY_TOLERANCE,
    Calibrated,
    ExportError,
    export_onnx,
    largest_difference,
)
from trainmaster_trainer.market.model import HybridCNNLSTMv2

WINDOW, FEATURES, CLASSES = 12, 5, 3
CALIBRATION = Calibration(temperature=1.7, shift=(0.5, -0.25, 0.0))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return HybridCNNLSTMv2(features=FEATURES, classes=CLASSES, hidden=8, lstm_layers=2, heads=2, dropout=0.4).eval()


def test_the_market_model_computes_the_same_in_onnx_at_three_batch_sizes(model: nn.Module) -> None:
    exported = export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES)

    assert exported.record.largest_difference < PARITY_TOLERANCE / 10
    assert exported.record.batches == (1, 7, 256)
    assert exported.record.size_bytes == len(exported.content)
    graph = onnx.load_from_string(exported.content)
    assert graph.opset_import[0].version == OPSET
    batch, window, features = graph.graph.input[0].type.tensor_type.shape.dim
    assert (batch.dim_value, window.dim_value, features.dim_value) == (0, WINDOW, FEATURES), "only the batch is free"


def test_a_model_in_training_is_left_as_it_is_and_inference_mode_is_no_hindrance(model: nn.Module) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with torch.inference_mode():
        exported = export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES)

    assert exported.record.exporter == "torchscript"
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_exporting_draws_no_random_number(model: nn.Module) -> None:
    state = torch.get_rng_state()

    export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES)

    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_exported_is_calibrated(model: nn.Module) -> None:
    windows = torch.randn(6, WINDOW, FEATURES)

    with torch.inference_mode():
        said = Calibrated(model, CALIBRATION)(windows)
        plain = model(windows).double().log_softmax(dim=1).numpy()

    torch.testing.assert_close(said, torch.from_numpy(CALIBRATION.apply(plain)).float(), atol=1e-5, rtol=0)


def test_the_newer_exporter_takes_over_where_the_older_fails(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    def broken(model: nn.Module, shape: tuple[int, ...]) -> bytes:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnx_export, "EXPORTERS", {"torchscript": broken, "dynamo": EXPORTERS["torchscript"]})

    assert export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES).record.exporter == "dynamo"


class FrozenBatch(nn.Module):
    """What tracing cannot see: a number that the example's batch decides."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, windows: Tensor) -> Tensor:
        scale = 3.0 if len(windows) == onnx_export.EXAMPLE_BATCH else 1.0
        logits: Tensor = self.head(windows[:, -1]) * scale
        return logits


def test_an_export_that_differs_is_refused_with_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "EXPORTERS", {"torchscript": EXPORTERS["torchscript"]})

    with pytest.raises(ExportError, match=r"torchscript: differs from PyTorch by .*, more than 0\.0001.*export_onnx"):
        export_onnx(FrozenBatch().eval(), CALIBRATION, window=WINDOW, features=FEATURES)


def test_a_model_of_nan_weights_is_refused(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    monkeypatch.setattr(onnx_export, "EXPORTERS", {"torchscript": EXPORTERS["torchscript"]})
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))

    with pytest.raises(ExportError, match="differs from PyTorch by inf"):
        export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES)


def test_without_onnxruntime_the_message_names_it(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx_export, "EXPORTERS", {"torchscript": EXPORTERS["torchscript"]})

    with pytest.raises(ExportError, match=r"onnxruntime.*install it where the trainer runs"):
        export_onnx(model, CALIBRATION, window=WINDOW, features=FEATURES)


def test_the_difference_is_that_of_the_worst_batch(model: nn.Module) -> None:
    calibrated = Calibrated(model, CALIBRATION).eval()
    content = EXPORTERS["torchscript"](calibrated, (WINDOW, FEATURES))
    other = Calibrated(model, Calibration(temperature=1.0, shift=CALIBRATION.shift)).eval()

    assert largest_difference(calibrated, content, shape=(WINDOW, FEATURES)) < PARITY_TOLERANCE
    assert largest_difference(other, content, shape=(WINDOW, FEATURES)) > PARITY_TOLERANCE


class LastBar(nn.Module):
    """A model of a person's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, windows: Tensor) -> Tensor:
        logits: Tensor = self.head(windows[:, -1])
        return logits


@pytest.mark.parametrize("exporter", list(EXPORTERS))
def test_both_exporters_carry_a_foreign_model(monkeypatch: pytest.MonkeyPatch, exporter: str) -> None:
    monkeypatch.setattr(onnx_export, "EXPORTERS", {exporter: EXPORTERS[exporter]})

    record = export_onnx(LastBar(), CALIBRATION, window=WINDOW, features=FEATURES).record

    assert (record.exporter, record.opset) == (exporter, OPSET)
    assert record.largest_difference < PARITY_TOLERANCE / 10
