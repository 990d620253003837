"""A market workload to look at: what it was asked, what its guards and schedules would do, one step of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.support.training import start
from trainmaster_trainer.engine import Engine
from trainmaster_trainer.guards import IntegrationManager
from trainmaster_trainer.guards.manager import Decision, StepSignals
from trainmaster_trainer.market.workload import MarketClassifier
from trainmaster_trainer.parameters import ParamScheduler
from trainmaster_trainer.workload import Knobs, TestResult, Tick


class Trial(MarketClassifier):
    """The market workload; judges nothing after training, and keeps how it was asked for losses."""

    folder: Path
    """Where its checkpoints go."""
    fixed_val_loss: float | None = None
    """What every validation says, if not what is measured."""
    judged: bool = False
    """Whether the test is done."""

    def losses(self, model: nn.Module, rows: Tensor, knobs: Knobs) -> Tensor:
        number_format = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        self.asked.append((len(rows), number_format))
        return super().losses(model, rows, knobs)

    def validate(self, model: nn.Module, *, tick: Tick) -> dict[str, float]:
        if self.fixed_val_loss is None:
            return super().validate(model, tick=tick)
        return {"val_loss": self.fixed_val_loss}

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:
        return super().test(model, history=history, tick=tick) if self.judged else TestResult(metrics={})

    @cached_property
    def asked(self) -> list[tuple[int, torch.dtype]]:
        """Rows and number format of each call of `losses`."""
        return []

    @cached_property
    def engine(self) -> Engine:
        """A training that continues from the newest checkpoint in its folder."""
        return start(self.folder, workload=self)[0]

    @cached_property
    def untrained(self) -> dict[str, Tensor]:
        """The engine's weights when they are first asked for."""
        return {name: value.detach().clone() for name, value in self.engine.state.model.state_dict().items()}

    def weights_after_a_step(self) -> dict[str, Tensor]:
        """Those of the engine; what they were before is `untrained`."""
        assert self.untrained
        self.engine.state.model.train()
        self.engine._step()
        return self.engine.state.model.state_dict()

    def trained(self) -> Engine:
        """The engine at its end."""
        self.engine.run()
        return self.engine

    def model(self) -> nn.Module:
        """The same weights for each trial of the same shape; in train mode, with the knobs in it."""
        torch.manual_seed(5)
        model = self.build_model()
        self.configure(model, self.settings.knobs)
        return model.train()

    def row_losses(self, *, seed: int = 1) -> Tensor:
        """Losses of the first 20 training rows."""
        model = self.model()
        torch.manual_seed(seed)
        return self.losses(model, torch.arange(20), self.settings.knobs).detach()

    def log_probabilities(self) -> tuple[Tensor, Tensor]:
        """Of the same rows: (20, classes) of all classes, (20,) of the right one; nothing random in the model."""
        ends = torch.from_numpy(self.data.split.train[:20])
        said = torch.log_softmax(self.model().eval()(self.data.windows(ends)), dim=1).detach()
        return said, said.gather(1, self.data.targets[ends][:, None]).squeeze(1)

    def rate(self, epoch: float) -> float:
        """The learning rate at an epoch, as a share of the base."""
        settings = self.settings
        steps = self.visits // settings.batch_size
        scheduler = ParamScheduler(
            settings.schedules, base=settings.knobs, epochs=settings.epochs, steps_per_epoch=steps, limits={}
        )
        return scheduler.values(round(epoch * steps))["learning_rate"] / settings.knobs["learning_rate"]

    @cached_property
    def guards(self) -> IntegrationManager:
        """Those of its settings, which have seen nothing yet."""
        return IntegrationManager(self.settings.guards, rows=self.train_rows, device=torch.device("cpu"))

    def see(self, *, steps: int = 10, loss: float = 1.0, norm: float = 1.0) -> Decision:
        """What the guards say after some equal steps."""
        signals = StepSignals(loss=torch.tensor(loss), norm=torch.tensor(norm), ok=torch.tensor(True))  # noqa: FBT003  # a tensor's value
        ceiling = self.settings.knobs["max_grad_norm"]
        decisions = [self.guards.step(signals, max_grad_norm=ceiling) for _ in range(steps)]
        return decisions[-1]

    def multiplier_after_validations(self, count: int) -> float:
        """What the guards make of the learning rate after so many equal validations."""
        for _ in range(count):
            self.guards.validated(1.0)
        return float(self.guards.multiplier)
