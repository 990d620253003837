"""Which pod's log comes next, and which of its lines were shown already. Pure.

Pods are known by the labels that every launch's pod carries; a launch's log is over when its container has ended, a
run's when it has ended by status and every pod of it was shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainmaster.adapters.kubernetes.observed import pod_facts
from trainmaster.api.conditions import Phase
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client.goals import has_ended, is_current

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchPod:
    """A pod of a run, as far as its log is concerned."""

    launch: int
    name: str
    uid: str
    created: str = ""
    """RFC 3339, as the server wrote it."""
    started: bool
    """Whether its container has begun: before that it has no log."""
    ended: bool


def launch_pod(raw: Json) -> LaunchPod:
    """A pod as the API server has it, reduced."""
    facts = pod_facts(raw)
    return LaunchPod(
        launch=facts.launch,
        name=facts.name,
        uid=facts.uid,
        created=str(raw["metadata"].get("creationTimestamp") or ""),
        started=facts.running_since is not None or facts.exit_code is not None,
        ended=facts.ended or facts.exit_code is not None,
    )


def next_pod(pods: Iterable[LaunchPod], *, shown: Collection[str], launch: int | None = None) -> LaunchPod | None:
    """The oldest pod of the oldest launch whose log was not shown; `shown` are UIDs, `launch` allows one only."""
    left = [pod for pod in pods if pod.uid not in shown and launch in {None, pod.launch}]
    return min(left, key=lambda pod: (pod.launch, pod.created, pod.name), default=None)


def pods_may_come(run: TrainingRun, *, launch: int | None = None) -> bool:
    """Whether a pod may still appear whose log is asked for."""
    if has_ended(run):
        return False
    if launch is None or not is_current(run):
        return True
    status = run.status
    over = status.launch_outcome is not None or status.phase == Phase.SUSPENDED
    return launch > status.launch or (launch == status.launch and not over)


Moment = tuple[datetime, int]
"""A time in whole seconds, and nanoseconds: Python's own times know microseconds only."""


class Position:
    """How far a log was read: after a stream has broken off, the same lines come once more, in the same order.

    Standard output and error are stamped before they are brought together: a line may come behind one that is a little
    younger, and is shown all the same.
    """

    def __init__(self) -> None:
        self._last: Moment | None = None
        """The latest time that was shown."""
        self._shown_since = 0
        """Lines that were shown from the first of that time on, as far as a new stream has them."""
        self._behind = False
        """Whether a stream that was opened anew has not come to that time yet."""
        self._skip = 0

    @property
    def since(self) -> str:
        """From when to ask, in whole seconds, as the server takes it; empty: from the beginning."""
        return "" if self._last is None else self._last[0].strftime("%Y-%m-%dT%H:%M:%SZ")

    def reopen(self) -> None:
        """The stream begins anew at `since`."""
        self._behind, self._skip = self._last is not None, self._shown_since

    def take(self, line: bytes) -> bytes | None:
        """The text of a line that begins with its time; None: it was shown already."""
        stamp, space, text = line.partition(b" ")
        moment = _moment(stamp)
        if moment is None:
            return line
        return (text if space else b"") if self._is_new(moment) else None

    def _is_new(self, moment: Moment) -> bool:
        if self._last is None or moment > self._last:
            self._last, self._shown_since, self._behind, self._skip = moment, 1, False, 0
            return True
        if self._behind and moment < self._last:
            return False
        self._behind = False
        if moment[0] < self._last[0]:
            # Of a second that is not asked for again.
            return True
        if self._skip:
            self._skip -= 1
            return False
        self._shown_since += 1
        return True


def _moment(stamp: bytes) -> Moment | None:
    """A time as a kubelet writes it; None for what is none."""
    try:
        text = stamp.decode("ascii")
        moment = datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except ValueError:
        return None
    digits = text.partition(".")[2].rstrip("Zz").partition("+")[0].partition("-")[0]
    return moment, int(digits[:9].ljust(9, "0")) if digits.isdigit() else 0
