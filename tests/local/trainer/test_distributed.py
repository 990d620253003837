"""Several processes train the model that one process trains: real processes, real gradients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.bars import write_bars
from tests.support.training import newest_digest, store
from trainmaster.api.plan import HangLimits, Plan, StoragePlan
from trainmaster_trainer.distributed import Group

VALUES: dict[str, Any] = {
    "epochs": 2, "batch_size": 32, "hidden_size": 8, "attention_heads": 2, "window": 6,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.003, "precision": "bfloat16", "evaluation": "brief",
}  # fmt: skip
PATIENCE_SECONDS = 240


def _start(root: Path, *, processes: int, torchrun: bool = False, **changes: Any) -> subprocess.Popen[str]:  # noqa: ANN401  # any hyperparameter
    write_bars(root / "data" / "bars.csv", 600)
    limits = HangLimits(starting=60, training=60, validating=60, checkpointing=60, testing=60)
    plan = Plan(
        run_uid="u", namespace="n", name="r", launch=1, generation=1, base_generation=1,
        workload="market-classifier", hyperparameters={**VALUES, **changes}, data_source="pvc://data/bars.csv",
        volumes={"data": str(root / "data")}, storage=StoragePlan(root=str(root / "checkpoints")), cpus=processes,
        processes=processes, restart_lease=0, hang_limits=limits,
    )  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINMASTER_")}
    environment |= {"TRAINMASTER_PLAN": json.dumps(plan.to_wire()), "OMP_NUM_THREADS": "1"}
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if torchrun else []
    return subprocess.Popen(
        [sys.executable, *start, "-m", "trainmaster_trainer"],
        env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def _trained(root: Path, *, processes: int, torchrun: bool = False) -> str:
    """The digest of the whole final state."""
    process = _start(root, processes=processes, torchrun=torchrun)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    return newest_digest(root / "checkpoints")


@pytest.mark.parametrize(("count", "shares"), [(2, [[0], [1]]), (5, [[0, 1, 2], [3, 4]]), (4, [[0, 1], [2, 3]])])
def test_ranks_take_neighbouring_slices_and_leave_none_out(count: int, shares: list[list[int]]) -> None:
    assert [list(Group(rank=rank, size=2).own(count)) for rank in range(2)] == shares


@pytest.mark.parametrize("torchrun", [False, True], ids=["own processes", "torchrun"])
def test_two_processes_end_with_the_bits_of_one_that_takes_two_slices(tmp_path: Path, *, torchrun: bool) -> None:
    alone = _trained(tmp_path / "one", processes=1)

    assert _trained(tmp_path / "two", processes=2, torchrun=torchrun) == alone


def test_two_processes_are_audited_judged_and_exported_once(tmp_path: Path) -> None:
    process = _start(tmp_path, processes=2, evaluation="full")
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, errors
    assert (tmp_path / "checkpoints" / "1" / "model.onnx").is_file()
    assert errors.count("rows are few") == 2, "each rank reads the data, one judges the model"


def test_sigterm_ends_both_with_one_checkpoint_and_75(tmp_path: Path) -> None:
    process = _start(tmp_path, processes=2, epochs=100_000)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(tmp_path.glob("checkpoints/1/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 75, errors
    assert store(tmp_path / "checkpoints").newest() is not None
    assert _gone(process.pid), "no rank is left"


def test_a_rank_that_dies_ends_the_training_instead_of_hanging_it(tmp_path: Path) -> None:
    process = _start(tmp_path, processes=2, epochs=100_000)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(tmp_path.glob("checkpoints/1/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (child,) = _children(process.pid)

    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 1
    assert "another process of this training does not answer" in errors


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _gone(session: int) -> bool:
    """Whether no process of a session is left."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                return False
    return True
