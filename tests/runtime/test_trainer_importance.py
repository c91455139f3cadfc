"""Permutation importance of columns: scikit-learn's figures, a bounded amount of work, and what has none."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from tests.runtime.conftest import Trainer

from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import importance

CANCER = load_breast_cancer(as_frame=True)
DIABETES = load_diabetes(as_frame=True)
SAME = pytest.approx


def measured(estimator: Any, rows: pd.DataFrame, truth: Any, **options: Any) -> importance.Importance:
    """The importance of all columns of a fitted model."""
    model = inspection.inspect(estimator, rows, Path())
    return importance.measured(model, rows, pd.Series(truth), list(model.columns), **options)


@pytest.mark.parametrize(
    ("estimator", "table", "metric", "scoring"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression()), CANCER, "log_loss", "neg_log_loss"),
        (RandomForestClassifier(20, random_state=0), CANCER, "log_loss", "neg_log_loss"),
        (make_pipeline(StandardScaler(), LinearSVC(random_state=0)), CANCER, "balanced_accuracy", "balanced_accuracy"),
        (LinearRegression(), DIABETES, "r2", "r2"),
    ],
)
def test_importance_is_that_of_scikit_learn(estimator: Any, table: Any, metric: str, scoring: str) -> None:
    fitted = estimator.fit(table.data, table.target)
    found = measured(fitted, table.data, table.target)
    repeats = importance.plan(*table.data.shape)[1]
    expected = permutation_importance(
        fitted, table.data, table.target, scoring=scoring, n_repeats=repeats, random_state=0
    )
    assert found.metric == metric
    assert list(found.columns) == list(table.data.columns)
    assert list(found.columns.values()) == SAME(expected.importances_mean, abs=1e-6)


def test_a_part_of_the_rows_and_of_the_columns_is_permuted_as_scikit_learn_would() -> None:
    generator = np.random.default_rng(1)
    rows = pd.DataFrame(generator.normal(size=(4_000, 5)), columns=list("abcde"))
    rows["plan"] = generator.choice(["basic", "plus"], 4_000)
    truth = rows.a + 0.3 * rows.b + (rows.plan == "plus") + generator.normal(0, 0.5, 4_000) > 0
    columns = ColumnTransformer([("plan", OneHotEncoder(), ["plan"]), ("n", "passthrough", list("abcde"))])
    fitted = make_pipeline(columns, LogisticRegression()).fit(rows, truth)
    model = inspection.inspect(fitted, rows, Path())
    found = importance.measured(model, rows, truth, ["plan", "a", "c"])
    chosen = np.sort(np.random.RandomState(0).permutation(4_000)[: importance.ROWS])
    expected = permutation_importance(
        fitted, rows.iloc[chosen], truth.iloc[chosen], scoring="neg_log_loss", n_repeats=5, random_state=0
    )
    by_name = dict(zip(rows.columns, expected.importances_mean, strict=True))
    assert found.columns == {name: SAME(by_name[name], abs=1e-6) for name in ("plan", "a", "c")}
    assert found.columns["a"] > 10 * abs(found.columns["c"])
    assert found == importance.measured(model, rows, truth, ["plan", "a", "c"])


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (569, 30, (569, 5)),
        (10**6, 30, (1_000, 3)),
        (10**6, 500, (200, 1)),
        (10**6, 2_500, (40, 1)),
        (7, 90_000, (7, 1)),
    ],
)
def test_the_work_is_bounded(rows: int, columns: int, expected: tuple[int, int]) -> None:
    taken, repeats = importance.plan(rows, columns)
    assert (taken, repeats) == expected
    assert taken * repeats * columns <= max(importance.ANSWERS, importance.MIN_ROWS * columns)


def test_wide_tables_take_little_memory_and_time() -> None:
    generator = np.random.default_rng(2)
    rows = pd.DataFrame(generator.normal(size=(5_000, 400)), columns=[f"c{i}" for i in range(400)])
    model = inspection.inspect(LinearRegression().fit(rows, rows.c7), rows, Path())
    tracemalloc.start()
    started = time.monotonic()
    found = importance.measured(model, rows, rows.c7, list(rows.columns))
    seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert max(found.columns, key=lambda name: found.columns[name]) == "c7"
    assert seconds < 30
    assert peak < 200 * 2**20


class Slow(LinearRegression):
    """Needs a tenth of a second for each answer."""

    def predict(self, X: Any) -> Any:  # noqa: N803  scikit-learn's name
        time.sleep(0.1)
        return super().predict(X)


class Particular(LinearRegression):
    """Refuses rows that no data had."""

    def predict(self, X: Any) -> Any:  # noqa: N803
        if (X.iloc[:, 0] > X.iloc[:, 1]).any():
            raise ValueError("more paid than owed")
        return super().predict(X)


def test_what_is_too_slow_or_refuses_shuffled_rows_has_none_and_says_so() -> None:
    found = measured(Slow().fit(DIABETES.data, DIABETES.target), DIABETES.data, DIABETES.target, limit_seconds=1)
    assert (found.columns, found.metric) == ({}, None)
    assert re.fullmatch(
        r"importance of columns is absent: 22100 predictions would take [0-9]+ s, more than 1", found.remark
    )
    rows = pd.DataFrame({"paid": np.arange(50.0), "owed": np.arange(50.0) + 1})
    refused = measured(Particular().fit(rows, rows.paid), rows, rows.paid)
    assert (refused.columns, refused.metric) == ({}, None)
    assert "importance of columns is absent: the model does not answer shuffled rows" in refused.remark
    assert "more paid than owed" in refused.remark


def test_without_labels_or_a_metric_of_the_task_there_is_none() -> None:
    fitted = LinearRegression().fit(DIABETES.data, DIABETES.target)
    model = inspection.inspect(fitted, DIABETES.data, Path())
    assert importance.measured(model, DIABETES.data, None, ["bmi"]) == importance.NO_IMPORTANCE
    both = pd.DataFrame({"x": DIABETES.target, "y": -DIABETES.target})
    two = inspection.inspect(LinearRegression().fit(DIABETES.data, both), DIABETES.data, Path())
    assert importance.measured(two, DIABETES.data, DIABETES.target, ["bmi"]) == importance.NO_IMPORTANCE


def test_classes_that_the_model_has_not_seen_are_judged_by_what_can_be() -> None:
    rows, truth = DIABETES.data, (DIABETES.target > 140).astype(int).to_numpy()
    fitted = LogisticRegression(C=1e6).fit(rows, truth)
    assert measured(fitted, rows, np.where(np.arange(len(truth)) < 5, 7, truth)).metric == "balanced_accuracy"


def test_shares_are_of_what_is_above_chance() -> None:
    def profile(*values: float | None) -> ReferenceProfile:
        features = [
            NumericProfile(name=f"n{i}", edges=(), counts=(1,), missing=0, importance=v) for i, v in enumerate(values)
        ]
        features.append(CategoricalProfile(name="c", categories=(), counts=(1,), missing=0))  # type: ignore[arg-type]
        return ReferenceProfile(schema_version=2, rows=1, features=tuple(features))

    assert profile(0.3, 0.1, -0.05).importance() == {"n0": SAME(0.75), "n1": SAME(0.25), "n2": 0.0}
    assert profile(None, None).importance() == {}
    assert profile(0.0, -0.1).importance() == {}
    assert profile(float("inf"), 0.1).importance() == {}
    assert profile(float("nan"), 0.1).importance() == {"n0": 0.0, "n1": 1.0}


def test_a_version_has_the_importance_of_the_columns_that_its_model_uses(trainer: Trainer) -> None:
    code = (
        "from sklearn.linear_model import LogisticRegression\n"
        "def train(data, target):\n    return LogisticRegression(max_iter=500).fit(data, target)\n"
    )
    first, second = (trainer.run(trainer.config(code)) for _ in range(2))
    profile = ReferenceProfile.from_json(first.open().reference())
    assert profile.importance_metric == "log_loss"
    shares = profile.importance()
    assert sum(shares.values()) == SAME(1)
    assert max(shares, key=lambda name: shares[name]).startswith("petal length")
    assert first.result.digest == second.result.digest
