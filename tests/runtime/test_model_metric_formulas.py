"""Both formulas of every metric against scikit-learn, on data that is awkward."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tidemill_contracts import model_metrics
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.model.metric_formulas import FORMULAS, Holdout
from tidemill_runtime.monitor import performance
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.score_order import ScoreOrder

TWO, THREE = ("no", "yes"), ("a", "b", "c")
ROWS = [
    pytest.param(TWO, "no yes yes no yes", "no yes no yes yes", id="two classes"),
    pytest.param(TWO, "no no yes", "no no no", id="the positive class is never predicted"),
    pytest.param(TWO, "no no no", "yes no yes", id="the positive class is no label"),
    pytest.param(TWO, "no no", "no no", id="the negative class only"),
    pytest.param(TWO, "yes yes", "yes yes", id="the positive class only"),
    pytest.param(TWO, "yes maybe no", "yes yes no", id="a label that is none of two classes"),
    pytest.param(THREE, "a a b b c c c", "a b b b c c a", id="three classes"),
    pytest.param(THREE, "a a b", "a b b", id="a class that occurs nowhere"),
    pytest.param(THREE, "a a b", "a b c", id="a class that is no label"),
    pytest.param(THREE, "a b c", "a b b", id="a class that is never predicted"),
    pytest.param(THREE, "a d d e", "a b c a", id="labels that are no class"),
    pytest.param(("a",), "a a b", "a a a", id="a model of one class"),
]
By = Callable[[Sequence[str], Sequence[str], dict[str, Any]], float]
"""Labels, predictions and the options of a metric of one class, to what scikit-learn says."""
EXPECTED: dict[str, By] = {
    "accuracy": lambda t, p, _: metrics.accuracy_score(t, p),
    "balanced_accuracy": lambda t, p, _: metrics.recall_score(t, p, average="macro", labels=sorted(set(t))),
    "f1": lambda t, p, options: metrics.f1_score(t, p, **options),
    "precision": lambda t, p, options: metrics.precision_score(t, p, **options),
    "recall": lambda t, p, options: metrics.recall_score(t, p, **options),
}


def added(profile: Profile, rows: Iterable[tuple[Any, ...]]) -> dict[str, float]:
    """The sums that a monitor keeps of rows of (label, prediction) or (label, prediction, score)."""
    sums: dict[str, float] = {}
    column = ColumnBins(profile)
    order = ScoreOrder(*sorted(column.classes)) if len(column.classes) == 2 else None
    for label, prediction, *score in rows:
        for key, value in performance.addition(column, prediction, *(score or [None]), label, order).items():
            sums[key] = sums.get(key, 0.0) + value
    return sums


def watched(name: str, profile: Profile, rows: Iterable[tuple[Any, ...]]) -> tuple[float | None, str]:
    """What a monitor says of rows of (label, prediction) or (label, prediction, score)."""
    return performance.metric(name, added(profile, rows), profile)


def by_class(classes: Sequence[str], truth: list[str], predicted: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    """What scikit-learn is asked for a metric of one class."""
    if len(classes) == 2:
        return [c == classes[-1] for c in truth], [c == classes[-1] for c in predicted], {"zero_division": 0}
    return truth, predicted, {"zero_division": 0, "average": "macro"}


@pytest.mark.filterwarnings("ignore:.*y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(("classes", "labels", "predictions"), ROWS)
def test_both_formulas_are_scikit_learns(classes: tuple[str, ...], labels: str, predictions: str, name: str) -> None:
    truth, predicted = labels.split(), predictions.split()
    one = "positive class" in model_metrics.BY_NAME[name].formula

    def of_scikit_learn(truth: list[str], predicted: list[str]) -> Any:
        asked = by_class(classes, truth, predicted) if one else (truth, predicted, {})
        return pytest.approx(EXPECTED[name](*asked))

    held_out = Holdout(np.array(truth), np.array(predicted), np.array(classes), None, lambda: None)
    assert FORMULAS[name].on_holdout(held_out) == of_scikit_learn(truth, predicted)

    profile = CategoricalProfile(name="y", categories=classes, counts=(1,) * len(classes) + (0,), missing=0)
    if len(classes) == 1 and len({*truth, *predicted}) == 2:
        return  # a monitor takes the two classes that occur for those of the model
    rows = list(zip(truth, predicted, strict=True))
    recognized = [(label, p) for label, p in rows if label in {*classes, *predicted}]
    expected = of_scikit_learn([label for label, _ in recognized], [p for _, p in recognized])
    assert watched(name, profile, rows)[0] == expected
    assert performance.unrecognized(added(profile, rows), profile).labels == len(rows) - len(recognized)


@pytest.mark.parametrize("name", ["precision", "recall"])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_label_that_is_missing_is_none_of_the_classes(name: str, missing: float | None) -> None:
    """The trainer leaves such rows out; a monitor counts them apart, neither as right nor as wrong."""
    labels, predicted = [1, missing, 0, 1, missing, 1], [1, 1, 0, 0, 0, 1]
    profile = CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0)
    expected = EXPECTED[name]([True, False, True, True], [True, False, False, True], {"zero_division": 0})
    rows = list(zip(labels, predicted, strict=True))
    assert watched(name, profile, rows)[0] == pytest.approx(expected)
    assert performance.unrecognized(added(profile, rows), profile).labels == 2


@given(st.sampled_from([TWO, THREE, tuple("abcdefg")]).flatmap(lambda classes: st.tuples(
    st.just(classes), st.lists(st.tuples(st.sampled_from(classes), st.sampled_from(classes)), min_size=1),
)))  # fmt: skip
def test_precision_and_recall_lie_between_0_and_1_and_change_places(
    drawn: tuple[tuple[str, ...], list[tuple[str, str]]],
) -> None:
    """The precision of predictions against labels is the recall of labels against predictions."""
    classes, rows = drawn
    truth, predicted = (np.array(column) for column in zip(*rows, strict=True))
    precision = FORMULAS["precision"].on_holdout(Holdout(truth, predicted, np.array(classes), None, lambda: None))
    recall = FORMULAS["recall"].on_holdout(Holdout(predicted, truth, np.array(classes), None, lambda: None))
    assert precision == pytest.approx(recall)
    assert 0 <= precision <= 1


# -- of probabilities -------------------------------------------------------------------------------------------


def guo(right: Any, confidence: Any) -> float:
    """Guo et al. (2017), equations 2 and 5, with 15 bins; scikit-learn has no such metric."""
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for low, high in pairwise(edges):
        rows = (confidence > low) & (confidence <= high)
        if rows.any():
            total += rows.mean() * abs(right[rows].mean() - confidence[rows].astype(float).mean())
    return total


FROM_PROBABILITIES: dict[str, Callable[[Any, Any, Any], float]] = {
    "roc_auc": lambda t, p, classes: (
        metrics.roc_auc_score(t == classes[1], p[:, 1])
        if len(classes) == 2
        else metrics.roc_auc_score(t, p, multi_class="ovr", labels=classes)
    ),
    "average_precision": lambda t, p, classes: (
        metrics.average_precision_score(t, p[:, 1], pos_label=classes[1])
        if len(classes) == 2
        else metrics.average_precision_score(t, p)
    ),
    "log_loss": lambda t, p, classes: metrics.log_loss(t, p, labels=classes),
    "brier": lambda t, p, classes: (
        metrics.brier_score_loss(t, p[:, 1], pos_label=classes[1])
        if len(classes) == 2
        else metrics.brier_score_loss(t, p, labels=classes)
    ),
    "calibration_error": lambda t, p, classes: guo(classes[p.argmax(axis=1)] == t, p.max(axis=1)),
}
"""Labels [rows], probabilities [rows, classes] and the sorted classes, to what scikit-learn says."""
PROBABILITIES = [
    pytest.param(TWO, "no yes yes no yes", [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6], [0.0, 1.0]], id="two"),
    pytest.param(TWO, "no yes yes no", [[0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.3, 0.7]], id="ties"),
    pytest.param(TWO, "no yes no no", [[0.5, 0.5]] * 4, id="all tied"),
    pytest.param(TWO, "no yes", [[1.0, 0.0], [1.0, 0.0]], id="sure and wrong"),
    pytest.param(TWO, "no yes", [[0.1, 0.9], [0.9, 0.1]], id="the wrong way round"),
    pytest.param((0, 1), "0 1 1", [[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], id="numbers"),
    pytest.param(THREE, "a b c", [[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], id="a row of each of three"),
    pytest.param(
        THREE, "a a b c c", [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]],
        id="three with ties",
    ),
]  # fmt: skip


def held_out(classes: Sequence[Any], labels: str, given: Any, dtype: str) -> Holdout:
    kind = type(classes[0])
    truth, probabilities = np.array([kind(c) for c in labels.split()]), np.array(given, dtype=dtype)
    known = np.array(classes)
    return Holdout(truth, known[probabilities.argmax(axis=1)], known, probabilities, lambda: None)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FROM_PROBABILITIES)
@pytest.mark.parametrize(("classes", "labels", "given"), PROBABILITIES)
def test_metrics_of_probabilities_are_scikit_learns(
    classes: tuple[Any, ...], labels: str, given: list[list[float]], name: str, dtype: str
) -> None:
    rows = held_out(classes, labels, given, dtype)
    assert rows.probabilities is not None
    expected = FROM_PROBABILITIES[name](rows.truth, rows.probabilities, rows.classes)
    assert FORMULAS[name].on_holdout(rows) == pytest.approx(expected)
    of_two_only = len(classes) != 2 and name != "calibration_error"
    if not model_metrics.BY_NAME[name].monitored or of_two_only or (name == "log_loss" and dtype == "float32"):
        return  # scikit-learn clips a probability of 0 elsewhere in 32 bits; JSON has 64
    known = tuple(str(c) for c in classes)
    profile = CategoricalProfile(name="y", categories=known, counts=(1,) * len(classes) + (0,), missing=0)
    seen = zip(rows.truth.tolist(), rows.predicted.tolist(), rows.probabilities.max(axis=1).tolist(), strict=True)
    assert watched(name, profile, seen)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("classes", "labels", "given", "names", "why"),
    [
        (TWO, "yes yes", [[0.1, 0.9]] * 2, ("roc_auc", "average_precision"), "the holdout has no row of class no"),
        (TWO, "no", [[0.1, 0.9]], ("roc_auc", "average_precision"), "the holdout has no row of class yes"),
        (THREE, "a b", [[0.5, 0.3, 0.2]] * 2, ("roc_auc", "average_precision"), "the holdout has no row of class c"),
        (("a",), "a a", [[1.0]] * 2, tuple(FROM_PROBABILITIES), "the model has a single class"),
        (TWO, "no yes maybe", [[0.1, 0.9]] * 3, ("log_loss", "brier"), "the model has not seen: maybe"),
        (TWO, "no yes", [[math.nan, 0.9]] * 2, ("log_loss", "brier"), "NaN"),
    ],
    ids=["no negatives", "no positives", "a class less", "a model of one class", "a class more", "no numbers"],
)
def test_a_metric_of_probabilities_that_is_not_defined_says_why(
    classes: tuple[str, ...], labels: str, given: list[list[float]], names: tuple[str, ...], why: str
) -> None:
    for name in names:
        with pytest.raises(ValueError, match=why):
            FORMULAS[name].on_holdout(held_out(classes, labels, given, "float64"))


@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_probabilities_that_were_rounded_to_single_precision_are_no_warning(name: str) -> None:
    drawn = np.random.RandomState(0).dirichlet(np.ones(3), 60)
    labels = " ".join("abc"[i % 3] for i in range(60))
    rounded = held_out(THREE, labels, drawn.astype(np.float32).astype(np.float64).tolist(), "float64")
    exact = held_out(THREE, labels, drawn.tolist(), "float64")
    assert FORMULAS[name].on_holdout(rounded) == pytest.approx(FORMULAS[name].on_holdout(exact), rel=1e-6)


@pytest.mark.parametrize("labels", ["yes yes yes", "no"])
@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_a_loss_of_rows_of_one_class_is_defined(labels: str, name: str) -> None:
    rows = held_out(TWO, labels, [[0.3, 0.7]] * len(labels.split()), "float64")
    assert rows.probabilities is not None
    found = FORMULAS[name].on_holdout(rows)
    assert found == pytest.approx(FROM_PROBABILITIES[name](rows.truth, rows.probabilities, rows.classes))


@pytest.mark.parametrize("name", FROM_PROBABILITIES)
def test_a_model_without_probabilities_has_none_of_their_metrics(name: str) -> None:
    truth = np.array(["no", "yes"])
    with pytest.raises(ValueError, match="the model has n"):
        FORMULAS[name].on_holdout(Holdout(truth, truth, truth, None, lambda: None))


def test_two_classes_are_ordered_by_decision_values_where_there_are_no_probabilities() -> None:
    truth, decisions = np.array([0, 1, 1, 0]), np.array([-3.0, -1.0, 2.0, 2.0])
    rows = Holdout(truth, truth, np.array([0, 1]), None, lambda: decisions)
    assert FORMULAS["average_precision"].on_holdout(rows) == metrics.average_precision_score(truth, decisions)


# -- of numbers -------------------------------------------------------------------------------------------------

FROM_NUMBERS: dict[str, Callable[[Any, Any], float]] = {
    "rmse": metrics.root_mean_squared_error,
    "mae": metrics.mean_absolute_error,
    "median_absolute_error": metrics.median_absolute_error,
    "mape": metrics.mean_absolute_percentage_error,
    "r2": metrics.r2_score,
}
NUMBERS = [
    pytest.param([3.0, 5.0, 4.0, 10.0], [2.5, 5.0, 6.0, 8.0], id="four rows"),
    pytest.param([3.0, 5.0, 4.0], [4.0, 4.0, 5.0], id="errors all alike"),
    pytest.param([-3.0, 5.0, -0.5, 1e6], [3.0, -5.0, 0.0, 1.0], id="negative labels and an outlier"),
    pytest.param([1e-9, 2e9, 1.0], [0.0, 1e9, 1.0], id="tiny and large labels"),
    pytest.param([7, 3, 9], [8, 3, 5], id="whole numbers"),
    pytest.param([1.0, 2.0], [1.0, 2.0], id="all right"),
]


@pytest.mark.filterwarnings("ignore:R.* score is not well-defined")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("name", FROM_NUMBERS)
@pytest.mark.parametrize(("labels", "predictions"), [*NUMBERS, pytest.param([4.0], [5.0], id="one row")])
def test_metrics_of_numbers_are_scikit_learns(
    labels: list[float], predictions: list[float], name: str, dtype: str
) -> None:
    truth, predicted = np.array(labels).astype(dtype), np.array(predictions).astype(dtype)
    if dtype == "int64" and not truth.all():
        return  # zeros by rounding
    expected = FROM_NUMBERS[name](truth, predicted)
    found = FORMULAS[name].on_holdout(Holdout(truth, predicted, np.zeros(0), None, lambda: None))
    assert found == pytest.approx(expected, nan_ok=True)
    if model_metrics.BY_NAME[name].monitored:
        value, _ = watched(name, price(), zip(truth.tolist(), predicted.tolist(), strict=True))
        close = pytest.approx(expected, rel=1e-4 if dtype == "float32" else 1e-6)
        assert value == (None if math.isnan(expected) else close)


def price() -> NumericProfile:
    return NumericProfile(name="y", edges=(0.0,), counts=(1, 1), missing=0, mean=4.0, std=1.0)


@pytest.mark.parametrize("labels", [[0.0, 1.0], [0, 1], [-0.0, 1.0], [1e-300, 1.0], [False, True]])
def test_an_error_is_no_percentage_of_0(labels: list[float]) -> None:
    """There scikit-learn divides by 2e-16, and one row weighs more than all others."""
    why = "1 label is 0, and an error is no percentage of 0"
    truth = np.array(labels)
    with pytest.raises(ValueError, match=why):
        FORMULAS["mape"].on_holdout(Holdout(truth, np.ones(2), np.zeros(0), None, lambda: None))
    assert watched("mape", price(), [(label, 1.0) for label in labels]) == (None, why)
    assert watched("mae", price(), [(label, 1.0) for label in labels])[0] is not None


@pytest.mark.parametrize("missing", [None, math.nan, "unknown"])
def test_a_label_that_is_no_number_is_left_out_of_percentages_and_noted(missing: Any) -> None:
    found = watched("mape", price(), [(2.0, 1.0), (missing, 1.0), (4.0, 5.0), (missing, 0.0)])
    assert found == (pytest.approx(0.375), "2 labels or predictions are not numbers")


@pytest.mark.parametrize(("name", "of"), [("mape", "absolute_error"), ("brier", "log_loss")])
def test_labels_that_were_joined_before_a_metric_was_added_are_no_part_of_it(name: str, of: str) -> None:
    """Sums that a monitor kept then know nothing of it; they must not make it look better."""
    regression = name == "mape"
    two = CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0)
    profile: Profile = price() if regression else two
    row = (2.0, 1.0, None) if regression else (1, 0, 0.8)
    one = performance.addition(ColumnBins(profile), row[1], row[2], row[0])
    old = {key: value for key, value in one.items() if not key.startswith((name, "percentage"))}
    assert of in old
    both = {key: value + old.get(key, 0.0) for key, value in one.items()}
    assert performance.metric(name, both, profile)[0] == pytest.approx(performance.metric(name, one, profile)[0])
    assert performance.metric(name, old, profile)[0] is None


# -- all of them ------------------------------------------------------------------------------------------------


def test_every_metric_is_compared_with_scikit_learns() -> None:
    compared = [*EXPECTED, *FROM_PROBABILITIES, *FROM_NUMBERS]
    assert sorted(compared) == sorted(metric.name for metric in model_metrics.METRICS)


@pytest.mark.parametrize("metric", model_metrics.METRICS, ids=lambda metric: metric.name)
def test_the_table_says_which_direction_is_better(metric: model_metrics.ModelMetric) -> None:
    """A model that is right has the best value, one that is not has a worse one."""
    if metric.task == "classification":
        right = held_out(TWO, "no yes no yes", [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "float64")
        wrong = held_out(TWO, "no yes no yes", [[0.4, 0.6], [0.4, 0.6], [0.7, 0.3], [0.9, 0.1]], "float64")
    else:
        truth, none = np.array([1.0, 2.0, 4.0]), np.zeros(0)
        right = Holdout(truth, truth, none, None, lambda: None)
        wrong = Holdout(truth, truth[::-1], none, None, lambda: None)
    best, worse = (FORMULAS[metric.name].on_holdout(rows) for rows in (right, wrong))
    assert (best > worse) if metric.better == "higher" else (0 <= best < worse)
