"""What the guards cost, and what they are worth: `python -m tests.bench.guards [--quick] [--seed N] [--json FILE]`.

Cost: pairs of blocks of steps of the market model, with all guards and with plain `clip_grad_norm_`, step by step in
turn; a block ends with a log point as the engine has it, on either side. Worth (G7): norms as a loop reads them that
forgets `scaler.unscale_()`, and as they are; a training whose learning rate is far too high, with and without guards.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.bench.harness import Options, Target, percentile, publish, read_options
from tests.support.host_reads import HostReads
from trainmaster_trainer.guards import GuardSettings, IntegrationManager
from trainmaster_trainer.market.model import HybridCNNLSTMv2
from trainmaster_trainer.step import StepKnobs, StepResult, TrainStep, new_optimizer

HIDDEN, WINDOW, BATCH, FEATURES = 48, 24, 128, 8
ROWS, TRAIN_ROWS = 2048, 1536
LEARNING_RATE = 1e-3
CEILING = 5.0
KNOBS = StepKnobs(learning_rate=LEARNING_RATE, weight_decay=0.01, max_grad_norm=CEILING)

PAIRS, QUICK_PAIRS = 60, 8
ENOUGH_PAIRS = 40
STEPS_PER_BLOCK = 20
"""One log point per block, as often as the engine has one."""
OVERHEAD_GOAL = 1.02
RESAMPLES = 5_000

SCALE = 65_536.0
"""What torch.amp.GradScaler starts with."""
SCALED_STEPS = 200

HIGH_RATE = 3.0
"""A learning rate 3,000 times too high: the validation loss is in the hundreds after a few steps."""
SMALL_HIDDEN, SMALL_WINDOW = 16, 8
"""The worth of guards does not hang on the model's size; its cost does."""
HIGH_RATE_STEPS, VALIDATE_EVERY = 400, 4
HIGH_RATE_SEEDS, QUICK_SEEDS = 8, 2
LOSS_FROM, LOSS_TO = 84.0, 10.0


NOTES = (
    (
        f"market model: hidden {HIDDEN}, window {WINDOW}, batch {BATCH}, one thread; blocks of {STEPS_PER_BLOCK} steps "
        "and a log point; intervals of the median are 95 % bootstrap intervals"
    ),
    (
        f"norms of 100k-400k are {SCALE:,.0f} (GradScaler's first scale) times the true ones; a norm measured after "
        "clipping is at most the threshold by construction, and is not shown"
    ),
    (
        "under 10 is not recovered: a model that such a rate has broken stays near chance until its weights are rolled "
        "back; the guards end the explosion, no more"
    ),
)


class Task:
    """Windows of noise whose last bars decide the class, up to label noise; and a model for them."""

    def __init__(self, seed: int, *, hidden: int = HIDDEN, window: int = WINDOW) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(ROWS, window, FEATURES, generator=generator)
        signal = self.inputs[:, -4:, 0].sum(dim=1) + 2.0 * self.inputs[:, -1, 1]
        self.targets = (signal + 0.5 * torch.randn(ROWS, generator=generator) > 0).long()
        torch.manual_seed(seed)
        self.model = HybridCNNLSTMv2(features=FEATURES, classes=2, hidden=hidden, lstm_layers=1, heads=2, dropout=0.1)
        self._order = torch.Generator().manual_seed(seed)

    def rows(self) -> Tensor:
        """The next batch."""
        return torch.randint(0, TRAIN_ROWS, (BATCH,), generator=self._order)

    def losses(self, rows: Tensor) -> Tensor:
        """Cross entropy of each row."""
        return nn.functional.cross_entropy(self.model(self.inputs[rows]), self.targets[rows], reduction="none")

    def validate(self) -> float:
        """Cross entropy on rows that are never trained on."""
        self.model.eval()
        with torch.inference_mode():
            loss = float(self.losses(torch.arange(TRAIN_ROWS, ROWS)).mean())
        self.model.train()
        return loss


class Guarded:
    """The loop with all guards."""

    def __init__(self, task: Task, *, scaler: torch.amp.GradScaler | None = None, rate: float = LEARNING_RATE) -> None:
        self._task = task
        self.guards = IntegrationManager(GuardSettings(learning_rate=rate), rows=TRAIN_ROWS, device=torch.device("cpu"))
        self._step = TrainStep(new_optimizer(task.model, weight_decay=0.0), guards=self.guards, scaler=scaler)
        self._knobs = StepKnobs(learning_rate=rate, weight_decay=0.01, max_grad_norm=CEILING)
        self._last: StepResult | None = None

    def step(self) -> Tensor:
        """One step; the norm before clipping."""
        batch = self.guards.filter(self._task.rows())
        self._last = self._step.run(
            lambda _: self._task.losses(batch.rows), slices=1, batch_size=BATCH, knobs=self._knobs, batch=batch
        )
        return self._last.grad_norm

    def log_point(self) -> None:
        """What the engine reads every so many steps."""
        assert self._last is not None
        float(self._last.loss)
        float(self._last.grad_norm)
        self.guards.read(self._task.model)


