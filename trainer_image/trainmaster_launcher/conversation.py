"""What the launcher and the training process say to each other: each message changes the record, then is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from trainmaster_launcher import entries
from trainmaster_launcher.entries import Entry
from trainmaster_launcher.hang import Silence
from trainmaster_launcher.intents import Intents
from trainmaster_launcher.journal import Journal
from trainmaster_launcher.messages import (
    Applied,
    Checkpoint,
    Done,
    Hello,
    Intend,
    Message,
    Point,
    Progress,
    StorageFailed,
    WireMetrics,
)
from trainmaster_launcher.plan import PROTOCOL, Plan, wire_with_steps
from trainmaster_launcher.plan_keeper import PlanKeeper

Lines = list[dict[str, Any]]
NO_LINES: Final[Lines] = []


class Conversation:
    """State of the launch as the training process tells it. `urgent` asks for a report at once."""

    def __init__(
        self,
        *,
        plan: Plan,
        plan_keeper: PlanKeeper,
        journal: Journal,
        intents: Intents,
        urgent: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.plan_keeper = plan_keeper
        self.where = Progress()
        self.done: Done | None = None
        self.metrics: WireMetrics = {}
        """Of the newest validation or test."""
        self._checkpoint_trouble = ""
        """Why the newest checkpoint could not be written, in words; empty: it was, or there was none."""
        self._journal = journal
        self._intents = intents
        self._urgent = urgent
        self._furthest = -1
        self.begin()

    def begin(self) -> None:
        """A new process starts."""
        self.hello: Hello | None = None
        self.silence = Silence()
        self.stepped = False
        self._first_step: int | None = None
        self._reached = -1
        self.where = replace(self.where, phase="starting")

    def end(self) -> bool:
        """The process has ended; whether it came further than all before it."""
        progressed = self._reached > self._furthest
        self._furthest = max(self._furthest, self._reached)
        return progressed

    def plan_line(self, line_type: str) -> dict[str, Any]:
        """The plan as the process gets it; directives have the steps on record."""
        wire = wire_with_steps(self.plan, self._intents.steps)
        return {"type": line_type, "protocol": PROTOCOL, "plan": wire}

    def storage_trouble(self) -> str:
        """What storage refuses the launch now, in words; empty: nothing."""
        troubles = (self._checkpoint_trouble, self._journal.trouble, self.plan_keeper.trouble())
        return "; ".join(filter(None, troubles))

    def answer(self, message: Message) -> Lines:
        """Handles a message; the lines to send back."""
        lines = NO_LINES
        match message:
            case Hello():
                lines = self._hello(message)
            case Progress():
                self._progress(message)
            case Point():
                self._point(message)
            case Checkpoint():
                self._checkpoint(message)
            case StorageFailed():
                words = " ".join(message.message.split())
                self._checkpoint_trouble = f"a checkpoint could not be written{f': {words}' if words else ''}"
            case Intend():
                step = self._intents.record(message.directive, step=message.step)
                lines = [{"type": "recorded", "directive": message.directive, "step": step}]
            case Applied():
                self._applied(message)
            case Done():
                lines = self._finished(message)
        return lines

    def _hello(self, message: Hello) -> Lines:
        self.hello = message
        self.silence.progress(("hello", message.pid))
        return [self.plan_line("welcome")]

    def _progress(self, message: Progress) -> None:
        self.where = message
        self.silence.progress((message.phase, message.step, message.epoch))
        if message.phase != "starting":
            if self._first_step is None:
                self._first_step = message.step
            self.stepped = self.stepped or message.step > self._first_step
            self._reached = max(self._reached, message.step)

    def _point(self, message: Point) -> None:
        entry = Entry(
            type=entries.POINT,
            generation=message.generation,
            time=entries.now(),
            step=message.step,
            epoch=message.epoch,
            kind=message.kind,
            metrics=message.metrics,
        )
        durable = message.kind in entries.ALWAYS_KEPT_KINDS
        added = self._journal.append(entry, durable=durable)
        if added is None:
            return
        self.stepped = True
        if durable:
            self.metrics = message.metrics
        if not message.finite:
            self._urgent()

    def _checkpoint(self, message: Checkpoint) -> None:
        self._checkpoint_trouble = ""
        self._append("checkpoint", step=message.step, epoch=message.epoch, checkpoint=message.to_wire())

    def _applied(self, message: Applied) -> None:
        generations = {each.id: each.generation for each in self.plan.directives}
        self._append(
            "applied",
            step=message.step,
            directive=message.directive,
            generation=generations.get(message.directive, self.plan.generation),
        )

    def _finished(self, message: Done) -> Lines:
        self.done = message if message.metrics else replace(message, metrics=self.metrics)
        self.where = replace(self.where, phase="done")
        return [{"type": "taken"}]

    def _append(self, entry_type: str, *, generation: int | None = None, **fields: Any) -> None:  # noqa: ANN401 - fields of Entry
        entry = Entry(type=entry_type, generation=generation or self.plan.generation, time=entries.now(), **fields)
        if self._journal.append(entry, durable=True) is not None:
            self._urgent()
