"""How far a metric of joined labels is known: its standard error and its 95 % interval, from the same sums.

Labels count as drawn independently. Shares (`accuracy` and what else is computed from the confusion cells) have
Wilson's interval, with the number of rows that gives the share the variance that it has: Wilson, Probable inference
(1927); for accuracy that is the interval itself, and roc_auc has it with the variance of `model.auc`. The variance of
the other shares, and the one of losses and of r2, is the delta method's:
the mean square of the influence of one row on the metric, divided by the rows (van der Vaart, Asymptotic statistics,
1998, chapter 3). docs/monitoring-statistics.md lists the influences.
"""

import math
from collections.abc import Mapping
from typing import Final

from tidemill_runtime.model import auc
from tidemill_runtime.model.auc import ByBin
from tidemill_runtime.model.label_sums import GAP_SQUARES, MOMENTS
from tidemill_runtime.model.metric_formulas import GAP_COUNT, GAPS, Joined
from tidemill_runtime.monitor import performance
from tidemill_runtime.monitor.performance import Outputs, Sums

Z: Final = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
SHARES: Final = ("accuracy", "balanced_accuracy", "f1", "precision", "recall")
WITHIN_ONE: Final = (*SHARES, auc.METRIC)
"""The metrics that have Wilson's interval."""
CALIBRATION: Final = "calibration_error"
LOSSES: Final[Mapping[str, tuple[str, str, str]]] = {
    "log_loss": ("log_loss", "log_loss_squares", "log_loss_count"),
    "brier": ("brier", "brier_squares", "brier_count"),
    "mae": ("absolute_error", "squared_error", "count"),
    "rmse": ("squared_error", "squared_error_squares", "count"),
    "mape": ("percentage_error", "percentage_error_squares", "percentage_error_count"),
}
"""The sums of a metric that is a mean of losses, or the root of one: of the losses, of their squares, of the labels."""


def standard_error(name: str, sums: Sums, of: Outputs, value: float) -> float | None:
    """Return the standard error of a metric with this value; None where the sums do not hold it."""
    if of.profile is None:
        return None
    found = performance.joined(sums, of.profile, of.classes)
    if name in SHARES:
        return _of_cells(name, found, value)
    if name == auc.METRIC:
        return ByBin.of(sums).standard_error()
    if name in LOSSES:
        mean = loss(name, sums)
        if mean is None:
            return None
        total, squares, count = mean
        error = math.sqrt(max(squares / count - (total / count) ** 2, 0.0) / count)
        return error if name != "rmse" else error / (2 * value) if value > 0 else 0.0
    if name == CALIBRATION:
        count = sums.get(GAP_COUNT, 0.0)
        return math.sqrt(max(sums[GAP_SQUARES] / count - value * value, 0.0) / count) if count else None
    return _of_r2(sums, value) if name == "r2" else None


def bias(name: str, sums: Sums) -> float:
    """Return by how much a metric is too large on average, at most: 0 but for calibration_error.

    The absolute value of a sum of n gaps with variance v has a mean of at most |its own mean| + sqrt(2 n v / pi).
    """
    count = sums.get(GAP_COUNT, 0.0)
    if name != CALIBRATION or not count:
        return 0.0
    return math.sqrt(2 / math.pi * sum(gap in sums for gap in GAPS) * sums[GAP_SQUARES]) / count


def interval(name: str, sums: Sums, of: Outputs, value: float) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric with this value; None where the sums do not hold it."""
    error = standard_error(name, sums, of, value)
    if error is None or of.profile is None:
        return None
    if name == CALIBRATION:
        return max(value - bias(name, sums) - Z * error, 0.0), min(value + Z * error, 1.0)
    found = performance.joined(sums, of.profile, of.classes) if name in WITHIN_ONE else None
    return around(name, value, error, fewest(name, found) if found else 0.0)


def around(name: str, value: float, error: float, rows: float) -> tuple[float, float]:
    """Return the 95 % interval of a metric with this standard error; `rows`: those that a share without one is of."""
    if name in WITHIN_ONE:
        value = min(max(value, 0.0), 1.0)
        return wilson(value, value * (1 - value) / error**2 if error > 0 and 0 < value < 1 else rows)
    low, high = value - Z * error, value + Z * error
    return (max(low, 0.0), high) if name in LOSSES else (low, min(high, 1.0))


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of so many rows; 0 to 1 without any."""
    if rows <= 0:
        return 0.0, 1.0
    square = Z * Z
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = Z / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def loss(name: str, sums: Sums) -> tuple[float, float, float] | None:
    """Return sum, sum of squares and count of a metric's losses; None where squares of some were not kept."""
    total, squares, count = (sums.get(part, 0.0) for part in LOSSES[name])
    if count <= 0 or (name != "mae" and sums.get(MOMENTS, 0.0) < count):
        return None
    return total, squares, count


