"""The formulas of the built-in metrics by name: on held-out rows, and from sums over the labels that arrive.

What else there is to know of a metric is in `tidemill_contracts.model_metrics`. Both formulas are scikit-learn's: the
trainer's ask it, the monitor's, whose image has no scikit-learn, are functions of counts. Averages: of two classes the
last one in sorted order is the positive class, of any other number a metric of one class is averaged over the classes
that occur as label or prediction, all weighed alike (macro). A share of nothing, 0 / 0, is 0 (`zero_division=0`).

A formula raises ValueError where it cannot be computed, with the reason, and returns NaN where it is not defined.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.counts import does
from tidemill_runtime.model.auc import ByBin

Values = NDArray[Any]
SMALLEST_LABEL: Final = float(np.finfo(np.float64).eps)
"""The least absolute value of a label for mape. scikit-learn divides by this where a label is smaller, also where it is
0, which makes one such row 1e15 times as heavy as the others: here mape is then not defined."""
GAPS: Final = tuple(f"gap {number:02}" for number in range(15))
"""Names of the sums of right (1 or 0) minus probability by bin of the predicted class's probability, for
calibration_error: the expected calibration error of Guo, Pleiss, Sun and Weinberger, On calibration of modern neural
networks (2017), whose 15 bins are open below and closed above."""
GAP_COUNT: Final = "gap_count"
Cells = Mapping[tuple[str, str], float]  # (label, prediction) -> rows


@dataclass(frozen=True)
class Holdout:
    """Held-out rows of one target, at least one, none without a label."""

    truth: Values  # [rows]
    predicted: Values  # [rows]
    classes: Values  # sorted, those that the model knows; of a regression none
    probabilities: Values | None  # [rows, classes]; None: the model gives none
    decisions: Callable[[], Values | None]  # [rows], of two classes, larger for the second; None: it has none


@dataclass(frozen=True)
class Joined:
    """Predictions with labels, as sums that add up over windows."""

    sums: Mapping[str, float]
    cells: Cells  # the confusion matrix; of a regression empty
    positive: str | None  # None: there are not two classes

    @property
    def averaged(self) -> frozenset[str]:
        """The classes that a metric of one class is the mean of."""
        return frozenset({self.positive} if self.positive is not None else {c for cell in self.cells for c in cell})

    def right(self, wanted: str) -> float:
        """Rows whose label and prediction are this class."""
        return self.cells.get((wanted, wanted), 0.0)

    def labelled(self, wanted: str) -> float:
        """Rows whose label is this class."""
        return sum(rows for (label, _), rows in self.cells.items() if label == wanted)

    def predicted(self, wanted: str) -> float:
        """Rows whose prediction is this class."""
        return sum(rows for (_, prediction), rows in self.cells.items() if prediction == wanted)


@dataclass(frozen=True)
class Formula:
    """How a metric is computed; `from_labels` is None where a monitor has not what it needs."""

    on_holdout: Callable[[Holdout], float]
    from_labels: Callable[[Joined], float] | None


def _scikit_learn() -> Any:
    from sklearn import metrics  # at first use: the monitor's image does not have it

    return metrics


def _by_class(score: str) -> Callable[[Holdout], float]:
    """Return a metric of one class, by its name in scikit-learn, on held-out rows."""

    def on_holdout(holdout: Holdout) -> float:
        truth, predicted, classes = holdout.truth, holdout.predicted, holdout.classes
        options: dict[str, Any] = {"average": "macro"}
        if len(classes) == 2:
            truth, predicted, options = truth == classes[-1], predicted == classes[-1], {}
        return float(getattr(_scikit_learn(), score)(truth, predicted, zero_division=0, **options))

    return on_holdout


def _over_classes(score: Callable[[Joined, str], float]) -> Callable[[Joined], float]:
    """Return the mean of a metric of one class, which also takes the class."""
    return lambda joined: fmean(score(joined, c) for c in joined.averaged) if joined.cells else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _accuracy(joined: Joined) -> float:
    rows = sum(joined.cells.values())
    right = sum(rows for (label, prediction), rows in joined.cells.items() if label == prediction)
    return right / rows if rows else math.nan


def _balanced_accuracy(joined: Joined) -> float:
    classes = {label for label, _ in joined.cells}
    return fmean(joined.right(c) / joined.labelled(c) for c in classes) if classes else math.nan


def _by_order(score: str) -> Callable[[Holdout], float]:
    """Return a metric of the order of rows by a class's score, by its name in scikit-learn; macro of three or more."""

    def on_holdout(holdout: Holdout) -> float:
        classes, truth, probabilities = _two_or_more(holdout.classes), holdout.truth, holdout.probabilities
        absent = [str(value) for value in classes if not (truth == value).any()]
        if absent:
            raise ValueError(f"the holdout has no row of class {', '.join(absent)}")
        area = getattr(_scikit_learn(), score)
        if len(classes) == 2:
            scores = probabilities[:, 1] if probabilities is not None else holdout.decisions()
            if scores is None:
                raise ValueError("the model has neither predict_proba nor decision_function")
            return float(area(truth == classes[1], scores))
        if probabilities is None:
            raise ValueError("the model has no predict_proba")
        return float(np.mean([area(truth == c, probabilities[:, i]) for i, c in enumerate(classes)]))

    return on_holdout


