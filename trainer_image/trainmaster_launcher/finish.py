"""The launcher's last word: the termination message, which the kubelet reads even if no report came through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trainmaster_launcher.log import log
from trainmaster_launcher.outcome import Verdict
from trainmaster_launcher.plan import PROTOCOL, Plan

TERMINATION_MESSAGE_BYTES: Final = 4096
"""The kubelet reads no more."""
SHORT_MESSAGE: Final = 500
SHORTEST_MESSAGE: Final = 100


def termination_message(
    verdict: Verdict, *, plan: Plan, last_seq: int, step: int, checkpoints: list[dict[str, Any]], crashes: int
) -> bytes:
    """The message as JSON of at most 4,096 bytes: the newest checkpoints, metrics and text as far as they fit."""
    header = {
        "protocol": PROTOCOL,
        "runUid": plan.run_uid,
        "launch": plan.launch,
        "generation": plan.generation,
        "lastSeq": last_seq,
        "step": step,
        "crashes": crashes,
    }
    data = b""
    for variant in _variants(verdict, [_without_lists(each) for each in checkpoints]):
        data = json.dumps(header | variant, separators=(",", ":")).encode()
        if len(data) <= TERMINATION_MESSAGE_BYTES:
            break
    return data


def _without_lists(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What status takes of a checkpoint: its lists could fill the message, and no checkpoint would be left in it."""
    return {name: value for name, value in checkpoint.items() if not isinstance(value, list | dict)}


def _variants(verdict: Verdict, checkpoints: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Shorter and shorter: old checkpoints go first, then metrics, then text."""
    wire = verdict.to_wire()
    for kept in range(len(checkpoints), 0, -1):
        yield {"verdict": wire, "checkpoints": checkpoints[-kept:]}
    yield {"verdict": wire}
    bare = {"outcome": verdict.outcome, "reason": verdict.reason[:SHORTEST_MESSAGE]}
    for length in (SHORT_MESSAGE, SHORTEST_MESSAGE, 0):
        yield {"verdict": bare | {"message": verdict.message[:length]}, "checkpoints": checkpoints[-1:]}
    yield {"verdict": bare}


def write_termination_message(path: Path, data: bytes) -> None:
    """Writes the message; without the file, outside a pod, there is nobody to read it."""
    try:
        path.write_bytes(data)
    except OSError as error:
        log(f"termination message cannot be written to {path}: {error.strerror}")
