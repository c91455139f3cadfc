"""Both formulas of every metric of classes against scikit-learn, on data that is awkward."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tidemill_contracts import model_metrics
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.model.metric_formulas import FORMULAS, Holdout
from tidemill_runtime.monitor import performance
from tidemill_runtime.monitor.binning import ColumnBins

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
    asked = by_class(classes, truth, predicted) if one else (truth, predicted, {})
    expected = pytest.approx(EXPECTED[name](*asked))

    held_out = Holdout(np.array(truth), np.array(predicted), np.array(classes), None, lambda: None)
    assert FORMULAS[name].on_holdout(held_out) == expected

    profile = CategoricalProfile(name="y", categories=classes, counts=(1,) * len(classes) + (0,), missing=0)
    if len(classes) == 1 and len({*truth, *predicted}) == 2:
        return  # a monitor takes the two classes that occur for those of the model
    sums: dict[str, float] = {}
    for label, prediction in zip(truth, predicted, strict=True):
        for key, value in performance.addition(ColumnBins(profile), prediction, None, label).items():
            sums[key] = sums.get(key, 0.0) + value
    assert performance.metric(name, sums, profile)[0] == expected


@pytest.mark.parametrize("name", ["precision", "recall"])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_label_that_is_missing_is_none_of_the_classes(name: str, missing: float | None) -> None:
    """The trainer leaves such rows out; a monitor counts them as wrong, as scikit-learn does with a class more."""
    labels, predicted = [1, missing, 0, 1, missing, 1], [1, 1, 0, 0, 0, 1]
    profile = CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0)
    sums: dict[str, float] = {}
    for label, prediction in zip(labels, predicted, strict=True):
        for key, value in performance.addition(ColumnBins(profile), prediction, None, label).items():
            sums[key] = sums.get(key, 0.0) + value
    expected = EXPECTED[name]([label == 1 for label in labels], [p == 1 for p in predicted], {"zero_division": 0})
    value, note = performance.metric(name, sums, profile)
    assert value == pytest.approx(expected)
    assert note.startswith("2 labels name classes that are never predicted")


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


def test_every_metric_of_classes_that_a_monitor_computes_from_classes_alone_is_compared() -> None:
    probabilities = {m.name for m in model_metrics.METRICS if "probabilities" in m.needs}
    assert set(EXPECTED) == set(model_metrics.names("classification")) - probabilities
