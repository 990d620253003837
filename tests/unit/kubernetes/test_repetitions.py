"""What repeats itself is said once, and then once a minute."""

from __future__ import annotations

from trainmaster.adapters.kubernetes.repetitions import AGAIN_SECONDS, Repetitions


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_message_is_said_at_once_and_again_after_a_minute_with_how_often_it_came() -> None:
    clock = Clock()
    repetitions = Repetitions(monotonic=clock)
    said = []
    for second in range(0, 2 * AGAIN_SECONDS + 1, 2):
        clock.now = second
        said.append(repetitions.text("403 forbidden"))

    held = AGAIN_SECONDS // 2 - 1
    assert [text for text in said if text] == ["403 forbidden", *[f"403 forbidden (and {held} times before)"] * 2]


def test_another_message_is_said_at_once() -> None:
    repetitions = Repetitions(monotonic=Clock())

    assert [repetitions.text(text) for text in ("a", "b", "a", "b")] == ["a", "b", "", ""]


def test_what_has_not_come_for_a_minute_is_new_and_takes_no_room() -> None:
    clock = Clock()
    repetitions = Repetitions(monotonic=clock)
    for n in range(1000):
        clock.now = n
        repetitions.text(f"message {n}")

    assert repetitions.text("message 0") == "message 0"
    assert len(repetitions._said) <= AGAIN_SECONDS + 1
