from __future__ import annotations

import pytest
import torch

from trainmaster_trainer.memory import Slices, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, *, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_torchs_own_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)

    assert is_out_of_memory(caught.value)


def test_slices_double_until_each_is_one_row() -> None:
    slices = Slices(count=3, batch_size=8, device_name="cpu")

    assert [(slices.double(), slices.count) for _ in range(3)] == [(True, 6), (True, 8), (False, 8)]


@pytest.mark.parametrize(("batch_size", "device_name", "taken"), [(8, "cpu", 4), (16, "cpu", 1), (8, "H200", 1)])
def test_what_was_found_holds_for_the_same_batch_on_the_same_device(
    batch_size: int, device_name: str, taken: int
) -> None:
    found = Slices(count=4, batch_size=8, device_name="cpu").state_dict()
    slices = Slices(count=1, batch_size=batch_size, device_name=device_name)

    slices.load_state_dict(found)

    assert slices.count == taken
