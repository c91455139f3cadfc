"""What is refused and what is an answer: the same for every form of a model, by every way in."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import CategoricalNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler
from sklearn.svm import LinearSVC
from tests.runtime.conftest import Trainer
from tests.support import versions

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.batch.predictor import Predictor, ResultOptions, config_of
from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert
from tidemill_runtime.loading import warm_up
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.model.rules import Rules
from tidemill_runtime.server.dataplane.batcher import answers
from tidemill_runtime.server.protocol import binary_tensors, protobuf, v1, v2
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import signature_nulls, signature_ranges

BOX_COX = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer

def train(data, target):
    return make_pipeline(PowerTransformer(method="box-cox"), LogisticRegression()).fit(data, target)
"""
LOGISTIC = """
from sklearn.linear_model import LogisticRegression

def train(data, target):
    return LogisticRegression(max_iter=500).fit(data, target)
"""
FOREST = """
from sklearn.ensemble import RandomForestClassifier

def train(data, target):
    return RandomForestClassifier(n_estimators=5, random_state=0).fit(data, target)
"""
POISSON = """
from sklearn.linear_model import PoissonRegressor

def train(data, target):
    return PoissonRegressor().fit(data, target)
"""
ABSURD = (-1.0, 0.0, 1e-300, 1e300, 1e308, 3e38, -3e38, 1e39, -1e39, math.inf, -math.inf, math.nan, 1.5)
Decoded = Any


def by_v1(row: list[float], schema: Schema) -> Frame:
    return v1.decode(orjson.dumps({"instances": [row]}), schema).frame


def by_v2(row: list[float], schema: Schema) -> Frame:
    tensor = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return v2.decode(orjson.dumps({"inputs": [tensor]}), schema, ()).frame


def by_columns(row: list[float], schema: Schema) -> Frame:
    tensors = [
        {"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in zip(schema.names, row, strict=True)
    ]
    return v2.decode(orjson.dumps({"inputs": tensors}), schema, ()).frame


def by_binary(row: list[float], schema: Schema) -> Frame:
    return binary_tensors.raw_matrix(np.array(row).tobytes(), schema)


def by_grpc(row: list[float], schema: Schema) -> Frame:
    message = pb.ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype="FP64", shape=[1, len(row)])
    tensor.contents.fp64_contents.extend(row)
    return protobuf.decode(message, schema, ()).frame


def by_raw_grpc(row: list[float], schema: Schema) -> Frame:
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype="FP64", shape=[1, len(row)])
    message.raw_input_contents.append(np.array(row).tobytes())
    return protobuf.decode(message, schema, ()).frame


WAYS = (by_v1, by_v2, by_columns, by_binary, by_grpc, by_raw_grpc)


def forms(trainer: Trainer, code: str) -> dict[str, WarmModel]:
    trained = trainer(code, "builtin://iris")
    assert trained.result.formats == ("skops", "onnx"), trained.log
    given = {"uri": trained.result.uri, "digest": trained.result.digest, "number": "1", "version": "demo-1"}
    config = ServerConfig(namespace="team-a", deployment="demo", **given)
    version = trained.open()
    return {r: warm_up.load(version, config.model_copy(update={"runtime": r}), threads=1) for r in ("ONNX", "Native")}


def said(warm: WarmModel, frame: Frame) -> Any:
    """Return what a client gets: labels and rounded numbers, or the status of the refusal."""
    try:
        answer = warm.model.predict(frame)
    except BadRequestError as error:
        return error.status
    numbers = answer.probabilities if answer.probabilities is not None else np.zeros(0)
    assert np.isfinite(numbers).all()
    return answer.labels(), numbers.astype(float).round(3).tolist()


@pytest.mark.parametrize("code", [BOX_COX, LOGISTIC, FOREST], ids=["box-cox", "logistic", "forest"])
def test_what_the_native_form_refuses_is_refused_by_both_by_every_way_in(trainer: Trainer, code: str) -> None:
    both = forms(trainer, code)
    usual = [5.1, 3.5, 1.4, 0.2]
    refused = set()
    for value in ABSURD:
        for row in ([value] * 4, [value, *usual[1:]], [usual[0], value, -value, usual[3]]):
            found = set()
            for way in WAYS:
                if not math.isfinite(value) and way in (by_v1, by_v2, by_columns):
                    continue  # JSON has no such number
                for warm in both.values():
                    found.add(repr(said(warm, way(row, warm.schema))))
            assert len(found) == 1, (row, found)
            if found == {"400"} and row == [value] * 4:
                refused.add(value)
    assert {math.inf, -math.inf, 1e39, -1e39} <= refused
    assert 1.5 not in refused
    assert ({-1.0, 0.0, 1e-300} <= refused) == (code is BOX_COX)


