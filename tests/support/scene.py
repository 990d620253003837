"""One run on a real control plane, and a real operator behind a fault proxy, with words for what a test does to them.

with scene(plane, folder=tmp_path) as s:
    run = s.create("r")
    run.wait_running(launch=1)
    run.finish(launch=1)
    run.wait_ended("Succeeded")
    s.assert_lawful()

What is there is told by a witness that watches past the proxy: nothing is polled.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cluster_runs import CLAIM, JOBS, NAMESPACES, PODS, RECORDS, RUNS, SPEC, run_manifest
from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.fault_proxy.requests import Exchange
from tests.support.invariants import SETTLED, assert_invariants, assert_quiet
from tests.support.observer import History, observing
from tests.support.operator_process import PATIENCE_SECONDS, Operator, running_operator, wait_until
from trainmaster.api.conditions import EXIT_OK, EXIT_RETRY, Outcome
from trainmaster.api.labels import LABEL_LAUNCH, LABEL_RUN_UID

Wire = dict[str, Any]

WATCHED = tuple(
    (kind, path.format("{namespace}"))
    for kind, path in (("TrainingRun", RUNS), ("Job", JOBS), ("Pod", PODS), ("RunRecord", RECORDS))
)
TOUCH = "test.trainmaster.io/touched"
"""An annotation that means nothing: setting it wakes a run."""
COLLECTED_SECONDS = 120.0
"""The garbage collector looks every 30 s for kinds that it does not know yet: ours are fresh."""
LOG_LINES = 40
"""Of the operator's log, in the message of a test that has waited in vain."""
SILENT_SECONDS = 1.0
"""Without a write: what had happened has been said. Ten times what an operator takes on a busy machine."""
TOUCHES = 2
"""A pass may be under way when a run is touched first; the second touch is seen by one that began after it."""
OUTCOMES = {EXIT_OK: Outcome.COMPLETED, EXIT_RETRY: Outcome.RETRY}
"""What a launcher says at its end, by its exit code; with another code it says nothing."""


