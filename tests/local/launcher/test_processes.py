"""Never two trainers of one run alive: descendants, the tether, the lock, the zipapp."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipapp
from pathlib import Path

import trainmaster_launcher
from tests.local.launcher.conftest import Bench
from tests.support.launcher import alive, wait_until

FORKS_A_DAEMON = """
import os, pathlib, subprocess, sys, time
DEAF = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
daemon = subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True, stdout=subprocess.PIPE)
daemon.stdout.readline()
with open(__file__ + ".daemons", "a") as file:
    file.write(f"{daemon.pid}\\n")
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
"""


def daemons(bench: Bench) -> list[int]:
    return [int(line) for path in bench.workspace.glob("*.daemons") for line in path.read_text().split()]


def test_a_grandchild_with_its_own_session_is_gone_before_the_next_start_and_at_the_end(bench: Bench) -> None:
    program = FORKS_A_DAEMON.replace(
        "sys.exit(", "others = [int(x) for x in open(__file__ + '.daemons').read().split()][:-1]\n"
        "print('alive:', [x for x in others if os.path.exists(f'/proc/{x}')], flush=True)\nsys.exit(", 1
    )  # fmt: skip
    plan = bench.plan(program, restartLease=1)
    launcher = bench.start(plan, url=bench.serve(plan).url)
    assert launcher.wait() == 78
    assert len(daemons(bench)) == 2
    assert not any(alive(pid) for pid in daemons(bench))
    assert launcher.printed.count("alive: []") == 2


WAITS = """
import os, time
from trainmaster_launcher.sdk import connect
session = connect()
session.progress("training", step=1)
print("pid", os.getpid(), flush=True)
while True:
    time.sleep(0.05)
"""


def trainer_pid(printed: str) -> int:
    return next((int(line.split()[1]) for line in printed.splitlines() if line.startswith("pid ")), 0)


def test_a_killed_launcher_takes_the_training_process_with_it(bench: Bench) -> None:
    plan = bench.plan(WAITS)
    launcher = bench.start(plan, url=bench.serve(plan).url)
    wait_until(lambda: trainer_pid(launcher.printed) > 0, what="the training process")
    launcher.signal(signal.SIGKILL)
    wait_until(lambda: not alive(trainer_pid(launcher.printed)), what="the training process's death")
    assert launcher.wait() == -signal.SIGKILL


def test_the_lock_keeps_a_second_launcher_out_as_long_as_the_first_trains(bench: Bench) -> None:
    lock = str(bench.workspace / "lock")
    plan = bench.plan(WAITS)
    server = bench.serve(plan)
    first = bench.start(plan, url=server.url, TRAINMASTER_LOCK_FILE=lock)
    wait_until(lambda: trainer_pid(first.printed) > 0, what="the training process")
    second = bench.start(plan | {"launch": 2}, url=server.url, TRAINMASTER_LOCK_FILE=lock)
    assert second.wait() == 75
    assert "another launcher of this run" in second.printed
    assert alive(trainer_pid(first.printed))


def test_the_training_process_holds_the_lock_when_its_launcher_is_dead(bench: Bench) -> None:
    lock = bench.workspace / "lock"
    plan = bench.plan(
        "import subprocess, sys; subprocess.Popen(['sleep', '600'], close_fds=False); "
        "import time; print('pid', __import__('os').getpid(), flush=True); time.sleep(600)"
    )
    launcher = bench.start(plan, url=bench.serve(plan).url, TRAINMASTER_LOCK_FILE=str(lock))
    wait_until(lambda: trainer_pid(launcher.printed) > 0, what="the training process")
    probe = ["flock", "--nonblock", str(lock), "true"]
    descriptors = Path("/proc") / str(trainer_pid(launcher.printed)) / "fd"
    assert str(lock) in {str(path.readlink()) for path in descriptors.iterdir()}
    assert subprocess.run(probe, check=False).returncode == 1


def test_a_launcher_frees_the_lock_for_the_next_one(bench: Bench) -> None:
    lock = str(bench.workspace / "lock")
    plan = bench.plan("")
    server = bench.serve(plan)
    assert bench.start(plan, url=server.url, TRAINMASTER_LOCK_FILE=lock).wait() == 0
    server.plan = plan | {"launch": 2}
    assert bench.start(server.plan, url=server.url, TRAINMASTER_LOCK_FILE=lock).wait() == 0


def tether(*arguments: str) -> list[str]:
    path = Path(trainmaster_launcher.__file__).parent / "tether.py"
    return [sys.executable, "-I", "-S", str(path), *arguments]


NOTES_SIGTERM = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit()))
print('ready', flush=True)
time.sleep(600)
"""


def test_the_tether_gives_any_signal_to_any_command(tmp_path: Path) -> None:
    mark = tmp_path / "terminated"
    starter = "import subprocess,sys; p=subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); p.stdout.readline()"
    command = tether("SIGTERM", "--", sys.executable, "-c", NOTES_SIGTERM, str(mark))
    subprocess.run([sys.executable, "-c", starter, *command], check=True)
    wait_until(mark.exists, what="SIGTERM after the starter's end")


def test_the_tether_refuses_to_run_without_its_parent() -> None:
    ended = subprocess.run(tether("SIGKILL", "1", "--", "true"), check=False)
    assert ended.returncode == -signal.SIGKILL


def test_the_launcher_runs_as_a_zipapp_and_foreign_code_finds_the_sdk_in_it(bench: Bench) -> None:
    source = bench.workspace / "source"
    package = source / "trainmaster_launcher"
    package.mkdir(parents=True)
    for path in Path(trainmaster_launcher.__file__).parent.glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    archive = bench.workspace / "launcher.pyz"
    zipapp.create_archive(source, archive, main="trainmaster_launcher.__main__:main")
    program = "import sys; from trainmaster_launcher import sdk; print('from', sdk.__file__); sdk.connect().done()"
    plan = bench.plan(program)
    plan["command"] = [sys.executable, "-S", plan["command"][1]]
    server = bench.serve(plan)
    launcher = bench.start(plan, url=server.url, program=[sys.executable, "-S", str(archive)])
    assert launcher.wait() == 0, launcher.printed
    assert f"from {archive}" in launcher.printed
    assert server.of_type("verdict")[0]["verdict"]["outcome"] == "Completed"
