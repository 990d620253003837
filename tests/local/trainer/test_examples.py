"""The examples of a model and of a workload of one's own: the very files, found as their manifests find them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.support.bars import write_bars
from tests.support.training import RecordingSession, store
from tests.support.workload_contract import WorkloadContract
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.plan import HangLimits, Plan, StoragePlan
from trainmaster_trainer.distributed import Group
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.training import load_factory, train_plan
from trainmaster_trainer.workload import Workload

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
OWN_MODEL_LINES = 30
"""What issue 6 allows a user for a model of their own."""
PATIENCE_SECONDS = 120


def _spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["spec"]
    return spec


def _plan(tmp_path: Path, spec: dict[str, Any], **hyperparameters: Any) -> Plan:  # noqa: ANN401  # any scalar
    write_bars(tmp_path / "data" / "bars.csv", 600)
    return Plan(
        run_uid="u", namespace="n", name="r", launch=1, generation=1, base_generation=1, workload="custom",
        command=tuple(spec["command"]), hyperparameters={**spec["hyperparameters"], **hyperparameters},
        data_source="pvc://data/bars.csv", volumes={"data": str(tmp_path / "data")},
        storage=StoragePlan(root=str(tmp_path / "root")), cpus=1, restart_lease=0,
        hang_limits=HangLimits(starting=60, training=60, validating=60, checkpointing=60, testing=60),
    )  # fmt: skip


class _Session(RecordingSession):
    def progress(self, phase: str, **at: Any) -> None:  # noqa: ANN401  # records whatever it is told
        super().progress(phase, **{"step": 0, **at})  # before there is an engine nobody knows a step


def _train(plan: Plan, target: str) -> dict[str, float]:
    session = _Session()
    return train_plan(
        plan,
        factory=load_factory(target),
        connect=lambda _applied: session,
        interruption=Interruption(),
        group=Group(),
    )


def _weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    found = store(tmp_path / "root").newest()
    assert found is not None
    weights: dict[str, torch.Tensor] = found[1]["model"]
    return weights


def test_a_network_of_ones_own_is_trained_judged_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = _spec("own-model")
    small = {"epochs": 1, "window": 6, "hidden_size": 8, "batch_size": 64, "evaluation": "brief"}

    metrics = _train(_plan(tmp_path, spec, **small), spec["command"][-1])

    assert 0.0 <= metrics["test_accuracy"] <= 1.0
    assert _weights(tmp_path)["gru.weight_hh_l0"].shape == (3 * 8, 8)


def test_its_hyperparameters_are_the_market_classifiers() -> None:
    MarketClassifierHyperparameters.model_validate(_spec("own-model")["hyperparameters"])


def test_a_network_of_ones_own_takes_fewer_lines_than_promised() -> None:
    assert len((EXAMPLES / "own_model.py").read_text().splitlines()) < OWN_MODEL_LINES


def test_the_command_of_the_own_workload_trains_it(tmp_path: Path) -> None:
    spec = _spec("own-workload")
    plan = _plan(tmp_path, spec, epochs=2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINMASTER_")}
    environment |= {each["name"]: each["value"] for each in spec["env"]}
    environment |= {"TRAINMASTER_PLAN": json.dumps(plan.to_wire()), "OMP_NUM_THREADS": "1"}

    ended = subprocess.run(
        [sys.executable, *spec["command"][1:]],
        cwd=ROOT, env=environment, timeout=PATIENCE_SECONDS, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert _weights(tmp_path)["0.weight"].shape == (16, 2)


def test_a_workload_is_found_by_the_entry_point_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed" / "waves-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: waves\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[trainmaster.workloads]\nwaves = own_workload:Waves.from_plan\n")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(installed.parent)

    metrics = _train(_plan(tmp_path, _spec("own-workload")), "waves")

    # Noise of deviation 0.1 leaves 0.01; whoever answers with the mean has 0.8.
    assert metrics["test_loss"] < 0.03


@pytest.mark.parametrize("target", ["own_workload:Wafes.from_plan", "own_workload:Waves.from_plam", "nothing_here:f"])
def test_a_target_that_is_not_there_is_named_with_the_way_out(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)

    with pytest.raises(ConfigurationError, match=f"workload {target}: .*; write MODULE:FUNCTION"):
        load_factory(target)


class TestOwnWorkload(WorkloadContract):
    """The suite that docs/how-to/own-workload.md sends its reader to."""

    @pytest.fixture(autouse=True)
    def _setup(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(EXAMPLES)
        self.plan = _plan(tmp_path, _spec("own-workload"))

    def make(self) -> Workload:
        return load_factory("own_workload:Waves.from_plan")(self.plan)
