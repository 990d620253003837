"""The calibrated model as ONNX, written only if ONNX computes what PyTorch computes.

Exported is `Calibrated`: the network, its log softmax, the prior's shift and the temperature. Only the batch is
dynamic; the length of the window is fixed, since exporters are known to freeze dynamic time axes of LSTMs silently.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainmaster_trainer.errors import TrainerError
from trainmaster_trainer.evaluation.calibration import Calibration
from trainmaster_trainer.evaluation.model_card import INPUT_NAME, OUTPUT_NAME, ExportRecord

log = logging.getLogger(__name__)

OPSET: Final = 18
"""Old enough for every runtime of the last years, new enough for both of torch's exporters."""
PARITY_BATCHES: Final = (1, 7, 256)
"""One row, an odd few, a large batch: a batch size that an exporter froze differs at two of them."""
PARITY_TOLERANCE: Final = 1e-4
"""Largest difference of a log probability. float32 kernels differ by about 1e-6; what differs by more than a hundred
times that computes something else."""
PARITY_SEED: Final = 0
EXAMPLE_BATCH: Final = 2
"""Rows of the traced example: a batch of 1 is what exporters take for a constant."""


class ExportError(TrainerError):
    """There is no ONNX file; the model itself is as good as before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An ONNX file that passed the comparison."""

    content: bytes
    record: ExportRecord


class Calibrated(nn.Module):
    """(batch, window, features) -> calibrated log probabilities (batch, classes)."""

    shift: Tensor

    def __init__(self, model: nn.Module, calibration: Calibration) -> None:
        super().__init__()
        self.model = model
        self.temperature = calibration.temperature
        self.register_buffer("shift", torch.tensor(calibration.shift, dtype=torch.float32))

    def forward(self, windows: Tensor) -> Tensor:
        """Calibrated log probabilities of each window."""
        said = functional.log_softmax(self.model(windows), dim=1)
        return functional.log_softmax((said + self.shift) / self.temperature, dim=1)


def export_onnx(model: nn.Module, calibration: Calibration, *, window: int, features: int) -> Exported:
    """Export a copy of a model, on the CPU, in eval mode and float32; compare it with PyTorch on random windows.

    torch's older exporter is tried first (under a second), the newer one (about ten) where that fails or differs.
    Raises ExportError if onnx or onnxruntime is missing, or neither gives a model that computes the same.
    """
    # What is done to an exported model must not be done to a training one; tracing needs ordinary tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), _slow_attention():
        calibrated = Calibrated(copy.deepcopy(model).cpu().float(), calibration).eval()
        return _export(calibrated, shape=(window, features))


def _export(calibrated: Calibrated, *, shape: tuple[int, int]) -> Exported:
    problems: list[str] = []
    for name, export in EXPORTERS.items():
        try:
            content = export(calibrated, shape)
            difference = largest_difference(calibrated, content, shape=shape)
        except ImportError as error:
            problems.append(f"{name}: {error}; install it where the trainer runs")
            continue
        # Exporters raise whatever their passes raise; each of them means: no file from this one.
        except Exception as error:
            log.debug("the %s exporter failed", name, exc_info=True)
            problems.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            continue
        if difference <= PARITY_TOLERANCE:
            return Exported(content=content, record=_record(content, exporter=name, difference=difference))
        problems.append(f"{name}: differs from PyTorch by {difference:.3g}, more than {PARITY_TOLERANCE:g}")
    message = f"no ONNX file: {'; '.join(problems)}; set export_onnx to false if none is needed"
    raise ExportError(message)


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Without the fused attention of torch, which ONNX has no operator for."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def largest_difference(model: nn.Module, content: bytes, *, shape: tuple[int, ...]) -> float:
    """Between PyTorch and ONNX Runtime, over PARITY_BATCHES; infinite where one is finite and the other is not.

    Raises ImportError without onnxruntime, and what it raises for a model that it cannot run.
    """
    import onnxruntime  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415  # slow import

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(PARITY_SEED)
    worst = 0.0
    for batch in PARITY_BATCHES:
        windows = torch.randn(batch, *shape, generator=generator)
        with torch.no_grad():
            expected = model(windows)
        computed = torch.from_numpy(session.run(None, {INPUT_NAME: windows.numpy()})[0])
        difference = float((computed - expected).abs().max()) if computed.shape == expected.shape else float("inf")
        # A NaN compares as smaller than everything: it must not pass.
        worst = max(worst, difference) if difference == difference else float("inf")  # noqa: PLR0124  # NaN
    return worst


def _record(content: bytes, *, exporter: str, difference: float) -> ExportRecord:
    return ExportRecord(
        opset=OPSET,
        exporter=exporter,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        batches=PARITY_BATCHES,
        largest_difference=difference,
        tolerance=PARITY_TOLERANCE,
    )


def _by_tracing(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "model.onnx"
        # That tracing fixes what it does not see as dynamic is what the comparison is for.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(EXAMPLE_BATCH, *shape),),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        )
        return file.read_bytes()


def _by_dynamo(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(EXAMPLE_BATCH, *shape),),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    if program is None:
        raise ExportError("the exporter gave no program")
    content: bytes = program.model_proto.SerializeToString()
    return content


EXPORTERS: Final[Mapping[str, Callable[[nn.Module, tuple[int, ...]], bytes]]] = {
    "torchscript": _by_tracing,
    "dynamo": _by_dynamo,
}
"""By name, in the order in which they are tried."""
