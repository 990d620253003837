"""Rows that give no finite loss are left out; a model that gives none is no reason to blame rows."""

import math

import pytest
import torch
from torch import Tensor

from trainmaster_trainer.guards.quarantine import Quarantine

ROWS = 20


def _quarantine() -> Quarantine:
    return Quarantine(rows=ROWS, device=torch.device("cpu"))


def _losses(bad: dict[int, float], *, rows: Tensor) -> Tensor:
    """Losses in which some row numbers are bad."""
    return torch.tensor([bad.get(row, 0.5) for row in rows.tolist()])


def test_200_healthy_batches_mark_nothing_and_change_no_batch() -> None:
    quarantine = _quarantine()
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        rows = torch.randint(0, ROWS, (8,), generator=generator)
        assert not bool(quarantine.observe(rows, torch.zeros(8)))

    rows, weights = quarantine.filter(torch.arange(8))

    assert int(quarantine.count) == 0
    assert rows.tolist() == list(range(8))
    assert weights.tolist() == [1.0] * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_row_is_replaced_by_a_healthy_one_of_the_same_batch_without_weight(bad: float) -> None:
    quarantine = _quarantine()
    rows = torch.tensor([3, 7, 1, 12, 5])

    blamed = quarantine.observe(rows, _losses({3: bad}, rows=rows))
    filtered = quarantine.filter(torch.tensor([3, 9, 4, 3]))

    assert bool(blamed)
    assert int(quarantine.count) == 1
    assert filtered.rows.tolist() == [9, 9, 4, 9]
    assert filtered.weights.tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("bad_rows", [2, 3, 4])
def test_where_half_of_the_batch_or_more_is_bad_no_row_is_blamed(bad_rows: int) -> None:
    quarantine = _quarantine()
    rows = torch.arange(4)

    blamed = quarantine.observe(rows, _losses(dict.fromkeys(range(bad_rows), math.nan), rows=rows))

    assert not bool(blamed)
    assert int(quarantine.count) == 0


def test_a_row_that_stands_twice_in_a_batch_is_marked_once() -> None:
    quarantine = _quarantine()
    rows = torch.tensor([3, 3, 1, 12, 5, 6])

    quarantine.observe(rows, _losses({3: math.nan}, rows=rows))

    assert int(quarantine.count) == 1
    assert quarantine.marks[:-1].nonzero().flatten().tolist() == [3]


def test_several_batches_at_once_are_judged_one_by_one() -> None:
    quarantine = _quarantine()
    rows = torch.arange(12).reshape(3, 4)
    losses = torch.full((3, 4), 0.5)
    losses[0, 1] = math.nan
    losses[2, :3] = math.inf

    blamed = quarantine.observe(rows, losses)

    assert blamed.tolist() == [True, False, False]
    assert quarantine.marks[:-1].nonzero().flatten().tolist() == [1]


def test_marks_stay_when_the_row_stands_in_later_batches() -> None:
    quarantine = _quarantine()
    rows = torch.arange(5)
    quarantine.observe(rows, _losses({2: math.nan}, rows=rows))

    filtered = quarantine.filter(rows)
    quarantine.observe(filtered.rows, torch.zeros(5))

    assert quarantine.marks[:-1].nonzero().flatten().tolist() == [2]


def test_a_batch_of_marked_rows_only_has_no_weight() -> None:
    quarantine = _quarantine()
    for start in (0, 5):
        rows = torch.arange(start, start + 5)
        quarantine.observe(rows, _losses({start: math.nan, start + 1: math.nan}, rows=rows))

    filtered = quarantine.filter(torch.tensor([0, 1, 5, 6]))

    assert filtered.weights.tolist() == [0.0] * 4


def test_the_first_and_the_last_row_can_be_marked() -> None:
    quarantine = _quarantine()
    rows = torch.tensor([0, ROWS - 1, 4, 5, 6])

    quarantine.observe(rows, _losses({0: math.nan, ROWS - 1: math.inf}, rows=rows))

    assert quarantine.marks[:-1].nonzero().flatten().tolist() == [0, ROWS - 1]


def test_marks_are_restored_and_those_of_other_data_refused() -> None:
    quarantine, restored = _quarantine(), _quarantine()
    rows = torch.arange(5)
    quarantine.observe(rows, _losses({2: math.nan}, rows=rows))

    restored.load_state_dict(quarantine.state_dict())

    assert restored.filter(rows).weights.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="marks has shape"):
        Quarantine(rows=ROWS + 1, device=torch.device("cpu")).load_state_dict(quarantine.state_dict())
