"""What training code uses to talk to its launcher: a session over the socket that TRAINMASTER_SOCKET names.

    session = connect()
    for step in range(steps):
        for directive in session.due(step):
            ...                                   # set what directive.set says
            session.applied(directive, step=step)
        session.progress("training", step=step)
        session.point("train", step=step, metrics={"loss": loss})
    session.done()

Without a launcher the same code runs: the session then sends nothing. One session per process; forked children share
nothing of it. The lines that it exchanges are documented in docs/reference/protocol.md.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainmaster_launcher.link import Line, Link

PROTOCOL: Final = 1
"""Version of the socket's lines; the welcome carries the launcher's."""
WELCOME_SECONDS: Final = 30.0
"""The launcher answers a hello at once; half a minute is a machine in trouble, and training starts anyway."""
TAKEN_SECONDS: Final = 30.0
"""How long `done` waits for the launcher to have journalled the end."""

_NOTHING_APPLIED: Final[tuple[str, ...]] = ()
_NO_APPLIED: Final[Mapping[str, int]] = {}
_NO_METRICS: Final[Mapping[str, float]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Directive:
    """What training shall do from a step on: absolute values, so that doing it twice changes nothing."""

    id: str
    kind: str
    """`Adjust` sets hyperparameters; `Stop` asks to end training well (outcome StoppedEarly)."""
    generation: int
    """What points after it carry."""
    at_step: int | None
    set: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    reason: str = ""


class Session:
    """The conversation of one training process with its launcher; made by `connect`.

    No method raises for reasons of transport, and none but `due` (while a directive is written down) and `done` waits.
    """

    def __init__(self, *, plan: dict[str, Any] | None, applied: Mapping[str, int]) -> None:
        self._plan = plan
        self._applied = dict(applied)
        self._recorded: dict[str, int | None] = {}
        self._link: Link | None = None
        self._welcomed = False
        self._taken = False
        self._condition = threading.Condition()

    @property
    def plan(self) -> dict[str, Any] | None:
        """The newest plan, as docs/reference/protocol.md describes it; None outside a launcher without one."""
        return self._plan

    @property
    def connected(self) -> bool:
        """Whether a launcher listens."""
        return self._link is not None and not self._link.closed

    @property
    def applied_directives(self) -> dict[str, int]:
        """Directives that took effect, with their steps: keep them in every checkpoint, hand them to `connect`."""
        return dict(self._applied)

    @property
    def generation(self) -> int:
        """The plan generation that points carry now: the base, or that of the newest applied directive."""
        if self._plan is None:
            return 1
        numbers = [int(self._plan["baseGeneration"])]
        numbers += [each.generation for each in self._directives() if each.id in self._applied]
        return max(numbers)

    def progress(
        self,
        phase: str,
        *,
        step: int = 0,
        epoch: int = 0,
        total_steps: int | None = None,
        total_epochs: int | None = None,
    ) -> None:
        """Says where training is: the sign of life that hang detection watches. Call it at every step."""
        line: Line = {"type": "progress", "phase": phase, "step": step, "epoch": epoch}
        line |= {"totalSteps": total_steps, "totalEpochs": total_epochs}
        self._send(line, expendable=True)

    def point(
        self,
        kind: str,
        *,
        step: int,
        metrics: Mapping[str, float],
        epoch: int | None = None,
        generation: int | None = None,
    ) -> None:
        """Reports metrics at a step; `kind` is train, validation or test. NaN and Inf are welcome.

        `generation` is for points of the past, sent again after a resume. The launcher keeps the first point of each
        (generation, kind, step). Raises TypeError or ValueError on a value that is no number.
        """
        numbers = {name: _wire_number(float(value)) for name, value in metrics.items()}
        line: Line = {"type": "point", "kind": kind, "generation": generation or self.generation, "step": step}
        self._send(line | {"epoch": epoch, "metrics": numbers}, expendable=kind == "train")

    def checkpoint(  # noqa: PLR0913 - each is a field of the protocol's line
        self,
        *,
        path: str,
        step: int,
        epoch: int,
        sha256: str,
        size_bytes: int,
        clean_steps: int | None = None,
        finite: bool | None = None,
        applied: Iterable[str] = _NOTHING_APPLIED,
        metrics: Mapping[str, float] = _NO_METRICS,
        signature: str | None = None,
    ) -> None:
        """Announces a complete checkpoint file; `path` is relative to the storage root: `<launch>/<file>`.

        What follows may be left out; by it the operator knows a checkpoint that it may go back to. `clean_steps`: steps
        since the last one that was skipped or met an emergency. `finite`: whether all weights and moments are numbers.
        `applied`: ids of the directives in effect. `metrics`: of the validation at this step. `signature`: at most 64
        characters, the same for models whose weights fit each other.
        """
        line: Line = {"type": "checkpoint", "path": path, "step": step, "epoch": epoch}
        line |= {"sha256": sha256, "sizeBytes": size_bytes, "applied": list(applied)}
        line |= {"cleanSteps": clean_steps, "finite": finite, "signature": signature}
        self._send(line | {"metrics": {name: _wire_number(float(value)) for name, value in metrics.items()}})

    def storage_failed(self, message: str) -> None:
        """Says that a checkpoint could not be written, and why: people see it in status until one is announced."""
        self._send({"type": "storageFailed", "message": message})

    def due(self, step: int) -> list[Directive]:
        """The directives to apply before training step `step` (counted from 0), oldest first.

        Each has been written down by the launcher, with its step, before this returns: a process that starts again
        from an older checkpoint gets it at the same step. What cannot be written down now is due at a later step.
        """
        found = []
        for directive in self._directives():
            wanted = directive.at_step if directive.at_step is not None else step
            if directive.id in self._applied or wanted > step:
                continue
            recorded = self._intend(directive, step=step)
            if recorded is not None and recorded <= step:
                found.append(directive)
        return found

    def applied(self, directive: Directive, *, step: int) -> None:
        """Acknowledges a directive that is in effect from `step` on."""
        self._applied[directive.id] = step
        self._send({"type": "applied", "directive": directive.id, "step": step})

    def done(
        self,
        *,
        outcome: str = "Completed",
        reason: str = "Completed",
        message: str = "",
        metrics: Mapping[str, float] = _NO_METRICS,
    ) -> None:
        """Says that training is over, well; waits (bounded) until the launcher has it. Exit with 0 after it."""
        numbers = {name: _wire_number(float(value)) for name, value in metrics.items()}
        line: Line = {"type": "done", "outcome": outcome, "reason": reason, "message": message, "metrics": numbers}
        self._send(line)
        self._wait(lambda: self._taken, TAKEN_SECONDS)

    def close(self) -> None:
        """Ends the session; what the launcher has not read yet is sent first, bounded."""
        if self._link is not None:
            self._link.flush(TAKEN_SECONDS)
            self._link.close()

    def _directives(self) -> list[Directive]:
        return [_directive(each) for each in (self._plan or {}).get("directives", ())]

    def _intend(self, directive: Directive, *, step: int) -> int | None:
        """The step on record for a directive; None where it could not be recorded."""
        with self._condition:
            self._recorded.pop(directive.id, None)
        if not self.connected:
            return None
        self._send({"type": "intend", "directive": directive.id, "step": step})
        # Not bounded: a launcher answers or dies, and hang detection ends the process if it does neither.
        self._wait(lambda: directive.id in self._recorded, None)
        return self._recorded.get(directive.id)

    def _open(self, path: str) -> None:
        """Connects, says hello, waits for the welcome, acknowledges again what the checkpoint has applied."""
        try:
            self._link = Link(path, on_line=self._on_line, on_close=self._on_close)
        except OSError:
            return  # no launcher there: train alone
        self._send({"type": "hello", "protocol": PROTOCOL, "pid": os.getpid(), "stackSignal": _stack_signal()})
        self._wait(lambda: self._welcomed, WELCOME_SECONDS)
        for identity, step in self._applied.items():
            # A crash can fall between checkpoint and acknowledgement.
            self._send({"type": "applied", "directive": identity, "step": step})

    def _send(self, line: Line, *, expendable: bool = False) -> None:
        if self._link is not None:
            self._link.send(line, expendable=expendable)

    def _wait(self, condition: Callable[[], bool], timeout: float | None) -> None:
        with self._condition:
            self._condition.wait_for(lambda: condition() or not self.connected, timeout)

    def _on_line(self, line: Line) -> None:
        with self._condition:
            if line["type"] in {"welcome", "plan"}:
                self._plan = line["plan"]
                self._welcomed = True
            elif line["type"] == "recorded":
                self._recorded[line["directive"]] = line["step"]
            elif line["type"] == "taken":
                self._taken = True
            self._condition.notify_all()

    def _on_close(self) -> None:
        with self._condition:
            self._condition.notify_all()


def connect(*, applied: Mapping[str, int] = _NO_APPLIED) -> Session:
    """Opens the session with the launcher; without one, a session that sends nothing.

    `applied` is `applied_directives` of the checkpoint that training continues from: those are not due again.
    """
    plan = os.environ.get("TRAINMASTER_PLAN")
    session = Session(plan=json.loads(plan) if plan else None, applied=applied)
    path = os.environ.get("TRAINMASTER_SOCKET")
    if path:
        session._open(path)  # noqa: SLF001 - the session's own constructor function
    return session


def _directive(wire: Mapping[str, Any]) -> Directive:
    return Directive(
        id=wire["id"],
        kind=wire.get("kind", "Adjust"),
        generation=int(wire["generation"]),
        at_step=wire.get("atStep"),
        set=dict(wire.get("set", {})),
        reason=wire.get("reason", ""),
    )


def _stack_signal() -> int | None:
    """Makes SIGUSR2 print the stacks of all threads on stderr; None where that cannot be."""
    try:
        faulthandler.register(signal.SIGUSR2, all_threads=True, chain=False)
    except (AttributeError, OSError, RuntimeError, ValueError):
        return None  # stderr is closed or has no descriptor
    return int(signal.SIGUSR2)


def _wire_number(value: float) -> float | str:
    """JSON has no NaN and no Inf: they travel as strings."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return value
