"""Before the first process: which plan is in force?

The operator's, if it answers. If it is away, the newest one that storage holds, the environment's included: an operator
that sent a newer one sent it to a launch of this run, which kept it. If storage cannot be read either nobody knows, and
the launcher waits.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

from trainmaster_launcher.errors import GoneError, RetryError
from trainmaster_launcher.log import log
from trainmaster_launcher.loop import Loop
from trainmaster_launcher.plan import Plan, PlanError, newest, of_this_launch, parse_plan, stored_plans
from trainmaster_launcher.reports import Reporter
from trainmaster_launcher.responses import Gone, Response, Taken
from trainmaster_launcher.timings import Timings


def answers_of(reporter: Reporter) -> Iterator[Response]:
    """The answers since the last call. Raises GoneError when the launch is not current any more."""
    while True:
        try:
            answer = reporter.answers.get_nowait()
        except queue.Empty:
            return
        if isinstance(answer, Gone):
            raise GoneError("the operator says that this launch is not current any more (410)")
        yield answer


def plan_of_reply(reply: Taken, *, own: Plan) -> Plan | None:
    """The plan in a reply, if it can be read and is this launch's."""
    try:
        plan = parse_plan(reply.plan)
    except PlanError as error:
        log(f"plan in reply ignored: {error}")
        return None
    if (plan.run_uid, plan.launch) != (own.run_uid, own.launch):
        log(f"plan in reply ignored: it is of launch {plan.launch} of run {plan.run_uid}")
        return None
    return plan


def confirmed_plan(own: Plan, *, reporter: Reporter, loop: Loop, timings: Timings) -> Plan:
    """The plan to start with. Raises GoneError, and RetryError when storage stays unreadable or SIGTERM comes."""
    known = [own]
    answered = False
    look_at = time.monotonic()
    deadline = look_at + timings.storage_wait
    while True:
        for answer in answers_of(reporter):
            answered = True
            plan = plan_of_reply(answer, own=own) if isinstance(answer, Taken) else None
            known += [plan] if plan else []
        if loop.terminating:
            raise RetryError("ended by SIGTERM before training started")
        if answered and time.monotonic() >= look_at:
            look_at = time.monotonic() + timings.storage_retry
            stored = _stored(own)
            if stored is not None:
                # Of one generation the operator's last word comes first: it has the newest lease.
                return newest([*reversed(known), *stored])
        if time.monotonic() > deadline:
            message = f"storage {own.root} was unreadable for {timings.storage_wait:g} s: another node may do better"
            raise RetryError(message)
        loop.wait(timings.tick)


def _stored(own: Plan) -> list[Plan] | None:
    """The plans that launches of this run kept; None where storage cannot be read."""
    try:
        _make_folder(own)
        return [of_this_launch(plan, own) for plan in stored_plans(own.root) if plan.run_uid == own.run_uid]
    except OSError as error:
        log(f"storage cannot be read: {error}")
        return None


def _make_folder(own: Plan) -> None:
    try:
        own.folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Full or read-only storage can still be read: that is all that choosing a plan needs.
        next(own.root.iterdir(), None)
