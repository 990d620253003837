"""Every series store: taking in any order, doubled, lost and sent again; gaps; windows; what is kept of what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.adapters.series.files import FileSeriesStore
from trainmaster.adapters.series.memory import MemorySeriesStore
from trainmaster.api.protocol import Entry, EntryType, ReportedCheckpoint, Verdict
from trainmaster.ports.series import KINDS, TRAIN_WINDOW, SeriesStore

UID = "5b0f5a0e-0000-4000-8000-000000000001"
START = datetime(2026, 1, 1, tzinfo=UTC)

Opener = Callable[[], SeriesStore]


@contextmanager
def memory() -> Iterator[Opener]:
    store = MemorySeriesStore()
    yield lambda: store


@contextmanager
def files() -> Iterator[Opener]:
    with TemporaryDirectory() as folder:
        yield lambda: FileSeriesStore(Path(folder))


@pytest.fixture(params=[memory, files], ids=["memory", "files"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """A function that gives the store, as a restarted process would find it."""
    with request.param() as opener:
        yield opener


def point(seq: int, *, step: int, kind: str = "validation", generation: int = 1, loss: float | None = None) -> Entry:
    return Entry(
        seq=seq,
        type=EntryType.POINT,
        time=START + timedelta(seconds=step),
        generation=generation,
        step=step,
        epoch=step // 10,
        kind=kind,
        metrics={"loss": 1 / (step + 1) if loss is None else loss},
    )


def checkpoint(seq: int, *, step: int) -> Entry:
    manifest = ReportedCheckpoint(path=f"1/{step}.pt", step=step, epoch=0, sha256="0" * 64, size_bytes=1)
    return Entry(seq=seq, type=EntryType.CHECKPOINT, time=START, generation=1, step=step, checkpoint=manifest)


def test_a_store_that_heard_nothing_has_nothing(opened: Opener) -> None:
    store = opened()
    assert store.have_seq(UID, 1) == 0
    assert store.points(UID, rerun=0, kind="validation") == ()
    assert store.entries(UID, rerun=0) == ()


def test_what_was_acknowledged_is_there_for_the_next_process(opened: Opener) -> None:
    assert opened().take(UID, rerun=0, launch=1, entries=[point(1, step=10), checkpoint(2, step=10)]) == 2
    after = opened()
    assert after.have_seq(UID, 1) == 2
    assert [p.step for p in after.points(UID, rerun=0, kind="validation")] == [10]
    assert [e.checkpoint for e in after.entries(UID, rerun=0)] == [checkpoint(2, step=10).checkpoint]


def test_a_gap_is_never_acknowledged_past_and_closes_when_filled(opened: Opener) -> None:
    assert opened().take(UID, rerun=0, launch=1, entries=[point(1, step=1), point(3, step=3)]) == 1
    assert opened().take(UID, rerun=0, launch=1, entries=[point(4, step=4)]) == 1
    assert opened().take(UID, rerun=0, launch=1, entries=[point(2, step=2)]) == 4


def test_a_replayed_point_stands_as_it_was_first_told(opened: Opener) -> None:
    opened().take(UID, rerun=0, launch=1, entries=[point(1, step=5, loss=0.5)])
    assert opened().take(UID, rerun=0, launch=2, entries=[point(1, step=5, loss=0.75)]) == 1
    assert [p.metrics["loss"] for p in opened().points(UID, rerun=0, kind="validation")] == [0.5]


def test_points_of_two_generations_at_one_step_both_stand(opened: Opener) -> None:
    opened().take(UID, rerun=0, launch=1, entries=[point(1, step=5, generation=2), point(2, step=5), point(3, step=4)])
    assert [(p.step, p.generation) for p in opened().points(UID, rerun=0, kind="validation")] == [
        (4, 1),
        (5, 1),
        (5, 2),
    ]


def test_reruns_and_runs_do_not_mix_and_launches_are_found_in_either(opened: Opener) -> None:
    store = opened()
    store.take(UID, rerun=0, launch=1, entries=[point(1, step=1)])
    store.take(UID, rerun=1, launch=2, entries=[point(1, step=2), point(2, step=3)])
    store.take("other", rerun=0, launch=1, entries=[point(1, step=7)])
    after = opened()
    assert (after.have_seq(UID, 1), after.have_seq(UID, 2), after.have_seq("other", 2)) == (1, 2, 0)
    assert [p.step for p in after.points(UID, rerun=1, kind="validation")] == [2, 3]


def test_entries_are_found_by_launch_and_type(opened: Opener) -> None:
    verdict = Entry(
        seq=2, type=EntryType.VERDICT, time=START, generation=1, verdict=Verdict(outcome="Failed", reason="Crashed")
    )
    unknown = Entry.model_validate(
        {"seq": 3, "type": "poem", "time": "2026-01-01T00:00:00Z", "generation": 1, "verse": "from a newer version"}
    )
    opened().take(UID, rerun=0, launch=2, entries=[verdict, checkpoint(1, step=20), unknown])
    opened().take(UID, rerun=0, launch=1, entries=[checkpoint(1, step=10)])
    store = opened()
    assert [e.step for e in store.entries(UID, rerun=0, entry_type=EntryType.CHECKPOINT)] == [10, 20]
    assert store.entries(UID, rerun=0, launch=2) == (checkpoint(1, step=20), verdict, unknown)


def test_values_that_are_no_numbers_come_back_as_they_were(opened: Opener) -> None:
    values = [math.nan, math.inf, -math.inf, 5e-324, 0.1]
    entries = [point(seq, step=seq, loss=value) for seq, value in enumerate(values, start=1)]
    opened().take(UID, rerun=0, launch=1, entries=entries)
    kept = [p.metrics["loss"] for p in opened().points(UID, rerun=0, kind="validation")]
    assert str(kept) == str(values)


def test_a_point_of_a_kind_of_the_future_is_acknowledged_and_harms_nothing(opened: Opener) -> None:
    assert opened().take(UID, rerun=0, launch=1, entries=[point(1, step=1, kind="dream"), point(2, step=2)]) == 2
    assert opened().have_seq(UID, 1) == 2
    assert [len(opened().points(UID, rerun=0, kind=kind)) for kind in KINDS] == [0, 1, 0]


def test_train_points_keep_a_window_and_validation_points_all(opened: Opener) -> None:
    count = 25 * TRAIN_WINDOW // 2
    train = [point(seq, step=seq, kind="train") for seq in range(1, count + 1)]
    live = opened()
    for start in range(0, count, 500):
        live.take(UID, rerun=0, launch=1, entries=train[start : start + 500])
    live.take(UID, rerun=0, launch=1, entries=[point(count + n, step=n) for n in range(1, 2501)])
    for store in (live, opened()):
        steps = [p.step for p in store.points(UID, rerun=0, kind="train")]
        assert steps == list(range(count - TRAIN_WINDOW + 1, count + 1))
        assert len(store.points(UID, rerun=0, kind="validation")) == 2500
        assert store.have_seq(UID, 1) == count + 2500


@pytest.mark.parametrize("opening", [memory, files], ids=["memory", "files"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_order_doubling_and_loss_with_resend_gives_the_same(
    data: st.DataObject, opening: Callable[[], object]
) -> None:
    keys = data.draw(st.lists(st.tuples(st.integers(1, 2), st.sampled_from(KINDS), st.integers(0, 6)), max_size=14))
    told = [point(seq, step=s, kind=k, generation=g) for seq, (g, k, s) in enumerate(keys, start=1)]
    reference = MemorySeriesStore()
    reference.take(UID, rerun=0, launch=1, entries=told)
    with opening() as opened:  # type: ignore[attr-defined]  # the type of a context manager factory
        store: SeriesStore = opened()
        delivered: set[int] = set()
        reports = data.draw(st.lists(st.lists(st.sampled_from(told), max_size=5), max_size=8)) if told else []
        for report in reports:
            delivered |= {entry.seq for entry in report}
            have = store.take(UID, rerun=0, launch=1, entries=report)
            assert set(range(1, have + 1)) <= delivered
            assert have + 1 not in delivered
            if data.draw(st.booleans()):
                store = opened()
        rest = told[store.have_seq(UID, 1) :]
        assert store.take(UID, rerun=0, launch=1, entries=rest) == len(told)
        for kind in KINDS:
            assert opened().points(UID, rerun=0, kind=kind) == reference.points(UID, rerun=0, kind=kind)
