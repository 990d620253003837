"""Saving off the step path: training waits for a copy in memory, not for pickling, hashing and the disk.

1. `submit` copies all tensors of a captured state to host memory that is kept for the next save (pinned where they come
   from CUDA, so that the copy runs beside the host), and returns. On CUDA the copies are queued on the current stream:
   steps that follow on it cannot overtake them.
2. One thread waits for the copies, writes the checkpoint by `CheckpointStore.save`, and keeps the outcome.
3. `poll` hands over the manifests of what was written since the last call, and raises what went wrong.

One save is under way at a time. A save that is submitted meanwhile **waits** for it; none is left out. So the
checkpoints are those that saving in the step would give, whatever the storage's pace; `waited_seconds` tells what a
storage slower than `everySteps` costs. Memory: one copy of the state, and one file of it while it is written.

A manifest that `poll` returns is durable: announce it then, not before.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import torch
from torch import Tensor

from trainmaster_trainer.checkpoint import CheckpointStore, is_finite
from trainmaster_trainer.manifest import Manifest
from trainmaster_trainer.signature import finite_flags
from trainmaster_trainer.state import Captured

Place = tuple[Hashable, ...]
"""Keys and positions that lead to a tensor in a captured state."""

_NO_METRICS: Final[Mapping[str, float]] = {}


class AsyncSaver:
    """Writes checkpoints beside training. All methods are for the training thread; `close` it at the end.

    A process that ends without `close` (an error on its way out) still finishes the save that is under way.
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-writer")
        self._outcomes: deque[Future[Manifest]] = deque()
        self._host = HostCopy()
        self.waited_seconds = 0.0
        """Time that training has waited so far because a save was still under way."""

    @property
    def pending(self) -> bool:
        """Whether a save is under way."""
        return any(not outcome.done() for outcome in self._outcomes)

    def submit(
        self,
        captured: Captured,
        *,
        val_loss: float | None = None,
        best: bool = False,
        clean_steps: int | None = None,
        metrics: Mapping[str, float] = _NO_METRICS,
    ) -> None:
        """Copy a captured state and write it later; the arguments are those of `CheckpointStore.save`.

        Waits for a save that is under way. After it the caller may change all that was captured. Raises nothing of an
        earlier save: that is `poll`'s.
        """
        began = time.perf_counter()
        self.drain()
        self.waited_seconds += time.perf_counter() - began
        facts = {"val_loss": val_loss, "best": best, "clean_steps": clean_steps, "metrics": dict(metrics)}
        copied = self._host.take(captured)
        self._outcomes.append(self._writer.submit(self._write, copied, facts))

    def save_now(
        self,
        captured: Captured,
        *,
        val_loss: float | None = None,
        best: bool = False,
        clean_steps: int | None = None,
        metrics: Mapping[str, float] = _NO_METRICS,
    ) -> Manifest:
        """Write in this thread, after what is under way: for SIGTERM, and for the last checkpoint.

        Needs no memory for a copy. Raises CheckpointError; what earlier saves gave stays with `poll`.
        """
        self.drain()
        return self._store.save(captured, val_loss=val_loss, best=best, clean_steps=clean_steps, metrics=metrics)

    def poll(self) -> list[Manifest]:
        """Manifests of the saves that ended since the last call, in their order; does not wait.

        A save that failed raises its error (CheckpointError, if the storage failed), once, as soon as those before it
        have been returned: call it until it returns nothing to have all.
        """
        manifests: list[Manifest] = []
        while self._outcomes and self._outcomes[0].done():
            if self._outcomes[0].exception() is not None and manifests:
                break
            manifests.append(self._outcomes.popleft().result())
        return manifests

    def drain(self) -> None:
        """Wait until nothing is under way; `poll` then has all outcomes."""
        wait(self._outcomes)

    def close(self) -> None:
        """Wait for what is under way and end the thread. Raises nothing; `poll` still has the outcomes."""
        self._writer.shutdown(wait=True)

    def _write(self, copied: HostState, facts: dict[str, Any]) -> Manifest:
        return self._store.save(copied.captured, finite=copied.finite(), **facts)


class HostState:
    """A captured state in host memory; on CUDA its tensors hold their values once `finite` has returned."""

    def __init__(self, captured: Captured, *, flags: list[Tensor], copied: list[torch.cuda.Event]) -> None:
        self.captured = captured
        self._flags = flags
        self._copied = copied

    def finite(self) -> bool:
        """Wait for the copies; whether all weights and moments are finite."""
        for event in self._copied:
            event.synchronize()
        # What came from a device was judged there; the rest is judged here, off the step path.
        return all(bool(flag) for flag in self._flags) if self._copied else is_finite(self.captured)


class HostCopy:
    """Copies captured states into the same host memory again and again: fresh memory costs more than the copy."""

    def __init__(self) -> None:
        self._buffers: dict[Place, Tensor] = {}

    def take(self, captured: Captured) -> HostState:
        """A copy that shares nothing with `captured`, good until the next call; only queued if tensors are on CUDA."""
        before, self._buffers = self._buffers, {}
        devices: set[torch.device] = set()
        copied: Captured = self._copy(captured, (), before=before, devices=devices)
        flags: list[Tensor] = []
        if devices:
            # Judged on the device; the answer travels behind the copies.
            on_device = finite_flags([captured["model"], captured["optimizer"]])
            flags = [_into(_buffer_for(flag, None), flag) for flag in on_device]
        return HostState(copied, flags=flags, copied=[_mark(device) for device in devices])

    def _copy(self, value: Any, place: Place, *, before: dict[Place, Tensor], devices: set[torch.device]) -> Any:  # noqa: ANN401  # a tree of anything
        if isinstance(value, Tensor):
            if value.is_cuda:
                devices.add(value.device)
            buffer = _buffer_for(value, before.get(place))
            self._buffers[place] = buffer
            return _into(buffer, value)
        if isinstance(value, dict):
            # Copied first: the ordered dict of a module carries the versions of its parts as an attribute.
            items = copy.copy(value)
            for key, item in value.items():
                items[key] = self._copy(item, (*place, key), before=before, devices=devices)
            return items
        if isinstance(value, list | tuple):
            return type(value)(
                self._copy(item, (*place, index), before=before, devices=devices) for index, item in enumerate(value)
            )
        return value


def _buffer_for(value: Tensor, old: Tensor | None) -> Tensor:
    if old is not None and (old.shape, old.dtype, old.stride()) == (value.shape, value.dtype, value.stride()):
        return old
    return torch.empty_like(value, device="cpu", pin_memory=value.is_cuda, requires_grad=False)


def _into(buffer: Tensor, value: Tensor) -> Tensor:
    return buffer.copy_(value.detach(), non_blocking=True)


def _mark(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch does not annotate it
    event.record(torch.cuda.current_stream(device))
    return event
