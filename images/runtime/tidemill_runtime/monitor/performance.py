"""Performance from joined labels: sums that add up over windows, and the metrics read from the sums.

One joined label becomes a few additions (a confusion cell, or moments of the error); a metric of any set of windows
is a function of the added sums, one of `model.metric_formulas`. Nothing here knows when labels came or are judged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_contracts import model_metrics
from tidemill_contracts.counts import does
from tidemill_contracts.inference import Value
from tidemill_contracts.model_metrics import MetricTask
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.model import label_sums
from tidemill_runtime.model.label_sums import CELL, CLASS_LENGTH, LARGEST_NUMBER, cell, cell_name
from tidemill_runtime.model.metric_formulas import FORMULAS, Joined
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.class_names import ClassNames, class_order
from tidemill_runtime.monitor.score_order import ScoreOrder

Sums = Mapping[str, float]
_Cells = dict[tuple[str, str], float]  # (label, prediction) -> rows

_PREDICTIONS: Final[dict[MetricTask, str]] = {"classification": "classes", "regression": "numeric predictions"}
_OTHER: Final = "(other labels)"
_NO_NUMBER: Final = ("label or prediction", "is not a number", "are not numbers", "labels or predictions")
_EXAMPLES: Final = 5
_EXAMPLE_LENGTH: Final = 40
_INVALID: Final = "invalid"  # labels or predictions that are no number, or beyond the largest, for a regression


def addition(
    column: ColumnBins, prediction: Value, score: float | None, label: Value, order: ScoreOrder | None = None
) -> dict[str, float]:
    """Return what one joined label adds to its window's sums; `order`: for roc_auc, where that is asked for."""
    if isinstance(column.profile, NumericProfile):
        return _error_moments(column.profile, prediction, label)
    true, predicted = column.label(label), column.category(prediction)
    known = score if score is not None and 0 <= score <= 1 else None
    probability = None
    if known is not None and len(column.classes) == 2 and {true, predicted} <= column.classes:
        # the score is the probability of the predicted class: of two classes, that gives the other's
        probability = known if true == predicted else 1.0 - known
    sums = label_sums.of_class(true, predicted, probability, known if column.names(label) else None)
    return sums if known is None or order is None else {**sums, **order.addition(true, predicted, known)}


def without_label(name: str) -> str:
    """Return the cell that stands for all labels beyond the bound on cells: a label that names no class."""
    return cell_name(_OTHER, cell(name)[1]) if name.startswith(CELL) else name


def _error_moments(profile: NumericProfile, prediction: Value, label: Value) -> dict[str, float]:
    y, p = _number(_spelt(label)), _number(prediction)
    if y is None or p is None:
        return {_INVALID: 1.0}
    if max(abs(y), abs(p)) > LARGEST_NUMBER:
        return {_INVALID: 1.0}
    return label_sums.of_number(y, p, profile.mean or 0.0)


@dataclass(frozen=True)
class Outputs:
    """What is known of a model's predictions from its reference profile."""

    profile: Profile | None
    classes: Sequence[str] = ()
    """All of the model's, where known."""


@dataclass(frozen=True)
class Unrecognized:
    """Labels that name no class of the model, or are no number: how many, and at most five of their texts."""

    labels: int = 0
    examples: tuple[str, ...] = ()


def metric(name: str, sums: Sums, profile: Profile | None, classes: Sequence[str] = ()) -> tuple[float | None, str]:
    """Return the metric's value and a note; the value is None where it is not defined, and the note says why.

    Labels that are not recognized count neither as right nor as wrong. `classes` are all of the model's, where known.
    """
    if profile is None:
        return None, "the reference has no profile of the predictions"
    task: MetricTask = "regression" if isinstance(profile, NumericProfile) else "classification"
    allowed = model_metrics.names(task, monitored=True)
    formula = FORMULAS[name].from_labels if name in allowed else None
    if formula is None:
        return None, f"{name} is not computed for {_PREDICTIONS[task]}: one of {', '.join(allowed)}"
    try:
        value = formula(joined(sums, profile, classes))
    except ValueError as error:
        return None, str(error)
    except OverflowError:  # of sums from before numbers had a bound
        return None, "a label or prediction is too large"
    note = does(sums[_INVALID], *_NO_NUMBER) if task == "regression" and sums.get(_INVALID) else ""
    return (value if math.isfinite(value) else None), note


def unrecognized(sums: Sums, profile: Profile | None, classes: Sequence[str] = ()) -> Unrecognized:
    """Return which of the labels in added sums say nothing about the model."""
    if not isinstance(profile, CategoricalProfile):
        return Unrecognized(int(sums.get(_INVALID, 0)))
    _, _, foreign = _cells(sums, profile, classes)
    texts = sorted({true for true, _ in foreign}, key=lambda text: (text == _OTHER, text))
    return Unrecognized(int(sum(foreign.values())), tuple(text[:_EXAMPLE_LENGTH] for text in texts[:_EXAMPLES]))


def joined(sums: Sums, profile: Profile, classes: Sequence[str] = ()) -> Joined:
    """Return what formulas take; `classes` are all of the model's, where known."""
    if not isinstance(profile, CategoricalProfile):
        return Joined(sums, {}, None)
    known, cells, _ = _cells(sums, profile, classes)
    return Joined(sums, cells, _positive(known if len(known) > 1 else known | {true for true, _ in cells}))


def _cells(sums: Sums, profile: CategoricalProfile, classes: Sequence[str]) -> tuple[set[str], _Cells, _Cells]:
    """Return the known classes, the confusion cells of labels that name one of them, and those of other labels.

    Without `classes`, those are known that were predicted, on the holdout or now. Where that is a single one, nothing
    is known of the others, so that every label counts.
    """
    parsed = {cell(key): value for key, value in sums.items() if key.startswith(CELL)}
    known = {name[:CLASS_LENGTH] for name in (*classes, *profile.categories)}
    known |= {predicted for _, predicted in parsed if predicted}
    names = ClassNames(sorted(known))
    cells: _Cells = {}
    foreign: _Cells = {}
    for (true, predicted), value in parsed.items():
        found = names.find(true)
        if found is None and len(known) == 1 and not classes and true != _OTHER:
            found = true
        into = foreign if found is None else cells
        key = (true if found is None else found, predicted)
        into[key] = into.get(key, 0.0) + value
    return known, cells, foreign


def _positive(classes: set[str]) -> str | None:
    """Return the positive class of two: the greater one, as scikit-learn orders classes; None when not of two."""
    return max(classes, key=class_order) if len(classes) == 2 else None


def _spelt(label: Value) -> Value:
    """Return a label that is a number as text as that number."""
    if not isinstance(label, str) or len(label) > CLASS_LENGTH or "_" in label:
        return label
    try:
        return float(label)
    except ValueError:
        return label


def _number(value: Value) -> float | None:
    if value is None or isinstance(value, str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
