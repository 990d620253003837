"""What must hold in every run of the operator, however it was disturbed; looked for in the log of its requests and in
the history of the objects. A check gives the violations that it found, in words.

I1: never two live Jobs of one run. I2: `status.launch` never falls. I6: no write to the spec of a TrainingRun. I7: what
is done to a Job stands in the run's journal before. I8: once all is settled, nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.fault_proxy.requests import Exchange, Request
from trainmaster.api.conditions import DecisionKind, DecisionState
from trainmaster.api.labels import UID_DIGITS

Wire = dict[str, Any]

RUNS = "trainingruns"
JOB_NAME = re.compile(rf"-(?P<uid>[0-9a-f]{{{UID_DIGITS}}})-(?P<launch>\d+)$")
SETTLED = frozenset({DecisionState.DONE, DecisionState.VOID, DecisionState.OBSERVED})
"""States in which a decision is no reason to act."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """One state of one object, as an undisturbed watch saw it: ADDED, MODIFIED or DELETED."""

    type: str
    kind: str
    object: Wire

    @property
    def uid(self) -> str:
        """Of the object."""
        return str(self.object["metadata"]["uid"])


def violations(exchanges: Sequence[Exchange], history: Sequence[Observed]) -> list[str]:
    """Violations of I1, I2, I6 and I7."""
    checks = (two_live_jobs(history), falling_launches(history), spec_writes(exchanges), unjournalled(exchanges))
    return [found for check in checks for found in check]


def assert_invariants(exchanges: Sequence[Exchange], history: Sequence[Observed]) -> None:
    """Raise AssertionError if an invariant was violated."""
    found = violations(exchanges, history)
    assert not found, "\n".join(found)


def assert_quiet(exchanges: Iterable[Exchange]) -> None:
    """I8: raise AssertionError if one of these requests, of a time when all was settled, is a write."""
    found = [str(exchange) for exchange in exchanges if exchange.write is not None]
    assert not found, "I8: written although nothing had changed:\n" + "\n".join(found)


def two_live_jobs(history: Iterable[Observed]) -> Iterator[str]:
    """I1. A Job lives until it has finished or is gone; one that is being deleted may still have pods."""
    live: dict[str, dict[str, str]] = {}
    for seen in history:
        owner = _run_of(seen.object) if seen.kind == "Job" else None
        if owner is None:
            continue
        jobs = live.setdefault(owner, {})
        jobs.pop(seen.uid, None)
        if seen.type != "DELETED" and not _finished(seen.object):
            jobs[seen.uid] = seen.object["metadata"]["name"]
            if len(jobs) > 1:
                yield f"I1: run {owner} has {len(jobs)} live Jobs at once: {', '.join(sorted(jobs.values()))}"


def falling_launches(history: Iterable[Observed]) -> Iterator[str]:
    """I2."""
    newest: dict[str, int] = {}
    for seen in history:
        if seen.kind != "TrainingRun":
            continue
        launch = int(seen.object.get("status", {}).get("launch", 0))
        known = newest.get(seen.uid, 0)
        if launch < known:
            yield f"I2: status.launch of {seen.object['metadata']['name']} ({seen.uid}) fell from {known} to {launch}"
        newest[seen.uid] = max(launch, known)


def spec_writes(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """I6. The attempt counts, whatever the server said; a PUT of the object itself carries its spec."""
    for exchange in exchanges:
        request = exchange.request
        if request.resource == RUNS and not request.subresource and _writes_spec(request):
            yield f"I6: the spec of a TrainingRun was written: {exchange}"


def unjournalled(exchanges: Sequence[Exchange]) -> Iterator[str]:
    """I7. A Job is created or deleted only while the newest committed status holds the open decision to do so."""
    for exchange in exchanges:
        request = exchange.request
        if request.resource != "jobs" or not exchange.committed or request.verb not in ("create", "delete"):
            continue
        name = JOB_NAME.search(request.name)
        if name is None:
            yield f"I7: no name of a launch: {exchange}"
            continue
        launch = int(name["launch"])
        open_decisions = _open_decisions(exchanges, uid_starts=name["uid"], before=exchange.began)
        if not any(_orders(decision, verb=request.verb, launch=launch) for decision in open_decisions):
            journal = [f"{d.get('id')}: {d.get('state')}" for d in open_decisions]
            yield f"I7: not in the journal when it was sent: {exchange}; open decisions: {journal}"


def _open_decisions(exchanges: Iterable[Exchange], *, uid_starts: str, before: int) -> list[Wire]:
    """The open decisions of the newest status that was committed before a place in the log."""
    committed = [
        exchange
        for exchange in exchanges
        if exchange.request.resource == RUNS
        and exchange.committed
        and isinstance(exchange.reply, dict)
        and str(exchange.reply.get("metadata", {}).get("uid", "")).startswith(uid_starts)
        and exchange.ended is not None
        and exchange.ended < before
    ]
    if not committed:
        return []
    newest = max(committed, key=lambda exchange: exchange.ended or 0)
    decisions = newest.reply.get("status", {}).get("decisions", [])
    return [decision for decision in decisions if decision.get("state") not in SETTLED]


def _orders(decision: Wire, *, verb: str, launch: int) -> bool:
    """Whether a decision is the reason to create or delete the Job of a launch."""
    match verb, decision.get("kind"):
        case "create", DecisionKind.LAUNCH:
            return bool(decision["launch"] == launch)
        case "delete", DecisionKind.END_LAUNCH:
            return bool(decision["launch"] == launch)
        case "delete", DecisionKind.CLEAN_UP:
            return bool(decision["launch"] >= launch)
        case _:
            return False


def _writes_spec(request: Request) -> bool:
    match request.verb, request.body:
        case "update", _:
            return True
        case "patch", list() as steps:
            return any(str(step.get("path", "")).split("/")[1:2] in (["spec"], []) for step in steps)
        case "patch", dict() as fields:
            return "spec" in fields
        case "patch", _:
            return True  # neither JSON nor known: it proves nothing
        case _:
            return False


def _run_of(job: Wire) -> str | None:
    owners = job["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner["kind"] == "TrainingRun"), None)


def _finished(job: Wire) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
