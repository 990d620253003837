"""Small checkpoints to save, look for and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.training import store
from trainmaster_trainer.state import FORMAT


def captured_state(step: int, *, epoch: int = 0, value: float = 0.0) -> dict[str, Any]:
    """The least that a checkpoint holds: a weight and a moment of three equal values."""
    model = {"weight": torch.full((3,), value)}
    optimizer = {"state": {0: {"exp_avg": torch.full((3,), value)}}, "param_groups": [{"lr": 0.1}]}
    return {"format": FORMAT, "step": step, "epoch": epoch, "model": model, "optimizer": optimizer, "applied": {}}


def save(root: Path, *steps: int, launch: int = 1, keep_last: int = 100, val_loss: float | None = None) -> None:
    """Save a checkpoint of each step."""
    for step in steps:
        store(root, launch=launch, keep_last=keep_last).save(captured_state(step), val_loss=val_loss, best=False)


def newest_step(root: Path, *, launch: int = 1) -> int | None:
    """Step of the newest valid checkpoint."""
    found = store(root, launch=launch).newest()
    return None if found is None else found[0].step


def checkpoint_file(root: Path, step: int, *, launch: int = 1, suffix: str = ".pt") -> Path:
    """A checkpoint of epoch 0, or its manifest."""
    return root / str(launch) / f"step-{step:09d}-epoch-0000{suffix}"


def saved_steps(root: Path, launch: int = 1) -> list[int]:
    """Steps of the checkpoints of a launch; each must be whole."""
    files = sorted((root / str(launch)).glob("*.pt"))
    assert [f.stem for f in files] == sorted(f.stem for f in (root / str(launch)).glob("*.json"))
    return [int(f.name.split("-")[1]) for f in files]


def flip_last_byte(path: Path) -> None:
    """Damage a file by a bit."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