def _of_cells(name: str, found: Joined, value: float) -> float | None:
    rows = sum(found.cells.values())
    if not rows:
        return None
    if name == "accuracy":
        return math.sqrt(value * (1 - value) / rows)
    influence = influences(name, found, value)
    return math.sqrt(sum(count * influence[cell] ** 2 for cell, count in found.cells.items()))


def influences(name: str, found: Joined, value: float) -> dict[tuple[str, str], float]:
    """Return the influence of one more row of each confusion cell on a share with this value."""
    if name == "accuracy":
        rows = sum(found.cells.values())
        return {(label, prediction): ((label == prediction) - value) / rows for label, prediction in found.cells}
    labelled: dict[str, float] = {}
    predicted: dict[str, float] = {}
    for (label, prediction), count in found.cells.items():
        labelled[label] = labelled.get(label, 0.0) + count
        predicted[prediction] = predicted.get(prediction, 0.0) + count
    averaged = frozenset(labelled) if name == "balanced_accuracy" else found.averaged
    scores = {c: _Class(name, found.right(c), labelled.get(c, 0.0), predicted.get(c, 0.0)) for c in averaged}
    influence = {}
    for label, prediction in found.cells:
        touched = {c for c in (label, prediction) if c in scores}
        influence[label, prediction] = sum(scores[c].influence(label, prediction, c) for c in touched) / len(scores)
    return influence


class _Class:
    """The metric of one class, a ratio `part / whole` of counts, and what one more row adds to it."""

    def __init__(self, name: str, right: float, labelled: float, predicted: float) -> None:
        self._predictions = 1.0 if name in ("f1", "precision") else 0.0
        self._labels = 0.0 if name == "precision" else 1.0
        self._gain = 2.0 if name == "f1" else 1.0
        self._whole = self._predictions * predicted + self._labels * labelled
        self._ratio = self._gain * right / self._whole if self._whole else 0.0

    def influence(self, label: str, prediction: str, of: str) -> float:
        if not self._whole:
            return 0.0
        weight = self._predictions * (prediction == of) + self._labels * (label == of)
        return (self._gain * (label == prediction == of) - self._ratio * weight) / self._whole


def fewest(name: str, found: Joined) -> float:
    """Return the rows of the class that has the fewest: without any variance seen, a share is known no better."""
    rows = sum(found.cells.values())
    if name == "accuracy":
        return rows
    if name == auc.METRIC:
        return ByBin.of(found.sums).fewest
    averaged = {label for label, _ in found.cells} if name == "balanced_accuracy" else found.averaged
    return min((max(found.labelled(c), found.predicted(c)) for c in averaged), default=rows)


def _of_r2(sums: Sums, value: float) -> float | None:
    count = sums.get("count", 0.0)
    if count < 2 or sums.get(MOMENTS, 0.0) < count:
        return None
    mean = sums["label"] / count
    second = sums["label_squared"] / count - mean**2
    if second <= 0:
        return None
    return math.sqrt(max(r2_moments(sums, mean, 1 - value)[1], 0.0) / count) / second


def r2_moments(sums: Sums, mean: float, ratio: float) -> tuple[float, float]:
    """Return the means of x and of its square, x = squared error - ratio * (label - mean)**2, of labels with moments.

    `mean`: of labels as they are added up, as distances from the mean of the predictions on the holdout.
    """
    count = sums["count"]
    first, second = sums["label"] / count, sums["label_squared"] / count
    cubed, fourth = sums["label_cubed"] / count, sums["label_fourth"] / count
    deviation = second - 2 * mean * first + mean**2
    deviation_fourth = fourth - 4 * mean * cubed + 6 * mean**2 * second - 4 * mean**3 * first + mean**4
    error_deviation = (
        sums["squared_error_label_squared"] - 2 * mean * sums["squared_error_label"] + mean**2 * sums["squared_error"]
    ) / count
    squares = sums["squared_error_squares"] / count
    return (
        sums["squared_error"] / count - ratio * deviation,
        squares - 2 * ratio * error_deviation + ratio**2 * deviation_fourth,
    )
