"""Nothing trains alone: a launcher whose session died before or after it was tied to it ends too."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_mode import wait_for

SESSION = """
import os, sys, time
from pathlib import Path
from trainmaster.adapters.local import processes
processes.LAUNCHER = (sys.executable, "-c", "import time; time.sleep(600)")
if sys.argv[2] == "late":
    # The tether sleeps before it looks, as a slow machine would make it: its session is dead by then.
    slow = "import sys, time; time.sleep(1); from trainmaster_launcher import tether; tether.main(sys.argv[1:])"
    processes.TETHER = (sys.executable, "-c", slow, *processes.TETHER[3:])
child = processes.start_launcher(env=os.environ, log=Path(sys.argv[1]) / "log", cwd=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("moment", ["late", "tied"])
def test_a_launcher_does_not_outlive_its_session(tmp_path: Path, moment: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SESSION, str(tmp_path), moment], stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        launcher = int(session.stdout.readline())
        if moment == "tied":
            wait_for(lambda: _command(launcher).endswith("time.sleep(600)"), what="the tether to become the launcher")
        session.send_signal(signal.SIGKILL)
    wait_for(lambda: not _command(launcher), what="the launcher to be gone")


def _command(pid: int) -> str:
    """Its command line; nothing for a process that is gone or a zombie."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().rstrip("\0").rpartition("\0")[2]
    except FileNotFoundError:
        return ""
