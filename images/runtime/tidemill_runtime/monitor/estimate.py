"""Performance without labels: what labels would add up to if they depended on the answers as they did on the holdout.

Rows are counted by bin of the calibration tables. A row of a bin is expected to add what a held-out row of that bin
added on average, so the metric of the expected sums is the estimate: for classes this is confidence-based performance
estimation (CBPE, NannyML), calibrated by histogram binning (Zadrozny and Elkan, 2001), for numbers the mean loss by bin
of the prediction. Its error has two parts, both by the delta method: that of the means of bins, and that of the labels
of the rows themselves, given which bins they lie in. Pure.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts import model_metrics
from tidemill_contracts.calibration import MAX_UNSUPPORTED, MIN_ROWS, RIGHT
from tidemill_contracts.monitoring import EstimateReport, PerformanceConfig
from tidemill_contracts.reference import NumericProfile
from tidemill_runtime.model import auc
from tidemill_runtime.model.label_sums import CELL, MOMENTS, cell
from tidemill_runtime.model.metric_formulas import Joined
from tidemill_runtime.monitor import detector, intervals, performance, score_order
from tidemill_runtime.monitor.binning import Counts, Layout
from tidemill_runtime.monitor.performance import Outputs, Sums
from tidemill_runtime.monitor.strata import Strata

Floats = NDArray[np.float64]
_LARGEST_ERROR: Final = 0.05  # of one window
_WRONG: Final = "wrong"  # rows that are not RIGHT
_NO_TABLE: Final = "the reference profile has no calibration table: train a new version, with labels and probabilities"
_ONE_TABLE: Final = "a model of so many classes has an estimate of accuracy only"


@dataclass(frozen=True)
class Estimated:
    """A metric that was estimated. `error`: standard error of the difference from what labels would show."""

    value: float
    error: float
    low: float
    high: float
    """The 95 % interval of what the labels of these rows would show."""


def report(config: PerformanceConfig, layout: Layout, counts: Counts, *, start: float, end: float) -> EstimateReport:
    """Return the estimate for rows counted by bin (`Layout.calibration`), and whether it is beyond a limit."""
    strata = layout.strata
    rows = int(counts.sum())
    if strata is None or not rows:
        return EstimateReport(start=start, end=end, note="no row was counted by score" if strata else _NO_TABLE)
    poor = unsupported(strata, counts)
    found = estimated(config.metric, layout, counts)
    if isinstance(found, str):
        return EstimateReport(start=start, end=end, rows=rows, unsupported_ratio=poor, note=found)
    trusted = poor <= MAX_UNSUPPORTED
    return EstimateReport(
        start=start,
        end=end,
        rows=rows,
        value=found.value,
        low=found.low,
        high=found.high,
        unsupported_ratio=poor,
        trusted=trusted,
        exceeded=trusted and _is_beyond(config, found, end - start),
    )


def unsupported(strata: Strata, counts: Counts) -> float:
    """Return the share of rows in bins of fewer than 30 held-out rows, or in none."""
    total = int(counts.sum())
    return (total - int(counts[:-1][strata.rows >= MIN_ROWS].sum())) / total if total else 0.0


def estimated(name: str, layout: Layout, counts: Counts) -> Estimated | str:
    """Return the estimate of a metric, or why there is none. `counts`: as `Layout.calibration` returns them."""
    strata, of = layout.strata, detector.outputs(layout)
    if strata is None or of.profile is None:
        return _NO_TABLE
    if name == intervals.CALIBRATION:
        return "calibration_error is not estimated: that labels follow the answers as on the holdout is what it judges"
    rows = np.where(strata.rows > 0, counts[:-1], 0).astype(np.float64)
    if not rows.sum():
        return "no row lies in a bin that has held-out rows"
    sums = expected(strata, rows)
    positive = _cells(sums, of).positive
    if name == auc.METRIC and positive is not None:
        sums |= score_order.expected(strata, rows, positive)
    found = _cells(sums, of)
    value: float | None
    if any(table.predicted is None and RIGHT in table.sums for table in strata.tables):
        if name != "accuracy":
            return _ONE_TABLE
        value, note = sums.get(RIGHT, 0.0) / float(rows.sum()), ""
    else:
        value, note = performance.metric(name, sums, of.profile, of.classes)
    if value is None:
        return note or "not defined"
    spread = _spreads(name, strata, sums, of, found, value)
    if spread is None:
        return "the calibration table lacks what its error needs"
    held = np.maximum(strata.rows, 1)
    error = math.sqrt(float((spread * held / np.maximum(held - 1, 1) * (rows + rows * rows / held)).sum()))
    fewest = intervals.fewest(name, found) if found.cells else 0.0
    return Estimated(value, error, *intervals.around(name, value, error, fewest))


def expected(strata: Strata, rows: Floats) -> dict[str, float]:
    """Return what the labels of so many rows of each bin are expected to add up to."""
    sums: dict[str, float] = {}
    for offset, table in zip(strata.offsets, strata.tables, strict=False):
        weights = rows[offset : offset + len(table.rows)] / np.maximum(table.rows, 1)
        for name, values in table.sums.items():
            sums[name] = sums.get(name, 0.0) + float(weights @ np.array(values))
    if any(RIGHT in table.sums for table in strata.tables):
        sums[_WRONG] = float(rows.sum()) - sums[RIGHT]
    return {name: value for name, value in sums.items() if value}


def _cells(sums: Sums, of: Outputs) -> Joined:
    assert of.profile is not None  # noqa: S101  the caller checked
    if RIGHT not in sums and _WRONG not in sums:
        return performance.joined(sums, of.profile, of.classes)
    return Joined(sums, {(RIGHT, RIGHT): sums.get(RIGHT, 0.0), (_WRONG, RIGHT): sums.get(_WRONG, 0.0)}, None)


def _spreads(name: str, strata: Strata, sums: Sums, of: Outputs, found: Joined, value: float) -> Floats | None:
    """Return the variance within each bin of what one row adds to the metric; None where sums lack what it needs."""
    if name == auc.METRIC and found.positive is not None:
        return score_order.spreads(strata, sums, found.positive)
    if name in intervals.SHARES:
        return _of_shares(strata, intervals.influences(name, found, value))
    if name in intervals.LOSSES:
        return _of_losses(name, strata, sums, value)
    return _of_r2(strata, sums, value) if name == "r2" and isinstance(of.profile, NumericProfile) else None


def _of_shares(strata: Strata, influence: dict[tuple[str, str], float]) -> Floats:
    """A row lies in one cell, so its mean and mean square are those of the cells' influences."""
    first, second = np.zeros(strata.size), np.zeros(strata.size)
    for offset, table in zip(strata.offsets, strata.tables, strict=False):
        place = slice(offset, offset + len(table.rows))
        held = np.maximum(table.rows, 1)
        for name, values in table.sums.items():
            if name.startswith(CELL):
                one = influence.get(cell(name), 0.0)
            elif name == RIGHT:
                # of wrong rows the influence is the other one: a shift by it changes no variance
                one = influence.get((RIGHT, RIGHT), 0.0) - influence.get((_WRONG, RIGHT), 0.0)
            else:
                continue
            share = np.array(values) / held
            first[place] += one * share
            second[place] += one * one * share
    return np.maximum(second - first * first, 0.0)


