"""What happens when memory runs out: the same batch in more and smaller slices.

A step computes its gradient slice by slice. Out of memory, the number of slices doubles and the step is computed again
from the same samples; the effective batch stays. Random numbers belong to slices, so dropout draws others from there
on: the same ones as a training that began with as many slices. The number found is kept with the device's name: a
process that comes after starts with it instead of failing first.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any, Final

import torch

from trainmaster_trainer.errors import TrainerError

_WORDS: Final = (
    "out of memory",
    "can't allocate memory",
    "cudnn_status_not_supported",
    "cublas_status_alloc_failed",
)
"""What CUDA, cuDNN, cuBLAS and torch's CPU allocator say when memory is gone."""


class OutOfMemoryError(TrainerError):
    """There is no finer way to cut a step."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out; the kernel's own killer reaches no Python."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more. Call it outside of the except block: a traceback holds tensors."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@dataclass(kw_only=True, slots=True)
class Slices:
    """Into how many slices a step's batch is cut."""

    count: int
    batch_size: int
    device_name: str

    def cut(self, rows: int) -> list[tuple[int, int]]:
        """Begin and end of each slice of a batch; none is empty, and sizes differ by one row at most."""
        count = min(self.count, rows)
        share, rest = divmod(rows, count)
        ends = [share * (number + 1) + min(number + 1, rest) for number in range(count)]
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def double(self) -> bool:
        """Cut twice as fine; False where a slice is one row already."""
        if self.count >= self.batch_size:
            return False
        self.count = min(2 * self.count, self.batch_size)
        return True

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "batch_size": self.batch_size, "device_name": self.device_name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start with what was found on the same kind of device for the same batch; other devices find their own."""
        if (state["batch_size"], state["device_name"]) == (self.batch_size, self.device_name):
            self.count = max(self.count, state["count"])


def device_name(device: torch.device) -> str:
    """The model of the device, as its maker calls it; `cpu` for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
