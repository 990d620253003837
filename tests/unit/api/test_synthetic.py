"""Synthetic sources: what is read from an address, and what is said about one that nobody can make."""

import re
from pathlib import Path

import pytest

from trainmaster.api.synthetic import (
    SYNTHETIC,
    CoinFlipSource,
    HmmSource,
    SourceError,
    is_synthetic,
    judge_synthetic,
    read_synthetic,
    underlying_file,
)
from trainmaster.api.trainingrun import SOURCE_PATTERN

BARS = "package://gym-anytrading/gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv"


def test_keys_are_read_over_the_defaults() -> None:
    source = read_synthetic("synthetic://hmm?separation=2.5&rows=1_000&seed=7&label_noise=1e-2")

    assert source == HmmSource(separation=2.5, rows=1000, seed=7, label_noise=0.01)


def test_a_name_alone_is_all_defaults() -> None:
    assert read_synthetic("synthetic://hmm") == HmmSource()


def test_a_twin_names_the_bars_that_it_is_made_of() -> None:
    source = f"synthetic://coinflip?of={BARS}&seed=3"

    assert read_synthetic(source) == CoinFlipSource(of=BARS, seed=3)
    assert underlying_file(source) == BARS


@pytest.mark.parametrize(("source", "file"), [("synthetic://hmm", None), (None, None), (BARS, BARS)])
def test_the_file_under_a_source(source: str | None, file: str | None) -> None:
    assert underlying_file(source) == file


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("synthetic://hm", 'there is no synthetic source "hm"; did you mean "hmm"?'),
        ("synthetic://bars", 'there is no synthetic source "bars"; there are: coinflip, hmm'),
        ("synthetic://hmm?seperation=2", 'hmm has no key "seperation"; did you mean "separation"?'),
        ("synthetic://hmm?zzz=2", 'hmm has no key "zzz"; it has: separation, rows, seed'),
        ("synthetic://hmm?rows=0", "rows must be at least 1 (got 0)"),
        ("synthetic://hmm?rows=ten", "rows must be a whole number (got ten)"),
        ("synthetic://hmm?separation=nan", "separation must be a finite number (got nan)"),
        ("synthetic://hmm?stay=1", "stay must be less than 1 (got 1)"),
        ("synthetic://hmm?rows=5&rows=6", "rows is given 2 times; give it once"),
        ("synthetic://hmm?states=9", "states must be at most columns (8): each state needs a direction of its own"),
        ("synthetic://coinflip", "of is required"),
        ("synthetic://coinflip?of=bars.csv", "of must look like package://DISTRIBUTION/PATH or pvc://CLAIM/PATH"),
    ],
)
def test_what_nobody_can_make_is_refused_with_the_way_out(source: str, said: str) -> None:
    assert re.match(SOURCE_PATTERN, source), "the shape is right: the judgement is about the words"
    assert said in "; ".join(str(flaw) for flaw in judge_synthetic(source))
    with pytest.raises(SourceError, match=re.escape(said)) as refusal:
        read_synthetic(source)
    assert str(refusal.value).startswith(f"{source}: ")


def test_every_flaw_is_said_at_once() -> None:
    flaws = judge_synthetic("synthetic://hmm?rows=0&seperation=1&seed=-1")

    assert len(flaws) == 3


@pytest.mark.parametrize(
    "source",
    ["synthetic://", "synthetic://hmm?", "synthetic://hmm?rows", "synthetic://hmm?rows=1&", "synthetic://hmm?a=b c"],
)
def test_what_has_not_even_the_shape_is_no_source(source: str) -> None:
    assert is_synthetic(source)
    assert not re.match(SOURCE_PATTERN, source)


@pytest.mark.parametrize("name", sorted(SYNTHETIC))
def test_the_reference_page_has_every_key_with_its_default(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/data-sources.md").read_text(encoding="utf-8")
    section = page.split(f"## synthetic://{name}\n")[1].split("\n## ")[0]

    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    told = {key.strip().strip("`"): default.strip() for key, default in reversed(rows)}

    fields = SYNTHETIC[name].model_fields
    assert fields.keys() <= told.keys()
    for key, field in fields.items():
        assert told[key] == ("required" if field.is_required() else f"{field.default:g}")
