"""The undisturbed run that every disturbed one must equal; trained once, however many workers there are."""

from __future__ import annotations

import fcntl
import pickle
from pathlib import Path

import pytest

from tests.support.local_mode import LocalMode, Outcome


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Outcome:
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    result = shared / "undisturbed.pickle"
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_bytes(pickle.dumps(_train(shared / "undisturbed")))
    outcome: Outcome = pickle.loads(result.read_bytes())
    return outcome


def _train(folder: Path) -> Outcome:
    folder.mkdir()
    mode = LocalMode(folder)
    done = mode.run()
    assert done.returncode == 0, done.stderr
    return mode.outcome()
