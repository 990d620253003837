"""`trainmaster logs` as a process: what goes where, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from tests.support.operator_process import PATIENCE_SECONDS
from tests.support.pod_log_double import PodLogDouble
from trainmaster.cli import exits


@contextmanager
def typed(kubeconfig: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`trainmaster logs WORDS` at work; killed at the end of the block if it still is."""
    command = [sys.executable, "-m", "trainmaster.cli.main", "logs", *words]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_following_ends_well_with_the_run(cluster: PodLogDouble, kubeconfig: Path) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one \x1b[31mred", "two")
    with typed(kubeconfig, "-f", "market") as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["one \x1b[31mred\n", "two\n"], "lines as they are"
        cluster.end("first")
        cluster.run(phase="Succeeded")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, out, err) == (exits.EXIT_OK, "", "==> launch 1: pod first\n")


def test_ctrl_c_ends_the_following_and_nothing_else(cluster: PodLogDouble, kubeconfig: Path) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    with typed(kubeconfig, "-f", "market") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == exits.EXIT_INTERRUPTED
    assert "Traceback" not in err


def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback(cluster: PodLogDouble, kubeconfig: Path) -> None:
    cluster.run(phase="Succeeded")
    cluster.start("first", launch=1)
    cluster.write("first", *("x" * 1000 for _ in range(1000)))
    cluster.end("first")
    with typed(kubeconfig, "market") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "x" * 1000 + "\n"
        process.stdout.close()
        said = process.stderr.read()
        process.wait(PATIENCE_SECONDS)

    assert said == "==> launch 1: pod first\n"


def test_nothing_to_read_is_refused(cluster: PodLogDouble, kubeconfig: Path) -> None:
    cluster.run(phase="Pending")
    with typed(kubeconfig, "market") as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, out) == (exits.EXIT_REFUSED, "")
    assert "there is no log: it has no pod" in err