def _by_probability(loss: str) -> Callable[[Holdout], float]:
    """Return a loss of the probabilities of all classes, by its name in scikit-learn, on held-out rows."""

    def on_holdout(holdout: Holdout) -> float:
        if holdout.probabilities is None:
            raise ValueError("the model has no predict_proba")
        classes = _two_or_more(holdout.classes)
        unseen = sorted({str(value) for value in holdout.truth} - {str(value) for value in classes})
        if unseen:
            raise ValueError(f"the holdout has classes that the model has not seen: {', '.join(unseen)}")
        index = np.searchsorted(classes, holdout.truth)
        return float(
            getattr(_scikit_learn(), loss)(index, _summing_to_one(holdout.probabilities), labels=range(len(classes)))
        )

    return on_holdout


def _summing_to_one(probabilities: Values) -> Values:
    """Return probabilities (rows x classes) whose rows sum to 1 but for the rounding of single precision.

    Models in ONNX answer in single precision; widened to double, scikit-learn's losses warn about them.
    """
    sums = probabilities.sum(axis=1, keepdims=True)
    return probabilities / sums if np.allclose(sums, 1, rtol=0, atol=1e-5) else probabilities


def _two_or_more(classes: Values) -> Values:
    if len(classes) < 2:
        raise ValueError("the model has a single class")
    return classes


def _of_probabilities(name: str) -> Callable[[Joined], float]:
    """Return the mean of a loss that a monitor adds up, with a count of its own, where it has a probability."""

    def from_labels(joined: Joined) -> float:
        if joined.positive is None or not joined.sums.get(f"{name}_count"):
            raise ValueError(f"{name} needs two classes and the predicted class's probability")
        return joined.sums[name] / joined.sums[f"{name}_count"]

    return from_labels


def gap_bin(probability: float) -> int:
    """Return the place in GAPS of a probability from 0 to 1."""
    return min(max(math.ceil(probability * len(GAPS)) - 1, 0), len(GAPS) - 1)


def _calibration_on_holdout(holdout: Holdout) -> float:
    if holdout.probabilities is None:
        raise ValueError("the model has no predict_proba")
    columns = np.searchsorted(_two_or_more(holdout.classes), holdout.predicted).clip(max=len(holdout.classes) - 1)
    chosen = holdout.probabilities[np.arange(len(columns)), columns].astype(np.float64)
    gaps = (holdout.truth == holdout.predicted) - chosen
    return float(np.abs(np.bincount([gap_bin(p) for p in chosen.tolist()], weights=gaps)).sum() / len(gaps))


