"""Metrics from added sums against scikit-learn on the raw labels."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.monitor import performance
from tidemill_runtime.monitor.binning import ColumnBins

TWO = CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0)
SWAPPED = CategoricalProfile(name="y", categories=("yes", "no"), counts=(1, 1, 0), missing=0)
ONLY_TWO_SEEN = CategoricalProfile(name="y", categories=("a", "b"), counts=(1, 1, 0), missing=0)
THREE = CategoricalProfile(name="y", categories=("a", "b", "c"), counts=(1, 1, 1, 0), missing=0)
PRICE = NumericProfile(name="y", edges=(0.0,), counts=(1, 1), missing=0, mean=1e6, std=1.0)


def sums(profile: Profile, rows: list[tuple[object, float | None, object]]) -> dict[str, float]:
    """Add up (prediction, score, label) rows."""
    total: Counter[str] = Counter()
    for prediction, score, label in rows:
        for name, value in performance.addition(ColumnBins(profile), prediction, score, label).items():  # type: ignore[arg-type]
            total[name] += value  # type: ignore[assignment]
    return dict(total)


labels_of = {"two": st.sampled_from([0, 1]), "three": st.sampled_from(["a", "b", "c"])}


@given(st.lists(st.tuples(labels_of["two"], labels_of["two"]), min_size=1))
def test_two_classes_as_scikit_learn(rows: list[tuple[int, int]]) -> None:
    predicted, true = [p for p, _ in rows], [t for _, t in rows]
    total = sums(TWO, [(p, None, t) for p, t in rows])
    assert performance.metric("accuracy", total, TWO)[0] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert performance.metric("f1", total, TWO)[0] == pytest.approx(
        metrics.f1_score(true, predicted, zero_division=0.0)
    )
    recall = metrics.recall_score(true, predicted, average="macro", labels=sorted(set(true)), zero_division=0.0)
    assert performance.metric("balanced_accuracy", total, TWO)[0] == pytest.approx(recall)


@given(st.lists(st.tuples(labels_of["three"], labels_of["three"]), min_size=1))
def test_three_classes_as_scikit_learn(rows: list[tuple[str, str]]) -> None:
    predicted, true = [p for p, _ in rows], [t for _, t in rows]
    total = sums(THREE, [(p, None, t) for p, t in rows])
    assert performance.metric("accuracy", total, THREE)[0] == pytest.approx(metrics.accuracy_score(true, predicted))
    expected = metrics.f1_score(true, predicted, average="macro", zero_division=0.0)
    assert performance.metric("f1", total, THREE)[0] == pytest.approx(expected)


def test_balanced_accuracy_as_scikit_learn() -> None:
    true, predicted = list("aaaabbbccccccc"), list("aabbbbcccccccc")
    total = sums(THREE, [(p, None, t) for p, t in zip(predicted, true, strict=True)])
    assert performance.metric("balanced_accuracy", total, THREE)[0] == pytest.approx(
        metrics.balanced_accuracy_score(true, predicted)
    )


def test_f1_of_texts_takes_the_later_class_as_positive_whatever_the_profiles_order() -> None:
    true, predicted = ["yes", "yes", "no", "no", "yes"], ["yes", "no", "no", "yes", "yes"]
    total = sums(SWAPPED, [(p, None, t) for p, t in zip(predicted, true, strict=True)])
    assert performance.metric("f1", total, SWAPPED)[0] == pytest.approx(
        metrics.f1_score(true, predicted, pos_label="yes")
    )


def test_log_loss_of_two_classes_as_scikit_learn() -> None:
    probability_of_one = np.array([0.9, 0.2, 0.6, 0.5, 1.0, 0.0, 1.0])
    true = [1, 0, 0, 1, 1, 0, 0]
    predicted = (probability_of_one >= 0.5).astype(int).tolist()
    scores = np.where(probability_of_one >= 0.5, probability_of_one, 1 - probability_of_one).tolist()
    total = sums(TWO, list(zip(predicted, scores, true, strict=True)))
    assert performance.metric("log_loss", total, TWO)[0] == pytest.approx(metrics.log_loss(true, probability_of_one))


@pytest.mark.parametrize(
    ("profile", "rows", "note"),
    [
        (TWO, [(1, None, 1)], "log_loss needs two classes and the predicted class's probability"),
        (THREE, [("a", 0.5, "a")], "log_loss needs two classes and the predicted class's probability"),
        (PRICE, [(1.0, None, 2.0)], "log_loss is not computed for numeric predictions: one of rmse, mae, mape, r2"),
        (None, [], "the reference has no profile of the predictions"),
    ],
)
def test_log_loss_that_is_not_possible_says_why(
    profile: Profile | None, rows: list[tuple[object, float | None, object]], note: str
) -> None:
    assert performance.metric("log_loss", sums(profile, rows) if profile else {}, profile) == (None, note)


@given(st.lists(st.tuples(st.floats(9e5, 1.1e6), st.floats(9e5, 1.1e6)), min_size=2))
def test_regression_as_scikit_learn(rows: list[tuple[float, float]]) -> None:
    predicted, true = [p for p, _ in rows], [t for _, t in rows]
    total = sums(PRICE, [(p, None, t) for p, t in rows])
    assert performance.metric("mae", total, PRICE)[0] == pytest.approx(metrics.mean_absolute_error(true, predicted))
    assert performance.metric("rmse", total, PRICE)[0] == pytest.approx(
        metrics.root_mean_squared_error(true, predicted)
    )
    if np.std(true) > 1:
        expected = metrics.r2_score(true, predicted)
        assert performance.metric("r2", total, PRICE)[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_third_class_that_the_model_predicts_is_a_class_though_the_reference_lacks_it() -> None:
    """A profile names the classes that were predicted on the holdout, where a rare one may not have been."""
    true, predicted = list("aabbcca"), list("aabbcab")
    total = sums(ONLY_TWO_SEEN, [(p, 0.6, t) for p, t in zip(predicted, true, strict=True)])
    for name, expected in (
        ("f1", metrics.f1_score(true, predicted, average="macro")),
        ("precision", metrics.precision_score(true, predicted, average="macro")),
        ("recall", metrics.recall_score(true, predicted, average="macro")),
    ):
        assert performance.metric(name, total, ONLY_TWO_SEEN) == (pytest.approx(expected), "")
    assert performance.metric("log_loss", total, ONLY_TWO_SEEN) == (
        None,
        "log_loss needs two classes and the predicted class's probability",
    )


def test_the_positive_class_is_found_among_classes_of_long_names() -> None:
    long = CategoricalProfile(name="y", categories=("a" * 200, "b" * 200), counts=(1, 1, 0), missing=0)
    first, second = long.categories
    total = sums(long, [(second, None, second), (second, None, first), (first, None, first)])
    assert performance.metric("precision", total, long) == (0.5, "")


def test_r2_of_labels_all_alike_is_not_defined() -> None:
    assert performance.metric("r2", sums(PRICE, [(1.0, None, 5.0), (2.0, None, 5.0)]), PRICE)[0] is None


def test_labels_may_have_another_json_type_than_predictions() -> None:
    total = sums(TWO, [(1, None, "1"), (0, None, 0.0), (1.0, None, 0)])
    assert performance.metric("accuracy", total, TWO)[0] == pytest.approx(2 / 3)


def test_labels_that_name_no_class_are_neither_right_nor_wrong_and_are_counted() -> None:
    total = sums(TWO, [(1, None, "one"), (1, None, 1), (0, None, 1), (7, None, 7), (7, None, 8)])
    assert performance.metric("accuracy", total, TWO) == (pytest.approx(2 / 3), "")
    assert performance.unrecognized(total, TWO) == performance.Unrecognized(2, ("8", "one"))


@pytest.mark.parametrize("spelling", ["1.0", "true", "yes", " 1", True, 1.0])
def test_a_label_that_is_spelt_otherwise_is_the_class_that_it_means(spelling: object) -> None:
    total = sums(TWO, [(1, 0.9, spelling), (0, 0.8, spelling)])
    assert total == sums(TWO, [(1, 0.9, 1), (0, 0.8, 1)])
    assert performance.metric("accuracy", total, TWO) == (0.5, "")
    before = {performance.cell_name(str(spelling), "1"): 1.0}  # as an older monitor has counted it
    assert performance.metric("accuracy", before, TWO) == (1.0, "")
    assert performance.unrecognized(before, TWO) == performance.Unrecognized()


def test_a_class_that_is_never_predicted_is_a_class_where_the_profile_names_it() -> None:
    one = CategoricalProfile(name="y", categories=("a",), counts=(1, 0), missing=0)
    rows: list[tuple[object, float | None, object]] = [
        ("a", None, "b"),
        ("a", None, "a"),
        ("a", None, "B"),
        ("a", None, "x"),
    ]
    total = sums(one, rows)
    assert performance.metric("accuracy", total, one, ("a", "b"))[0] == pytest.approx(1 / 3)
    assert performance.unrecognized(total, one, ("a", "b")) == performance.Unrecognized(1, ("x",))
    assert performance.metric("accuracy", total, one)[0] == 0.25  # nothing is known of the others: every label counts
    assert performance.unrecognized(total, one) == performance.Unrecognized()


def test_examples_are_few_and_short_and_the_rest_has_no_text() -> None:
    labels = [*("x" * 90 + str(n) for n in range(9)), "(other labels)"]
    found = performance.unrecognized(sums(TWO, [(1, None, label) for label in labels]), TWO)
    assert found.labels == 10
    assert found.examples == ("x" * 40,) * 5
    rest = performance.unrecognized({performance.without_label(performance.cell_name("q", "1")): 3.0}, TWO)
    assert rest == performance.Unrecognized(3, ("(other labels)",))


def test_numbers_as_text_are_numbers_and_other_texts_are_counted() -> None:
    total = sums(PRICE, [(1e6, None, "1000001.0"), (1e6, None, " 1e6 "), (1e6, None, "n/a"), (1e6, None, "nan")])
    assert performance.metric("mae", total, PRICE) == (0.5, "2 labels or predictions are not numbers")
    assert performance.unrecognized(total, PRICE) == performance.Unrecognized(2)


def test_classes_that_the_reference_does_not_name_are_kept_apart() -> None:
    true, predicted = list("abxyxyxb"), list("abxyyyxa")
    total = sums(THREE, [(p, None, t) for p, t in zip(predicted, true, strict=True)])
    expected = metrics.f1_score(true, predicted, average="macro", zero_division=0.0)
    assert performance.metric("f1", total, THREE) == (pytest.approx(expected), "")


def test_labels_beyond_the_bound_on_cells_are_counted_as_naming_no_class() -> None:
    (name,) = sums(THREE, [("a", None, "a")])
    total = {name: 1.0, performance.without_label(name): 3.0}
    assert performance.metric("accuracy", total, THREE)[0] == 1.0
    assert performance.unrecognized(total, THREE).labels == 3
    assert performance.without_label("log_loss") == "log_loss"


def test_labels_that_are_no_numbers_are_noted_and_left_out() -> None:
    total = sums(PRICE, [(1.0, None, "many"), (2.0, None, 4.0)])
    assert performance.metric("mae", total, PRICE) == (2.0, "1 label or prediction is not a number")


@pytest.mark.parametrize(("prediction", "label"), [(0.0, 1e200), (0.0, -1e308), (-1.7e308, 1.7e308), (1e200, 0.0)])
def test_numbers_whose_square_no_float_holds_are_noted_and_left_out(prediction: float, label: float) -> None:
    total = sums(PRICE, [(prediction, None, label), (2.0, None, 4.0)])
    assert performance.metric("rmse", total, PRICE) == (2.0, "1 label or prediction is not a number")


def test_a_metric_of_no_labels_has_no_value() -> None:
    assert performance.metric("accuracy", {}, TWO)[0] is None
    assert performance.metric("rmse", {}, PRICE)[0] is None
