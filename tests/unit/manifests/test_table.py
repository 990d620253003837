"""Every manifest of the table gets exactly the problems that the table names, where it names them."""

from __future__ import annotations

import pytest

from tests.support.manifest_cases import BAD, CASES, GOOD, Case
from trainmaster.adapters.manifests import judge_text


def test_the_table_is_large_enough_to_mean_something() -> None:
    assert len(CASES) >= 80
    assert len(GOOD) >= 20
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exactly_the_named_problems_are_found_at_their_lines(case: Case) -> None:
    found = judge_text(case.text, file="case.yaml").problems

    assert sorted((problem.path, problem.line, problem.severity) for problem in found) == sorted(
        (expected.path, expected.line, expected.severity) for expected in case.problems
    )
    for expected in case.problems:
        texts = [str(problem) for problem in found if problem.path == expected.path]
        assert any(expected.says in text for text in texts), texts


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_manifest_becomes_objects(case: Case) -> None:
    judgement = judge_text(case.text)

    assert judgement.manifests
    assert all(manifest.run.spec.workload == manifest.spec["workload"] for manifest in judgement.manifests)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_every_error_names_a_place_that_can_be_opened(case: Case) -> None:
    judgement = judge_text(case.text, file="case.yaml")

    for problem in judgement.errors:
        assert problem.file == "case.yaml"
        assert not case.text.strip("# \nothing") or 1 <= problem.line <= case.text.count("\n") + 1
        assert problem.message.isascii()
