"""A metric of all rows from the labels of a random sample of them: the answers say what labels add on average, the
labels by how much that is wrong.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Science 2023), which for rows of which a
random part is labelled is the difference estimator of double sampling (Cochran, Sampling techniques, 1977, chapter 12).
What an answer says is the mean loss of its bin of the calibration tables; where that is wrong, the interval is wider
and not wrong. Pure.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from tidemill_contracts.calibration import RIGHT
from tidemill_contracts.inference import Value
from tidemill_contracts.monitoring import PoweredReport
from tidemill_runtime.model.label_sums import CELL, cell
from tidemill_runtime.monitor import intervals
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.performance import Sums
from tidemill_runtime.monitor.strata import Floats, Places, Strata

ACCURACY: Final = "accuracy"
_SUM, _SQUARES, _COUNT = "residual ", "residual_squares ", "residual_count "


class Expectations:
    """What a label is expected to add by its row's answer: the mean loss of each bin, for metrics that are means."""

    def __init__(self, strata: Strata) -> None:
        """`strata`: the calibration tables of a version."""
        self._strata = strata
        self._means: dict[str, Floats] = {}
        found = {metric: (_by_bin(strata, total), _by_bin(strata, count)) for metric, (total, _, count) in _LOSSES}
        for metric, (totals, counts) in {ACCURACY: (_right(strata), strata.rows), **found}.items():
            if counts.sum() > 0:
                overall = float(totals.sum() / counts.sum())
                means = np.where(counts > 0, totals / np.maximum(counts, 1), overall)
                self._means[metric] = np.append(means, overall)  # the last: of rows in no bin

    def addition(self, prediction: Value, score: float | None, sums: Sums) -> dict[str, float]:
        """Return by how much one label is not what was expected; `sums`: what it adds to those of metrics."""
        place = int(self._strata.places([prediction], [score])[0])  # NONE, -1, is the last
        found: dict[str, float] = {}
        for metric, means in self._means.items():
            loss = _loss(metric, sums)
            if loss is not None:
                rest = loss - float(means[place])
                found |= {_SUM + metric: rest, _SQUARES + metric: rest * rest, _COUNT + metric: 1.0}
        return found

    def report(self, metric: str, sums: Sums, counts: Places, labels: float) -> PoweredReport | None:
        """Return the metric of all rows; None where it is no mean of losses, or some labels have no residual.

        `counts`: rows by bin, the last those in none; `labels`: that `sums` are of.
        """
        means, rows = self._means.get(metric), float(counts.sum())
        count = sums.get(_COUNT + metric, 0.0)
        spread = _variance(metric, sums)
        if means is None or spread is None or count < 2 or count != labels or rows < count:
            return None
        rest = sums[_SUM + metric] / count
        value = float(counts @ means) / rows + rest
        within = max(sums[_SQUARES + metric] / count - rest * rest, 0.0)
        error = math.sqrt(spread / rows + (1 / count - 1 / rows) * within)
        if metric == "rmse":
            value = math.sqrt(max(value, 0.0))
            error = error / (2 * value) if value else 0.0
        elif metric == ACCURACY:
            value = min(max(value, 0.0), 1.0)
        low, high = intervals.around(metric, value, error, count)
        return PoweredReport(value=value, low=low, high=high, rows=int(rows), labels=int(count))


@lru_cache(maxsize=8)
def of(layout: Layout) -> Expectations | None:
    """Return what labels of a version are expected to add; None where that is not asked for, or has no table."""
    return Expectations(layout.strata) if layout.random_sample and layout.strata is not None else None


_LOSSES: Final = tuple(intervals.LOSSES.items())


def _loss(metric: str, sums: Sums) -> float | None:
    if metric == ACCURACY:
        cells = [cell(name) for name in sums if name.startswith(CELL)]
        return float(cells[0][0] == cells[0][1]) if cells else None
    total, _, count = intervals.LOSSES[metric]
    return sums[total] if sums.get(count) else None


def _variance(metric: str, sums: Mapping[str, float]) -> float | None:
    """Return the variance of the losses of the labelled rows."""
    if metric == ACCURACY:
        cells = {cell(name): rows for name, rows in sums.items() if name.startswith(CELL)}
        rows = sum(cells.values())
        share = sum(n for (label, prediction), n in cells.items() if label == prediction) / rows if rows else 0.0
        return share * (1 - share) if rows else None
    if metric not in intervals.LOSSES:
        return None
    found = intervals.loss(metric, sums)
    return None if found is None else max(found[1] / found[2] - (found[0] / found[2]) ** 2, 0.0)


def _by_bin(strata: Strata, name: str) -> Floats:
    return np.concatenate([np.array(t.sums.get(name, (0.0,) * len(t.rows)), dtype=np.float64) for t in strata.tables])


def _right(strata: Strata) -> Floats:
    """Return how many held-out rows of each bin are right."""
    found = _by_bin(strata, RIGHT)
    for offset, table in zip(strata.offsets, strata.tables, strict=False):
        for name, values in table.sums.items():
            if name.startswith(CELL) and cell(name)[0] == cell(name)[1]:
                found[offset : offset + len(table.rows)] += np.array(values)
    return found
