"""What all benchmarks share: arguments, the machine, percentiles, targets, the printed table, the JSON file.

A benchmark is a module with a `main()`: it reads `Options`, measures, and hands `Target`s to `publish`. A target with
too small a sample is shown, but neither met nor missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What every benchmark takes from its command line."""

    quick: bool
    seed: int
    json_file: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One figure, its goal, and whether it was reached."""

    name: str
    unit: str
    goal: float | None
    """None: a figure for comparison, without a goal."""
    value: float
    n: int
    """Size of the sample that `value` stands on."""
    better: Literal["higher", "lower"] = "lower"
    enough: int = 1
    """Samples below which nothing is claimed."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or too few samples to say so."""
        if self.goal is None or self.n < self.enough or math.isnan(self.value):
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    def to_wire(self) -> dict[str, Any]:
        """The target as JSON data; a value that is not a number is null."""
        value = None if math.isnan(self.value) else self.value
        return {
            "name": self.name,
            "unit": self.unit,
            "goal": self.goal,
            "value": value,
            "n": self.n,
            "better": self.better,
            "met": self.met,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where the figures were made."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    load: float
    """Load average over a minute: what else runs makes figures worse."""


def read_options(description: str) -> Options:
    """The command line; without `--seed` one is drawn, and printed with the result."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="Small samples, 5 minutes at most.")
    parser.add_argument("--seed", type=int, default=None, help="Repeats a run's choices.")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="Where the result goes.")
    given = parser.parse_args()
    seed = secrets.randbelow(2**31) if given.seed is None else int(given.seed)
    return Options(quick=given.quick, seed=seed, json_file=given.json)


def machine() -> Machine:
    """The machine this runs on, as it is now."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=models[0].split(":", 1)[1].strip() if models else platform.processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def commit() -> str:
    """The commit that was measured, marked when the working tree differs from it."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode != 0
    return head.stdout.strip() + ("+changes" if changed else "")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all values do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def publish(title: str, *, options: Options, targets: Sequence[Target], notes: Sequence[str] = ()) -> None:
    """Print the table, and write the JSON file if one was asked for."""
    where, now, measured = machine(), datetime.now(UTC), commit()
    console = Console()
    console.print(_table(title, targets))
    for note in notes:
        console.print(f"- {note}", highlight=False)
    console.print(
        f"{measured[:12]}{'+changes' if '+' in measured else ''}, seed {options.seed}, {where.cpu}, "
        f"{where.cores} cores, load {where.load:.1f}, Python {where.python}{', quick' if options.quick else ''}",
        highlight=False,
        soft_wrap=True,
    )
    if options.json_file is not None:
        result = {
            "benchmark": title,
            "commit": measured,
            "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seed": options.seed,
            "quick": options.quick,
            "machine": asdict(where),
            "targets": [target.to_wire() for target in targets],
            "notes": list(notes),
        }
        options.json_file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _table(title: str, targets: Sequence[Target]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("goal", justify="right")
    table.add_column("unit")
    table.add_column("n", justify="right")
    table.add_column("met")
    words = {True: "[green]yes[/]", False: "[red]no[/]", None: "-"}
    for target in targets:
        sign = ">=" if target.better == "higher" else "<="
        goal = "" if target.goal is None else f"{sign} {target.goal:,g}"
        table.add_row(target.name, _figure(target.value), goal, target.unit, f"{target.n:,}", words[target.met])
    return table


def _figure(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
