"""What is worth telling in Events: new decisions and changes of standing, derived from status before and after."""

from __future__ import annotations

from trainmaster.api.conditions import DecisionState, Phase
from trainmaster.api.trainingrun import Decision, TrainingRunStatus
from trainmaster.core.run.standing import Standing
from trainmaster.core.snapshot import Event


def events_of(before: TrainingRunStatus, after: TrainingRunStatus, standing: Standing) -> tuple[Event, ...]:
    """Events of one step; they are sent only after the status that they tell of is committed."""
    known = {d.id for d in before.decisions}
    events = [_decision_event(d) for d in after.decisions if d.id not in known]
    if before.phase != after.phase and after.phase in Phase.TERMINAL | {Phase.RUNNING, Phase.SUSPENDED}:
        bad = after.phase in {Phase.FAILED, Phase.UNKNOWN}
        message = f"{after.phase}: {standing.message or standing.reason}"
        events.append(Event(type="Warning" if bad else "Normal", reason=standing.reason, message=message))
    if after.crashes > before.crashes:
        message = f"{after.crashes} crashes so far in this rerun"
        events.append(Event(type="Warning", reason="Crashed", message=message))
    return tuple(events)


def _decision_event(decision: Decision) -> Event:
    would = "would " if decision.state == DecisionState.OBSERVED else ""
    target = ", ".join(f"{name}={value}" for name, value in decision.target.items())
    parts = [f"{would}{decision.kind} {decision.launch}", target, decision.evidence]
    return Event(type="Normal", reason=decision.reason, message="; ".join(part for part in parts if part))
