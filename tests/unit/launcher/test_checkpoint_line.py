"""What a process says of a checkpoint reaches the operator whole; nothing in it can make a report be refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.launcher.test_decisions import plan
from trainmaster.api.protocol import ReportedCheckpoint
from trainmaster_launcher.finish import TERMINATION_MESSAGE_BYTES, termination_message
from trainmaster_launcher.messages import Checkpoint, LineError, parse_line
from trainmaster_launcher.outcome import Verdict

LEAST = {"type": "checkpoint", "path": "1/a.pt", "step": 40, "epoch": 1, "sha256": "00", "sizeBytes": 3}
WHOLE = LEAST | {
    "cleanSteps": 12,
    "finite": True,
    "applied": ["d1", "d2"],
    "metrics": {"val_loss": 0.5},
    "signature": "ab",
}


def _wire(line: dict[str, Any]) -> dict[str, Any]:
    message = parse_line(json.dumps(line).encode())
    assert isinstance(message, Checkpoint)
    return message.to_wire()


@pytest.mark.parametrize("line", [LEAST, WHOLE], ids=["least", "whole"])
def test_the_operator_gets_what_was_said_and_no_more(line: dict[str, Any]) -> None:
    wire = _wire(line)

    assert wire == {name: value for name, value in line.items() if name != "type"}
    assert ReportedCheckpoint.model_validate(wire).to_wire().items() >= wire.items()


def test_a_false_and_a_zero_are_said() -> None:
    assert _wire(LEAST | {"cleanSteps": 0, "finite": False}).items() >= {"cleanSteps": 0, "finite": False}.items()


def test_what_is_too_much_for_the_operator_is_cut_before_it_gets_there() -> None:
    wire = _wire(
        LEAST
        | {
            "applied": [f"d{n}" * 200 for n in range(100)],
            "metrics": {"bad name": 1, "nan": "NaN"} | {f"m{n}": 1.5 for n in range(100)},
            "signature": "s" * 100,
        }
    )

    taken = ReportedCheckpoint.model_validate(wire)
    assert len(taken.applied) == 64
    assert taken.applied[-1].startswith("d99"), "the newest are kept"
    assert (len(taken.metrics), len(taken.signature or "")) == (64, 64)


@pytest.mark.parametrize("wrong", [{"cleanSteps": -1}, {"cleanSteps": "many"}, {"applied": 3}, {"metrics": 3}])
def test_what_is_no_checkpoint_is_refused_by_the_launcher(wrong: dict[str, Any]) -> None:
    with pytest.raises(LineError):
        parse_line(json.dumps(LEAST | wrong).encode())


def test_lists_of_a_checkpoint_never_push_it_out_of_the_last_word() -> None:
    checkpoint = _wire(WHOLE | {"applied": ["d" * 256] * 64, "metrics": {f"m{n}": 1.5 for n in range(64)}})

    data = termination_message(
        Verdict(outcome="Retry", reason="Disrupted"),
        plan=plan(),
        last_seq=9,
        step=3,
        checkpoints=[checkpoint],
        crashes=0,
    )

    assert len(data) <= TERMINATION_MESSAGE_BYTES
    (said,) = json.loads(data)["checkpoints"]
    assert (said["path"], said["cleanSteps"], said["finite"]) == ("1/a.pt", 12, True)
