"""The walk-forward blocks of the quality benchmark are what the trainer itself makes of each block's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bench import quality_bars
from tests.support.bars import HEADER, bar_lines
from tests.support.market_training import StudiedWorkload
from trainmaster.api.hyperparameters import MarketClassifierHyperparameters

BARS = 1_200
WINDOW = 24


def bars() -> pd.DataFrame:
    cells = [line.split(",") for line in bar_lines(BARS, seed=1)]
    return pd.DataFrame(cells, columns=[name.lower() for name in HEADER.split(",")])


@pytest.fixture(name="blocks")
def _blocks(tmp_path: Path) -> list[tuple[quality_bars.Span, StudiedWorkload]]:
    spans = quality_bars.spans(BARS, window=WINDOW)
    quality_bars.write_files(tmp_path, bars(), spans)
    tasks = [quality_bars.task(span, folder=tmp_path, values={"window": WINDOW}, seed=0) for span in spans]
    workloads = [
        StudiedWorkload.prepare(
            MarketClassifierHyperparameters.model_validate(dict(task.values)), source=task.source, volumes=task.volumes
        )
        for task in tasks
    ]
    return list(zip(spans, workloads, strict=True))


def test_each_block_is_the_test_block_of_its_own_file(
    blocks: list[tuple[quality_bars.Span, StudiedWorkload]],
) -> None:
    for span, workload in blocks:
        assert np.array_equal(workload.data.split.test, np.arange(span.start, span.stop))


def test_the_blocks_follow_each_other_over_the_newest_half(
    blocks: list[tuple[quality_bars.Span, StudiedWorkload]],
) -> None:
    tested = np.concatenate([workload.data.split.test for _, workload in blocks])
    rows = BARS - 1 - blocks[0][0].first  # the last bar has no label

    assert np.array_equal(np.diff(tested), np.ones(len(tested) - 1))
    assert len(tested) == round(rows * quality_bars.TESTED_SHARE)
    assert tested[-1] == BARS - 2


def test_no_label_and_no_bar_of_a_block_reaches_what_is_trained_on(
    blocks: list[tuple[quality_bars.Span, StudiedWorkload]],
) -> None:
    for span, workload in blocks:
        split = workload.data.split
        assert split.train[-1] + quality_bars.HORIZON + quality_bars.EMBARGO < split.validation[0]
        assert split.validation[-1] + quality_bars.HORIZON + quality_bars.EMBARGO < span.start
        assert len(workload.data.inputs) == span.stop + quality_bars.HORIZON