def _calibration_error(joined: Joined) -> float:
    count = joined.sums.get(GAP_COUNT, 0.0)
    if not count:
        raise ValueError("calibration_error needs the predicted class's probability")
    return math.fsum(abs(joined.sums.get(name, 0.0)) for name in GAPS) / count


def _roc_auc(joined: Joined) -> float:
    found = ByBin.of(joined.sums)
    if joined.positive is None or not found.places:
        raise ValueError("roc_auc needs two classes and the predicted class's probability")
    if not found.positives.any():
        raise ValueError(f"no label is the class {joined.positive}")
    if not found.negatives.any():
        raise ValueError(f"every label is the class {joined.positive}")
    return found.area()


def _mean(sums: Mapping[str, float], name: str) -> float:
    count = sums.get("count", 0.0)
    return sums[name] / count if count else math.nan


def _mape_on_holdout(holdout: Holdout) -> float:
    zeros = int((np.abs(np.asarray(holdout.truth, dtype=np.float64)) < SMALLEST_LABEL).sum())
    if zeros:
        raise ValueError(_zeros(zeros))
    return float(_scikit_learn().mean_absolute_percentage_error(holdout.truth, holdout.predicted))


def _mape(joined: Joined) -> float:
    count, zeros = joined.sums.get("percentage_error_count", 0.0), joined.sums.get("zero_label", 0.0)
    if zeros:
        raise ValueError(_zeros(int(zeros)))
    return joined.sums["percentage_error"] / count if count else math.nan


def _zeros(count: int) -> str:
    return f"{does(count, 'label', 'is', 'are')} 0, and an error is no percentage of 0"


def _r2(joined: Joined) -> float:
    sums = joined.sums
    count = sums.get("count", 0.0)
    if count < 2:
        return math.nan
    spread = sums["label_squared"] - sums["label"] ** 2 / count
    return 1.0 - sums["squared_error"] / spread if spread > 0 else math.nan


FORMULAS: Final[Mapping[str, Formula]] = {
    "accuracy": Formula(lambda h: _scikit_learn().accuracy_score(h.truth, h.predicted), _accuracy),
    "balanced_accuracy": Formula(
        lambda h: _scikit_learn().balanced_accuracy_score(h.truth, h.predicted), _balanced_accuracy
    ),
    "f1": Formula(
        _by_class("f1_score"),
        _over_classes(lambda j, c: _ratio(2 * j.right(c), j.predicted(c) + j.labelled(c))),
    ),
    "precision": Formula(_by_class("precision_score"), _over_classes(lambda j, c: _ratio(j.right(c), j.predicted(c)))),
    "recall": Formula(_by_class("recall_score"), _over_classes(lambda j, c: _ratio(j.right(c), j.labelled(c)))),
    "roc_auc": Formula(_by_order("roc_auc_score"), _roc_auc),
    "average_precision": Formula(_by_order("average_precision_score"), None),
    "log_loss": Formula(_by_probability("log_loss"), _of_probabilities("log_loss")),
    "brier": Formula(_by_probability("brier_score_loss"), _of_probabilities("brier")),
    "calibration_error": Formula(_calibration_on_holdout, _calibration_error),
    "rmse": Formula(
        lambda h: _scikit_learn().root_mean_squared_error(h.truth, h.predicted),
        lambda j: math.sqrt(_mean(j.sums, "squared_error")),
    ),
    "mae": Formula(
        lambda h: _scikit_learn().mean_absolute_error(h.truth, h.predicted), lambda j: _mean(j.sums, "absolute_error")
    ),
    "median_absolute_error": Formula(lambda h: _scikit_learn().median_absolute_error(h.truth, h.predicted), None),
    "mape": Formula(_mape_on_holdout, _mape),
    "r2": Formula(lambda h: _scikit_learn().r2_score(h.truth, h.predicted), _r2),
}
