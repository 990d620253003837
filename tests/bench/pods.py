"""`python -m tests.bench.pods`: how soon training runs, and runs again, in real pods.

A whole node (or the given cluster) with the chart in it, images present, and the stub program as training: it starts as
soon as its Python does, and says when that was. One run at a time:

- apply: from just before `kubectl create` to the launcher's first instruction, and to training's;
- crash: from the training process' last word to the start of the one in its place, and to the first word of that;
- retry: from exit code 75 to training in the pod of a new launch;
- eviction: from the request to training in the pod of a new launch; the old one saves and ends first;
- upgrade: how long training's steps take before, and while the operator is killed and its Deployment then replaced.

The clock is one: pods and benchmark share the machine. A given cluster's must agree with this one's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.bench.harness import Target, percentile, publish, read_options
from tests.support.launcher import wait_until
from tests.support.node import Cluster, use_cluster
from tests.support.node.images import Images
from tests.support.node.journal import read_journal
from tests.support.node.release import Release
from tests.support.node.team import STUB as PROGRAM
from tests.support.node.team import Run, Team, new_team
from trainmaster.api.conditions import EXIT_RETRY
from trainmaster.api.labels import API_VERSION, LABEL_LAUNCH

SAMPLES = 20
QUICK_SAMPLES = 5
PATIENCE = 180.0
"""Seconds until a sample is given up."""
APPLY_GOAL = 2.0
RESTART_GOAL = 1.0
AGAIN_GOAL = 15.0
GRACE_SECONDS = 10
"""For the pod to end; the stub ends at once."""
UPGRADE_SECONDS = 15.0
"""In which steps are made before the operator is killed: some three hundred."""
EVENT_STEP = 5
"""The step at which something happens: by then training has begun beyond doubt."""
PACE = {"steps": 1_000_000, "seconds_per_step": 0.05}
ENDLESS = PACE | {"learning_rate": 1e-6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What the stub says first; in seconds since 1970."""

    training: float
    launcher: float
    process: float
    """Of training: before its Python has started and imported anything."""
    done: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One namespace to measure in."""

    team: Team

    def create(self, name: str, **hyperparameters: float) -> float:
        """Create a run; the time just before."""
        spec = {
            "workload": "custom",
            "command": list(PROGRAM),
            "resources": {"cpu": 1},
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "hyperparameters": ENDLESS | hyperparameters,
        }
        body = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
        before = time.time()
        self.team.kubectl("create", "--filename=-", input=json.dumps(body))
        return before

    def starts(self, *, launch: int, enough: int = 1) -> list[Start]:
        """What was said in the pod of a launch, once there are so many starts."""
        selector = f"--selector={LABEL_LAUNCH}={launch}"
        found: list[Start] = []

        def has_come() -> bool:
            lines = self.team.kubectl("logs", selector, "--tail=-1", check=False).splitlines()
            found[:] = [_start(json.loads(line)) for line in lines if line.startswith('{"started"')]
            return len(found) >= enough

        wait_until(has_come, what=f"start {enough} of launch {launch}", timeout=PATIENCE)
        return found

    def remove(self, name: str) -> None:
        """Delete a run; returns when its pods are gone."""
        self.team.kubectl("delete", "trainingrun", name)
        wait_until(lambda: not self.team.get("pods"), what=f"the end of {name}'s pods", timeout=PATIENCE)


def _start(wire: dict[str, Any]) -> Start:
    return Start(training=wire["started"], launcher=wire["launcher"], process=wire["process"], done=wire["done"])


def apply(bench: Bench, name: str) -> dict[str, float]:
    """Seconds from the request to launcher and training."""
    before = bench.create(name)
    start = bench.starts(launch=1)[0]
    return {"apply, launcher runs": start.launcher - before, "apply, training runs": start.training - before}


def crash(bench: Bench, name: str) -> dict[str, float]:
    """Seconds from a crash to the next process of the same pod, and to its first step."""
    bench.create(name, crash_at=EVENT_STEP)
    start = bench.starts(launch=1, enough=2)[1]
    since = start.done["crash_at"]
    return {"crash, next process": start.process - since, "crash, training again": start.training - since}


def retry(bench: Bench, name: str) -> dict[str, float]:
    """Seconds from exit code 75 to training in a new pod."""
    bench.create(name, exit_at=EVENT_STEP, exit_code=EXIT_RETRY)
    start = bench.starts(launch=2)[0]
    return {"exit code 75, training again": start.training - start.done["exit_at"]}


def evict(bench: Bench, name: str) -> dict[str, float]:
    """Seconds from the request of an eviction to training in a new pod."""
    bench.create(name)
    bench.starts(launch=1)
    run = Run(team=bench.team, name=name)
    pod = run.pod(1)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{bench.team.name}/pods/{pod}/eviction"
    before = time.time()
    bench.team.kubectl("create", f"--raw={path}", "--filename=-", input=json.dumps(body))
    return {"eviction, training again": bench.starts(launch=2)[0].training - before}


def upgrade(bench: Bench, release: Release) -> dict[str, list[float]]:
    """Seconds of a run's steps, before and while its operator is killed and replaced."""
    bench.create("upgraded")
    bench.starts(launch=1)
    run = Run(team=bench.team, name="upgraded")
    run.wait_phase("Running")
    time.sleep(UPGRADE_SECONDS)
    began = datetime.now(UTC)
    release.kill()
    release.install("podAnnotations.upgraded=yes")
    ended = datetime.now(UTC)
    steps = read_journal(run).step_seconds
    bench.remove("upgraded")
    return {
        "a step before": [seconds for at, seconds in steps if at < began],
        "a step while the operator is killed and upgraded": [seconds for at, seconds in steps if began <= at <= ended],
    }


MEASURED: dict[str, Callable[[Bench, str], dict[str, float]]] = {
    "apply": apply,
    "crash": crash,
    "retry": retry,
    "evict": evict,
}
GOALS = {
    "apply, launcher runs": APPLY_GOAL,
    "apply, training runs": None,
    "crash, next process": RESTART_GOAL,
    "crash, training again": None,
    "exit code 75, training again": AGAIN_GOAL,
    "eviction, training again": AGAIN_GOAL,
}


def measure(cluster: Cluster, release: Release, *, samples: int) -> list[Target]:
    """All figures, at half and at 95 of 100."""
    seconds: dict[str, list[float]] = {name: [] for name in GOALS}
    with new_team(cluster) as team:
        bench = Bench(team=team)
        for number in range(samples):
            for what, sample in MEASURED.items():
                name = f"{what}-{number}"
                for figure, value in sample(bench, name).items():
                    seconds[figure].append(value)
                bench.remove(name)
        seconds |= upgrade(bench, release)
    return [
        Target(
            name=f"{figure}, p{share:.0f}", unit="s", goal=goal, value=percentile(values, share / 100), n=len(values)
        )
        for figure, values in seconds.items()
        for share, goal in ((50, None), (95, GOALS.get(figure)))
    ]


def main() -> None:
    """Run as a program."""
    options = read_options(__doc__ or "")
    with use_cluster() as cluster:
        if cluster.node is not None:
            Images(folders=cluster.node.folders).bring(cluster.node.images)
        release = Release(cluster=cluster)
        release.install()
        targets = measure(cluster, release, samples=QUICK_SAMPLES if options.quick else SAMPLES)
        release.uninstall()
    publish("pods", options=options, targets=targets, notes=["kubectl's own start is part of apply and eviction"])


if __name__ == "__main__":
    main()
