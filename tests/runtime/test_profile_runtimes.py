"""Rows of training come back through a server as any datatype and by either form of a model: they score nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from tests.runtime.conftest import Trainer
from tests.runtime.test_model_kinds import served
from tests.support.asgi import post

from tidemill_contracts.monitoring import TestConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.scoring import column_score
from tidemill_runtime.predictionlog import record_batches
from tidemill_runtime.server.process.lifecycle import Parts
from tidemill_runtime.trainer.package import reference_profile

PSI = TestConfig(test="PSI", threshold=0.2)
TABLE = load_iris(as_frame=True).data
TENTHS = (TABLE * 10).round().astype("int64")
REGRESSORS = {
    "small tree": "sklearn.tree import DecisionTreeRegressor as Model\nMODEL = Model(max_depth=4, random_state=0)",
    "boosted trees": "sklearn.ensemble import GradientBoostingRegressor as Model\nMODEL = Model(random_state=0)",
    "line": "sklearn.linear_model import Ridge as Model\nMODEL = Model()",
}
CODE = """
from {model}

def features(data):
    return {features}

def train(data, target):
    return MODEL.fit(data, data.iloc[:, 0] / 3 + data.iloc[:, 2] / 7)
"""
WHOLE = '(data.drop(columns="target", errors="ignore") * 10).round().astype("int64")'
PLAIN = 'data.drop(columns="target", errors="ignore")'


async def logged(parts: Parts, rows: pd.DataFrame, datatype: str) -> tuple[dict[str, list[Any]], list[Any]]:
    """What the prediction log has of rows that were sent as one tensor: columns and predictions."""
    given = rows.to_numpy()
    values = given.astype(np.float32).astype(np.float64) if datatype == "FP32" else given
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": datatype, "data": values.ravel().tolist()}
    reply = await post(parts.app, "/v2/models/demo/infer", {"inputs": [tensor]})
    assert reply.status == 200, reply.body
    assert parts.recorder is not None
    (record,) = parts.recorder._records
    found = record_batches.slice_of([record], parts.plane.schema)
    return found["columns"], found["predictions"]


def scores(reference: tuple[Any, Any], current: tuple[Any, Any]) -> dict[str, float | None]:
    """PSI of each column and of the predictions."""
    names = list(reference[0])
    features = reference_profile.features(pd.DataFrame(reference[0]))
    prediction = reference_profile.numeric(np.array(reference[1], dtype=np.float64), "prediction")
    layout = Layout(ReferenceProfile(rows=len(reference[1]), features=features, prediction=prediction))
    counts = layout.count(*current)
    assert [column.profile.name for column in layout.columns.values()] == [*names, "prediction"]
    return {
        column.profile.name: column_score("x", column, layout.column(key, counts), PSI).score
        for key, column in layout.columns.items()
    }


@pytest.mark.parametrize("model", REGRESSORS)
@pytest.mark.parametrize(
    ("table", "features", "datatypes"),
    [
        pytest.param(TABLE, PLAIN, ("FP64", "FP32"), id="fractions"),
        pytest.param(TENTHS, WHOLE, ("INT64", "INT32", "INT8", "UINT16", "FP64", "FP32"), id="whole numbers"),
    ],
)
async def test_training_rows_score_nothing(
    trainer: Trainer, model: str, table: pd.DataFrame, features: str, datatypes: tuple[str, ...]
) -> None:
    trained = trainer(CODE.format(model=REGRESSORS[model], features=features), target="target")
    assert trained.exit_code == 0, trained.result.failure
    assert trained.result.onnx == "verified", trained.result.onnx
    reference = await logged(served(trained, "Native"), table, datatypes[0])
    for runtime in ("Native", "ONNX"):
        for datatype in datatypes:
            found = scores(reference, await logged(served(trained, runtime), table, datatype))
            prediction = found.pop("prediction")
            assert found == dict.fromkeys(found, 0.0), (runtime, datatype)
            assert prediction == pytest.approx(0, abs=0.01), (runtime, datatype)
