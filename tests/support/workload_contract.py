"""Every Workload: what the engine relies on.

`WorkloadContract` is the suite. A workload of a third party passes it by a test module of theirs that says how it is
made, small and anew at each call, of the same data each time:

    from tests.support.workload_contract import WorkloadContract

    class TestMine(WorkloadContract):
        def make(self) -> Workload:
            return MyWorkload(rows=200)

From a checkout of this repository, with their code on the path: `PYTHONPATH=.:../mine pytest ../mine/test_mine.py`.
`calm` sets the knobs that make a loss random in itself to what turns that off.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.support.host_reads import HostReads
from trainmaster_trainer.errors import ConfigurationError
from trainmaster_trainer.parameters import LEARNING_RATE
from trainmaster_trainer.state import seed_everything
from trainmaster_trainer.workload import MAX_GRAD_NORM, WEIGHT_DECAY, Workload

ROWS = 4
"""Rows of a batch; at most what the workload trains on."""
CPU = torch.device("cpu")


def nothing() -> None:
    """No progress to report."""


def ready(workload: Workload) -> nn.Module:
    """A model with its knobs in it, in train mode, as the engine prepares it."""
    seed_everything(0)
    workload.to(CPU)
    model = workload.build_model().to(CPU)
    workload.configure(model, workload.settings.knobs)
    return model.train()


def losses(workload: Workload, model: nn.Module, *, seed: int = 1) -> Tensor:
    """Losses of the first rows."""
    seed_everything(seed)
    return workload.losses(model, torch.arange(ROWS), workload.settings.knobs)


def is_equal(first: Any, second: Any) -> bool:  # noqa: ANN401  # a tensor or any value
    """Whether two values, or two tensors, are the same."""
    return torch.equal(first, second) if isinstance(first, Tensor) else bool(first == second)


def shape_of(model: nn.Module) -> dict[str, Any]:
    """All that a model holds which is no module: weights, and numbers such as a rate of dropout."""
    return {
        f"{path}.{name}": value.detach().clone() if isinstance(value, Tensor) else value
        for path, module in model.named_modules()
        for name, value in [*vars(module).items(), *module.named_parameters(recurse=False)]
        if isinstance(value, Tensor | float | int | str | bool)
    }


class WorkloadContract(ABC):
    """The suite."""

    calm: ClassVar[Mapping[str, float]] = {}
    """Knobs that turn off what is random in a loss beside the model, such as noise on the inputs."""

    @abstractmethod
    def make(self) -> Workload:
        """The workload, new and untouched."""

    # -- what it says of itself ---------------------------------------------------------------------------------------

    def test_it_has_a_name_and_the_knobs_that_the_engine_turns(self) -> None:
        workload = self.make()

        assert workload.name
        assert {LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM} <= set(workload.settings.knobs)
        assert all(math.isfinite(value) for value in workload.settings.knobs.values())
        assert set(workload.settings.limits) <= set(workload.settings.knobs)

    def test_its_settings_and_fingerprint_are_the_same_each_time(self) -> None:
        first, second = self.make(), self.make()

        assert first.fingerprint == first.fingerprint == second.fingerprint != ""
        assert first.settings == first.settings == second.settings

    def test_its_fingerprint_outlives_training(self) -> None:
        workload = self.make()
        before = workload.fingerprint

        losses(workload, ready(workload)).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it

        assert workload.fingerprint == before

    # -- rows ---------------------------------------------------------------------------------------------------------

    def test_an_epoch_visits_what_it_says_and_fills_a_batch(self) -> None:
        workload = self.make()

        for epoch in (0, 1, 7):
            rows = workload.epoch_rows(epoch)
            assert rows.shape == (workload.visits,)
            assert rows.dtype == torch.int64
            assert 0 <= int(rows.min()) <= int(rows.max()) < workload.train_rows
        assert workload.visits >= workload.settings.batch_size

    def test_the_rows_of_an_epoch_follow_from_its_number_alone(self) -> None:
        first, second = self.make(), self.make()
        seed_everything(1)
        later = [first.epoch_rows(epoch) for epoch in (2, 0, 2)]
        seed_everything(2)

        assert torch.equal(later[0], later[2])
        assert torch.equal(later[0], second.epoch_rows(2)), "whatever was asked before, whatever the generator"

    def test_asking_for_rows_draws_no_random_numbers(self) -> None:
        workload = self.make()
        seed_everything(1)
        expected = torch.rand(1)
        seed_everything(1)

        workload.epoch_rows(0)

        assert torch.equal(torch.rand(1), expected)

    # -- model --------------------------------------------------------------------------------------------------------

    def test_equal_seeds_give_equal_weights(self) -> None:
        first, second = ready(self.make()).state_dict(), ready(self.make()).state_dict()

        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_putting_knobs_in_twice_is_putting_them_in_once(self) -> None:
        workload = self.make()
        model = ready(workload)
        once = shape_of(model)

        workload.configure(model, workload.settings.knobs)

        twice = shape_of(model)
        assert once.keys() == twice.keys()
        assert all(is_equal(once[name], twice[name]) for name in once)

    def test_knobs_that_moved_and_came_back_leave_nothing_behind(self) -> None:
        workload = self.make()
        model = ready(workload)
        before = shape_of(model)

        workload.configure(model, {name: value / 2 for name, value in workload.settings.knobs.items()})
        workload.configure(model, workload.settings.knobs)

        assert all(is_equal(before[name], after) for name, after in shape_of(model).items())

    # -- losses -------------------------------------------------------------------------------------------------------

    def test_each_row_has_one_finite_loss_with_a_gradient(self) -> None:
        workload = self.make()
        model = ready(workload)

        found = losses(workload, model)

        assert found.shape == (ROWS,)
        assert found.isfinite().all()
        found.mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)

    def test_equal_seeds_give_equal_losses(self) -> None:
        first, second = self.make(), self.make()

        one, other = losses(first, ready(first)), losses(second, ready(second))

        assert torch.equal(one, other)
        assert torch.equal(losses(first, ready(first)), one), "asking again changes nothing"

    def test_a_rows_loss_is_that_of_the_row(self) -> None:
        # Without what is random: the same row twice in a batch, or elsewhere in it, has the same loss.
        workload = self.make()
        model = ready(workload).eval()
        seed_everything(1)
        knobs = {**workload.settings.knobs, **self.calm}

        rows = torch.tensor([0, 1, 2, 1])
        found = workload.losses(model, rows, knobs).detach()
        seed_everything(1)
        turned = workload.losses(model, rows.flip(0), knobs).detach()

        torch.testing.assert_close(found[1], found[3])
        torch.testing.assert_close(found, turned.flip(0))

    def test_losses_read_nothing_from_the_device(self) -> None:
        workload = self.make()
        model = ready(workload)
        rows = torch.arange(ROWS)

        with HostReads() as reads:
            workload.losses(model, rows, workload.settings.knobs).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it

        assert reads.total == 0, reads.by_name

    def test_knobs_are_read_at_each_call(self) -> None:
        # A schedule moves them: what is kept from an earlier call would be the wrong one.
        workload = self.make()
        model = ready(workload)
        halved = {name: value / 2 for name, value in workload.settings.knobs.items()}
        before = losses(workload, model)

        seed_everything(1)
        workload.losses(model, torch.arange(ROWS), halved)

        assert torch.equal(losses(workload, model), before)

    # -- validation, directives ---------------------------------------------------------------------------------------

    def test_a_validation_tells_all_metrics_and_a_finite_loss(self) -> None:
        workload = self.make()
        model = ready(workload).eval()

        with torch.inference_mode():
            found = workload.validate(model, tick=nothing)

        assert math.isfinite(found["val_loss"])
        assert set(workload.metrics) <= set(found)
        assert workload.metrics["val_loss"].direction == "min"
        assert all(isinstance(value, float) for value in found.values())

    def test_a_validation_changes_nothing_and_is_the_same_again(self) -> None:
        workload = self.make()
        model = ready(workload).eval()
        before = shape_of(model)

        with torch.inference_mode():
            found = [workload.validate(model, tick=nothing) for _ in range(2)]

        assert found[0] == found[1]
        assert all(is_equal(before[name], after) for name, after in shape_of(model).items())

    def test_a_validation_ends_where_its_tick_raises(self) -> None:
        class EndError(Exception):
            pass

        def end() -> None:
            raise EndError

        workload = self.make()
        model = ready(workload).eval()

        with pytest.raises(EndError), torch.inference_mode():
            workload.validate(model, tick=end)

    def test_a_directive_may_set_no_hyperparameter_that_is_not_there(self) -> None:
        with pytest.raises(ConfigurationError, match="no_such_thing"):
            self.make().adjusted({"no_such_thing": 1})

    def test_what_a_directive_sets_are_knobs(self) -> None:
        workload = self.make()
        value = workload.settings.knobs[LEARNING_RATE] / 2
        try:
            found = workload.adjusted({LEARNING_RATE: value})
        except ConfigurationError:
            pytest.skip("this workload lets no directive set the learning rate")

        assert found == {LEARNING_RATE: pytest.approx(value)}
