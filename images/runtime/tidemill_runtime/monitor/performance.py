"""Performance from joined labels: sums that add up over windows, and the metrics read from the sums.

One joined label becomes a few additions (a confusion cell, or moments of the error); a metric of any set of windows
is a function of the added sums. Definitions are scikit-learn's. Nothing here knows when labels came or are judged.
"""

import json
import math
from collections.abc import Mapping
from typing import Final

from tidemill_contracts.inference import Value
from tidemill_contracts.reference import NumericProfile, Profile
from tidemill_runtime.monitor.binning import ColumnBins

Sums = Mapping[str, float]

CLASSIFICATION: Final = ("accuracy", "balanced_accuracy", "f1", "log_loss")
REGRESSION: Final = ("rmse", "mae", "r2")

_CELL: Final = "confusion "
_CLASS_LENGTH: Final = 100
_OTHER: Final = "(other labels)"
_INVALID: Final = "invalid"  # labels that are no number, for a regression
_EPSILON: Final = 2.220446049250313e-16  # log_loss clips probabilities here, as scikit-learn does for 64-bit floats


def addition(column: ColumnBins, prediction: Value, score: float | None, label: Value) -> dict[str, float]:
    """Return what one joined label adds to its window's sums."""
    if isinstance(column.profile, NumericProfile):
        return _error_moments(column.profile, prediction, label)
    true, predicted = column.category(label), column.category(prediction)
    sums = {cell_name(true, predicted): 1.0}
    classes = column.profile.categories
    if score is not None and len(classes) == 2 and {true, predicted} <= set(classes) and 0 <= score <= 1:
        # the score is the probability of the predicted class: of two classes, that gives the other's
        probability = score if true == predicted else 1.0 - score
        sums["log_loss"] = -math.log(min(max(probability, _EPSILON), 1.0))
        sums["log_loss_count"] = 1.0
    return sums


def cell_name(true: str, predicted: str) -> str:
    """Return the name of a confusion cell; long class names are cut."""
    return _CELL + json.dumps([true[:_CLASS_LENGTH], predicted[:_CLASS_LENGTH]], ensure_ascii=False)


def without_label(name: str) -> str:
    """Return the cell that stands for all labels beyond the bound on cells: a label equal to no prediction."""
    return cell_name(_OTHER, _parse(name)[1]) if name.startswith(_CELL) else name


def _error_moments(profile: NumericProfile, prediction: Value, label: Value) -> dict[str, float]:
    y, p = _number(label), _number(prediction)
    if y is None or p is None:
        return {_INVALID: 1.0}
    centred = y - (profile.mean or 0.0)  # keeps the sum of squares exact when values are large and alike
    return {
        "count": 1.0,
        "absolute_error": abs(y - p),
        "squared_error": (y - p) ** 2,
        "label": centred,
        "label_squared": centred**2,
    }


def metric(name: str, sums: Sums, profile: Profile | None) -> tuple[float | None, str]:
    """Return the metric's value and a note; the value is None where it is not defined, and the note says why."""
    if profile is None:
        return None, "the reference has no profile of the predictions"
    if isinstance(profile, NumericProfile):
        if name not in REGRESSION:
            return None, f"{name} is not computed for numeric predictions: one of {', '.join(REGRESSION)}"
        note = f"{sums[_INVALID]:.0f} labels or predictions are not numbers" if sums.get(_INVALID) else ""
        return _regression(name, sums), note
    if name not in CLASSIFICATION:
        return None, f"{name} is not computed for classes: one of {', '.join(CLASSIFICATION)}"
    cells = {_parse(key): value for key, value in sums.items() if key.startswith(_CELL)}
    never = {true for true, _ in cells} - {predicted for _, predicted in cells} - set(profile.categories)
    labels = sum(value for (true, _), value in cells.items() if true in never)
    note = f"{labels:.0f} labels name classes that are never predicted: {', '.join(sorted(never)[:5])}" if never else ""
    if name == "log_loss":
        if not sums.get("log_loss_count"):
            return None, "log_loss needs two classes and the predicted class's probability"
        return sums["log_loss"] / sums["log_loss_count"], note
    if not cells:
        return None, note
    if name == "f1":
        return _f1(cells, _positive(set(profile.categories) if len(profile.categories) > 1 else _classes(cells))), note
    return (_accuracy(cells) if name == "accuracy" else _balanced_accuracy(cells)), note


Cells = dict[tuple[str, str], float]  # (true, predicted) -> number


def _accuracy(cells: Cells) -> float:
    return sum(v for (true, predicted), v in cells.items() if true == predicted) / sum(cells.values())


def _balanced_accuracy(cells: Cells) -> float:
    """Mean recall over the classes that occur among the labels."""
    recalls = []
    for wanted in {true for true, _ in cells}:
        total = sum(v for (true, _), v in cells.items() if true == wanted)
        recalls.append(cells.get((wanted, wanted), 0.0) / total)
    return sum(recalls) / len(recalls)


def _f1(cells: Cells, positive: str | None) -> float:
    """F1 of the positive class, or without one the plain mean over classes that occur as label or prediction."""
    scores = []
    for wanted in {positive} if positive is not None else _classes(cells):
        hit = cells.get((wanted, wanted), 0.0)
        said = sum(v for (_, predicted), v in cells.items() if predicted == wanted)
        is_ = sum(v for (true, _), v in cells.items() if true == wanted)
        scores.append(2 * hit / (said + is_) if said + is_ else 0.0)
    return sum(scores) / len(scores)


def _classes(cells: Cells) -> set[str]:
    return {name for cell in cells for name in cell}


def _positive(classes: set[str]) -> str | None:
    """Return the positive class of two: the greater one, as scikit-learn orders classes; None when not of two."""
    return max(classes, key=_order) if len(classes) == 2 else None


def _order(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _regression(name: str, sums: Sums) -> float | None:
    count = sums.get("count", 0.0)
    if not count:
        return None
    if name == "mae":
        return sums["absolute_error"] / count
    if name == "rmse":
        return math.sqrt(sums["squared_error"] / count)
    spread = sums["label_squared"] - sums["label"] ** 2 / count
    if count < 2 or spread <= 0:
        return None  # not defined for one label or labels all alike
    return 1.0 - sums["squared_error"] / spread


def _number(value: Value) -> float | None:
    if value is None or isinstance(value, str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _parse(name: str) -> tuple[str, str]:
    true, predicted = json.loads(name.removeprefix(_CELL))
    return true, predicted