class Plain:
    """The same loop with `clip_grad_norm_`, and the same fused optimiser."""

    def __init__(self, task: Task, *, scaler: torch.amp.GradScaler | None = None, rate: float = LEARNING_RATE) -> None:
        self._task = task
        self._scaler = scaler
        self._optimizer = torch.optim.AdamW(task.model.parameters(), lr=rate, weight_decay=0.01, fused=True)
        self._last = (torch.zeros(()), torch.zeros(()))

    def step(self) -> Tensor:
        """One step; the norm that clip_grad_norm_ returns: of scaled gradients if there is a scaler, the bug of G7."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._task.losses(self._task.rows()).mean()
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        norm = nn.utils.clip_grad_norm_(self._task.model.parameters(), CEILING)
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        self._last = (loss.detach(), norm)
        return norm

    def log_point(self) -> None:
        """What any loop logs."""
        loss, norm = self._last
        float(loss)
        float(norm)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """Ratios guarded / plain of paired blocks."""

    wall: list[float]
    cpu: list[float]
    plain_step_ms: float


class Clock:
    """Wall time and CPU time of the work of one loop."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    def time(self, work: Callable[[], object]) -> None:
        """Do it, and add what it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def measure_overhead(*, pairs: int, seed: int) -> Overhead:
    """Blocks of both loops side by side: step by step in turn, so that both see the same load; first one drawn."""
    order = random.Random(seed)
    guarded, plain = Guarded(Task(seed)), Plain(Task(seed))
    wall, cpu, plain_walls = [], [], []
    for pair in range(pairs + 1):
        ours, theirs = Clock(), Clock()
        for _ in range(STEPS_PER_BLOCK):
            if order.random() < 0.5:
                ours.time(guarded.step)
                theirs.time(plain.step)
            else:
                theirs.time(plain.step)
                ours.time(guarded.step)
        ours.time(guarded.log_point)
        theirs.time(plain.log_point)
        if pair > 0:  # the first warms up
            wall.append(ours.wall / theirs.wall)
            cpu.append(ours.cpu / theirs.cpu)
            plain_walls.append(theirs.wall)
    return Overhead(wall=wall, cpu=cpu, plain_step_ms=1e3 * statistics.median(plain_walls) / STEPS_PER_BLOCK)


def median_interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """The 95 % interval of the median, by percentiles of bootstrap samples."""
    draw = random.Random(seed)
    medians = [statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES)]
    return percentile(medians, 0.025), percentile(medians, 0.975)


def count_host_reads(seed: int) -> int:
    """Reads of the host in the steps between two log points."""
    loop = Guarded(Task(seed))
    loop.step()  # the optimiser's first step makes its moments
    with HostReads() as reads:
        for _ in range(STEPS_PER_BLOCK):
            loop.step()
    return reads.total


def read_norms(loop: Callable[[Task, torch.amp.GradScaler], Guarded | Plain], *, steps: int, seed: int) -> list[float]:
    """The norms that a loop with a scaler reports."""
    step = loop(Task(seed), torch.amp.GradScaler("cpu", init_scale=SCALE)).step
    return [float(step()) for _ in range(steps)]


@dataclass(frozen=True, kw_only=True, slots=True)
class HighRate:
    """Validation losses of a training whose learning rate is far too high."""

    highest: float
    worst_at_end: float
    """In the last quarter."""
    last: float


def train_at_high_rate(*, guarded: bool, seed: int) -> HighRate:
    """Train, validate every few steps, tell the guards."""
    task = Task(seed, hidden=SMALL_HIDDEN, window=SMALL_WINDOW)
    loop = Guarded(task, rate=HIGH_RATE) if guarded else Plain(task, rate=HIGH_RATE)
    losses = []
    for step in range(HIGH_RATE_STEPS):
        loop.step()
        if (step + 1) % VALIDATE_EVERY == 0:
            losses.append(task.validate())
            if isinstance(loop, Guarded):
                loop.guards.validated(losses[-1])
    end = [loss if math.isfinite(loss) else math.inf for loss in losses[-len(losses) // 4 :]]
    return HighRate(highest=max(losses), worst_at_end=max(end), last=losses[-1])


def overhead_targets(options: Options) -> list[Target]:
    """Cost per step, and reads of the host."""
    pairs = QUICK_PAIRS if options.quick else PAIRS
    overhead = measure_overhead(pairs=pairs, seed=options.seed)
    low, high = median_interval(overhead.wall, seed=options.seed)
    _, cpu_high = median_interval(overhead.cpu, seed=options.seed)
    return [
        Target(
            name="step time, guarded / plain, upper end",
            unit="ratio",
            goal=OVERHEAD_GOAL,
            value=high,
            n=pairs,
            enough=ENOUGH_PAIRS,
        ),
        Target(
            name="step time, guarded / plain, median",
            unit="ratio",
            goal=None,
            value=statistics.median(overhead.wall),
            n=pairs,
        ),
        Target(name="step time, guarded / plain, lower end", unit="ratio", goal=None, value=low, n=pairs),
        Target(
            name="CPU time, guarded / plain, median",
            unit="ratio",
            goal=None,
            value=statistics.median(overhead.cpu),
            n=pairs,
        ),
        Target(name="CPU time, guarded / plain, upper end", unit="ratio", goal=None, value=cpu_high, n=pairs),
        Target(name="step with plain clipping", unit="ms", goal=None, value=overhead.plain_step_ms, n=pairs),
        Target(
            name="host reads between log points",
            unit="reads",
            goal=0,
            value=count_host_reads(options.seed),
            n=STEPS_PER_BLOCK,
        ),
    ]


def norm_targets(options: Options) -> list[Target]:
    """G7, first half: the norm of a missing unscale, and the norm."""
    steps = SCALED_STEPS // 4 if options.quick else SCALED_STEPS
    bug = read_norms(lambda task, scaler: Plain(task, scaler=scaler), steps=steps, seed=options.seed)
    true = read_norms(lambda task, scaler: Guarded(task, scaler=scaler), steps=steps, seed=options.seed)
    inside = sum(1e5 <= norm <= 4e5 for norm in bug) / steps
    return [
        Target(name="norm read without unscale, largest", unit="", goal=1e5, value=max(bug), n=steps, better="higher"),
        Target(name="norm read without unscale, median", unit="", goal=None, value=statistics.median(bug), n=steps),
        Target(name="of these between 100k and 400k", unit="share", goal=None, value=inside, n=steps),
        Target(
            name="norm unscaled, before clipping, median", unit="", goal=CEILING, value=statistics.median(true), n=steps
        ),
        Target(
            name="norm unscaled, before clipping, 99th percentile",
            unit="",
            goal=CEILING,
            value=percentile(true, 0.99),
            n=steps,
        ),
    ]


def high_rate_targets(options: Options) -> list[Target]:
    """G7, second half: a validation loss of 84 and more, brought under 10."""
    seeds = range(options.seed, options.seed + (QUICK_SEEDS if options.quick else HIGH_RATE_SEEDS))
    targets = []
    for name, guarded in (("guarded", True), ("plain clipping", False)):
        runs = [train_at_high_rate(guarded=guarded, seed=seed) for seed in seeds]
        begun = [run for run in runs if run.highest >= LOSS_FROM]
        saved = sum(run.worst_at_end < LOSS_TO for run in begun) / len(begun) if begun else math.nan
        worst = max((run.worst_at_end for run in begun), default=math.nan)
        goal = 1.0 if guarded else None
        targets += [
            Target(
                name=f"rate x 3,000, {name}: loss from over 84 to under 10 for good",
                unit="share",
                goal=goal,
                value=saved,
                n=len(begun),
                better="higher",
                enough=HIGH_RATE_SEEDS // 2,
            ),
            Target(
                name=f"... {name}: worst loss of the last quarter", unit="nats", goal=None, value=worst, n=len(begun)
            ),
            Target(
                name=f"... {name}: last loss, median (chance: 0.693)",
                unit="nats",
                goal=None,
                value=statistics.median(run.last for run in runs),
                n=len(runs),
            ),
        ]
    return targets


def main() -> None:
    """Measure all and publish."""
    options = read_options(__doc__ or "")
    torch.set_num_threads(1)
    targets = [*overhead_targets(options), *norm_targets(options), *high_rate_targets(options)]
    publish("guards in the step", options=options, targets=targets, notes=NOTES)


if __name__ == "__main__":
    main()
