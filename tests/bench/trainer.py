"""Benchmark: samples per second and memory of the trainer, beside the design that it replaces.

`python -m tests.bench.trainer [--quick] [--seed N] [--json FILE]`. Both train the same windows of the HMM source on the
same machine, each in a process of its own, one after the other in turns; the ratios are of neighbours. Two further
pairs swap network and loop, which tells what a difference comes from. Equal quality is part of it: the validation
log-loss must not be worse. On a machine with a GPU the large size is measured there too.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import torch

from tests.bench.harness import ROOT, Options, Target, publish, read_options
from tests.bench.trainer_child import Design, Job, Result, prepare
from tests.support.saved_activations import saved_bytes_per_sample
from trainmaster.api.hyperparameters import Scalar

GIB: Final = 2**30
MB: Final = 1e6
FEATURES: Final = 30
"""As many as the market workload computes from bars."""
SAVED_GOAL: Final = 0.45
"""Of the replaced design's bytes: what attention without weights and half of everything else add up to."""
LOSS_TOLERANCE: Final = 0.01
"""Log-loss in nats that counts as equal: two seeds of one design differ by as much."""
GPU_SPEED_GOAL: Final = 3.0
GPU_MEMORY_GOAL: Final = 6.5 * 1e9
GPU_MEMORY_GOAL_ACCUMULATED: Final = 4.0 * 1e9
GPU_BATCH: Final = 256
PAIRS: Final = 3
PLAIN: Final[dict[str, Scalar]] = {
    "learning_rate": 1e-3,
    "label_smoothing": 0.0,
    "use_focal_loss": False,
    "use_oversampling": False,
    "use_augmentation": False,
    "early_stopping_patience": 0,
    "leak_audit": False,
    "export_onnx": False,
    "embargo": 0,
}
"""Plain cross entropy on all rows, for both: what is compared is the machinery."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Sizes of network and data."""

    name: str
    rows: int
    epochs: int
    values: dict[str, Scalar]
    learns: bool
    """Whether it trains long enough for its validation loss to mean something."""

    def job(self, *, network: Design, loop: Design, seed: int, **other: Scalar) -> Job:
        """A training of this size."""
        values = {**PLAIN, **self.values, "epochs": self.epochs, "scheduler_t_0": self.epochs, "seed": seed, **other}
        source = f"synthetic://hmm?rows={self.rows}&noise_columns={FEATURES - 8}&seed={seed}"
        return Job(network=network, loop=loop, source=source, hyperparameters=values, threads=threads())


def market(*, quick: bool) -> Size:
    """The market preset's size."""
    return Size(
        name="window 24, width 48",
        rows=4_000 if quick else 20_000,
        epochs=4 if quick else 12,
        values={"window": 24, "hidden_size": 48, "attention_heads": 4, "batch_size": 128},
        learns=not quick,
    )


def large(*, quick: bool) -> Size:
    """The size that the source's 11.7 GB come from; few rows, since a CPU takes a tenth of a second for each."""
    return Size(
        name="window 256, width 256",
        rows=500 if quick else 800,
        epochs=2 if quick else 3,
        values={"window": 256, "hidden_size": 256, "attention_heads": 8, "batch_size": 32},
        learns=False,
    )


