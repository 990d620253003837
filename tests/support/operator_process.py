"""`trainmaster operator` as a process of its own, against a control plane or a proxy in front of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane.process import free_ports

PATIENCE_SECONDS = 60.0
"""How long a test waits for something that takes a second on a quiet machine."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A started operator."""

    process: subprocess.Popen[bytes]
    log: Path
    health_url: str
    report_url: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait for the end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    @property
    def told(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of its health endpoints; status 0: nothing answers."""
        try:
            with urllib.request.urlopen(self.health_url + path, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it is not told."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def wait_until_leading(self) -> None:
        """Return when it has its caches and works."""
        wait_until(lambda: self.metric("leader_election_master_status") == 1, what=f"a leading operator; {self.log}")


def wait_until(condition: Callable[[], object], *, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)


@contextmanager
def running_operator(
    kubeconfig: Path, *flags: str, folder: Path, elect: bool = True, name: str = "operator"
) -> Iterator[Operator]:
    """An operator for as long as the block takes; killed at its end, if it still lives.

    Reports go by plain http, unless flags name a Secret for certificates.
    """
    report, health = free_ports(2)
    secure = "--tls-secret" in flags
    report_url = f"{'https' if secure else 'http'}://127.0.0.1:{report}/v1/reports"
    command = [
        sys.executable, "-m", "trainmaster.cli.main", "operator",
        "--trainer-image", "trainer:test",
        *([] if secure else ["--insecure-reports"]), "--report-bind", f"127.0.0.1:{report}", "--report-url", report_url,
        "--health-bind", f"127.0.0.1:{health}",
        "--log-format", "text",
        *([] if elect else ["--no-leader-elect"]),
        *flags,
    ]  # fmt: skip
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"KUBECONFIG": str(kubeconfig), "POD_NAME": f"{name}-{report}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    operator = Operator(process=process, log=log, health_url=f"http://127.0.0.1:{health}", report_url=report_url)
    try:
        yield operator
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
