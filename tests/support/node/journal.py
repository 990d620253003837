"""What a launch has written down of its reports: which entries there are, and which of them an operator has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.node.team import Run

Json = dict[str, Any]

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The launcher's journal of one launch; its lines are those of trainmaster_launcher.journal."""

    entries: tuple[Json, ...]
    confirmed: tuple[int, ...]
    """Up to which entry an operator said that it has them, one after another; less than before is a new operator."""

    @property
    def gaps(self) -> list[int]:
        """Numbers that no entry has, below the last one."""
        there = {entry["seq"] for entry in self.entries}
        return [number for number in range(1, self.last + 1) if number not in there]

    @property
    def last(self) -> int:
        """Number of the newest entry."""
        return max((entry["seq"] for entry in self.entries), default=0)

    @property
    def has(self) -> int:
        """The last entry that the present operator has said to have."""
        return self.confirmed[-1] if self.confirmed else 0

    @property
    def step_seconds(self) -> list[tuple[datetime, float]]:
        """Of each training point: when it was written down, and how long the step before it took."""
        points = [entry for entry in self.entries if entry.get("kind") == "train"]
        # The first of a process follows no step, but its start.
        return [(datetime.fromisoformat(point["time"]), point["metrics"]["step_seconds"]) for point in points[1:]]

    @property
    def steps(self) -> list[int]:
        """Steps whose training points there are, in order."""
        return [entry["step"] for entry in self.entries if entry.get("kind") == "train"]


def read_journal(run: Run, *, launch: int = 1) -> Journal:
    """The journal of a launch whose pod runs."""
    return read_journals([run], launch=launch)[0]


def read_journals(runs: Sequence[Run], *, launch: int = 1) -> list[Journal]:
    """The journals of this launch of runs that share a claim: all are read in the first one's pod, at one moment."""
    team = runs[0].team
    uids = {found["metadata"]["name"]: found["metadata"]["uid"] for found in team.get("trainingruns")}
    files = " ".join(f"/claims/*/{uids[run.name]}/*/{launch}/{JOURNAL}" for run in runs)
    # A process that has just started has no journal yet.
    words = ("exec", runs[0].pod(launch), "--", "sh", "-c", f"tail -v -n +1 {files} 2>/dev/null || :")
    lines: dict[str, list[Json]] = {run.name: [] for run in runs}
    names = {uid: name for name, uid in uids.items()}
    told: list[Json] = []
    for line in team.kubectl(*words).splitlines():
        if line.startswith("==> "):
            told = lines[names[line.split("/")[3]]]
        elif line.endswith("}"):
            told.append(json.loads(line))
    return [_journal(lines[run.name]) for run in runs]


def _journal(lines: Sequence[Json]) -> Journal:
    return Journal(
        entries=tuple(line for line in lines if line["type"] != "have"),
        confirmed=tuple(line["seq"] for line in lines if line["type"] == "have"),
    )
