"""`make playground`: a cluster for whoever has none, that is there until Ctrl-C and leaves nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.control_plane.start import REPOSITORY
from tests.support.operator_process import PATIENCE_SECONDS, wait_until

COMMAND = [sys.executable, "-m", "tests.support.control_plane"]
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: checkpoints}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
"""


def test_help_says_what_there_is() -> None:
    said = subprocess.run([*COMMAND, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "--playground" in said
    assert "Ctrl-C" in said


def test_make_and_the_page_for_contributors_name_it() -> None:
    assert re.search(r"^playground: .*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert "make playground" in (REPOSITORY / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("ends_by", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_reached_as_it_says_and_leaves_nothing(ends_by: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--playground"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as playground:
        assert playground.stdout is not None
        try:
            told = {}
            for line in playground.stdout:
                if found := re.match(r"(?:export |alias )(\w+)=(.+)$", line):
                    told[found[1]] = found[2]
                if line.startswith("# Then"):
                    break
            kubeconfig = Path(told["KUBECONFIG"])

            def kubectl(*words: str, said: str = "") -> str:
                command = [told["kubectl"], f"--kubeconfig={kubeconfig}", "--cache-dir", str(kubeconfig.parent), *words]
                return subprocess.run(command, input=said, capture_output=True, text=True, check=True).stdout

            kubectl("wait", "node/playground", "--for=condition=Ready", f"--timeout={PATIENCE_SECONDS:.0f}s")
            kubectl("apply", "-f", "-", said=CLAIM)
            wait_until(
                lambda: json.loads(kubectl("get", "pvc", "checkpoints", "-o", "json"))["status"]["phase"] == "Bound",
                what="a volume for the claim",
            )
        finally:
            playground.send_signal(ends_by)
    assert playground.returncode == 0
    assert not kubeconfig.parent.exists()
