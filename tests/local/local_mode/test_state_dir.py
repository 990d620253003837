"""The state directory: who may use a run, and files that a full disk cannot hurt."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainmaster.adapters.local.state_dir import RunLockedError, StateDir, StateDirError, write_atomic
from trainmaster.api.objects import Key

KEY = Key("default", "market")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestWriteAtomic:
    def test_replaces_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "file.json"
        write_atomic(path, "one")
        write_atomic(path, "two")
        assert path.read_text() == "two"
        assert names(path.parent) == ["file.json"]

    def test_a_secret_is_for_its_owner(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "token", "secret", mode=0o600)
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_a_full_disk_leaves_the_old_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        path = tmp_path / "file.json"
        write_atomic(path, "old")
        monkeypatch.setattr(os if step == "fsync" else Path, step, full)
        with pytest.raises(StateDirError) as caught:
            write_atomic(path, "new")
        monkeypatch.undo()
        assert "No space left on device" in str(caught.value)
        assert str(path) in str(caught.value)
        assert path.read_text() == "old"
        assert names(tmp_path) == ["file.json"]
        write_atomic(path, "new")
        assert path.read_text() == "new"

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StateDirError, match="File exists"):
            write_atomic(tmp_path / "file" / "below.json", "text")


class TestPrepare:
    def test_makes_the_folder_and_leaves_it_empty(self, tmp_path: Path) -> None:
        StateDir(tmp_path / "a" / "b").prepare()
        assert names(tmp_path / "a" / "b") == []

    def test_what_cannot_be_written_is_refused_with_the_way_out(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StateDirError, match="--state-dir or TRAINMASTER_STATE_DIR"):
            StateDir(tmp_path / "file" / "state").prepare()


class TestRunLock:
    def test_is_for_one_process_and_says_which(self, tmp_path: Path) -> None:
        lock = StateDir(tmp_path).lock_run(KEY)
        program = (
            "import sys; from pathlib import Path\n"
            "from trainmaster.adapters.local.state_dir import StateDir\n"
            "from trainmaster.api.objects import Key\n"
            "StateDir(Path(sys.argv[1])).lock_run(Key('default', 'market'))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        lock.release()
        assert done.returncode != 0
        assert f"default/market is being run already, by process {os.getpid()}: wait for it" in done.stderr

    def test_is_given_back(self, tmp_path: Path) -> None:
        state = StateDir(tmp_path)
        state.lock_run(KEY).release()
        assert not state.is_locked(KEY)
        state.lock_run(KEY).release()

    def test_is_of_one_run(self, tmp_path: Path) -> None:
        state = StateDir(tmp_path)
        first, second = state.lock_run(KEY), state.lock_run(Key("other", "market"))
        assert state.is_locked(KEY)
        assert not state.is_locked(Key("default", "b"))
        with pytest.raises(RunLockedError):
            state.lock_run(KEY)
        first.release()
        second.release()

    def test_a_look_from_outside_takes_nothing_away(self, tmp_path: Path) -> None:
        state = StateDir(tmp_path)
        done = threading.Event()
        state.lock_run(KEY).release()

        def look() -> None:
            while not done.is_set():
                state.is_locked(KEY)

        lookers = [threading.Thread(target=look) for _ in range(2)]
        for looker in lookers:
            looker.start()
        try:
            for _ in range(50):
                state.lock_run(KEY).release()
        finally:
            done.set()
            for looker in lookers:
                looker.join()
        assert not state.is_locked(KEY)

    def test_a_full_disk_takes_the_name_not_the_lock(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "pwrite", full)
        lock = StateDir(tmp_path).lock_run(KEY)
        assert StateDir(tmp_path).is_locked(KEY)
        lock.release()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "locks").write_text("in the way")
        with pytest.raises(StateDirError, match="locks"):
            StateDir(tmp_path).lock_run(KEY)
