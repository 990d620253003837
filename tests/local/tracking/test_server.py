"""A real MLflow server that is killed and comes back; one that never answers; and no network where none is needed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.local.tracking.pump_process import METRICS, RUN, epoch, make_pump
from trainmaster.adapters.mlflow.tracker import MlflowTracker
from trainmaster.adapters.mlflow.uri import sqlite_uri
from trainmaster.api.trainingrun import TrackingStatus
from trainmaster.ports.tracking import TrackingUnreachableError

SERVER_SECONDS = 120
"""A server imports and migrates for some seconds on a quiet machine, and CI is not quiet."""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the adapter sets for MLflow's HTTP client ends with the test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def accepts(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


@contextmanager
def mlflow_server(folder: Path, *, port: int) -> Iterator[None]:
    """An MLflow server on loopback, with its workers in a process group of its own that dies by SIGKILL."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", sqlite_uri(folder / "server.db"), "--artifacts-destination", str(folder / "a")]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # Its workers for background jobs take as long to start as all the rest.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        )
    try:
        asyncio.run(asyncio.wait_for(accepts(port), SERVER_SECONDS))
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_metrics_of_an_outage_are_sent_after_it_each_exactly_once(tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"

    async def tell(first: int, last: int) -> None:
        series, pump = make_pump(tmp_path, uri=uri)
        async with pump:
            pump.register(RUN)
            for number in range(first, last + 1):
                series.take(RUN.uid, rerun=0, launch=1, entries=[epoch(number)])
                pump.wake(RUN.uid)
            sent = await pump.flush(seconds=2 if first == 4 else SERVER_SECONDS)
            state = pump.state(RUN.uid, rerun=0)
            assert state is not None
            if first == 4:
                assert (sent, state.waiting, state.trouble_since is not None) == (False, 6, True)
                assert "127.0.0.1" in state.trouble
            else:
                assert (sent, state.waiting, state.trouble) == (True, 0, "")

    with mlflow_server(tmp_path, port=port):
        asyncio.run(tell(1, 3))
    asyncio.run(tell(4, 6))
    with mlflow_server(tmp_path, port=port):
        asyncio.run(tell(7, 9))
        ref = MlflowTracker(uri).open(RUN)
        assert ref.url == f"{uri}/#/experiments/{ref.experiment_id}/runs/{ref.run_id}"
        from mlflow import MlflowClient  # noqa: PLC0415  # after the adapter, which quiets it

        for key in METRICS:
            history = MlflowClient(uri).get_metric_history(ref.run_id, key)
            assert Counter(metric.step for metric in history) == Counter({10 * n: 1 for n in range(1, 10)})
        _keeps_a_file(uri, ref, folder=tmp_path)


def _keeps_a_file(uri: str, ref: TrackingStatus, *, folder: Path) -> None:
    """While a server is up, since one takes so long to start: it takes files as well, and tells which it has."""
    tracker, model, picture = MlflowTracker(uri), folder / "model.onnx", folder / "curves.png"
    model.write_bytes(b"model")
    picture.write_bytes(b"picture")
    tracker.keep(ref, model)
    assert tracker.missing(ref, [model, picture]) == (picture,)
    assert [copy.read_bytes() for copy in (folder / "a").rglob("model.onnx")] == [b"model"]


def test_a_server_that_never_answers_is_out_of_reach_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrackingUnreachableError, match="timed out"):
            MlflowTracker(f"http://127.0.0.1:{silent.getsockname()[1]}").open(RUN)


QUIET = """
import sys
from pathlib import Path

def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print(event, args, file=sys.stderr)

sys.addaudithook(audit)
from tests.local.tracking.pump_process import keep_only
keep_only(sys.argv[1])
"""


def test_a_file_needs_no_network_and_nothing_is_printed(tmp_path: Path) -> None:
    """Not even with the environment of a plain user, in which MLflow's telemetry would be on."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(root)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "artifacts",
        "mlflow.db",
        "mlflow.db.lock",
        "model.onnx",
    ]
    assert len(list((tmp_path / "artifacts").rglob("model.onnx"))) == 1
