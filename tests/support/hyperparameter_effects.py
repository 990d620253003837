"""A table of hyperparameters: the value of each before and after a change, and what must follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.bars import write_bars
from tests.support.market_trial import Trial
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters, Scalar

BASE: Final[Mapping[str, Scalar]] = {
    "epochs": 2, "batch_size": 32, "hidden_size": 8, "attention_heads": 2, "window": 6, "learning_rate": 0.003,
    "dead_zone": 1.0, "evaluation": "brief", "device": "cpu",
}  # fmt: skip
"""Two bars in three are flat with this dead zone: there are rare classes to repeat."""
PLAIN: Final[Mapping[str, Scalar]] = {"dropout": 0.0, "use_augmentation": False, "label_smoothing": 0.0}
"""Losses without anything random, and without smoothing."""
BARS: Final = 400
OF_DATA_AND_MODEL: Final = frozenset(
    {
        "window", "horizon", "dead_zone", "validation_share", "test_share", "embargo", "use_oversampling",
        "oversample_ratio", "use_class_weights", "hidden_size", "lstm_layers", "attention_heads", "dropout",
    }
)  # fmt: skip
"""What a training learns from, and with what; the others say how. Each part has a test module."""

Check = Callable[[Trial, Trial], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A hyperparameter's value before and after, other values that both have, and what must differ."""

    of: Scalar
    to: Scalar
    given: Mapping[str, Scalar]
    check: Check


class Effects(dict[str, Effect]):
    """The table, by name."""

    def enter(self, name: str, *, of: Scalar, to: Scalar, **given: Scalar) -> Callable[[Check], Check]:
        """The function below takes a trial with `name` at `of` and one with it at `to`, and asserts."""

        def decorate(check: Check) -> Check:
            assert name not in self, f"{name} is in the table"
            self[name] = Effect(of=of, to=to, given=given, check=check)
            return check

        return decorate

    def check(self, name: str, *, folder: Path) -> None:
        """Make both trials, on the same bars, and look at them."""
        case = self[name]
        assert case.of != case.to
        bars = write_bars(folder / "bars.csv", BARS)
        before = _trial(bars, folder / "before", {**case.given, name: case.of})
        after = _trial(bars, folder / "after", {**case.given, name: case.to})
        case.check(before, after)


def _trial(bars: Path, folder: Path, values: Mapping[str, Scalar]) -> Trial:
    hyperparameters = MarketClassifierHyperparameters.model_validate({**BASE, **values})
    trial = Trial.from_source(hyperparameters, source=f"pvc://data/{bars.name}", volumes={"data": str(bars.parent)})
    trial.folder = folder
    return trial
