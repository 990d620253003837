"""One measured training in a process of its own, since memory is a process's.

`python -m tests.bench.trainer_child JOB_JSON` prints one JSON line. Network and loop can each be ours or the
replaced one, so that it can be told which of the two a difference comes from. All train on the windows that the market
workload prepared.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import nn

from tests.support import replaced_design
from tests.support.market_training import Rows, StudiedWorkload
from tests.support.training import RecordingSession, store
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters, Scalar
from trainmaster_trainer.engine import Engine
from trainmaster_trainer.interruption import Interruption
from trainmaster_trainer.market.workload import EVALUATION_BATCH
from trainmaster_trainer.training import make_deterministic
from trainmaster_trainer.workload import TestResult, Tick

Design = Literal["ours", "replaced"]
RESET_PEAK: Final = "5"
"""What Linux wants written into `clear_refs` to forget the peak of resident memory so far (proc(5))."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one process trains."""

    network: Design
    loop: Design
    source: str
    hyperparameters: dict[str, Scalar]
    threads: int
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of it."""

    samples_per_second: float
    """Of the epochs after the first, which pays for what happens once; NaN if there is only one."""
    val_loss: list[float]
    parameters: int
    peak_rss_bytes: int
    """Resident memory at its highest while training, over what was resident when training began."""
    peak_device_bytes: int
    """What the device's allocator held at most; 0 on a CPU."""


class TimedSession(RecordingSession):
    """Adds up how long each epoch's training steps took, by the phases that the engine reports."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._device = device
        self._began: float | None = None
        self._epoch = -1

    def progress(self, phase: str, **at: Any) -> None:  # noqa: ANN401  # as the double that it is
        """Called before each step and at each change of phase."""
        if phase == "training" and self._began is None:
            if at["epoch"] != self._epoch:
                self._epoch = at["epoch"]
                self.seconds.append(0.0)
            self._began = time.perf_counter()
        elif phase != "training" and self._began is not None:
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds[-1] += time.perf_counter() - self._began
            self._began = None


class MeasuredWorkload(StudiedWorkload):
    """The market workload with a network of choice, and without a test: that is no part of the comparison."""

    network: Design = "ours"

    def build_model(self) -> nn.Module:
        """The network of the job, of the sizes that the hyperparameters say."""
        if self.network == "ours":
            return super().build_model()
        return replaced_design.ReplacedNetwork(
            features=self.data.inputs.shape[1],
            classes=len(self.classes),
            hidden=self.hyperparameters.hidden_size,
            heads=self.hyperparameters.attention_heads,
            dropout=self.hyperparameters.dropout,
        )

    def test(self, model: nn.Module, *, history: Sequence[tuple[int, Mapping[str, float]]], tick: Tick) -> TestResult:  # noqa: ARG002  # the protocol's names
        """Nothing."""
        return TestResult(metrics={})

    def copies(self, rows: Rows) -> replaced_design.Windows:
        """Some windows, copied out of the table, on the CPU."""
        ends = torch.from_numpy(rows)
        return replaced_design.Windows(inputs=self.data.windows(ends), targets=self.data.targets[ends])


def prepare(job: Job) -> MeasuredWorkload:
    """The data and the network of a job."""
    hyperparameters = MarketClassifierHyperparameters.model_validate({**job.hyperparameters, "device": job.device})
    workload = MeasuredWorkload.prepare(hyperparameters, source=job.source, volumes={})
    workload.network = job.network
    return workload


def main() -> None:
    """Train as the job on the command line says; print the result."""
    job = Job(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        handler = logging.FileHandler(Path(folder) / "training.log")
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        result = run(job, folder=Path(folder))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


def run(job: Job, *, folder: Path) -> Result:
    """Prepare the data, train, measure."""
    torch.set_num_threads(job.threads)
    if job.loop == "ours":
        make_deterministic(threads=job.threads)
    torch.manual_seed(0)
    workload = prepare(job)
    device = torch.device(job.device)
    before = _forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trained = _ours(workload, device, folder) if job.loop == "ours" else _replaced(workload, device)
    later = trained.seconds[1:]
    return Result(
        samples_per_second=trained.samples_per_epoch * len(later) / sum(later) if later else float("nan"),
        val_loss=trained.val_loss,
        parameters=sum(each.numel() for each in workload.build_model().parameters()),
        peak_rss_bytes=_status_bytes("VmHWM") - before,
        peak_device_bytes=torch.cuda.max_memory_reserved() if device.type == "cuda" else 0,
    )


def _ours(workload: MeasuredWorkload, device: torch.device, folder: Path) -> replaced_design.Outcome:
    session = TimedSession(device)
    Engine(workload, store=store(folder / "checkpoints"), session=session, interruption=Interruption()).run()
    batch = workload.hyperparameters.batch_size
    return replaced_design.Outcome(
        seconds=session.seconds,
        val_loss=[point["metrics"]["val_loss"] for point in session.of("validation")],
        samples_per_epoch=workload.train_rows // batch * batch,
    )


def _replaced(workload: MeasuredWorkload, device: torch.device) -> replaced_design.Outcome:
    h, split = workload.hyperparameters, workload.data.split
    return replaced_design.train(
        workload.build_model(),
        training=workload.copies(split.train),
        validation=workload.copies(split.validation),
        recipe=replaced_design.Recipe(
            epochs=h.epochs,
            batch_size=h.batch_size,
            learning_rate=h.learning_rate,
            weight_decay=h.weight_decay,
            max_grad_norm=h.max_grad_norm,
            scheduler_t_0=h.scheduler_t_0,
            scheduler_t_mult=h.scheduler_t_mult,
            evaluation_batch=EVALUATION_BATCH,
            seed=h.seed,
        ),
        device=device,
    )


def _forget_peak() -> int:
    """Resident bytes now; the kernel's peak starts again from here."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(name + ":"))
    return int(kib) * 1024


if __name__ == "__main__":
    main()
