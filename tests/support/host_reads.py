"""Counts what makes the host wait for the device, on machines without one.

On a GPU each of these stops the host until all earlier kernels are done; on the CPU they cost nothing, which is why
they creep in. `torch.cuda.set_sync_debug_mode("error")` is the same on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITING_OPERATORS = frozenset(
    {
        "aten::_local_scalar_dense",  # item(), bool(), float(), int(), a tensor as an index in Python
        "aten::equal",
        "aten::is_nonzero",
        "aten::item",
        "aten::masked_select",
        "aten::nanmedian",  # looks for the number of NaN on the host
        "aten::nonzero",
        "aten::_unique2",
        "aten::repeat_interleave",
    }
)
"""Operators whose CUDA kernels need a value, or a shape that depends on values, on the host."""
INDEXING = frozenset({"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"})
"""Operators that wait if an index is a boolean mask, whose true places have to be counted."""
READING_METHODS = frozenset({"tolist", "numpy", "cpu", "__array__"})
"""Methods of Tensor that need no operator on a tensor of the CPU."""


class HostReads:
    """`with HostReads() as reads: ...; assert reads.total == 0`."""

    def __init__(self) -> None:
        self.by_name: Counter[str] = Counter()
        self._stack = ExitStack()

    @property
    def total(self) -> int:
        """Reads so far."""
        return self.by_name.total()

    def __enter__(self) -> Self:
        self._stack.enter_context(_Operators(self.by_name))
        self._stack.enter_context(_Methods(self.by_name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it without types
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._found = found

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the operator returns
        name = str(func.name()).split(".")[0]  # type: ignore[no-untyped-call]  # as above
        if (
            name in WAITING_OPERATORS
            or (name in INDEXING and _has_mask(args[1]))
            or (name == "aten::_to_copy" and _leaves_the_device(args[0], kwargs or {}))
        ):
            self._found[name] += 1
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the method returns
        name = getattr(func, "__name__", "")
        if name in READING_METHODS:
            self._found[name] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in {torch.bool, torch.uint8} for index in indices)


def _leaves_the_device(tensor: Tensor, options: Mapping[str, Any]) -> bool:
    target = options.get("device")
    return target is not None and tensor.device.type != "cpu" and torch.device(target).type == "cpu"
