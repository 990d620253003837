"""The journal's memory and its lines: what is kept, what is news, and that a torn file is a shorter file."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trainmaster_launcher.entries import Entry, parse_entry
from trainmaster_launcher.ledger import Ledger, news_of_earlier_launches
from trainmaster_launcher.lines import whole_lines

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["NaN", "Inf", "-Inf"]))


def point(step: int, *, kind: str = "train", generation: int = 1, seq: int = 0) -> Entry:
    return Entry(type="point", generation=generation, time="t", kind=kind, step=step, metrics={"loss": 1.0}, seq=seq)


POINTS = st.builds(
    point,
    st.integers(0, 50),
    kind=st.sampled_from(["train", "validation", "test"]),
    generation=st.integers(1, 3),
)


@given(
    st.lists(st.builds(replace, POINTS, metrics=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3))), st.data()
)
def test_a_file_cut_at_any_byte_yields_a_prefix_of_its_entries(entries: list[Entry], data: st.DataObject) -> None:
    numbered = [replace(entry, seq=number) for number, entry in enumerate(entries, 1)]
    whole = b"".join(entry.to_line() for entry in numbered)
    cut = data.draw(st.integers(0, len(whole)))
    lines, length = whole_lines(whole[:cut])
    read = [parse_entry(line) for line in lines]
    assert read == numbered[: len(read)]
    assert whole[:length] == b"".join(entry.to_line() for entry in read)
    assert len(read) == whole[:cut].count(b"\n")


@given(st.binary(max_size=200))
def test_a_torn_end_of_any_bytes_hides_no_whole_line(rest: bytes) -> None:
    line = point(1, seq=1).to_line()
    lines, _ = whole_lines(line + b"\0" + rest)
    assert [parse_entry(each) for each in lines] == [point(1, seq=1)]


@given(st.lists(POINTS, max_size=200), st.integers(1, 20))
def test_numbers_rise_by_one_keys_never_repeat_and_only_training_points_are_forgotten(
    entries: list[Entry], kept: int
) -> None:
    ledger = Ledger(train_points_kept=kept)
    taken = [ledger.add(entry) for entry in entries if ledger.admits(entry)]
    assert [entry.seq for entry in taken] == list(range(1, len(taken) + 1))
    assert len({entry.key for entry in taken}) == len(taken)
    assert [entry for entry in taken if not entry.droppable] == [e for e in ledger.entries() if not e.droppable]
    train = [entry for entry in taken if entry.droppable]
    assert [entry for entry in ledger.entries() if entry.droppable] == train[-kept:]
    assert len(ledger) == len(ledger.entries())


@given(st.integers(1, 30), st.integers(0, 40), st.integers(1, 10))
def test_a_replay_from_any_step_is_no_news(steps: int, again_from: int, kept: int) -> None:
    ledger = Ledger(train_points_kept=kept)
    for step in range(steps):
        ledger.add(point(step))
    assert not any(ledger.admits(point(step)) for step in range(min(again_from, steps), steps))
    assert ledger.admits(point(steps))
    assert ledger.admits(point(0, generation=2))


def test_reading_a_journal_again_gives_the_same_ledger() -> None:
    ledger = Ledger(train_points_kept=3)
    for step in range(10):
        ledger.add(point(step))
        ledger.add(point(step, kind="validation"))
    copy = Ledger(train_points_kept=3)
    for line in whole_lines(b"".join(entry.to_line() for entry in ledger.entries()))[0]:
        copy.add(parse_entry(line))
    assert copy.entries() == ledger.entries()
    assert copy.last_seq == ledger.last_seq == 20


def test_an_acknowledgement_is_heard_once() -> None:
    ledger = Ledger()
    applied = Entry(type="applied", generation=2, time="t", directive="d1", step=5)
    ledger.add(applied)
    assert not ledger.admits(applied)
    assert ledger.admits(replace(applied, directive="d2"))


def test_numbers_continue_after_what_the_operator_has() -> None:
    ledger = Ledger()
    ledger.skip_to(7)
    assert ledger.add(point(1)).seq == 8


def test_only_what_the_operator_may_lack_comes_from_earlier_launches() -> None:
    own = Ledger()
    own.add(point(9, kind="test"))
    first = [point(1, seq=1), point(1, kind="validation", seq=2), point(2, seq=3), point(9, kind="test", seq=4)]
    second = [point(2, seq=1), point(1, kind="validation", seq=2), point(3, seq=3)]
    news = news_of_earlier_launches([(first, 2), (second, 0)], own=own)
    assert [(each.kind, each.step, each.seq) for each in news] == [
        ("validation", 1, 0),
        ("train", 2, 0),
        ("train", 3, 0),
    ]
