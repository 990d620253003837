"""The report server's authority changes under a run that trains: it notices nothing."""

from __future__ import annotations

import base64
import json

from tests.support.aged_certificates import WITH_SUCCESSOR, data_of_age, swap_due
from tests.support.launcher import wait_until
from tests.support.node.journal import read_journal
from tests.support.node.release import NAME, Release
from tests.support.node.team import PATIENCE, Run, Team
from trainmaster.adapters.kubernetes.permissions import TLS_SECRET

SUCCESSOR = ("next-ca.crt", "next-ca.key")
Data = dict[str, str]


def read_secret(team: Team) -> Data:
    found = team.cluster.kubectl("get", "secret", TLS_SECRET, f"--namespace={NAME}", "--output=json").stdout
    data: Data = json.loads(found)["data"]
    return data


def write_secret(team: Team, data: Data) -> None:
    patch = json.dumps({"data": data})
    team.cluster.kubectl("patch", "secret", TLS_SECRET, f"--namespace={NAME}", "--type=merge", f"--patch={patch}")


def test_a_running_pod_follows_its_operator_to_another_authority(team: Team, release: Release) -> None:
    """What years bring: a successor that is handed out, then takes over. The pod's own environment names neither."""
    run = team.train("old", {"steps": 100_000, "seconds_per_step": 0.2})
    run.wait_phase("Running")
    wait_until(lambda: read_journal(run).has > 0, what="the first report", timeout=PATIENCE)
    before, container = read_secret(team), identity(run)
    aged = data_of_age(frozenset({f"{NAME}.{NAME}.svc"}), years=WITH_SUCCESSOR)
    successor = {name: aged[name] for name in SUCCESSOR}
    write_secret(team, successor)
    # A new operator reads at once what the present one would see within a minute.
    release.kill()
    wait_until(
        lambda: pem(successor["next-ca.crt"]) in trusted(run),
        what="the launcher's trust in the successor",
        timeout=PATIENCE,
    )
    write_secret(team, swap_due(before | successor))
    wait_until(lambda: bool(read_secret(team)["tls.crt"]), what="the successor's first leaf", timeout=PATIENCE)
    newest = read_journal(run).last
    wait_until(lambda: read_journal(run).has > newest, what="reports under the successor", timeout=PATIENCE)

    after = read_secret(team)
    assert after["ca.crt"] == successor["next-ca.crt"] != before["ca.crt"]
    journal = read_journal(run)
    assert journal.gaps == []
    assert journal.steps == list(range(len(journal.steps)))
    assert identity(run) == container
    assert "certificate verify failed" not in told(run)


def pem(encoded: str) -> str:
    """The first certificate: behind a successor's own comes what its forerunner has signed of it."""
    return base64.b64decode(encoded).decode().partition("-----END")[0]


def trusted(run: Run) -> str:
    """The authorities that the launcher has been told of, and keeps for a pod after it."""
    path = f"/claims/*/{run.uid}/*/1/authorities.pem"
    return run.team.kubectl("exec", run.pod(1), "--", "sh", "-c", f"cat {path}", check=False)


def told(run: Run) -> str:
    """What the launcher has said."""
    return run.team.kubectl("logs", run.pod(1))


def identity(run: Run) -> tuple[str, str, int]:
    """Pod, container and how often it was started again."""
    pod = run.pods(1)[0]
    container = pod["status"]["containerStatuses"][0]
    return pod["metadata"]["uid"], container["containerID"], container["restartCount"]
