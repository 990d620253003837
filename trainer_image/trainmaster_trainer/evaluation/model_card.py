"""What a model is, what goes in, what comes out, and how it came to be: metadata as JSON beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ConfigDict, TypeAdapter, with_config

from trainmaster.api.hyperparameters import Scalar

INPUT_NAME: Final = "windows"
OUTPUT_NAME: Final = "log_probabilities"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSignature:
    """Inputs and outputs of a market classifier: float32 (batch, window, features) -> float32 (batch, classes)."""

    window: int
    """Bars, oldest first; fixed: another number is refused."""
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]
    feature_mean: tuple[float, ...] = ()
    """Of the train rows: inputs are (value - mean) / deviation, clipped to +-limit."""
    feature_deviation: tuple[float, ...] = ()
    feature_limit: float | None = None
    input_name: str = INPUT_NAME
    output_name: str = OUTPUT_NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRecord:
    """How the ONNX file was made, and how far it is from PyTorch."""

    opset: int
    exporter: str
    sha256: str
    size_bytes: int
    batches: tuple[int, ...]
    """Batch sizes at which both were compared."""
    largest_difference: float
    """Of any log probability at any of them."""
    tolerance: float


@with_config(ConfigDict(ser_json_inf_nan="strings", extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Everything a reader of the model needs to know."""

    workload: str
    signature: ModelSignature
    hyperparameters: Mapping[str, Scalar]
    metrics: Mapping[str, float]
    data_source: str
    data_sha256: str
    calibration_temperature: float
    calibration_shift: tuple[float, ...]
    """Both are part of the ONNX file, and are not part of the checkpoint."""
    git_commit: str | None = None
    onnx: ExportRecord | None = None
    findings: tuple[str, ...] = ()
    """What the audit found, in words."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The card as a file."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, content: bytes) -> ModelCard:
        """A card that `to_json` wrote. Raises ValueError for anything else."""
        return _ADAPTER.validate_json(content)


_ADAPTER: Final[TypeAdapter[ModelCard]] = TypeAdapter(ModelCard)
