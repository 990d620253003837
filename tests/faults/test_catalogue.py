"""docs/explanation/faults.md tells of all 44 faults, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \|[^|]+\|([^|]*)\| ([^|]+) \|$", re.MULTILINE)
OURS = re.compile(r"^[a-z]+$")
FAULTS = 44
DRIVEN_MIN = 25
"""Faults that the operator process, or a cluster around it, must be driven through."""


def rows() -> dict[int, tuple[list[str], str]]:
    """Tests and state of each fault."""
    text = (REPOSITORY / "docs/explanation/faults.md").read_text()
    found = ROW.findall(text)
    return {int(number): ([t.strip() for t in tests.split(",") if t.strip()], state) for number, tests, state in found}


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = REPOSITORY / (f"tests/faults/test_operator_{file}.py" if OURS.match(file) else file)
    return path.exists() and (not name or f"def {name}(" in path.read_text())


def test_every_fault_is_told_of() -> None:
    assert list(rows()) == list(range(1, FAULTS + 1))


def test_every_test_that_is_named_exists() -> None:
    missing = [test for tests, _ in rows().values() for test in tests if not exists(test)]
    assert not missing


def test_what_is_covered_names_its_test_and_what_is_not_says_what_is_missing() -> None:
    for number, (tests, state) in rows().items():
        word = state.split(":")[0].split(",")[0].split(";")[0].split(" where")[0]
        assert word in {"covered", "in part", "later"}, number
        assert bool(tests) == (word != "later"), number
        assert word == "covered" or ": " in state, number


def test_at_least_twenty_five_are_driven_against_a_real_cluster() -> None:
    driven = [n for n, (tests, _) in rows().items() if any(OURS.match(t.partition("::")[0]) for t in tests)]
    assert len(driven) >= DRIVEN_MIN
