"""A check that fails verifies nothing, and fails no run."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tests.support import versions

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.frameworks.scikit_learn import thresholds
from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert
from tidemill_runtime.loading import recheck, warm_up
from tidemill_runtime.model.frame import Schema
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import native, signature_categories, signature_ranges, verification
from tidemill_runtime.trainer.package.verification import Verified

X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)).round(2), columns=["a", "b"])
Y = (X["a"] + X["b"] > 0).astype(int)
TREE = DecisionTreeClassifier(max_depth=2, random_state=0)
FOREST = RandomForestClassifier(2, max_depth=2, random_state=0)
BOOSTED = GradientBoostingClassifier(n_estimators=2, max_depth=1, random_state=0)
SCALED = make_pipeline(StandardScaler(), LogisticRegression())


def verified(estimator: Any) -> Verified:
    model = inspection.inspect(estimator, X, Path("/code"))
    form = native.dump(estimator, allow_pickle=False)
    return verification.verify(form, model, inspection.signature(model, X), X, X.head(20))


@pytest.mark.parametrize(
    "ensemble",
    [
        VotingClassifier([("scaled", SCALED), ("tree", TREE)]),
        VotingClassifier([("boosted", BOOSTED), ("forest", FOREST)]),
        VotingClassifier([("none", "drop"), ("scaled", SCALED), ("forest", FOREST)]),
        StackingClassifier([("scaled", SCALED), ("forest", FOREST)], cv=2),
        BaggingClassifier(VotingClassifier([("scaled", SCALED), ("tree", TREE)]), n_estimators=2, random_state=0),
    ],
    ids=["pipeline and tree", "boosting and forest", "one left out", "stacked", "bagged"],
)
def test_steps_are_found_in_ensembles_of_several_kinds(ensemble: Any) -> None:
    found = thresholds.thresholds(ensemble.fit(X, Y), ["a", "b"])
    assert sum(map(len, found)) > 0
    inside = [
        one for one in ensemble.estimators_ if isinstance(one, (RandomForestClassifier, GradientBoostingClassifier))
    ]
    for tree in (tree for forest in inside for tree in np.ravel(forest.estimators_)):
        chosen = tree.tree_.feature >= 0
        for column, value in zip(tree.tree_.feature[chosen], tree.tree_.threshold[chosen], strict=True):
            assert value in found[column]


def test_of_very_many_training_rows_some_are_looked_at_and_the_ends_of_each_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "_LEAST_ROWS", 10)
    monkeypatch.setattr(verification.rows, "CELLS", 100)
    number = np.arange(1000.0)
    number[[3, 7, 500]] = -5.0, np.inf, np.nan
    rows = pd.DataFrame({"x": number, "y": np.abs(np.arange(1000) - 321), "city": ["a", None] * 500})
    kinds = {"x": "FP64", "y": "INT64", "city": "BYTES"}
    inputs = tuple(ColumnSpec.model_validate({"name": name, "datatype": kind}) for name, kind in kinds.items())
    x, y, city = verification.known(rows, Schema(Signature(inputs=inputs, outputs=())))
    assert 33 <= len(x) == len(y) == len(city) <= 33 + 2 * 2
    assert (x.min(), x.max()) == (-5.0, 999.0)
    assert (y.min(), y.max(), y.dtype) == (0, 678, np.int64)
    assert None in city.tolist()


def broken(*_args: Any, **_kwargs: Any) -> Any:
    raise IndexError(f"no such column in {object()}")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (thresholds, "thresholds"),
        (verification.rows, "blocks"),
        (verification.Check, "compared"),
        (signature_ranges, "noted"),
        (signature_categories, "noted"),
        (convert, "_plans"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_check_that_fails_leaves_the_native_form(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    monkeypatch.setattr(module, name, broken)
    found = verified(LogisticRegression().fit(X, Y))
    assert found.converted is not None and found.converted.content is None
    report = found.converted.report
    assert (report.passed, report.reason) == (
        False,
        "the check itself failed: IndexError: no such column in <object object>",
    )


def test_batching_that_is_not_known_is_left_to_servers_and_off_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = versions.numbers(tmp_path, batching=None)
    config = published.config()
    for owner in (verification.Check, recheck):
        monkeypatch.setattr(owner, "batch_difference" if owner is verification.Check else "_check", broken)
        if owner is verification.Check:
            found = verified(LogisticRegression().fit(X, Y))
            assert found.batching is None
            assert found.converted is not None and found.converted.content is not None
    assert warm_up.load(warm_up.open_verified(config), config, threads=1).batching is False
