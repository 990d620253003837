"""What lies where a checkpoint should be, and is none: code, another thing, another model. Each is refused in words."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.checkpoints import captured_state, checkpoint_file, newest_step, save
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.signature import model_signature, refuse_another_shape


class Payload:
    """Runs code when it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:  # noqa: ANN401  # as pickle wants it
        return os.mkdir, (str(self._mark),)


def _replace(root: Path, step: int, content: object) -> None:
    """Another file in a checkpoint's place, with a manifest that vouches for it: what an attacker would leave."""
    file, record = checkpoint_file(root, step), checkpoint_file(root, step, suffix=".json")
    torch.save(content, file)
    fields = json.loads(record.read_text())
    del fields["manifest_sha256"]
    fields["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    record.write_bytes(Manifest(**fields).to_json())


def test_a_checkpoint_with_code_in_it_is_refused_by_name_and_its_code_does_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 3, 6)
    mark = tmp_path / "the code ran"

    _replace(tmp_path, 6, {**captured_state(6), "extra": Payload(mark)})

    assert newest_step(tmp_path) == 3
    assert "step-000000006-epoch-0000.pt is passed over" in caplog.text
    assert "it asks to run posix.mkdir; a checkpoint is tensors, numbers and text" in caplog.text
    assert "weights_only" not in caplog.text, "torch's advice to load it with code and all stays out"
    assert not mark.exists()


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], "text"])
def test_a_checkpoint_that_holds_something_else_is_passed_over(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 3, 6)

    _replace(tmp_path, 6, content)

    assert newest_step(tmp_path) == 3
    assert f"it holds a {type(content).__name__}, no captured state" in caplog.text


def test_a_manifest_that_points_out_of_its_folder_is_not_believed(tmp_path: Path) -> None:
    save(tmp_path, 3)
    save(tmp_path, 6, launch=2)
    record = checkpoint_file(tmp_path, 3, suffix=".json")
    fields = json.loads(record.read_text())
    del fields["manifest_sha256"]

    record.write_bytes(Manifest(**fields | {"path": "1/../2/step-000000006-epoch-0000.pt"}).to_json())

    assert newest_step(tmp_path) is None


def test_a_model_of_another_shape_is_refused_with_its_parameters_and_both_shapes() -> None:
    saved = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).state_dict()
    wider = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).state_dict()

    with pytest.raises(ConfigurationError) as refused:
        refuse_another_shape(saved, wider, path="1/step-3.pt")

    assert str(refused.value) == (
        "checkpoint 1/step-3.pt is of another model: "
        "0.weight has shape (8, 3) in the checkpoint and (16, 3) in the model; "
        "0.bias has shape (8,) in the checkpoint and (16,) in the model; "
        "2.weight has shape (1, 8) in the checkpoint and (1, 16) in the model. Put back the hyperparameters that shape "
        "the model, or change spec.rerun to train again from the start"
    )


def test_a_model_with_more_or_fewer_parameters_is_refused_with_their_names() -> None:
    short = nn.Sequential(nn.Linear(3, 1)).state_dict()
    long = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1), nn.Linear(1, 1)).state_dict()

    with pytest.raises(
        ConfigurationError, match=r"1\.weight \(1, 1\) is in the model, not in .* and 1 more\. Put back"
    ):
        refuse_another_shape(short, long, path="1/step-3.pt")
    with pytest.raises(ConfigurationError, match=r"1\.weight \(1, 1\) is in the checkpoint, not in the model"):
        refuse_another_shape(long, short, path="1/step-3.pt")


def test_the_same_model_with_other_values_fits_and_has_the_same_signature() -> None:
    one, other = (nn.Linear(3, 2).state_dict() for _ in range(2))

    refuse_another_shape(one, other, path="1/step-3.pt")

    assert model_signature(one) == model_signature(other)
    assert model_signature(one) != model_signature(nn.Linear(2, 3).state_dict())
    assert model_signature(one) != model_signature({f"x{name}": value for name, value in one.items()})
