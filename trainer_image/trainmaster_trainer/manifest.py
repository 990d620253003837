"""The manifest of a checkpoint: a small JSON file that says what the checkpoint is, and vouches for itself."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trainmaster_trainer.errors import TrainerError


class ManifestError(TrainerError):
    """A manifest, or the file that it speaks of, is damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One complete checkpoint."""

    path: str
    """Relative to the storage root: `<launch>/<file>`."""
    step: int
    """Steps done."""
    epoch: int
    """Epochs done, validation included."""
    sha256: str
    size_bytes: int
    val_loss: float | None
    """Validation loss of the epoch that just ended; None in the middle of one, or where it was not finite."""
    best: bool
    """Whether it was the lowest validation loss up to then."""
    clean_steps: int | None = None
    """Steps since the last one that was skipped, or that met an emergency; None where nobody counted."""
    finite: bool | None = None
    """Whether all weights and moments are finite numbers; None where nobody looked."""
    applied: dict[str, int] = field(default_factory=dict)
    """Directives in effect, with the steps before which they took effect."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the validation that just ended; only finite ones, none in the middle of an epoch."""
    signature: str | None = None
    """Hash of the names and shapes of the model's parameters."""

    @property
    def launch(self) -> int:
        """Number of the launch that wrote it."""
        return int(self.path.split("/", maxsplit=1)[0])

    def age(self) -> tuple[int, int, int]:
        """Sorts checkpoints: later in training is greater, then the later launch."""
        return self.step, self.epoch, self.launch

    def quality(self) -> tuple[float, int]:
        """Sorts checkpoints: the best first, of equals the earlier."""
        return float("inf") if self.val_loss is None else self.val_loss, self.step

    def healthy(self, *, window: int) -> bool:
        """Whether it may be gone back to: finite, and `window` clean steps behind it; what is not known is no."""
        return self.finite is True and self.clean_steps is not None and self.clean_steps >= window

    def to_json(self) -> bytes:
        """The manifest as it lies on the disk."""
        content = asdict(self)
        return json.dumps({**content, "manifest_sha256": _digest(content)}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, *, folder: str) -> Manifest:
        """Read a manifest that lies in the folder of a launch. Raises ManifestError if it is damaged.

        What a newer version added is left out, once the hash has vouched for it.
        """
        try:
            read = json.loads(content)
            claimed = read.pop("manifest_sha256")
            manifest = cls(**{name: value for name, value in read.items() if name in _names()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"it is no manifest: {error!r}"
            raise ManifestError(message) from None
        if claimed != _digest(read):
            raise ManifestError("its content does not match its own hash")
        if manifest.path.rpartition("/")[0] != folder:
            message = f"it speaks of {manifest.path}, but lies in {folder}"
            raise ManifestError(message)
        return manifest


def finite_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are numbers: JSON has no others, and no registry may take them in."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def finite_or_none(value: float | None) -> float | None:
    """A number, or None for what is none: nothing can be sorted by NaN."""
    return value if value is not None and math.isfinite(value) else None


def _names() -> frozenset[str]:
    return frozenset(each.name for each in fields(Manifest))


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
