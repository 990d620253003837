"""The series on disk: killed at any byte, out of room, damaged by hand, grown long."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trainmaster.adapters.series.files import COMPACT_AFTER, FileSeriesStore
from trainmaster.api.protocol import MAX_ENTRIES, Entry, EntryType
from trainmaster.ports.series import TRAIN_WINDOW, SeriesCorruptError, SeriesError

UID = "run-1"
START = datetime(2026, 1, 1, tzinfo=UTC)


def told(start: int, stop: int, *, kind: str = "validation") -> list[Entry]:
    return [
        Entry(seq=n, type=EntryType.POINT, time=START, generation=1, step=n, kind=kind, metrics={"loss": n / 7})
        for n in range(start, stop)
    ]


def steps(store: FileSeriesStore, *, kind: str = "validation") -> list[int]:
    return [point.step for point in store.points(UID, rerun=0, kind="train" if kind == "train" else "validation")]


def test_a_kill_at_any_byte_keeps_all_that_was_acknowledged_and_takes_the_rest_again(tmp_path: Path) -> None:
    file = tmp_path / UID / "0.jsonl"
    FileSeriesStore(tmp_path).take(UID, rerun=0, launch=1, entries=told(1, 3))
    acknowledged = file.stat().st_size
    FileSeriesStore(tmp_path).take(UID, rerun=0, launch=1, entries=told(3, 5))
    whole = file.read_bytes()
    for length in range(acknowledged, len(whole) + 1):
        file.write_bytes(whole[:length])
        store = FileSeriesStore(tmp_path)
        have = store.have_seq(UID, 1)
        assert have == whole[:length].count(b"\n") >= 2, f"cut at byte {length}"
        assert store.take(UID, rerun=0, launch=1, entries=told(have + 1, 6)) == 5
        assert steps(FileSeriesStore(tmp_path)) == [1, 2, 3, 4, 5], f"cut at byte {length}"


OUT_OF_ROOM = """
import json, resource, signal, sys
from pathlib import Path
from trainmaster.adapters.series.files import FileSeriesStore
from trainmaster.api.protocol import Entry
from trainmaster.ports.series import SeriesWriteError

store = FileSeriesStore(Path(sys.argv[1]))
entries = [Entry.model_validate(wire) for wire in json.load(sys.stdin)]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
assert store.take("run-1", rerun=0, launch=1, entries=entries[:2]) == 2
for room in (1, 90, 100, 250):
    size = (Path(sys.argv[1]) / "run-1" / "0.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
    try:
        store.take("run-1", rerun=0, launch=1, entries=entries)
    except SeriesWriteError as error:
        print(store.have_seq("run-1", 1), "free space" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.take("run-1", rerun=0, launch=1, entries=entries))
"""


def test_out_of_room_is_an_error_that_acknowledges_no_torn_entry(tmp_path: Path) -> None:
    """A limit on the file's size tears a write in the middle, as a full disk does."""
    entries = json.dumps([entry.to_wire() for entry in told(1, 30)])
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_ROOM, str(tmp_path)], input=entries, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert len(refused) == 4
    assert all(line.endswith("True") for line in refused)
    counts = [int(line.split()[0]) for line in refused]
    assert counts == sorted(counts)
    assert (counts[0], last) == (2, "29")
    assert steps(FileSeriesStore(tmp_path)) == list(range(1, 30))


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b"[]\n", b'{"launch":1,"entry":{"seq":0}}\n', b'{"point":{}}\n'])
def test_a_damaged_line_is_named_with_the_way_out(tmp_path: Path, damage: bytes) -> None:
    FileSeriesStore(tmp_path).take(UID, rerun=0, launch=1, entries=told(1, 3))
    file = tmp_path / UID / "0.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + damage + lines[1])
    with pytest.raises(SeriesCorruptError, match=r"0\.jsonl, line 2 .*move it away"):
        FileSeriesStore(tmp_path).points(UID, rerun=0, kind="validation")


@pytest.mark.parametrize("uid", ["", "..", "../other", "a/b", "/etc", "a\0b", ".hidden"])
def test_a_uid_leads_nowhere_else(tmp_path: Path, uid: str) -> None:
    with pytest.raises(SeriesError, match="cannot name a folder"):
        FileSeriesStore(tmp_path / "root").take(uid, rerun=0, launch=1, entries=told(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_long_series_is_rewritten_and_tells_the_same(tmp_path: Path) -> None:
    store, file = FileSeriesStore(tmp_path), tmp_path / UID / "0.jsonl"
    last = TRAIN_WINDOW + COMPACT_AFTER
    # A gap that stays open, an entry that is no point, and two launches, over the rewrite.
    store.take(UID, rerun=0, launch=1, entries=told(1, 3))
    store.take(UID, rerun=0, launch=1, entries=[Entry(seq=4, type=EntryType.START, time=START, generation=1, start=1)])
    sizes = []
    for start in range(1, last + 1, MAX_ENTRIES):
        store.take(UID, rerun=0, launch=2, entries=told(start, min(start + MAX_ENTRIES, last + 1), kind="train"))
        sizes.append(file.stat().st_size)
    assert sizes[-1] < max(sizes) / 5
    for one in (store, FileSeriesStore(tmp_path)):
        assert (one.have_seq(UID, 1), one.have_seq(UID, 2)) == (2, last)
        assert steps(one) == [1, 2]
        assert steps(one, kind="train") == list(range(last - TRAIN_WINDOW + 1, last + 1))
        assert [entry.start for entry in one.entries(UID, rerun=0)] == [1]
    assert FileSeriesStore(tmp_path).take(UID, rerun=0, launch=1, entries=told(3, 4)) == 4


def test_a_rewrite_that_was_killed_leaves_the_long_file_in_force(tmp_path: Path) -> None:
    FileSeriesStore(tmp_path).take(UID, rerun=0, launch=1, entries=told(1, 4))
    (tmp_path / UID / "0.new").write_bytes(b'{"launch":1,"have":99,"ahead":[]}\n{"poi')
    assert FileSeriesStore(tmp_path).have_seq(UID, 1) == 3
