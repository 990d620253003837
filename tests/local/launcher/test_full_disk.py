"""A disk that is full for a while: nothing is lost, nothing stops, and what is written down is still true."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainmaster_launcher.entries import Entry
from trainmaster_launcher.intents import Intents
from trainmaster_launcher.journal import Journal, read_journal

FillUp = Callable[[int], None]


@pytest.fixture
def fill_up() -> Iterator[FillUp]:
    """Files of this process may not grow beyond a size: the write that crosses it is cut short, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def point(step: int, kind: str) -> Entry:
    return Entry(type="point", generation=1, time="t", kind=kind, step=step, metrics={"loss": 1.0})


def test_the_journal_goes_on_in_memory_and_is_complete_when_there_is_room_again(
    tmp_path: Path, fill_up: FillUp
) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    journal = Journal(folder)
    journal.open()
    journal.append(point(1, "validation"), durable=True)
    fill_up((folder / "journal.jsonl").stat().st_size + 10)
    for step in (2, 3):
        journal.append(point(step, "train"), durable=False)
    assert [entry.step for entry in journal.after(0, limit=10)] == [1, 2, 3]
    assert [entry.step for entry in read_journal(folder / "journal.jsonl")[0]] == [1]
    assert journal.trouble == f"the journal cannot be written: {os.strerror(errno.EFBIG)}"
    fill_up(resource.RLIM_INFINITY)
    journal.append(point(4, "validation"), durable=True)
    assert journal.trouble == ""
    assert [(entry.seq, entry.step) for entry in read_journal(folder / "journal.jsonl")[0]] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    journal.close()


def test_the_journal_file_stays_bounded_and_keeps_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    journal = Journal(folder, train_points_kept=10)
    journal.open()
    for step in range(1000):
        journal.append(point(step, "validation" if step % 100 == 0 else "train"), durable=False)
    journal.close()
    lines = (folder / "journal.jsonl").read_text().splitlines()
    assert len(lines) <= 3 * (10 + 10) + 10
    entries, _ = read_journal(folder / "journal.jsonl")
    assert [entry.step for entry in entries if entry.kind == "validation"] == list(range(0, 1000, 100))
    assert entries[-1].seq == 1000
    again = Journal(folder, train_points_kept=10)
    again.open()
    assert again.last_seq == 1000
    assert again.append(point(999, "train"), durable=False) is None
    again.close()


def test_a_directive_waits_until_its_step_can_be_written_down(tmp_path: Path, fill_up: FillUp) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    intents = Intents(folder)
    intents.open()
    fill_up(5)
    assert intents.record("d1", step=7) is None
    fill_up(resource.RLIM_INFINITY)
    assert intents.record("d1", step=8) == 8
    intents.close()
    again = Intents(folder)
    again.open()
    assert again.record("d1", step=99) == 8


def test_a_step_whose_line_could_not_be_made_durable_does_not_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "1"
    folder.mkdir()
    intents = Intents(folder)
    intents.open()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", _no_space)
        assert intents.record("d1", step=100) is None
    assert intents.record("d1", step=101) == 101
    intents.close()

    again = Intents(folder)
    again.open()
    assert again.record("d1", step=7) == 101


def _no_space(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
