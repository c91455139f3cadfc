"""Which columns a fitted estimator does not use: what inspection says, held against what the estimator does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tidemill_runtime.frameworks.scikit_learn.selections import unused
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import signature_columns

RANDOM = np.random.default_rng(11)
ROWS = pd.DataFrame(
    {
        "id": np.arange(120),
        "age": RANDOM.normal(size=120),
        "date": pd.Series([f"2026-01-{1 + i % 28:02}" for i in range(120)], dtype="str"),
        "plan": pd.Series(RANDOM.choice(["a", "b", "c"], size=120), dtype="str"),
        "spare": RANDOM.normal(size=120),
        "income": RANDOM.normal(size=120),
    }
)
LABELS = (ROWS["age"] + (ROWS["plan"] == "a") + ROWS["income"] > 0.4).astype(int)
NUMBERS = ROWS[["id", "age", "spare", "income"]]
NOT_USED = ("id", "date", "spare")


class Subclass(ColumnTransformer):
    """It may do anything."""


class First(TransformerMixin, BaseEstimator):
    """A class of one's own in front of everything."""

    def fit(self, data: Any, target: Any = None) -> First:
        self.columns_ = list(data.columns)
        return self

    def transform(self, data: Any) -> Any:
        return data


def columns(kind: type[ColumnTransformer] = ColumnTransformer, **more: Any) -> ColumnTransformer:
    return kind([("numbers", StandardScaler(), ["income", "age"]), ("plan", OneHotEncoder(), ["plan"])], **more)


def piped(model: Any = None) -> Pipeline:
    return make_pipeline(columns(), model or LogisticRegression())


GRID = {"logisticregression__C": [0.5, 1.0]}
FOUND: dict[str, Callable[[], Any]] = {
    "in a pipeline": piped,
    "behind steps that do nothing": lambda: Pipeline([("a", "passthrough"), ("b", piped())]),
    "in pipelines in a pipeline": lambda: make_pipeline(make_pipeline(columns()), LogisticRegression()),
    "with columns that are dropped by name": lambda: make_pipeline(
        ColumnTransformer(
            [
                ("x", "drop", ["id", "date"]),
                ("n", "passthrough", ["age", "income"]),
                ("plan", OneHotEncoder(), ["plan"]),
            ]
        ),
        LogisticRegression(),
    ),
    "by place": lambda: make_pipeline(
        ColumnTransformer([("n", StandardScaler(), [1, 5]), ("p", OneHotEncoder(), [3])]), LogisticRegression()
    ),
    "by place from the end": lambda: make_pipeline(
        ColumnTransformer([("n", StandardScaler(), [-5, -1]), ("p", OneHotEncoder(), [-3])]), LogisticRegression()
    ),
    "by a mask": lambda: make_pipeline(
        ColumnTransformer(
            [("n", StandardScaler(), [False, True, False, False, False, True]), ("p", OneHotEncoder(), slice(3, 4))]
        ),
        LogisticRegression(),
    ),
    "by a function": lambda: make_pipeline(
        make_column_transformer(
            (StandardScaler(), make_column_selector(pattern="age|income")), (OneHotEncoder(), lambda frame: ["plan"])
        ),
        LogisticRegression(),
    ),
    "a search": lambda: GridSearchCV(piped(), GRID, cv=2),
    "a random search": lambda: RandomizedSearchCV(piped(), GRID, n_iter=1, cv=2, random_state=0),
    "a halving search": lambda: HalvingGridSearchCV(piped(), GRID, cv=2, random_state=0),
    "a random halving search": lambda: HalvingRandomSearchCV(piped(), GRID, cv=2, random_state=0, n_candidates=2),
    "calibrated": lambda: CalibratedClassifierCV(piped(), cv=2),
    "calibrated as one": lambda: CalibratedClassifierCV(piped(), cv=2, ensemble=False),
    "at a threshold": lambda: FixedThresholdClassifier(piped(), threshold=0.4),
    "at a tuned threshold": lambda: TunedThresholdClassifierCV(piped(), cv=2),
    "voting": lambda: VotingClassifier([("a", piped()), ("b", piped(LogisticRegression(C=0.1)))], voting="soft"),
    "voting for numbers": lambda: VotingRegressor([("a", piped(LinearRegression()))]),
    "with another scale of the target": lambda: TransformedTargetRegressor(
        piped(LinearRegression()), func=np.cbrt, inverse_func=lambda x: x**3
    ),
}
"""Models of which inspection finds the columns that they do not use."""


def fitted(make: Callable[[], Any], rows: pd.DataFrame = ROWS) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make().fit(rows, LABELS)


@pytest.mark.parametrize("make", FOUND.values(), ids=FOUND)
def test_what_nothing_selects_is_not_used_and_changes_no_answer(make: Callable[[], Any]) -> None:
    estimator = fitted(make)
    assert unused(estimator, tuple(ROWS.columns)) == NOT_USED
    expected = estimator.predict(ROWS)
    others = ROWS.assign(id=-ROWS["id"], date=ROWS["plan"], spare=np.nan)
    np.testing.assert_array_equal(estimator.predict(others), expected)
    np.testing.assert_array_equal(estimator.predict(ROWS.drop(columns=list(NOT_USED))), expected)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_array_equal(
            estimator.predict_proba(ROWS.drop(columns=list(NOT_USED))), estimator.predict_proba(ROWS)
        )