def _of_losses(name: str, strata: Strata, sums: Sums, value: float) -> Floats | None:
    parts = intervals.LOSSES[name]
    if intervals.loss(name, sums) is None:
        return None
    count = sums[parts[2]]
    held = np.maximum(strata.rows, 1)
    first, second = (_by_bin(strata, part) / held for part in parts[:2])
    scale = count if name != "rmse" else 2 * value * count
    return np.maximum(second - first * first, 0.0) / scale**2 if scale else np.zeros(strata.size)


def _of_r2(strata: Strata, sums: Sums, value: float) -> Floats | None:
    count = sums["count"]
    if sums.get(MOMENTS, 0.0) < count * (1 - 1e-9):
        return None
    mean = sums["label"] / count
    deviation = sums["label_squared"] / count - mean**2
    if deviation <= 0:
        return None
    found = np.zeros(strata.size)
    names = sorted({name for table in strata.tables for name in table.sums})
    columns = {name: _by_bin(strata, name) for name in names}
    for place in np.flatnonzero(columns["count"] > 0).tolist():
        moments = {name: float(values[place]) for name, values in columns.items()}
        first, second = intervals.r2_moments(moments, mean, 1 - value)
        found[place] = max(second - first * first, 0.0)
    return found / (deviation * count) ** 2


def _by_bin(strata: Strata, name: str) -> Floats:
    empty = (0.0,)
    return np.concatenate([np.array(t.sums.get(name, empty * len(t.rows))) for t in strata.tables])


def _is_beyond(config: PerformanceConfig, found: Estimated, seconds: float) -> bool:
    """Whether the estimate is beyond a limit by more than its error at the level of one window."""
    level = min(config.false_alarms_per_month * seconds / detector.MONTH, _LARGEST_ERROR)
    distance = NormalDist().inv_cdf(1 - level) * found.error
    if model_metrics.BY_NAME[config.metric].better == "lower":
        return config.max is not None and found.value - distance > config.max
    return config.min is not None and found.value + distance < config.min