def test_box_cox_says_what_it_takes(trainer: Trainer) -> None:
    for warm in forms(trainer, BOX_COX).values():
        with pytest.raises(BadRequestError, match=r"^inputs: row 0: column 'sepal width \(cm\)' takes numbers from .*"):
            warm.model.predict(by_v1([5.1, -1, 1.4, 0.2], warm.schema))


def test_an_infinite_value_of_a_regressor_is_an_answer(trainer: Trainer) -> None:
    for warm in forms(trainer, POISSON).values():
        request = v1.decode(orjson.dumps({"instances": [[1.0, 1e9, 1e9, 1e9]]}), warm.schema)
        answer = warm.model.predict(request.frame)
        assert np.isinf(answer.prediction).all()
        assert orjson.loads(v1.encode(answer, request)) == {"predictions": [None]}


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_a_probability_that_is_no_number_is_no_answer(tmp_path: Path, runtime: str) -> None:
    """Of versions from before ranges were recorded, too; and it spoils no neighbour's answer in a batch."""
    published = versions.numbers(tmp_path / "store")
    warm = Predictor.open(published.config(runtime=runtime)).warm
    row = [3.4e38 if runtime == "ONNX" else 1.7e308] * 4
    bad = by_v1(row, warm.schema)
    with pytest.raises(BadRequestError, match=r"^inputs: the model gives no probabilities for these values"):
        warm.model.predict(bad)
    good = by_v1([1.0, 2.0, 3.0, 4.0], warm.schema)
    first, second, third = answers(warm.model.predict, [good, bad, good])
    assert isinstance(first, Prediction) and isinstance(third, Prediction) and isinstance(second, BadRequestError)
    together = v1.decode(orjson.dumps({"instances": [[1, 2, 3, 4], row]}), warm.schema).frame
    with pytest.raises(BadRequestError, match=r"^inputs: row 1: the model gives no probabilities"):
        warm.model.predict(together)


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_a_data_set_has_the_same_rows_refused(trainer: Trainer, runtime: Any) -> None:
    trained = trainer(BOX_COX, "builtin://iris")
    assert trained.result.uri and trained.result.digest
    predictor = Predictor.open(config_of(trained.result.uri, trained.result.digest, runtime=runtime))
    rows = pd.DataFrame([[5.1, 3.5, 1.4, 0.2]] * 4, columns=list(predictor.schema.names))
    rows.iloc[1, 2], rows.iloc[2, 0] = -1.0, math.inf
    scored = predictor.table(rows, ResultOptions(on_error="null"))
    assert [one.row for one in scored.refused] == [1, 2]
    assert scored.table.column("label").to_pylist()[1:3] == [None, None]
    assert all("takes numbers from" in one.message for one in scored.refused)


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(random.normal(size=(80, 3)) ** 2 + 1, columns=["a", "b", "c"]).assign(n=range(1, 81))


def noted(estimator: Any, rows: pd.DataFrame) -> tuple[inspection.Model, Signature]:
    values = rows[rows.columns[0]]
    model = inspection.inspect(estimator.fit(rows, values > values.median()), rows, Path("/code"))
    signature = signature_nulls.noted(inspection.signature(model, rows), model, rows)
    return model, signature_ranges.noted(signature, model, rows)


