"""Whose log comes next, whether more may come, and which lines were shown already."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.kubernetes_objects import pod_json
from tests.support.runs import run_of, status_of
from trainmaster.client.launches import LaunchPod, Position, launch_pod, next_pod, pods_may_come


def pod(name: str, launch: int, created: str = "") -> LaunchPod:
    return LaunchPod(launch=launch, name=name, uid=name, created=created, started=True, ended=False)


PODS = (pod("c", 2), pod("b", 1, "2026-03-01T12:00:05Z"), pod("a", 10), pod("d", 1, "2026-03-01T12:00:01Z"))


@pytest.mark.parametrize(
    ("shown", "launch", "expected"),
    [
        ((), None, "d"),
        (("d",), None, "b"),
        (("d", "b"), None, "c"),
        (("d", "b", "c"), None, "a"),
        (("a", "b", "c", "d"), None, None),
        ((), 2, "c"),
        (("c",), 2, None),
        ((), 3, None),
    ],
)
def test_the_oldest_pod_of_the_oldest_launch_comes_next(
    shown: tuple[str, ...], launch: int | None, expected: str | None
) -> None:
    found = next_pod(PODS, shown=shown, launch=launch)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("raw", "started", "ended"),
    [
        (pod_json(), False, False),
        (pod_json(phase="Running", state={"running": {"startedAt": "2026-03-01T12:00:10Z"}}), True, False),
        (pod_json(phase="Failed", state={"terminated": {"exitCode": 75}}), True, True),
        (pod_json(phase="Running", state={"terminated": {"exitCode": 0}}), True, True),
        (pod_json(phase="Failed"), False, True),
    ],
)
def test_a_pod_has_a_log_when_its_container_has_begun(raw: dict[str, Any], *, started: bool, ended: bool) -> None:
    found = launch_pod(raw)
    assert (found.launch, found.started, found.ended) == (1, started, ended)


@pytest.mark.parametrize(
    ("phase", "fields", "launch", "expected"),
    [
        ("Running", {}, None, True),
        ("Succeeded", {}, None, False),
        ("Failed", {}, None, False),
        ("Suspended", {}, None, True),
        ("Running", {"launch": 2}, 1, False),
        ("Running", {"launch": 2}, 2, True),
        ("Running", {"launch": 2}, 3, True),
        ("Pending", {"launch": 2, "launch_outcome": "Retry"}, 2, False),
        ("Suspended", {"launch": 2}, 2, False),
        ("Succeeded", {"observed_generation": 0}, None, True),
    ],
)
def test_more_may_come_until_the_run_or_the_launch_is_over(
    phase: str, fields: dict[str, Any], launch: int | None, *, expected: bool
) -> None:
    run = run_of(status=status_of(phase=phase, **fields))
    assert pods_may_come(run, launch=launch) is expected


def test_lines_that_come_twice_are_shown_once() -> None:
    position = Position()
    first = [b"2026-03-01T12:00:00.1Z a", b"2026-03-01T12:00:00.12Z b", b"2026-03-01T12:00:00.12Z b"]
    assert [position.take(line) for line in first] == [b"a", b"b", b"b"]
    assert position.since == "2026-03-01T12:00:00Z"

    position.reopen()
    again = [*first, b"2026-03-01T12:00:00.120000001Z c"]
    assert [position.take(line) for line in again] == [None, None, None, b"c"]


UNORDERED = [
    b"2026-03-01T12:00:01.2Z a",
    b"2026-03-01T12:00:01.4Z b",
    b"2026-03-01T12:00:01.3Z older",
    b"2026-03-01T12:00:01.4Z c",
    b"2026-03-01T12:00:00.9Z of the second before",
]
TEXTS = [b"a", b"b", b"older", b"c", b"of the second before"]


def test_a_line_that_comes_behind_a_younger_one_is_shown() -> None:
    position = Position()
    assert [position.take(line) for line in UNORDERED] == TEXTS


@pytest.mark.parametrize("read", range(1, len(UNORDERED) + 1))
def test_lines_out_of_order_are_shown_once_wherever_the_stream_breaks_off(read: int) -> None:
    position = Position()
    shown = [position.take(line) for line in UNORDERED[:read]]
    for _ in range(2):
        position.reopen()
        asked = [line for line in UNORDERED if line >= position.since.rstrip("Z").encode()]
        shown += [position.take(line) for line in asked]
    # What is stamped with a second that is not asked for again comes only while its stream lives.
    assert [text for text in shown if text is not None] == (TEXTS if read == len(UNORDERED) else TEXTS[:-1])


def test_a_line_of_the_same_moment_that_was_not_shown_is_shown() -> None:
    position = Position()
    assert position.take(b"2026-03-01T12:00:00Z a") == b"a"
    position.reopen()

    again = [b"2026-03-01T12:00:00Z a", b"2026-03-01T12:00:00Z a too"]
    assert [position.take(line) for line in again] == [None, b"a too"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"2026-03-01T12:00:00.000000007Z", b""),
        (b"2026-03-01T12:00:00.000000007Z   indented", b"  indented"),
        (b"2026-03-01T13:00:00.5+01:00 in another zone", b"in another zone"),
        (b"no time at all", b"no time at all"),
        (b"\xff\xfe bytes", b"\xff\xfe bytes"),
        (b"", b""),
    ],
)
def test_what_a_line_says_without_its_time(line: bytes, text: bytes) -> None:
    assert Position().take(line) == text
