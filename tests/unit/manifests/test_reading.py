"""What manifests become: objects without what is not theirs to say, raw specs, places; bad texts end in problems."""

from __future__ import annotations

from io import BytesIO

import pytest

from trainmaster.adapters.manifests import Judgement, judge_sources, judge_text, load_manifests
from trainmaster.adapters.manifests.document import MAX_NODES
from trainmaster.adapters.manifests.source import MAX_BYTES, Source
from trainmaster.api.trainingrun import TrainingRunStatus

RUN = """apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: NAME, uid: abc, labels: {team: a}}
spec:
  workload: market-classifier
  data: {source: package://d/f.csv}
  hyperparameters: {learning_rate: "5e-5", epochs: 3}
status: {phase: Running}
"""


def from_stdin(content: bytes) -> Judgement:
    return load_manifests(["-"], stdin=BytesIO(content))


def test_the_object_carries_no_status_and_no_uid_of_a_manifest() -> None:
    run = judge_text(RUN.replace("NAME", "a")).manifests[0].run

    assert run.metadata.uid == ""
    assert run.metadata.labels == {"team": "a"}
    assert run.status == TrainingRunStatus()


def test_the_raw_spec_is_what_the_user_wrote() -> None:
    manifest = judge_text(RUN.replace("NAME", "a")).manifests[0]

    assert manifest.line == 1
    assert manifest.spec == {
        "workload": "market-classifier",
        "data": {"source": "package://d/f.csv"},
        "hyperparameters": {"learning_rate": "5e-5", "epochs": 3},
    }
    assert manifest.run.spec.hyperparameters == {"learning_rate": "5e-5", "epochs": 3}


def test_merged_fields_are_weaker_than_the_mappings_own() -> None:
    text = """apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: a}
spec:
  workload: custom
  command: [a]
  hyperparameters:
    b: own
    <<: [{a: first, b: first}, {a: second, c: second}]
"""
    assert judge_text(text).manifests[0].spec["hyperparameters"] == {"a": "first", "b": "own", "c": "second"}


def test_two_files_may_not_name_one_object() -> None:
    text = RUN.replace("NAME", "a")

    judgement = judge_sources([Source(file="x.yaml", text=text), Source(file="y.yaml", text=text)])

    assert [(problem.file, problem.path) for problem in judgement.errors] == [("y.yaml", "metadata.name")]
    assert "x.yaml:3" in judgement.errors[0].message
    assert [manifest.file for manifest in judgement.manifests] == ["x.yaml"]


def test_the_source_line_of_a_problem_is_the_line_it_names() -> None:
    judgement = judge_text("apiVersion: trainmaster.io/v1alpha1\r\nkind: Job\r\n")

    assert judgement.source_line(judgement.problems[0]) == "kind: Job"


def test_a_billion_laughs_are_not_laughed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    judgement = judge_text("\n".join(lines))

    assert f"more than {MAX_NODES:,} values" in judgement.problems[0].message


@pytest.mark.parametrize("text", ["[" * 5_000, "{a: " * 5_000, "- " * 5_000, '{"a":' * 5_000])
def test_deep_nesting_is_a_problem_not_a_crash(text: str) -> None:
    judgement = judge_text(text)

    assert judgement.errors
    assert not judgement.manifests


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfek\x00", "is UTF-16; save it as UTF-8"),
        (b"kind: TrainingRun\nmetadata: {name: \xe9}\n", "is not UTF-8: byte 0xe9"),
        (b" " * (MAX_BYTES + 1), "is larger than 1024 KiB"),
        (b"", "holds no object"),
        (b"kind: \x00", "U+0000"),
    ],
)
def test_bytes_that_are_no_manifest(content: bytes, says: str) -> None:
    judgement = from_stdin(content)

    assert len(judgement.problems) == 1
    assert says in str(judgement.problems[0])
    assert judgement.problems[0].file == "<stdin>"


def test_a_byte_that_is_not_utf_8_is_found_in_its_line() -> None:
    assert from_stdin(b"a\nb\n\xe9\n").problems[0].line == 3


def test_a_byte_order_mark_is_no_problem() -> None:
    assert from_stdin(b"\xef\xbb\xbf" + RUN.replace("NAME", "a").encode()).manifests


def test_a_spec_that_reaches_no_pod_is_refused_with_the_field_that_is_too_long() -> None:
    words = ", ".join(["x" * 4000] * 40)
    text = (
        "apiVersion: trainmaster.io/v1alpha1\nkind: TrainingRun\nmetadata: {name: long}\n"
        f"spec:\n  workload: custom\n  command: [{words}]\n"
    )
    (problem,) = judge_text(text).errors
    assert (problem.path, problem.line) == ("spec.command", 6)
    assert "65536" in problem.message
