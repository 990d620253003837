"""A disk that is full: said clearly, nothing lost, the same command goes on. On a small tmpfs, so only for root."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_mode import wait_for
from tests.support.shell import Shell

KIB = 1024
DISK_KIB = 1024
GOOD = """
    from trainmaster_launcher.sdk import connect
    session = connect()
    for step in range(1, 4):
        session.progress("training", step=step, total_steps=3)
        session.point("validation", step=step, metrics={"val_loss": 1 / step})
    session.done(message="three steps")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one mebibyte."""
    folder = tmp_path / "state"
    folder.mkdir()
    size = f"size={DISK_KIB}k"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, *, leave_kib: int) -> Path:
    """Fill the disk but for so much; the file that does it."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize - leave_kib * KIB))
    return filler


def test_full_from_the_start_is_refused(shell: Shell, disk: Path) -> None:
    fill(disk, leave_kib=0)
    done = shell.type("local", "run", shell.manifest("good", GOOD))
    assert done.returncode == 2
    assert "No space left on device; name another with --state-dir" in done.stderr


def test_full_on_the_way_waits_and_goes_on_when_there_is_space(shell: Shell, disk: Path) -> None:
    file = shell.manifest("good", GOOD)
    assert shell.type("local", "run", shell.manifest("good", GOOD, suspend=True)).returncode == 1
    shell.manifest("good", GOOD)
    filler = fill(disk, leave_kib=4)
    with shell.typing("local", "run", file, "--tracking-uri", f"sqlite:///{shell.folder}/mlflow.db") as session:
        wait_for(lambda: "No space left on device; nothing is lost" in session.stderr, what="the disk to be full")
        assert session.process.poll() is None
        filler.unlink()
        assert session.wait() == 0, session.stderr
    assert shell.status("good")["phase"] == "Succeeded"


def test_full_and_interrupted_ends_and_the_same_command_goes_on(shell: Shell, disk: Path) -> None:
    file = shell.manifest("good", GOOD)
    tracking = ("--tracking-uri", f"sqlite:///{shell.folder}/mlflow.db")
    assert shell.type("local", "run", shell.manifest("good", GOOD, suspend=True), *tracking).returncode == 1
    shell.manifest("good", GOOD)
    filler = fill(disk, leave_kib=4)
    with shell.typing("local", "run", file, *tracking) as session:
        wait_for(lambda: "No space left on device" in session.stderr, what="the disk to be full")
        # Nothing lives that could save anything, and the suspension cannot be stored: one Ctrl-C is enough.
        session.process.send_signal(signal.SIGINT)
        assert session.wait() == 130, session.stderr
    filler.unlink()
    again = shell.type("local", "run", file, *tracking)
    assert again.returncode == 0, again.stderr
    assert shell.status("good")["phase"] == "Succeeded"
