"""The training process from outside: exit codes and what it says, without a launcher."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.bars import write_bars
from tests.support.training import store
from trainmaster.api.plan import HangLimits, Plan, StoragePlan
from trainmaster_trainer.__main__ import main

SMALL: dict[str, Any] = {
    "epochs": 1, "batch_size": 64, "hidden_size": 8, "attention_heads": 2, "window": 6, "evaluation": "brief",
}  # fmt: skip
PATIENCE_SECONDS = 120
UD2 = {"x86_64": b"\x0f\x0b", "aarch64": b"\x00\x00\x00\x00"}
"""An instruction that no CPU has, by architecture."""


def _plan(tmp_path: Path, **changes: Any) -> str:  # noqa: ANN401  # any field of a plan, bad values too
    write_bars(tmp_path / "data" / "bars.csv", 600)
    limits = HangLimits(starting=60, training=60, validating=60, checkpointing=60, testing=60)
    plan = Plan(
        run_uid="u", namespace="n", name="r", launch=1, generation=1, base_generation=1,
        workload="market-classifier", hyperparameters=SMALL, data_source="pvc://data/bars.csv",
        volumes={"data": str(tmp_path / "data")}, storage=StoragePlan(root=str(tmp_path / "root")), cpus=1,
        restart_lease=0, hang_limits=limits,
    )  # fmt: skip
    return json.dumps(plan.model_copy(update=changes).to_wire())


def _start(plan: str | None, *, path: Path | None = None) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINMASTER_")}
    if plan is not None:
        environment["TRAINMASTER_PLAN"] = plan
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-m", "trainmaster_trainer"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def _run(plan: str | None, *, path: Path | None = None) -> tuple[int, str]:
    process = _start(plan, path=path)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def test_it_trains_what_the_plan_says_and_exits_with_0(tmp_path: Path) -> None:
    code, errors = _run(_plan(tmp_path))

    assert code == 0, errors
    assert "WARNING: pvc://data/bars.csv: 600 rows are few" in errors
    found = store(tmp_path / "root").newest()
    assert found is not None
    assert found[0].epoch == 1


def test_sigterm_ends_it_with_a_checkpoint_and_75_and_the_next_launch_goes_on(tmp_path: Path) -> None:
    seen = 0
    for launch in (1, 2):
        process = _start(_plan(tmp_path, launch=launch, hyperparameters={**SMALL, "epochs": 100_000}))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(tmp_path.glob(f"root/{launch}/*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)

        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)

        assert process.returncode == 75, errors
        found = store(tmp_path / "root", launch=launch).newest()
        assert found is not None
        assert (found[0].launch, found[0].step > seen) == (launch, True)
        assert ("continuing from checkpoint 1/" in errors) == (launch == 2)
        seen = found[0].step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparameters": {**SMALL, "learning_rate": -1}}, "hyperparameters.learning_rate: Input should be greater"),
        ({"data_source": "pvc://data/none.csv"}, "there is no file"),
        ({"data_source": None}, "market-classifier needs spec.data.source"),
        ({"workload": "speech-tacotron2"}, "has no workload"),
    ],
)
def test_a_plan_that_does_not_fit_ends_it_with_78_and_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.delenv("TRAINMASTER_SOCKET", raising=False)
    monkeypatch.setenv("TRAINMASTER_PLAN", _plan(tmp_path, **changes))

    assert main() == 78

    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("plan", "message"), [(None, "TRAINMASTER_PLAN is not set"), ("{}", "holds no valid plan")])
def test_without_a_plan_it_ends_with_78(plan: str | None, message: str) -> None:
    code, errors = _run(plan)

    assert code == 78
    assert message in errors


def _fake_torch(folder: Path, source: str) -> Path:
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text(source)
    return folder


@pytest.mark.parametrize("error", ["ImportError('libcudart.so: cannot open')", "OSError('libgomp.so.1: no such file')"])
def test_a_torch_that_does_not_load_ends_it_with_78(tmp_path: Path, error: str) -> None:
    code, errors = _run(_plan(tmp_path), path=_fake_torch(tmp_path / "fake", f"raise {error}"))

    assert code == 78
    assert "torch does not work here" in errors
    assert error.split("'")[1] in errors


@pytest.mark.skipif(platform.machine() not in UD2, reason="no illegal instruction known for this architecture")
def test_an_instruction_that_this_cpu_lacks_ends_it_with_78_and_words(tmp_path: Path) -> None:
    source = (
        "import ctypes, mmap\n"
        f"code = {UD2[platform.machine()]!r}\n"
        "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "page.write(code)\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n"
    )

    code, errors = _run(_plan(tmp_path), path=_fake_torch(tmp_path / "fake", source))

    assert code == 78
    assert "this CPU lacks an instruction" in errors


def test_storage_that_cannot_be_listed_is_no_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where the folder should be")

    code, errors = _run(_plan(tmp_path))

    assert code == 1
    assert "cannot be listed" in errors
