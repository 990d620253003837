"""A run whose checkpoints go to an object store: a crash, a session that ends, another one that goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.object_store import HOW_TO_BUILD, PROGRAM, object_store
from tests.support.shell import Shell

COUNT = """
    import hashlib, sys
    from trainmaster_launcher.sdk import connect
    from trainmaster_trainer.storage import open_storage

    session = connect()
    storage, launch = open_storage(session.plan["storage"]["root"]), session.plan["launch"]
    saved = [int(name) for folder in storage.list() for name in storage.list(folder)]
    print("begins after", max(saved, default=0), flush=True)
    for step in range(max(saved, default=0), 4):
        session.progress("training", step=step, total_steps=4)
        if step == 2 and not saved:
            sys.exit("a crash")
        path, digest = f"{launch}/{step + 1}", hashlib.sha256(b"").hexdigest()
        storage.write(path, b"")
        facts = {"clean_steps": step, "finite": True, "applied": ["d1"]}
        session.checkpoint(path=path, step=step + 1, epoch=0, sha256=digest, size_bytes=0, **facts)
    session.done(metrics={"val_loss": 0.5})
"""


@pytest.mark.skipif(not PROGRAM.exists(), reason=HOW_TO_BUILD)
def test_a_crash_goes_on_from_what_the_store_has(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store(tmp_path / "server") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        file = shell.manifest("count", COUNT, storage={"checkpoints": f"s3://{store.bucket}/runs"})

        ran = shell.type("local", "run", file)

        assert ran.returncode == 0, ran.stderr
        uid, status = shell.object("count")["metadata"]["uid"], shell.status("count")
        assert (status["phase"], status["crashes"]) == ("Succeeded", 1)
        assert status["checkpoint"].items() >= {"path": "1/4", "step": 4, "cleanSteps": 3, "finite": True}.items()
        assert [line for line in shell.log("count").splitlines() if line.startswith("begins")] == [
            "begins after 0",
            "begins after 2",
        ]
        assert sorted(path.name for path in (store.files / "runs" / uid / "0" / "1").iterdir()) == ["1", "2", "3", "4"]
        kept = shell.state / "jobs" / uid / "work" / "0" / "1"
        assert {"journal.jsonl", "plan.json"} <= {path.name for path in kept.iterdir()}
        assert not (shell.state / "volumes").exists(), "no claim stands for a store"


def test_what_is_no_store_is_refused_before_anything_runs(shell: Shell) -> None:
    file = shell.manifest("count", COUNT, storage={"checkpoints": "ftp://host/runs"})

    refused = shell.type("local", "run", file)

    assert refused.returncode == 2
    assert "must look like pvc://CLAIM, s3://BUCKET or gs://BUCKET, with or without a /PATH behind it" in refused.stderr
