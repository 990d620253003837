"""The commands for runs in a cluster, as a user types them, and as kubectl's plugin."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_runs import CLAIM, UserRun, fresh_namespace
from tests.support.control_plane import ControlPlane
from tests.support.operator_process import PATIENCE_SECONDS, running_operator
from trainmaster.cli import exits

PROGRAM = (sys.executable, "-m", "trainmaster.cli.main")
MANIFEST = """
apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {{name: {name}}}
spec: {{workload: custom, command: [python, train.py], resources: {{cpu: 1}}, suspend: {suspend}}}
"""


@pytest.fixture(scope="module")
def arena(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A namespace that an operator serves."""
    with fresh_namespace(plane, claim=CLAIM) as name:
        flags = ("--namespace", name)
        with running_operator(plane.kubeconfig, *flags, folder=tmp_path_factory.mktemp("operator"), elect=False) as it:
            it.wait_until_leading()
            yield name


class Terminal:
    """Types commands in a namespace."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self.namespace = namespace
        self.environment = os.environ | {"KUBECONFIG": str(plane.kubeconfig), "COLUMNS": "200"}

    def run(self, name: str) -> UserRun:
        return UserRun(plane=self._plane, namespace=self.namespace, name=name)

    def type(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """One command; how it went."""
        return subprocess.run(
            [*PROGRAM, *words, "-n", self.namespace],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS * 2,
            env=self.environment,
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """One command that goes on."""
        command = [*PROGRAM, *words, "-n", self.namespace]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment, bufsize=1
        )


@pytest.fixture
def terminal(plane: ControlPlane, arena: str) -> Terminal:
    return Terminal(plane, arena)


def fresh_name() -> str:
    return f"typed-{secrets.token_hex(3)}"


def test_a_run_from_submit_to_delete(terminal: Terminal) -> None:
    name = fresh_name()
    created = terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="false"))
    assert (created.returncode, created.stdout) == (0, f"trainingrun.trainmaster.io/{name} created\n"), created.stderr
    taken = terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="false"))
    assert (taken.returncode, "submit with apply=True" in taken.stderr) == (exits.EXIT_REFUSED, True)

    terminal.run(name).end(0, outcome="Completed")
    waited = terminal.type("wait", name, "--timeout", "60s", "-o", "json")
    assert waited.returncode == exits.EXIT_OK, waited.stderr
    assert json.loads(waited.stdout)["status"]["phase"] == "Succeeded"
    assert f"{name}: Succeeded: said Completed" in waited.stderr

    told = terminal.type("describe", name).stdout
    assert f"{terminal.namespace}/{name}  uid " in told
    for part in ("Conditions", "Decisions", "Launches", "Events", f"trainmaster logs {name} -n {terminal.namespace}"):
        assert part in told
    assert terminal.type("delete", name, "--wait").stdout == f"trainingrun.trainmaster.io/{name} deleted\n"
    gone = terminal.type("get", name)
    assert (gone.returncode, gone.stdout) == (exits.EXIT_NOT_THERE, "")


def test_get_in_all_its_formats(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    assert terminal.type("wait", name, "--for", "suspended").returncode == 0

    table = terminal.type("get", name).stdout.splitlines()
    assert table[0].split() == ["NAME", "PHASE", "PROGRESS", "LOSS", "HEALTH", "ATTEMPT", "LAUNCH", "AGE"]
    assert table[1].split()[:2] == [name, "Suspended"]
    assert terminal.type("get", name, "-o", "wide").stdout.splitlines()[0].split()[-2:] == ["WORKLOAD", "MESSAGE"]
    assert terminal.type("get", "-A").stdout.splitlines()[0].split()[0] == "NAMESPACE"
    assert f"trainingrun.trainmaster.io/{name}" in terminal.type("get", "-o", "name").stdout.splitlines()
    assert json.loads(terminal.type("get", name, "-o", "json").stdout)["metadata"]["name"] == name


def test_get_watches(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    terminal.type("wait", name, "--for", "suspended")
    with terminal.begin("get", name, "-w") as watching:
        assert watching.stdout is not None
        header, first = watching.stdout.readline(), watching.stdout.readline()
        terminal.type("delete", name)
        last = watching.stdout.readline()
        while "(deleted)" not in last:
            last = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_SECONDS) == exits.EXIT_INTERRUPTED

    assert first.index("Suspended") == header.index("PHASE")
    assert last.index("(deleted)") == header.index("PHASE"), "columns stay where they are"


def test_waiting_too_long_for_what_never_comes_and_for_nobody(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    assert terminal.type("wait", name, "--timeout", "0.1").returncode == exits.EXIT_TIMEOUT
    assert terminal.type("wait", "nobody").returncode == exits.EXIT_NOT_THERE
    typed_wrong = terminal.type("wait", name, "--for", "suceeded")
    assert (typed_wrong.returncode, typed_wrong.stderr.strip()) == (
        exits.EXIT_REFUSED,
        "error: nobody can wait for 'suceeded'; did you mean succeeded?",
    )


def test_suspend_resume_and_rerun(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    terminal.type("wait", name, "--for", "suspended")
    assert terminal.type("resume", name).returncode == 0
    assert terminal.type("wait", name, "--for", "running", "--timeout", "60").returncode == 0
    assert terminal.type("suspend", name).returncode == 0
    assert terminal.type("wait", name, "--for", "suspended", "--timeout", "60").returncode == 0
    again = terminal.type("rerun", name, "--set", "resources.cpu=2", "--value", "two")
    assert again.stdout == f"trainingrun.trainmaster.io/{name} trains again (spec.rerun two)\n", again.stderr

    spec = terminal.run(name).get()["spec"]
    assert (spec["resources"]["cpu"], spec["rerun"]) == (2, "two")
    refused = terminal.type("rerun", name, "--set", "resources.cpu=0")
    assert (refused.returncode, "spec.resources.cpu: must be at least 1" in refused.stderr) == (2, True)


def test_an_interrupted_wait_says_so(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    with terminal.begin("wait", name) as waiting:
        assert waiting.stderr is not None
        assert name in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(PATIENCE_SECONDS) == exits.EXIT_INTERRUPTED


def test_names_are_completed(terminal: Terminal) -> None:
    name = fresh_name()
    terminal.type("submit", "-", given=MANIFEST.format(name=name, suspend="true"))
    words = f"trainmaster get -n {terminal.namespace} {name[:-2]}"
    completion = {"_TRAINMASTER_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
    program = str(Path(sys.executable).with_name("trainmaster"))
    done = subprocess.run(
        [program], capture_output=True, text=True, check=False, env=terminal.environment | completion, timeout=60
    )
    assert name in done.stdout.split(), done.stderr


def test_kubectl_runs_it_as_a_plugin(terminal: Terminal, plane: ControlPlane, tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-trainmaster"
    plugin.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    plugin.chmod(0o755)
    environment = terminal.environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(plane.kubectl_program), "trainmaster", "get", "-n", terminal.namespace, "-o", "name"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
