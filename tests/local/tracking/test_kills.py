"""SIGKILL at any moment: MLflow has every epoch exactly once in the end, and its database opens."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from collections import Counter
from contextlib import closing
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.local.tracking.pump_process import METRICS, RUN, open_only, started, tell

KILLS = 12


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Children fork from a process that has imported MLflow, so that a kill costs no new import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainmaster.adapters.mlflow.store", "tests.local.tracking.pump_process"])
    with started(context, int) as process:
        process.join()
    return context


def histories(database: Path) -> dict[str, Counter[int]]:
    """How often each step stands in the history of each metric, by SQL: no MLflow in between."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT key, step FROM metrics").fetchall()
        runs = connection.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()
    assert runs == (1,)
    found: dict[str, Counter[int]] = {}
    for key, step in rows:
        found.setdefault(key, Counter())[step] += 1
    return found


def test_every_epoch_is_logged_exactly_once_whenever_the_pump_is_killed(
    tmp_path: Path, context: ForkServerContext, seed: int
) -> None:
    rng = random.Random(seed)
    with started(context, open_only, str(tmp_path)) as process:
        process.join()
    for _ in range(KILLS):
        with started(context, tell, str(tmp_path), 10**9) as process:
            process.join(rng.uniform(0.05, 1.0))
            assert process.is_alive()
    with started(context, tell, str(tmp_path), 0) as process:
        process.join()
        assert process.exitcode == 0
    told = Path(tmp_path / "series" / RUN.uid / "0.jsonl").read_bytes().count(b"\n")
    once = Counter({10 * number: 1 for number in range(1, told + 1)})
    assert told > 0
    assert histories(tmp_path / "mlflow.db") == dict.fromkeys((*METRICS, "epoch", "generation"), once)


def test_a_kill_while_the_database_is_created_does_not_spoil_it(
    tmp_path: Path, context: ForkServerContext, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        with started(context, open_only, str(tmp_path)) as process:
            process.join(rng.uniform(0.02, 1.0))
    with started(context, tell, str(tmp_path), 3) as process:
        process.join()
        assert process.exitcode == 0
    assert histories(tmp_path / "mlflow.db")["val_loss"] == Counter({10: 1, 20: 1, 30: 1})
    assert sorted(path.name for path in tmp_path.glob("mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


def test_two_processes_at_once_create_one_database(tmp_path: Path, context: ForkServerContext) -> None:
    with started(context, open_only, str(tmp_path)) as one, started(context, open_only, str(tmp_path)) as other:
        one.join()
        other.join()
        assert (one.exitcode, other.exitcode) == (0, 0)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("SELECT count(*) FROM experiments WHERE name = 'trainmaster/default'").fetchone() == (
            1,
        )