LARGEST = 1.7976931348623157e308


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [
        (LinearRegression, -LARGEST, LARGEST),
        (lambda: RandomForestClassifier(n_estimators=2), -signature_ranges.SINGLE, signature_ranges.SINGLE),
        (lambda: HistGradientBoostingClassifier(max_iter=2), None, None),
        (lambda: make_pipeline(PolynomialFeatures(2), LogisticRegression(C=1e-9)), -1e150, 1e150),
        (lambda: make_pipeline(SplineTransformer(extrapolation="error"), LogisticRegression()), 1.0, 80.0),
    ],
    ids=["linear", "float32", "takes infinity", "overflows", "ends with the data"],
)
def test_the_range_of_a_column_is_what_the_estimator_takes(
    make: Callable[[], Any], low: float | None, high: float | None
) -> None:
    _, signature = noted(make(), table())
    column = signature.inputs[3]
    assert (column.minimum, column.maximum) == (low, high)
    assert ("minimum" in column.model_dump(exclude_none=True)) == (low is not None)


def test_a_limit_near_the_data_is_found_to_the_last_bit() -> None:
    _, signature = noted(CategoricalNB(), table()[["n"]])
    column = signature.inputs[0]
    assert column.minimum == math.nextafter(-1.0, 0.0) and column.maximum == math.nextafter(81.0, 0.0)
    rule = Rules(Schema(signature), [("label", "INT64")])
    with pytest.raises(
        BadRequestError, match=r"^inputs: row 1: column 'n' takes numbers above -1 and below 81, got 81"
    ):
        rule.check(Frame(Schema(signature), 2, arrays=[np.array([3, 81])]))


def test_labels_without_probabilities_end_where_their_scores_do() -> None:
    rows = table()
    _, signature = noted(make_pipeline(StandardScaler(), LinearSVC()), rows * [1e-9, 1, 1, 1])
    assert signature.inputs[0].maximum is not None
    assert signature.inputs[0].maximum <= 1e307


def test_a_graph_in_single_precision_narrows_the_range() -> None:
    rows = table()
    model, signature = noted(make_pipeline(PolynomialFeatures(2), LogisticRegression(C=1e-9)), rows)
    converted = convert.convert(model, rows)
    assert converted.content is not None
    narrowed = signature_ranges.narrowed(signature, converted.content, model, rows)
    assert {(c.minimum, c.maximum) for c in narrowed.inputs} == {(-1e18, 1e18)}


def test_columns_whose_values_are_a_set_have_no_range() -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    rows = table().assign(n=[1, 5, 9, 1] * 20)
    encoder = make_column_transformer((OneHotEncoder(), ["n"]), remainder="passthrough")
    _, signature = noted(make_pipeline(encoder, LinearRegression()), rows)
    assert (signature.inputs[3].minimum, signature.inputs[3].maximum) == (None, None)


@pytest.mark.parametrize("value", [2, 0.5, -1])
def test_a_boolean_is_true_or_false(value: float) -> None:
    schema = Schema(Signature(inputs=(ColumnSpec(name="flag", datatype="BOOL"),), outputs=()))
    rule = Rules(schema, [("label", "INT64")])
    frames = [
        v1.decode(orjson.dumps({"instances": [[True], [value]]}), schema).frame,
        v2.decode(
            orjson.dumps({"inputs": [{"name": "flag", "shape": [2], "datatype": "FP64", "data": [1, value]}]}),
            schema,
            (),
        ).frame,
    ]
    for frame in frames:
        with pytest.raises(BadRequestError, match=r"^inputs: row 1: column 'flag' takes true or false, got "):
            rule.check(frame)
    rule.check(v1.decode(b'{"instances": [[true], [0], [1.0], [null]]}', schema).frame)
    for one in (Frame(schema, 1, row=[float(value)]), Frame(schema, 1, matrix=np.array([[float(value)]]))):
        with pytest.raises(BadRequestError, match=r"^inputs: row 0: column 'flag' takes true or false"):
            rule.check(one)


def test_scores_may_be_infinite_but_must_be_numbers() -> None:
    schema = Schema(Signature(inputs=(ColumnSpec(name="a", datatype="FP64"),), outputs=()))
    names = [("label", "INT64"), ("score", "FP64")]
    frame = Frame(schema, 2, matrix=np.array([[1.0], [2.0]]))
    rule = Rules(schema, names)
    rule.confirm(frame, Prediction(names, np.array([1, -1]), None, [np.array([1.0, -math.inf])]))
    with pytest.raises(BadRequestError, match=r"^inputs: row 1: the model gives no score for these values"):
        rule.confirm(frame, Prediction(names, np.array([1, -1]), None, [np.array([1.0, math.nan])]))