class Keeper:
    """Keeps an operator as a kubelet does: what was killed is started again. Any thread may call it."""

    def __init__(self, kubeconfig: Path, *flags: str, folder: Path, elect: bool = False) -> None:
        self._kubeconfig, self._flags, self._folder, self._elect = kubeconfig, flags, folder, elect
        self._lock = threading.Lock()
        self._lives = ExitStack()
        self.logs: list[Path] = []
        self.starts = 0
        self._operator: Operator | None = None

    @property
    def operator(self) -> Operator:
        """The one that was started last."""
        with self._lock:
            assert self._operator is not None
            return self._operator

    def start(self) -> Operator:
        """Start one; those before must be dead."""
        with self._lock:
            life = running_operator(self._kubeconfig, *self._flags, folder=self._folder, elect=self._elect)
            self._operator = self._lives.enter_context(life)
            self.logs.append(self._operator.log)
            self.starts += 1
            return self._operator

    def kill(self) -> None:
        """SIGKILL; returns when it is dead, and it stays down."""
        self.operator.kill()

    def replace(self) -> Operator:
        """SIGKILL, and start the next one."""
        self.kill()
        return self.start()

    @property
    def errors(self) -> list[str]:
        """Lines at level ERROR in the logs of all of them, and tracebacks."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [line for line in lines if "ERROR" in line or line.startswith("Traceback")]

    def close(self) -> None:
        """End what lives."""
        self._lives.close()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A namespace, its witness, and the operator that serves it through a proxy."""

    plane: ControlPlane
    namespace: str
    proxy: FaultProxy
    keeper: Keeper
    history: History
    forgiven: list[str] = field(default_factory=list)
    """Parts of lines at level ERROR that a test expects."""

    @property
    def operator(self) -> Operator:
        return self.keeper.operator

    def create(self, name: str, **spec: object) -> Run:
        """Create a run, as its user does."""
        answer = self.plane.request("POST", RUNS.format(self.namespace), run_manifest(name, SPEC | spec))
        assert answer.status == 201, answer
        return Run(scene=self, name=name, uid=answer.body["metadata"]["uid"])

    def wait_for(self, condition: Any, *, what: str) -> None:  # noqa: ANN401 - a function of nothing, of any result
        """Wait until a condition on what the witness knows holds."""
        try:
            self.history.wait_for(condition, what=what, timeout=PATIENCE_SECONDS)
        except AssertionError as error:
            last = "\n".join(self.operator.told.splitlines()[-LOG_LINES:])
            message = f"{error}\nthe operator's last words ({self.operator.log}):\n{last}"
            raise AssertionError(message) from error

    @property
    def exchanges(self) -> list[Exchange]:
        """The operator's requests about this namespace."""
        return [e for e in self.proxy.exchanges if e.request.namespace == self.namespace]

    @property
    def writes(self) -> list[Exchange]:
        """Its writes in this namespace."""
        return [e for e in self.exchanges if e.write is not None]

    def assert_lawful(self) -> None:
        """I1, I2, I6, I7, and nothing at level ERROR in the logs."""
        assert_invariants(self.exchanges, self.history.states)
        errors = [line for line in self.keeper.errors if not any(part in line for part in self.forgiven)]
        assert not errors, "\n".join(errors)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One TrainingRun of a scene."""

    scene: Scene
    name: str
    uid: str

    # -- what its user and its cluster do -----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return f"{RUNS.format(self.scene.namespace)}/{self.name}"

    def edit(self, **spec: object) -> None:
        """Change fields of spec."""
        answer = self.scene.plane.request("PATCH", self.path, {"spec": spec})
        assert answer.status == 200, answer

    def delete(self) -> None:
        """Delete it; its children go behind it."""
        answer = self.scene.plane.request("DELETE", self.path, {"propagationPolicy": "Background"})
        assert answer.status == 200, answer

    def touch(self) -> None:
        """Wake it, and change nothing that means anything."""
        change = {"metadata": {"annotations": {TOUCH: secrets.token_hex(4)}}}
        answer = self.scene.plane.request("PATCH", self.path, change)
        assert answer.status == 200, answer

    def finish(self, *, launch: int, exit_code: int = EXIT_OK) -> None:
        """End the pod of a launch, as its launcher would."""
        outcome = OUTCOMES.get(exit_code)
        word = "" if outcome is None else self._last_word(launch=launch, outcome=outcome)
        pod = self.pods(launch)[0]["metadata"]["name"]
        self.scene.plane.finish_pod(self.scene.namespace, pod, exit_code=exit_code, message=word)

    def _last_word(self, *, launch: int, outcome: str) -> str:
        word = {"runUid": self.uid, "launch": launch, "generation": 1, "lastSeq": 9, "step": 1}
        verdict = {"outcome": outcome, "reason": outcome, "message": f"said {outcome}", "metrics": {"val_loss": 0.25}}
        return json.dumps(word | {"verdict": verdict})

    def patch_pod_status(self, *, launch: int, status: Wire) -> None:
        """Let a kubelet, or whoever it is, say something about the pod of a launch."""
        pod = self.pods(launch)[0]["metadata"]["name"]
        path = f"{PODS.format(self.scene.namespace)}/{pod}/status"
        answer = self.scene.plane.request("PATCH", path, {"status": status})
        assert answer.status == 200, answer

    # -- what is there ------------------------------------------------------------------------------------------------

    @property
    def wire(self) -> Wire:
        """The object; empty when it is gone, or has become another one of its name."""
        found = self.scene.history.newest("TrainingRun", self.name)
        return found if found and found["metadata"]["uid"] == self.uid else {}

    @property
    def status(self) -> Wire:
        status: Wire = self.wire.get("status") or {}
        return status

    @property
    def decisions(self) -> list[Wire]:
        return list(self.status.get("decisions") or [])

    def condition(self, kind: str) -> Wire:
        """One condition; empty when it is absent."""
        return next((c for c in self.status.get("conditions") or [] if c["type"] == kind), {})

    def jobs(self, launch: int | None = None) -> list[Wire]:
        """Jobs that belong to it, those of one launch if one is named."""
        return [job for job in self.scene.history.objects("Job") if self._is_mine(job, launch)]

    def pods(self, launch: int | None = None) -> list[Wire]:
        """Pods of it."""
        return [pod for pod in self.scene.history.objects("Pod") if self._is_mine(pod, launch)]

    def _is_mine(self, item: Wire, launch: int | None) -> bool:
        labels = item["metadata"].get("labels") or {}
        return labels.get(LABEL_RUN_UID) == self.uid and launch in (None, int(labels.get(LABEL_LAUNCH, 0)))

    def jobs_ever(self) -> set[str]:
        """UIDs of all Jobs that it has ever had."""
        states = (seen for seen in self.scene.history.states if seen.kind == "Job")
        return {seen.uid for seen in states if self._is_mine(seen.object, None)}

    @property
    def creates(self) -> list[Exchange]:
        """Creates of Jobs for it that the server took."""
        return [e for e in self.scene.writes if e.request.resource == "jobs" and e.committed and self._made(e)]

    def _made(self, exchange: Exchange) -> bool:
        labels = ((exchange.request.body or {}).get("metadata") or {}).get("labels") or {}
        return exchange.request.verb == "create" and labels.get(LABEL_RUN_UID) == self.uid

    def told(self) -> dict[str, int]:
        """Events about it: how often each reason was told."""
        path = f"/api/v1/namespaces/{self.scene.namespace}/events?fieldSelector=involvedObject.uid={self.uid}"
        counted: Counter[str] = Counter()
        for event in self.scene.plane.request("GET", path).body["items"]:
            counted[event["reason"]] += event["count"]
        return dict(counted)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait_for(self, condition: Any, *, what: str) -> None:  # noqa: ANN401 - a function of nothing, of any result
        """Wait until a condition holds."""
        self.scene.wait_for(condition, what=f"{self.name}: {what}")

    def wait_phase(self, phase: str) -> None:
        """Wait until status says so."""
        self.wait_for(lambda: self.status.get("phase") == phase, what=f"phase {phase}")

    def wait_running(self, *, launch: int) -> None:
        """Wait until the pod of a launch runs and status knows."""
        self.wait_pod(launch=launch)
        known = ("Running", launch)
        self.wait_for(lambda: (self.status.get("phase"), self.status.get("launch")) == known, what=f"{known}")

    def wait_pod(self, *, launch: int, phase: str = "Running") -> None:
        """Wait until the pod of a launch has a phase."""
        self.wait_for(
            lambda: [pod["status"].get("phase") for pod in self.pods(launch)] == [phase],
            what=f"the pod of launch {launch} is {phase}",
        )

    def wait_ended(self, phase: str, *, launches: int) -> None:
        """Wait until it has ended by this launch, with every decision carried out and every Job finished."""
        self.wait_for(
            lambda: (
                (self.status.get("phase"), self.status.get("launch")) == (phase, launches)
                and all(d["state"] in SETTLED for d in self.decisions)
                and all(_has_ended(job) for job in self.jobs())
            ),
            what=f"{phase} after {launches} launches",
        )

    def wait_settled(self) -> None:
        """Wait until every decision is carried out."""
        self.wait_for(
            lambda: self.decisions and all(d["state"] in SETTLED for d in self.decisions), what="no open decision"
        )

    def wait_gone(self) -> None:
        """Wait until nothing of it is left."""
        self.scene.history.wait_for(
            lambda: not self.wire and not self.jobs() and not self.pods(),
            what=f"the end of {self.name} and its children",
            timeout=COLLECTED_SECONDS,
        )

    def assert_quiet(self) -> None:
        """I8: nothing is written about it however often it is woken, once the last that happened has been written."""
        self._wait_silence()
        mark = self.scene.proxy.mark()
        for _ in range(TOUCHES):
            before = self._passes()
            self.touch()
            wait_until(lambda before=before: self._passes() > before, what=f"a pass over {self.name}")  # type: ignore[misc]  # mypy knows no defaults of lambdas
        wait_until(lambda: self.scene.operator.metric("controller_runtime_active_workers") == 0, what="no pass at work")
        assert_quiet(e for e in self.scene.proxy.since(mark) if e.request.namespace == self.scene.namespace)

    def _wait_silence(self) -> None:
        """Wait until nothing has been written about the scene's runs for a while: the watch that this test reads and
        the one that the operator reads may be seconds apart."""
        proxy = self.scene.proxy
        last, since = -1, 0.0

        def silent() -> bool:
            nonlocal last, since
            writes = [e.write for e in proxy.exchanges if e.write and e.request.namespace == self.scene.namespace]
            newest = max(writes, default=0)
            if newest != last:
                last, since = newest, time.monotonic()
            return time.monotonic() - since > SILENT_SECONDS

        wait_until(silent, what=f"silence about {self.name}")

    def _passes(self) -> float:
        return self.scene.operator.metric("controller_runtime_reconcile_total")


def _has_ended(job: Wire) -> bool:
    conditions = job.get("status", {}).get("conditions") or []
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


@contextmanager
def scene(
    plane: ControlPlane, *, folder: Path, elect: bool = False, flags: Sequence[str] = (), start: bool = True
) -> Iterator[Scene]:
    """A scene in a namespace of its own, with an operator that serves it alone.

    Args:
        plane: where it plays.
        folder: for logs.
        elect: whether a Lease, in that namespace, decides who leads.
        flags: of the operator.
        start: whether the operator is started.
    """
    namespace = f"test-{secrets.token_hex(4)}"
    assert plane.request("POST", NAMESPACES, {"metadata": {"name": namespace}}).status == 201
    own = ("--namespace", namespace, *(("--lease-namespace", namespace) if elect else ()))
    with ExitStack() as stack:
        stack.callback(_remove, plane, namespace)
        proxy = stack.enter_context(fault_proxy(plane))
        keeper = Keeper(proxy.kubeconfig, *own, *flags, folder=folder, elect=elect)
        stack.callback(keeper.close)
        if start:
            keeper.start()
        plane.add_claim(namespace, CLAIM)
        history = stack.enter_context(observing(plane, namespace, watched=WATCHED))
        if start:
            keeper.operator.wait_until_leading()
        yield Scene(plane=plane, namespace=namespace, proxy=proxy, keeper=keeper, history=history)


def _remove(plane: ControlPlane, namespace: str) -> None:
    answer = plane.request("DELETE", f"{NAMESPACES}/{namespace}")
    assert answer.status in {200, 202}, answer