def threads() -> int:
    """Threads of every training: what OMP_NUM_THREADS says, else all cores."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))


def measure(job: Job) -> Result:
    """Train in a process of its own. Raises CalledProcessError if it fails; its words are on stderr."""
    command = [sys.executable, "-m", "tests.bench.trainer_child", json.dumps(asdict(job))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def pairs(size: Size, *, count: int, seed: int, network: Design = "ours", loop: Design = "ours") -> list[_Pair]:
    """Trainings of ours and of the replaced design in turns; which of two comes first is drawn."""
    order = random.Random(seed)
    found = []
    for number in range(count):
        jobs = {
            "ours": size.job(network=network, loop=loop, seed=seed + number),
            "replaced": size.job(network="replaced", loop="replaced", seed=seed + number),
        }
        names = order.sample(sorted(jobs), 2)
        results = {name: measure(jobs[name]) for name in names}
        found.append(_Pair(ours=results["ours"], replaced=results["replaced"]))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    ours: Result
    replaced: Result

    @property
    def speed(self) -> float:
        return self.ours.samples_per_second / self.replaced.samples_per_second

    @property
    def memory(self) -> float:
        return self.ours.peak_rss_bytes / self.replaced.peak_rss_bytes

    @property
    def loss(self) -> float:
        """How much higher the lowest validation log-loss is."""
        return min(self.ours.val_loss) - min(self.replaced.val_loss)


def saved(size: Size, *, network: Design, autocast: bool) -> float:
    """Bytes of activations per sample that a network of a size saves."""
    workload = prepare(size.job(network=network, loop="ours", seed=0))
    torch.manual_seed(0)
    window, features = workload.data.window, workload.data.inputs.shape[1]
    return saved_bytes_per_sample(workload.build_model(), window=window, features=features, autocast=autocast)


def saved_targets(size: Size) -> Iterator[Target]:
    """What the forward pass of one window keeps; counted, not timed: exact after one look."""
    replaced = saved(size, network="replaced", autocast=False)
    yield Target(
        name=f"saved by the replaced network, {size.name}", unit="MB/sample", goal=None, value=replaced / MB, n=1
    )
    for autocast in (False, True):
        ours = saved(size, network="ours", autocast=autocast)
        what = f"{size.name}, {'bfloat16' if autocast else 'float32'}"
        yield Target(name=f"saved by ours, {what}", unit="MB/sample", goal=None, value=ours / MB, n=1)
        yield Target(
            name=f"saved by ours / by the replaced, {what}", unit="", goal=SAVED_GOAL, value=ours / replaced, n=1
        )


def pair_targets(size: Size, found: Sequence[_Pair]) -> Iterator[Target]:
    """Speed, memory and quality of ours beside the replaced design."""
    n = len(found)

    def middle(values: Iterator[float]) -> float:
        return statistics.median(values)

    for whose in ("ours", "replaced"):
        results = [getattr(pair, whose) for pair in found]
        rate = middle(each.samples_per_second for each in results)
        peak = middle(each.peak_rss_bytes / MB for each in results)
        yield Target(name=f"{whose}, {size.name}", unit="samples/s", goal=None, value=rate, n=n, better="higher")
        yield Target(name=f"{whose}, {size.name}: peak RSS over start", unit="MB", goal=None, value=peak, n=n)
    yield Target(
        name=f"ours / replaced, {size.name}: samples/s",
        unit="",
        goal=1.0,
        value=middle(pair.speed for pair in found),
        n=n,
        better="higher",
        enough=PAIRS,
    )
    yield Target(
        name=f"ours / replaced, {size.name}: peak RSS",
        unit="",
        goal=1.0,
        value=middle(pair.memory for pair in found),
        n=n,
        enough=PAIRS,
    )
    if size.learns:
        for whose in ("ours", "replaced"):
            lowest = middle(min(getattr(pair, whose).val_loss) for pair in found)
            yield Target(
                name=f"{whose}, {size.name}: lowest validation log-loss", unit="nats", goal=None, value=lowest, n=n
            )
        yield Target(
            name=f"ours - replaced, {size.name}: lowest validation log-loss",
            unit="nats",
            goal=LOSS_TOLERANCE,
            value=middle(pair.loss for pair in found),
            n=n,
            enough=PAIRS,
        )


def swapped_targets(size: Size, *, seed: int) -> Iterator[Target]:
    """What network and loop bring alone; without a goal."""
    swaps: tuple[tuple[Design, Design], ...] = (("ours", "replaced"), ("replaced", "ours"))
    for network, loop in swaps:
        found = pairs(size, count=1, seed=seed, network=network, loop=loop)
        yield Target(
            name=f"{network} network in {loop} loop / replaced whole, {size.name}: samples/s",
            unit="",
            goal=None,
            value=found[0].speed,
            n=1,
            better="higher",
        )


def gpu_targets(size: Size, *, seed: int) -> Iterator[Target]:
    """The large size on a GPU: speed, and memory at batch 256 without and with accumulation."""
    base = {"batch_size": GPU_BATCH}
    jobs = {
        "replaced, float32": size.job(network="replaced", loop="replaced", seed=seed, **base),
        "ours, auto precision": size.job(network="ours", loop="ours", seed=seed, **base),
        "ours, 4 micro-batches": size.job(
            network="ours", loop="ours", seed=seed, gradient_accumulation_steps=4, **base
        ),
    }
    goals = (None, GPU_MEMORY_GOAL, GPU_MEMORY_GOAL_ACCUMULATED)
    rates, losses = [], []
    for (name, job), goal in zip(jobs.items(), goals, strict=True):
        result = measure(Job(**{**asdict(job), "device": "cuda"}))
        rates.append(result.samples_per_second)
        losses.append(min(result.val_loss))
        yield Target(name=f"GPU {name}", unit="samples/s", goal=None, value=rates[-1], n=1, better="higher")
        in_gb = None if goal is None else goal / 1e9
        memory = result.peak_device_bytes / 1e9
        yield Target(name=f"GPU {name}: batch {GPU_BATCH} takes", unit="GB", goal=in_gb, value=memory, n=1)
    yield Target(
        name="GPU ours / replaced: samples/s",
        unit="",
        goal=GPU_SPEED_GOAL,
        value=rates[1] / rates[0],
        n=1,
        better="higher",
    )
    yield Target(
        name="GPU ours - replaced: lowest validation log-loss",
        unit="nats",
        goal=LOSS_TOLERANCE,
        value=losses[1] - losses[0],
        n=1,
    )


def run(options: Options) -> list[Target]:
    """Everything, the exact figures first."""
    sizes = (market(quick=options.quick), large(quick=options.quick))
    count = 1 if options.quick else PAIRS
    targets = list(saved_targets(sizes[1]))
    for size in sizes:
        targets += pair_targets(size, pairs(size, count=count, seed=options.seed))
    if not options.quick:
        targets += swapped_targets(sizes[0], seed=options.seed)
    if torch.cuda.is_available():
        gpu = Size(name=sizes[1].name, rows=20_000, epochs=3, values=sizes[1].values, learns=True)
        targets += gpu_targets(gpu, seed=options.seed)
    return targets


def main() -> None:
    """Measure and publish."""
    options = read_options(__doc__.splitlines()[0])
    notes = [f"{threads()} thread(s) for each training; ratios are medians of pairs that ran one after the other"]
    if torch.cuda.is_available():
        notes.append(f"GPU: {torch.cuda.get_device_name()}")
    else:
        notes.append("no GPU here: nothing is said about GPUs")
    publish("trainer", options=options, targets=run(options), notes=notes)


if __name__ == "__main__":
    main()
