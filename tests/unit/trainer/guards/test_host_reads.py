"""The counter of host reads must see each way to read, or the proof that there are none is worthless."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.host_reads import HostReads


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[0].item(),
        lambda x: float(x[0]),
        lambda x: int(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: 1 if x[0] > 0 else 2,
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.nanmedian(),
    ],
)
def test_each_way_to_read_is_seen(read: Callable[[Tensor], object]) -> None:
    with HostReads() as reads:
        read(torch.tensor([1.0, 2.0]))

    assert reads.total >= 1


def test_what_stays_on_the_device_is_not_counted() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)

    with HostReads() as reads:
        (torch.where(values > 1, values, -values).sum() * 2).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        values.detach().median()

    assert reads.total == 0
