"""Checks of what the code did, for leaks that move no score; each takes the facts and returns findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np

from trainmaster_trainer.audit import codes
from trainmaster_trainer.audit.findings import AuditFinding, Severity
from trainmaster_trainer.audit.pipeline import Prepared, ScalerFacts
from trainmaster_trainer.evaluation.predictions import Floats, Ints, Times

SCALER_TOLERANCE: Final = 1e-4
"""Deviations that a mean may be off, and share that a deviation may be: far above float32 rounding, and below what a
scaler fitted on 10 million rows moves by when a third of them are foreign."""
FEATURE_TOLERANCE: Final = 1e-5
"""Deviations of its column that a feature may change by when later rows are taken away: rounding, no information."""
CUTS: Final = (0.4, 0.6, 0.8, 0.95, 1.0)
"""Shares of the stamps at which the series is cut to look for features that see the future; the last one cuts off
nothing but the newest stamp."""
CHUNK: Final = 1 << 16
"""Rows that are summed at once: a bound on memory."""


def check_prepared(prepared: Prepared) -> list[AuditFinding]:
    """All checks that need no second run of the steps."""
    return [
        *check_times(prepared),
        *check_labels_end(prepared),
        *check_fitted_rows(prepared),
        *check_visited_rows(prepared),
        *check_scaler(prepared),
    ]


def check_times(prepared: Prepared) -> list[AuditFinding]:
    """No time stamp is in two blocks."""
    found = []
    for (first, rows), (second, others) in combinations(prepared.blocks.items(), 2):
        shared = np.intersect1d(prepared.times[rows], prepared.times[others])
        if len(shared):
            message = (
                f"{len(shared)} time stamps are in the {first} block and in the {second} block, the first is "
                f"{_shown(shared[0])}: split by time, all instruments at once, before rows are copied or shuffled"
            )
            found.append(_refuse(codes.BLOCKS_SHARE_TIMES, message))
    return found


def check_labels_end(prepared: Prepared) -> list[AuditFinding]:
    """Labels of a block are known before the next block begins, and the embargo lies between."""
    found = []
    for (first, rows), (second, others) in combinations(prepared.blocks.items(), 2):
        if not len(rows) or not len(others):
            continue
        begin = prepared.times[others].min()
        late = int((prepared.label_ends[rows] >= begin).sum())
        if late:
            message = (
                f"{late} of {len(rows)} labels of the {first} block end at {_shown(begin)} or later, when the "
                f"{second} block has begun: leave out the rows whose label (horizon {prepared.horizon}) reaches over"
            )
            found.append(_refuse(codes.LABEL_REACHES_NEXT_BLOCK, message))
            continue
        gap = _stamps_between(prepared.times, after=prepared.label_ends[rows].max(), before=begin)
        if gap < prepared.embargo:
            message = (
                f"{gap} stamps lie between the last label of the {first} block and the {second} block, fewer than the "
                f"embargo of {prepared.embargo}"
            )
            found.append(AuditFinding(code=codes.EMBARGO_TOO_SHORT, severity=Severity.FLAG, message=message))
    return found


def check_fitted_rows(prepared: Prepared) -> list[AuditFinding]:
    """Whatever was fitted has seen train rows only."""
    found = []
    for step, rows in prepared.fitted.items():
        foreign = np.setdiff1d(rows, prepared.train)
        if len(foreign):
            message = (
                f"{step} was fitted on {len(foreign)} rows outside the train block ({_where(prepared, foreign)}): fit "
                "it on the train rows"
            )
            found.append(_refuse(codes.FITTED_ON_OTHER_ROWS, message))
    return found


def check_visited_rows(prepared: Prepared) -> list[AuditFinding]:
    """An epoch visits train rows only, however often."""
    foreign = np.setdiff1d(prepared.visited, prepared.train)
    if not len(foreign):
        return []
    message = (
        f"an epoch visits {len(foreign)} rows outside the train block ({_where(prepared, foreign)}): oversample after "
        "the split, from the train rows"
    )
    return [_refuse(codes.EPOCH_VISITS_OTHER_ROWS, message)]


def check_scaler(prepared: Prepared) -> list[AuditFinding]:
    """Mean and deviation are those of the train rows, whatever the scaler says that it saw."""
    if prepared.scaler is None:
        return []
    mean, deviation = _moments(prepared.scaler, prepared.train)
    # A column that the scaler drops (an infinite deviation) tells nothing.
    varies = (deviation > 0) & ~np.isinf(prepared.scaler.deviation)
    off = np.zeros(len(mean))
    off[varies] = np.abs(prepared.scaler.mean - mean)[varies] / deviation[varies]
    stretched = np.zeros(len(mean))
    stretched[varies] = np.abs(prepared.scaler.deviation[varies] / deviation[varies] - 1)
    # A NaN must not pass for agreement.
    foreign = ~((off <= SCALER_TOLERANCE) & (stretched <= SCALER_TOLERANCE))
    if not foreign.any():
        return []
    worst = int(np.nan_to_num(np.maximum(off, stretched), nan=np.inf).argmax())
    message = (
        f"the scaler's numbers are not those of the {len(prepared.train)} train rows in {int(foreign.sum())} of "
        f"{len(mean)} features: feature {worst} has mean {mean[worst]:.6g} and deviation {deviation[worst]:.6g} there, "
        f"the scaler uses {prepared.scaler.mean[worst]:.6g} and {prepared.scaler.deviation[worst]:.6g}; fit it on the "
        "train rows"
    )
    return [_refuse(codes.SCALER_KNOWS_OTHER_ROWS, message)]


def check_look_ahead(
    computed: Callable[[Any], tuple[Times, Floats]], *, names: Sequence[str] = ()
) -> list[AuditFinding]:
    """Features of a row are the same whether later rows exist or not; `computed` is Pipeline.computed."""
    times, whole = computed(None)
    stamps = np.unique(times)
    deviation = np.ma.masked_invalid(whole).std(axis=0).filled(0.0)
    changed = np.zeros(whole.shape[1], dtype=np.int64)
    for share in CUTS if len(stamps) > 1 else ():
        until = stamps[min(int(len(stamps) * share), len(stamps) - 2)]
        _, cut = computed(until)
        known = whole[times <= until]
        with np.errstate(invalid="ignore"):  # infinity less infinity; such values are compared as they are
            near = np.abs(cut - known) <= FEATURE_TOLERANCE * deviation
        same = near | (cut == known) | (np.isnan(cut) & np.isnan(known))
        changed += (~same).sum(axis=0)
    if not changed.any():
        return []
    guilty = [names[c] if names else f"feature {c}" for c in np.flatnonzero(changed).tolist()]
    message = (
        f"{', '.join(guilty)}: {int(changed.sum())} values change when later rows are taken away: compute them from "
        "the row itself and those before it"
    )
    return [_refuse(codes.FEATURE_SEES_FUTURE, message)]


def _refuse(code: str, message: str) -> AuditFinding:
    return AuditFinding(code=code, severity=Severity.REFUSE, message=message)


def _shown(time: Any) -> str:  # noqa: ANN401  # a time, of whatever kind
    """A time without the nanoseconds that nobody reads."""
    return str(time).removesuffix(".000000000")


def _where(prepared: Prepared, rows: Ints) -> str:
    """How many of some rows are in which other block."""
    inside = {name: len(np.intersect1d(rows, block)) for name, block in prepared.blocks.items() if name != "train"}
    return ", ".join([f"{count} in {name}" for name, count in inside.items()] + [f"row {rows[0]} the first"])


def _stamps_between(times: Times, *, after: Any, before: Any) -> int:  # noqa: ANN401  # a time, of whatever kind
    return len(np.unique(times[(times > after) & (times < before)]))


def _moments(scaler: ScalerFacts, rows: Ints) -> tuple[Floats, Floats]:
    """Mean and deviation (features,) of some rows, in two passes of chunks."""
    columns = scaler.unscaled.shape[1]
    mean, squares = np.zeros(columns), np.zeros(columns)
    for at in range(0, len(rows), CHUNK):
        mean += scaler.unscaled[rows[at : at + CHUNK]].astype(np.float64).sum(axis=0) / len(rows)
    for at in range(0, len(rows), CHUNK):
        squares += ((scaler.unscaled[rows[at : at + CHUNK]].astype(np.float64) - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(squares / len(rows))
