"""Models of trees inside other estimators, or behind steps that ONNX does in single precision."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import KNNImputer
from sklearn.multiclass import OneVsOneClassifier
from sklearn.pipeline import make_pipeline

from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert, nodes, tree_ensembles
from tidemill_runtime.frameworks.scikit_learn.onnx_form.convert import Precision
from tidemill_runtime.trainer.model import inspection

GRADIENT = GradientBoostingClassifier(n_estimators=5, random_state=0)
HISTOGRAM = HistGradientBoostingClassifier(max_iter=5, random_state=0)
FOREST = RandomForestClassifier(10, random_state=0)


def model_of(estimator: Any, rows: pd.DataFrame) -> inspection.Model:
    return inspection.inspect(estimator, rows, Path("/code"))


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine], ids=["2 classes", "3 classes"])
@pytest.mark.parametrize("inner", [GRADIENT, HISTOGRAM, FOREST], ids=["gradient", "histogram", "forest"])
@pytest.mark.parametrize("outer", [lambda inner: CalibratedClassifierCV(inner, cv=2), OneVsOneClassifier])
def test_an_outer_model_that_asks_for_raw_scores_gets_them(outer: Any, inner: Any, load: Any) -> None:
    """Exact from the first attempt on: the form that takes doubles."""
    table = load(as_frame=True)
    estimator = outer(inner).fit(table.data, table.target)
    found = convert.convert(model_of(estimator, table.data), table.data)
    assert found.report.passed, found.report
    assert {node.type for node in graphs.session(found.content or b"").get_inputs()} == {"tensor(double)"}


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (FOREST, {"decision_path": True}),
        (FOREST, {"decision_leaf": True}),
        (HISTOGRAM, {"nocl": True}),
        (GRADIENT, {"output_class_labels": True, "zipmap": False}),
        (HistGradientBoostingRegressor(max_iter=2), {"raw_scores": True}),
    ],
    ids=str,
)
def test_options_that_are_not_implemented_are_refused_and_not_ignored(estimator: Any, options: dict[str, bool]) -> None:
    rows, target = load_wine(return_X_y=True)
    fitted = estimator.fit(rows, target)
    types = [("X", DoubleTensorType([None, rows.shape[1]]))]
    ours = tree_ensembles.converters()
    with pytest.raises(nodes.NoExactFormError, match=next(iter(options)).split("_")[0]):
        convert_sklearn(
            fitted,
            initial_types=types,
            options={id(fitted): options},
            target_opset=18,
            custom_conversion_functions=ours,
        )


def test_thresholds_are_rounded_where_the_values_are() -> None:
    """KNNImputer has a converter for single precision only; thresholds of histogram boosting may be values of data."""
    table = load_breast_cancer(as_frame=True)
    rows = table.data.iloc[:, :8]
    model = model_of(make_pipeline(KNNImputer(), HISTOGRAM).fit(rows, table.target), rows)
    plan = convert._Plan(by_column=False, precision=Precision.TREES)
    report = graphs.compared(model, rows, convert._convert(model, rows, plan))
    assert report.passed, report
    assert convert.convert(model, rows).content is not None


def test_categories_that_other_converters_take_for_numbers_have_no_form() -> None:
    """skl2onnx compares them with a threshold; rows on which that happens to agree are no proof."""
    table = load_breast_cancer(as_frame=True)
    rows = table.data.iloc[:, :4].assign(kind=(table.data["mean area"].rank() % 7).round())
    estimator = HistGradientBoostingClassifier(max_iter=5, categorical_features=["kind"]).fit(rows, table.target)
    for count in (1, len(rows)):
        found = convert.convert(model_of(estimator, rows), rows.head(count))
        assert found.content is None
        assert (found.report.rows, found.report.reason) == (
            0,
            "there is no exact converter: histogram boosting with categorical features",
        )
