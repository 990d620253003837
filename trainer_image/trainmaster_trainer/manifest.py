"""The manifest of a checkpoint: a small JSON file that says what the checkpoint is, and vouches for itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
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

    def to_json(self) -> bytes:
        """The manifest as it lies on the disk."""
        fields = asdict(self)
        return json.dumps({**fields, "manifest_sha256": _digest(fields)}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, *, folder: str) -> Manifest:
        """Read a manifest that lies in the folder of a launch. Raises ManifestError if it is damaged."""
        try:
            fields = json.loads(content)
            claimed = fields.pop("manifest_sha256")
            manifest = cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"it is no manifest: {error!r}"
            raise ManifestError(message) from None
        if claimed != _digest(fields):
            raise ManifestError("its content does not match its own hash")
        if not manifest.path.startswith(f"{folder}/"):
            message = f"it speaks of {manifest.path}, but lies in {folder}"
            raise ManifestError(message)
        return manifest


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
