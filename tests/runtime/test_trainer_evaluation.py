"""The built-in metrics are scikit-learn's, of the documented averages; what is not defined is absent and said."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from tidemill_contracts.model_metrics import names
from tidemill_contracts.reference import CategoricalProfile, NumericProfile
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model import metrics as evaluation
from tidemill_runtime.trainer.package import reference_profile
from tidemill_runtime.trainer.run import program_io

ROOT = Path("/code")


def model(estimator: Any, features: pd.DataFrame, target: Any) -> inspection.Model:
    return inspection.inspect(estimator.fit(features, target), features, ROOT)


def test_two_classes() -> None:
    data = load_breast_cancer(as_frame=True)
    target = data.target.map({0: "yes", 1: "no"})  # sorted: no, yes; so "yes" is the positive class
    nb = model(GaussianNB(), data.data, target)
    found, notes = evaluation.built_in(nb, data.data, target)
    predicted, share = nb.predict(data.data), nb.estimator.predict_proba(data.data)[:, 1]
    expected = {
        "accuracy": metrics.accuracy_score(target, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, predicted),
        "f1": metrics.f1_score(target, predicted, pos_label="yes"),
        "roc_auc": metrics.roc_auc_score(target == "yes", share),
        "log_loss": metrics.log_loss(target, nb.estimator.predict_proba(data.data)),
    }
    assert notes == []
    assert set(found) == set(names("classification"))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_three_classes() -> None:
    data = load_iris(as_frame=True)
    nb = model(GaussianNB(), data.data, data.target)
    found, _ = evaluation.built_in(nb, data.data, data.target)
    assert found["f1"] == pytest.approx(metrics.f1_score(data.target, nb.predict(data.data), average="macro"))
    probabilities = nb.estimator.predict_proba(data.data)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(data.target, probabilities, multi_class="ovr"))


def test_regression() -> None:
    data = load_diabetes(as_frame=True)
    linear = model(LinearRegression(), data.data, data.target)
    found, _ = evaluation.built_in(linear, data.data, data.target)
    predicted = linear.predict(data.data)
    assert found["rmse"] == pytest.approx(metrics.mean_squared_error(data.target, predicted) ** 0.5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(data.target, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(data.target, predicted))


def test_a_model_without_probabilities_is_ranked_by_its_decision_values() -> None:
    data = load_breast_cancer(as_frame=True)
    svc = model(LinearSVC(max_iter=100_000), (data.data - data.data.mean()) / data.data.std(), data.target)
    found, notes = evaluation.built_in(svc, (data.data - data.data.mean()) / data.data.std(), data.target)
    assert (found["roc_auc"] or 0) > 0.99
    assert notes == ["metrics log_loss, brier and calibration_error are absent: the model has no predict_proba"]


def test_a_class_that_the_holdout_has_not() -> None:
    data = load_iris(as_frame=True)
    nb = model(GaussianNB(), data.data, data.target)
    found, notes = evaluation.built_in(nb, data.data[:100], data.target[:100])
    assert set(found) == set(names("classification")) - {"roc_auc", "average_precision"}
    assert notes == ["metrics roc_auc and average_precision are absent: the holdout has no row of class 2"]


def test_a_class_that_the_model_has_not_seen() -> None:
    data = load_iris(as_frame=True)
    nb = model(GaussianNB(), data.data[:100], data.target[:100])
    found, notes = evaluation.built_in(nb, data.data, data.target)
    assert not {"log_loss", "brier"} & set(found)
    why = "the holdout has classes that the model has not seen: 2"
    assert f"metrics log_loss and brier are absent: {why}" in notes


def test_a_number_that_no_float_holds_is_no_fault_of_the_platform() -> None:
    large = 10**400
    assert evaluation._checked({"a": large, "b": np.float32(1), "c": np.int8(2)}) == {"a": None, "b": 1.0, "c": 2.0}
    assert program_io._metrics(f'{{"a": {large}, "b": 1, "c": null}}'.encode()) == {"a": None, "b": 1.0, "c": None}
    for found in (lambda: evaluation._checked({"a": np.complex64(1)}), lambda: program_io._metrics(b"[" * 100_000)):
        with pytest.raises(RunError) as caught:
            found()
        assert caught.value.reason == "InvalidMetrics"


def test_one_row_has_no_r2() -> None:
    data = load_diabetes(as_frame=True)
    linear = model(LinearRegression(), data.data, data.target)
    found, notes = evaluation.built_in(linear, data.data[:1], data.target[:1])
    assert set(found) == set(names("regression")) - {"r2"}
    assert notes == ["metric r2 is absent: not defined on this holdout"]


def test_labels_of_which_some_are_0_have_no_mape() -> None:
    data = load_diabetes(as_frame=True)
    target = data.target.where(data.target.index > 2, 0.0)
    found, notes = evaluation.built_in(model(LinearRegression(), data.data, target), data.data, target)
    assert set(found) == set(names("regression")) - {"mape"}
    assert notes == ["metric mape is absent: 3 labels are 0, and an error is no percentage of 0"]


def test_held_out_rows_of_each_class_are_counted_the_rarest_first() -> None:
    data = load_iris(as_frame=True)
    nb = model(GaussianNB(), data.data, data.target)
    assert list(evaluation.rows_by_class(nb, data.target[45:130]).items()) == [("0", 5), ("2", 30), ("1", 50)]
    assert evaluation.rows_by_class(nb, data.target[:3]) == {"1": 0, "2": 0, "0": 3}
    assert evaluation.rows_by_class(nb, None) == {}
    assert evaluation.rows_by_class(model(LinearRegression(), data.data, data.target), data.target) == {}


@pytest.mark.parametrize(
    ("classes", "named"),
    [
        ([0, 1], ["0", "1"]),
        ([0.0, 1.0], ["0", "1"]),
        ([False, True], ["False", "True"]),
        (["", "line\nbreak"], ["''", "'line\\nbreak'"]),
        (["x" * 300, "é"], ["x" * 100, "é"]),
    ],
)
def test_classes_are_counted_by_the_name_of_their_predictions_on_one_line(classes: list[Any], named: list[str]) -> None:
    target = pd.Series([classes[0]] * 3 + [classes[1]] * 4)
    features = pd.DataFrame({"x": range(7)})
    found = evaluation.rows_by_class(model(GaussianNB(), features, target), target)
    assert list(found.items()) == list(zip(named, (3, 4), strict=True))


def test_of_many_classes_the_ten_rarest_are_counted() -> None:
    target = pd.Series([f"c{i:02}" for i in range(40) for _ in range(40 - i)])
    nb = model(GaussianNB(), pd.DataFrame({"x": range(len(target))}), target)
    assert list(evaluation.rows_by_class(nb, target).items()) == [(f"c{39 - i}", i + 1) for i in range(10)]


class TestProfiles:
    """Every reference value is in one bin, and bins mean what the contract says."""

    def test_numbers_are_cut_at_quantiles(self) -> None:
        values = np.random.default_rng(0).lognormal(size=5000)
        found = reference_profile.numeric(values, "x")
        assert len(found.edges) == 9
        assert sum(found.counts) == 5000
        assert all(375 <= count <= 625 for count in found.counts)
        assert not set(found.edges) & set(values)
        assert found.bin_means[0] == pytest.approx(values[values < found.edges[0]].mean())
        assert (found.minimum, found.maximum) == (values.min(), values.max())
        assert found.std == pytest.approx(values.std())

    def test_few_distinct_values_have_a_bin_each(self) -> None:
        found = reference_profile.numeric(np.array([0, 0, 1, 1, 1, 5.0]), "x")
        assert (found.edges, found.counts) == ((0.5, 3.0), (2, 3, 1))

    def test_a_value_that_dominates_takes_one_bin(self) -> None:
        found = reference_profile.numeric(np.concatenate([np.zeros(900), np.arange(1.0, 101.0)]), "x")
        assert sum(found.counts) == 1000
        assert all(a < b for a, b in pairwise(found.edges))
        assert found.counts == (900, 20, 20, 20, 20, 20)

    def test_gaps_and_infinities(self) -> None:
        found = reference_profile.numeric(np.array([np.nan, -np.inf, 1.0, 2.0, np.inf]), "x")
        assert (found.missing, found.counts, found.minimum, found.maximum) == (1, (2, 2), 1.0, 2.0)
        assert (found.mean, found.std) == (1.5, 0.5)

    @pytest.mark.parametrize("values", [[], [np.nan], [np.inf]])
    def test_nothing_to_cut(self, values: list[float]) -> None:
        found = reference_profile.numeric(np.array(values), "x")
        assert (found.edges, found.mean, found.minimum) == ((), None, None)
        assert NumericProfile.model_validate_json(found.model_dump_json()) == found

    def test_rare_categories_are_counted_as_other(self) -> None:
        values = pd.Series([f"c{i:03d}" for i in range(60) for _ in range(60 - i)] + [None] * 200, dtype="str")
        found = reference_profile.categorical(values, "x")
        assert (len(found.categories), found.distinct) == (50, 60)
        assert sum(found.counts) + found.missing == len(values) / 2
        assert found.counts[-1] > 0
        assert found.missing_share == pytest.approx(200 / len(values), abs=0.03)
        labels = reference_profile.categorical(values[:1775], "x", whole=True)
        assert (labels.categories[0], labels.counts[0], labels.distinct) == ("c000", 60, 50)

    def test_categories_are_chosen_on_other_rows_than_those_that_are_counted(self) -> None:
        """Of 1,000 equal categories the 50 most frequent by chance are not more frequent elsewhere."""
        values = pd.Series(np.random.default_rng(1).integers(0, 1000, 20_000)).map("z{:04d}".format)
        found = reference_profile.categorical(values, "x")
        share = sum(found.counts[:-1]) / found.present
        assert share == pytest.approx(50 / 1000, abs=0.01)  # 0.073 where the same rows choose and are counted

    def test_a_category_as_long_as_a_document_is_other(self) -> None:
        values = pd.Series(["a"] * 30 + ["b" * 201] * 20)
        found = reference_profile.categorical(values, "x")
        assert (found.categories, found.counts, found.distinct) == (("a",), (30, 20), 2)

    def test_classes_are_text_as_the_monitor_reads_it(self) -> None:
        found = reference_profile.categorical(pd.Series([True, False, True], dtype=object), "x")
        assert found == CategoricalProfile(
            name="x", categories=("True", "False"), counts=(2, 1, 0), missing=0, distinct=2
        )
        assert reference_profile.categorical(pd.Series([1.0, 2.0, 1.0]), "x").categories == ("1", "2")