@pytest.mark.parametrize("make", FOUND.values(), ids=FOUND)
def test_and_is_marked_in_the_signature(make: Callable[[], Any]) -> None:
    model = inspection.inspect(fitted(make), ROWS, Path("/code"))
    noted = signature_columns.noted(inspection.signature(model, ROWS), model, ROWS.tail(40))
    assert tuple(column.name for column in noted.inputs if not column.is_used) == NOT_USED
    assert [column.name for column in noted.used_inputs] == ["age", "plan", "income"]


NOTHING: dict[str, Callable[[], Any]] = {
    "no column transformer": lambda: DummyClassifier(),
    "the rest goes through": lambda: make_pipeline(
        columns(remainder=FunctionTransformer(lambda rest: rest[["id", "spare"]])), LogisticRegression()
    ),
    "a subclass": lambda: make_pipeline(columns(Subclass), LogisticRegression()),
    "a class of one's own first": lambda: make_pipeline(First(), columns(), LogisticRegression()),
    "a function first": lambda: make_pipeline(FunctionTransformer(), columns(), LogisticRegression()),
    "beside another way": lambda: make_pipeline(
        FeatureUnion([("a", columns()), ("b", make_pipeline(columns(), StandardScaler(with_mean=False)))]),
        LogisticRegression(),
    ),
    "stacked, with the input passed on": lambda: StackingClassifier(
        [("a", piped())],
        final_estimator=make_pipeline(FunctionTransformer(lambda x: x[:, :1]), LogisticRegression()),
        passthrough=True,
        cv=2,
    ),
    "selected from text of a slice": lambda: make_pipeline(
        ColumnTransformer([("n", StandardScaler(), slice("age", "age"))]), LogisticRegression()
    ),
}
"""Models of which inspection says nothing: by what it knows, they may look at every column."""


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_of_what_may_look_at_everything_nothing_is_said(make: Callable[[], Any]) -> None:
    assert unused(fitted(make), tuple(ROWS.columns)) == ()


def test_a_voice_among_others_that_sees_everything_counts() -> None:
    def make() -> VotingClassifier:
        numbers = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["age"])]), LogisticRegression())
        return VotingClassifier([("a", numbers), ("b", BaggingClassifier(LogisticRegression(), 2, random_state=0))])

    assert unused(fitted(make, NUMBERS), tuple(NUMBERS.columns)) == ()


def test_what_one_of_several_uses_is_used() -> None:
    def make() -> VotingClassifier:
        first = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["age"])]), LogisticRegression())
        second = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["spare"])]), LogisticRegression())
        return VotingClassifier([("a", first), ("b", second)])

    assert unused(fitted(make), tuple(ROWS.columns)) == ("id", "date", "plan", "income")


def test_what_inspection_says_is_believed_only_if_the_model_behaves_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that looks at a column nevertheless, or that answers otherwise each time, has all columns used."""
    model = inspection.inspect(LogisticRegression().fit(NUMBERS, LABELS), NUMBERS, Path("/code"))
    monkeypatch.setattr(type(model.framework), "unused", lambda *_: ("income",))
    plain = inspection.signature(model, NUMBERS)
    assert signature_columns.noted(plain, model, NUMBERS) == plain


def test_a_model_that_draws_lots_says_nothing() -> None:
    random = np.random.default_rng(0)
    noise = FunctionTransformer(lambda x: x + random.normal(size=np.shape(x)))
    model = inspection.inspect(fitted(lambda: make_pipeline(columns(), noise, LogisticRegression())), ROWS, Path("/c"))
    assert unused(model.estimator, model.columns) == NOT_USED
    plain = inspection.signature(model, ROWS)
    assert signature_columns.noted(plain, model, ROWS) == plain


def test_a_model_that_selects_nothing_keeps_its_columns() -> None:
    """A request must have something that says how many rows it has."""
    model = make_pipeline(ColumnTransformer([("x", "drop", ["id"])], remainder="drop"), DummyClassifier())
    found = inspection.inspect(model.fit(ROWS, LABELS), ROWS, Path("/code"))
    assert unused(found.estimator, found.columns) == tuple(ROWS.columns)
    plain = inspection.signature(found, ROWS)
    assert signature_columns.noted(plain, found, ROWS) == plain


def test_a_matrix_keeps_its_places() -> None:
    """Fitted on a matrix, columns go by place: servers put zeros where clients send nothing."""
    values = NUMBERS.to_numpy()
    estimator = make_pipeline(ColumnTransformer([("n", StandardScaler(), [1, 3])]), LogisticRegression())
    model = inspection.inspect(estimator.fit(values, LABELS), NUMBERS, Path("/code"))
    assert not model.frame
    noted = signature_columns.noted(inspection.signature(model, NUMBERS), model, NUMBERS)
    assert [column.name for column in noted.used_inputs] == ["age", "income"]
