"""Several processes that train one model: each computes its slices of every batch, their gradients are summed.

All ranks hold equal weights and take equal steps; the slices, and the random numbers of each, are the same as one
process with as many slices would compute, so the result is the same up to the order of a sum. Rank 0 alone speaks to
the launcher and writes checkpoints; what it is told (directives, an interruption) it passes on before each step.

Rank 0 is the process that the launcher started; it starts the others itself, so that its exit code stays its own:
torchrun would turn 75 (asked to end) and 78 (configuration) into 1. Started by torchrun, each rank takes its place
from the environment.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, documented, and missing in its stubs

from trainmaster_trainer.errors import TrainerError

TIMEOUT: Final = timedelta(minutes=10)
"""A rank that waits longer for the others ends; the launcher's hang detection is usually faster."""
STORE_HOST: Final = "127.0.0.1"
"""The ranks are processes of one machine, and of one pod."""
END_SECONDS: Final = 10.0
"""For the other ranks to end by themselves after rank 0 has; then they are killed."""
GONE_SECONDS: Final = 5.0
_CHILD: Final = "TRAINMASTER_RANK"
"""`rank/size/port` of a rank that rank 0 started."""


class RankError(TrainerError):
    """Another process of this training is gone, or does not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The processes of one training."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """This rank's share of a batch's slices: neighbours, so that sums differ least from one process."""
        share, rest = divmod(count, self.size)
        begin = self.rank * share + min(self.rank, rest)
        return range(begin, begin + share + (self.rank < rest))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all ranks: one message for all of them. Raises RankError."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _words():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [p.view_as(t) for p, t in zip(parts, tensors, strict=True)])

    def tell(self, value: Any) -> Any:  # noqa: ANN401  # any value that pickles, and back
        """What rank 0 says, on every rank. Raises RankError."""
        if self.size == 1:
            return value
        box = [value]
        with _words():
            dist.broadcast_object_list(box, src=0)
        return box[0]


@contextlib.contextmanager
def _words() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        message = f"another process of this training does not answer: {error}"
        raise RankError(message) from error


@contextlib.contextmanager
def joined_group(processes: int, *, arguments: Sequence[str] = ()) -> Iterator[Group]:
    """The group of this training: alone, as torchrun says, or with ranks that are started here and end with it.

    `arguments` are the command line's, which the ranks get too.
    """
    if "WORLD_SIZE" in os.environ and "MASTER_PORT" in os.environ:
        dist.init_process_group(_backend(), timeout=TIMEOUT)
        yield from _until_left(local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    elif _CHILD in os.environ:
        rank, size, port = (int(part) for part in os.environ[_CHILD].split("/"))
        store = TCPStore(STORE_HOST, port, size, is_master=False, timeout=TIMEOUT)
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        yield from _until_left(local_rank=rank)
    elif processes > 1:
        store = TCPStore(STORE_HOST, 0, processes, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        with _started_ranks(processes, port=store.port, arguments=arguments):
            dist.init_process_group(_backend(), store=store, rank=0, world_size=processes, timeout=TIMEOUT)
            yield from _until_left(local_rank=0)
    else:
        yield Group()


def _until_left(*, local_rank: int) -> Iterator[Group]:
    try:
        yield Group(rank=dist.get_rank(), size=dist.get_world_size(), local_rank=local_rank)
    finally:
        dist.destroy_process_group()


def _backend() -> str:
    # Objects (directives, the interruption) travel on the CPU also where gradients travel between GPUs.
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


@contextlib.contextmanager
def _started_ranks(size: int, *, port: int, arguments: Sequence[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "trainmaster_trainer", *arguments]
    # Without the launcher's socket: what a rank says there would count twice.
    inherited = {name: value for name, value in os.environ.items() if name != "TRAINMASTER_SOCKET"}
    ranks = [
        subprocess.Popen(command, env={**inherited, _CHILD: f"{rank}/{size}/{port}"})  # noqa: S603  # this very program
        for rank in range(1, size)
    ]
    try:
        yield
    except BaseException:
        # They wait for a message that will not come.
        for rank in ranks:
            rank.kill()
        raise
    finally:
        for rank in ranks:
            _end(rank)


def _end(rank: subprocess.Popen[bytes]) -> None:
    try:
        rank.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        rank.kill()
        rank.wait(GONE_SECONDS)
