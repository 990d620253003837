from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.support.bars import write_bars
from tests.support.training import ToyWorkload
from tests.support.workload_contract import WorkloadContract
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters
from trainmaster.api.parameter_schedules import ParameterSchedule
from trainmaster_trainer.market.workload import MarketClassifier
from trainmaster_trainer.workload import Knobs, Workload


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class TestToyWorkload(WorkloadContract):
    def make(self) -> Workload:
        return ToyWorkload()


class TestMarketClassifier(WorkloadContract):
    calm: ClassVar = {"gaussian_noise_std": 0.0}

    @pytest.fixture(autouse=True)
    def bars(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        self.folder = tmp_path
        write_bars(tmp_path / "bars.csv", 400)

    def make(self) -> Workload:
        values = {
            "batch_size": 32, "hidden_size": 8, "attention_heads": 2, "window": 6, "dead_zone": 1.0, "lstm_layers": 2,
            "use_class_weights": True, "evaluation": "brief", "device": "cpu",
        }  # fmt: skip
        return MarketClassifier.from_source(
            MarketClassifierHyperparameters.model_validate(values),
            source="pvc://data/bars.csv",
            volumes={"data": str(self.folder)},
            schedules=(ParameterSchedule(parameter="dropout", strategy="linear", to="0.1"),),
        )


class ReadsBack(ToyWorkload):
    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        found = super().losses(model, rows, knobs)
        return found / float(found.detach().max())


class TakesTheMean(ToyWorkload):
    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        return super().losses(model, rows, knobs).mean()


class CountsItsCalls(ToyWorkload):
    calls = 0

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        self.calls += 1
        return super().losses(model, rows, knobs) * self.calls


class DrawsRows(ToyWorkload):
    def epoch_rows(self, epoch: int) -> Tensor:  # noqa: ARG002  # the base's name
        return torch.randperm(self.train_rows)


class VisitsMore(ToyWorkload):
    visits = 30


class ShrinksEachTime(ToyWorkload):
    def configure(self, model: nn.Module, knobs: Knobs) -> None:  # noqa: ARG002  # the base's name
        for parameter in model.parameters():
            parameter.data *= 0.9


class TakesAnything(ToyWorkload):
    def adjusted(self, values: Any) -> Knobs:  # noqa: ANN401  # as the base
        return dict(values)


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (ReadsBack, "test_losses_read_nothing_from_the_device"),
        (TakesTheMean, "test_each_row_has_one_finite_loss_with_a_gradient"),
        (CountsItsCalls, "test_equal_seeds_give_equal_losses"),
        (DrawsRows, "test_the_rows_of_an_epoch_follow_from_its_number_alone"),
        (DrawsRows, "test_asking_for_rows_draws_no_random_numbers"),
        (VisitsMore, "test_an_epoch_visits_what_it_says_and_fills_a_batch"),
        (ShrinksEachTime, "test_putting_knobs_in_twice_is_putting_them_in_once"),
        (TakesAnything, "test_a_directive_may_set_no_hyperparameter_that_is_not_there"),
    ],
)
def test_the_suite_finds_what_is_broken(broken: type[ToyWorkload], found_by: str) -> None:
    class Suite(WorkloadContract):
        def make(self) -> Workload:
            return broken()

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Suite(), found_by)()
