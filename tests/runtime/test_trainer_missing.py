"""Missing values: what the native form refuses, no form answers."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.runtime.conftest import Trainer

from tidemill_contracts.artifact import ColumnSpec
from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.loading import warm_up
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.server.protocol import v1
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import signature_nulls

BOOSTING = """
from sklearn.ensemble import GradientBoostingClassifier

def train(data, target, *, seed: int = 0):
    return GradientBoostingClassifier(n_estimators=3, random_state=seed).fit(data, target)
"""


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
    return rows.assign(n=random.integers(0, 5, 60), flag=rows["a"] > 0, text=pd.Series(["x", "y"] * 30, dtype="str"))


def mixed(last: Any) -> Any:
    encoder = OneHotEncoder(sparse_output=False)
    steps = [("filled", SimpleImputer(), ["b", "n"]), ("as is", "passthrough", ["a", "c", "flag"])]
    return make_pipeline(ColumnTransformer([*steps, ("text", encoder, ["text"])]), last)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (mixed(GradientBoostingRegressor(n_estimators=2)), ["a", "c", "flag"]),
        (mixed(LinearRegression()), ["a", "c", "flag"]),
        (mixed(HistGradientBoostingRegressor(max_iter=2)), []),
    ],
    ids=["boosting", "linear", "histogram"],
)
def test_columns_that_take_no_missing_values(estimator: Any, expected: list[str]) -> None:
    rows = table()
    model = inspection.inspect(estimator.fit(rows, rows["a"] * 2), rows, Path("/code"))
    assert signature_nulls.refusing(model, rows) == expected
    noted = signature_nulls.noted(inspection.signature(model, rows), model, rows)
    assert [column.name for column in noted.inputs if column.nullable is False] == expected


def test_a_matrix_is_refused_as_a_whole_and_gaps_that_training_answered_are_not() -> None:
    rows = table()[["a", "b", "c"]]
    model = inspection.inspect(LinearRegression().fit(rows.to_numpy(), rows["a"]), rows, Path("/code"))
    assert signature_nulls.refusing(model, rows) == ["a", "b", "c"]
    assert signature_nulls.refusing(model, rows.assign(b=np.nan)) == ["a", "c"]


def test_what_takes_missing_values_is_written_as_before() -> None:
    assert "nullable" not in ColumnSpec(name="a", datatype="FP64").to_json()
    assert ColumnSpec.model_validate_json('{"name":"a","datatype":"FP64"}').nullable is None


def test_both_forms_refuse_the_same_gap_in_the_same_words(trainer: Trainer) -> None:
    trained = trainer(BOOSTING, "builtin://breast-cancer")
    assert trained.result.formats == ("skops", "onnx")
    given = {"uri": trained.result.uri, "digest": trained.result.digest, "number": "1", "version": "demo-1"}
    config = ServerConfig(namespace="team-a", deployment="demo", **given)
    version = trained.open()
    for runtime in ("ONNX", "Native"):
        warm = warm_up.load(version, config.model_copy(update={"runtime": runtime}), threads=1)
        row: list[float | None] = [1.0] * warm.schema.width
        gap = [*row[:1], None, *row[2:]]
        for bodies in ([row, gap], [dict(zip(warm.schema.names, values, strict=True)) for values in (row, gap)]):
            frame = v1.decode(orjson.dumps({"instances": bodies}), warm.schema).frame
            with pytest.raises(BadRequestError) as refused:
                warm.model.predict(frame)
            assert refused.value.message == "inputs: row 1: column 'mean texture' takes no missing values, got null"
