"""docs/security.md names tests that exist, and says `open` where there is none."""

from __future__ import annotations

import re

import pytest

from tests.support.chart import REPOSITORY

PAGE = REPOSITORY / "docs" / "security.md"
ROWS = [
    line.strip("|").split("|")
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    for line in re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]
    if "| proof |" in section
]
PROOF = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_there_are_threats() -> None:
    assert len(ROWS) > 30
    assert all(len(row) == 3 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]).strip())
def test_every_line_has_a_proof_that_is_there_or_is_open(row: list[str]) -> None:
    proofs = PROOF.findall(row[2])
    assert proofs or row[2].strip().startswith("open"), row
    for file, name in proofs:
        source = REPOSITORY / "tests" / file
        assert source.exists(), file
        assert re.search(rf"^ *(async )?def {name}\(", source.read_text(), re.MULTILINE), f"{file}::{name}"
