"""The wire: what the server takes, gives and refuses, as tables over the application in process."""

import gzip
import json
import zlib
from collections.abc import Callable
from importlib import metadata as packages
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.runtime.test_predictionlog_ids import FORM
from tests.support import versions
from tests.support.asgi import Reply, call, post
from tests.support.versions import Published

from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

V2, V1 = "/v2/models/demo/infer", "/v1/models/demo:predict"
ROW = [0.5, -1.0, 0.25, 2.0]


def serve(published: Published, **changes: Any) -> Parts:
    """Wire a server that is ready."""
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return versions.mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module", params=["ONNX", "Native"])
def app(numbers: Published, request: pytest.FixtureRequest) -> Any:
    return serve(numbers, runtime=request.param).app


@pytest.fixture(scope="module", params=["ONNX", "Native"])
def mixed_app(mixed: Published, request: pytest.FixtureRequest) -> Any:
    return serve(mixed, runtime=request.param).app


def matrix(rows: list[list[Any]], datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    """Return a V2 request of one tensor."""
    return {
        "inputs": [
            {
                "name": "x",
                "shape": [len(rows), len(rows[0])],
                "datatype": datatype,
                "data": [v for row in rows for v in row],
            }
        ],
        **more,
    }


def columns(values: dict[str, tuple[str, list[Any]]], rank: int = 1) -> dict[str, Any]:
    """Return a V2 request of one tensor per column."""
    return {
        "inputs": [
            {"name": name, "shape": [len(data)] if rank == 1 else [len(data), 1], "datatype": datatype, "data": data}
            for name, (datatype, data) in values.items()
        ]
    }


MIXED = {"größe": ("FP64", [1.5, -1.0]), "alter": ("INT64", [3, 4]), "farbe": ("BYTES", ["blau", "rot"])}


async def test_v2_answers_as_the_model_does(app: Any, numbers: Published) -> None:
    x = numbers.frame.to_numpy()[:10]
    reply = await post(app, V2, matrix(x.tolist(), id="grün-1"))
    assert reply.status == 200
    body = reply.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("demo", "7", "grün-1")
    predict, proba = body["outputs"]
    assert (predict["name"], predict["datatype"], predict["shape"]) == ("label", "INT64", [10])
    assert predict["data"] == numbers.model.predict(x).tolist()
    assert (proba["name"], proba["datatype"], proba["shape"]) == ("probabilities", "FP64", [10, 3])
    np.testing.assert_allclose(
        np.reshape(proba["data"], proba["shape"]), numbers.model.predict_proba(x), rtol=1e-3, atol=1e-5
    )


async def test_v2_headers_name_the_prediction_and_the_version(app: Any) -> None:
    reply = await post(app, V2, matrix([ROW], id="r 1"))
    assert reply.headers["x-tidemill-prediction-id"] == "r 1"
    assert reply.headers["x-tidemill-version"] == "7"
    assert "connection" not in reply.headers
    made = await post(app, V2, matrix([ROW]))
    assert made.json()["id"] == made.headers["x-tidemill-prediction-id"]
    assert FORM.fullmatch(made.json()["id"])
    other = await post(app, V2, matrix([ROW]))
    assert other.json()["id"] != made.json()["id"]


async def test_an_id_that_no_header_can_hold_is_escaped_there_and_echoed_in_the_body(app: Any) -> None:
    reply = await post(app, V2, matrix([ROW], id="a\r\nx-evil: ü"))
    assert reply.json()["id"] == "a\r\nx-evil: ü"
    assert reply.headers["x-tidemill-prediction-id"] == "a%0D%0Ax-evil: %C3%BC"


@pytest.mark.parametrize(
    "path",
    [V2, V2 + "/", "/v2/models/demo/versions/7/infer", "/v2/models/demo/versions/7/infer/", V2 + "//"],
)
async def test_v2_paths(app: Any, path: str) -> None:
    assert (await post(app, path, matrix([ROW]))).status == 200


@pytest.mark.parametrize(
    "data", [[ROW, ROW], [*ROW, *ROW], [[1, 2, 3, 4], [1.0, 2, None, 4]]], ids=["nested", "flat", "with null"]
)
async def test_v2_data_forms(numbers: Published, data: list[Any]) -> None:
    app = serve(numbers, runtime="ONNX").app
    request = matrix([ROW, ROW])
    request["inputs"][0]["data"] = data
    reply = await post(app, V2, request)
    if any(None in row for row in data if isinstance(row, list)):  # logistic regression takes no missing values
        assert reply.status == 400
        assert "'c'" in reply.json()["error"]
    else:
        assert reply.status == 200


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT8", "UINT64", "BOOL"])
async def test_every_number_type_is_taken_for_numbers(app: Any, datatype: str) -> None:
    row: list[Any] = [True, False, True, False] if datatype == "BOOL" else [1, 0, 1, 0]
    reply = await post(app, V2, matrix([row], datatype))
    assert reply.status == 200
    assert (
        reply.json()["outputs"][0]["data"] == (await post(app, V2, matrix([[1, 0, 1, 0]]))).json()["outputs"][0]["data"]
    )


@pytest.mark.parametrize("rank", [1, 2])
async def test_one_tensor_per_column_in_any_order_equals_the_matrix(app: Any, rank: int) -> None:
    one = await post(app, V2, matrix([ROW], id="1"))
    values = {name: ("FP64", [value]) for name, value in zip("abcd", ROW, strict=True)}
    other = await post(app, V2, {**columns(dict(reversed(values.items())), rank), "id": "1"})
    assert other.json() == one.json()


async def test_outputs_are_selected(app: Any) -> None:
    reply = await post(app, V2, matrix([ROW], outputs=[{"name": "probabilities"}]))
    assert [o["name"] for o in reply.json()["outputs"]] == ["probabilities"]


async def test_text_and_numbers_by_column(mixed_app: Any, mixed: Published) -> None:
    frame = mixed.frame.head(8)
    request = columns(
        {
            "farbe": ("BYTES", frame["farbe"].tolist()),
            "größe": ("FP64", frame["größe"].tolist()),
            "alter": ("INT64", frame["alter"].tolist()),
        }
    )
    reply = await post(mixed_app, V2, request)
    assert reply.json()["outputs"][0] == {
        "name": "label",
        "shape": [8],
        "datatype": "BYTES",
        "data": mixed.model.predict(frame).tolist(),
    }


async def test_unseen_categories_and_missing_numbers_reach_the_model(mixed_app: Any, mixed: Published) -> None:
    values = {"größe": ("FP64", [None, 1.0]), "alter": ("INT64", [3, None]), "farbe": ("BYTES", ["lila", "blau"])}
    reply = await post(mixed_app, V2, columns(values))
    frame = pd.DataFrame({"größe": [np.nan, 1.0], "alter": [3, np.nan], "farbe": ["lila", "blau"]})
    assert reply.json()["outputs"][0]["data"] == mixed.model.predict(frame).tolist()


async def test_a_missing_category_is_no_error(mixed_app: Any) -> None:
    values = {"größe": ("FP64", [1.0]), "alter": ("INT64", [3]), "farbe": ("BYTES", [None])}
    assert (await post(mixed_app, V2, columns(values))).status == 200


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [ROW]},
        {"instances": [{"a": 0.5, "b": -1.0, "c": 0.25, "d": 2.0}]},
        {"inputs": [ROW]},
        {"inputs": {"d": [2.0], "a": [0.5], "b": [-1], "c": [0.25]}},
    ],
    ids=["rows", "records", "inputs", "columns"],
)
async def test_v1_forms(app: Any, document: dict[str, Any]) -> None:
    reply = await post(app, V1, document)
    expected = (await post(app, V2, matrix([ROW]))).json()["outputs"][0]["data"]
    assert reply.json() == {"predictions": expected}
    assert FORM.fullmatch(reply.headers["x-tidemill-prediction-id"])


async def test_v1_takes_the_id_of_the_client(app: Any) -> None:
    reply = await post(app, V1, {"instances": [ROW]}, {"X-Tidemill-Prediction-Id": "order-9"})
    assert reply.headers["x-tidemill-prediction-id"] == "order-9"
    assert (await post(app, V1, {"instances": [ROW]}, {"x-tidemill-prediction-id": "x" * 257})).status == 400


async def test_v1_mixed_rows(mixed_app: Any, mixed: Published) -> None:
    rows = mixed.frame.head(3).to_dict("records")
    expected = mixed.model.predict(mixed.frame.head(3)).tolist()
    assert (await post(mixed_app, V1, {"instances": rows})).json()["predictions"] == expected
    lists = [list(row.values()) for row in rows]
    assert (await post(mixed_app, V1, {"instances": lists})).json()["predictions"] == expected


async def test_nan_of_a_regressor_leaves_as_null(tmp_path_factory: pytest.TempPathFactory) -> None:
    class Broken:
        platform = "test"

        def predict(self, frame: Any) -> Any:
            from tidemill_runtime.model.prediction import Prediction

            return Prediction([("value", "FP64")], np.array([np.nan, np.inf, 1.0]))

    parts = serve(versions.regression(tmp_path_factory.mktemp("regression")))
    parts.plane._predict = Broken().predict
    request = columns({"u": ("FP64", [1, 2, 3]), "v": ("FP64", [1, 2, 3])})
    assert (await post(parts.app, V2, request)).json()["outputs"][0]["data"] == [None, None, 1.0]
    assert (await post(parts.app, V1, {"instances": [[1, 2]] * 3})).json() == {"predictions": [None, None, 1.0]}


def tensor(**changes: Any) -> dict[str, Any]:
    """Return a request whose only tensor is changed; None removes a field."""
    base = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW} | changes
    return {"inputs": [{k: v for k, v in base.items() if v is not None}]}


BAD_V2: dict[str, tuple[Any, str]] = {
    "no inputs": ({}, "inputs: expected a list of tensors"),
    "empty inputs": ({"inputs": []}, "inputs: expected a list of tensors, got none"),
    "inputs is an object": ({"inputs": {}}, "inputs: expected a list of tensors"),
    "tensor is a number": ({"inputs": [3]}, "inputs[0]: expected an object"),
    "no name": (tensor(name=None), "inputs[0].name"),
    "no datatype": (tensor(datatype=None), "inputs[0].datatype"),
    "unknown datatype": (tensor(datatype="FLOAT"), "expected one of BOOL, INT8"),
    "FP16": (tensor(datatype="FP16"), "FP16 has no JSON form"),
    "no shape": (tensor(shape=None), "inputs[0].shape"),
    "negative shape": (tensor(shape=[-1, 4]), "inputs[0].shape"),
    "huge shape": (tensor(shape=[10**12, 4]), "holds 4000000000000 values"),
    "shape of strings": (tensor(shape=["1", 4]), "inputs[0].shape"),
    "no data": (tensor(data=None), "inputs[0].data"),
    "too few values": (tensor(data=[1, 2, 3]), "shape [1, 4] holds 4 values, got 3"),
    "too many values": (tensor(data=[*ROW, 1]), "shape [1, 4] holds 4 values, got 5"),
    "wrongly nested": (tensor(data=[[1, 2], [3, 4]]), "inputs[0].data"),
    "ragged": (tensor(shape=[2, 4], data=[ROW, ROW[:3]]), "expected lists of 4"),
    "no rows": (tensor(shape=[0, 4], data=[]), "at least one row"),
    "too few columns": (tensor(shape=[1, 3], data=[1, 2, 3]), "4 columns ('a', 'b', 'c', 'd')"),
    "string in numbers": (tensor(data=[1, 2, 3, "4"]), "inputs[0].data: '4' is no FP64"),
    "bool in numbers": (tensor(data=[1, 2, 3, True]), "true is no FP64"),
    "object in numbers": (tensor(data=[1, 2, 3, {}]), "an empty object is no FP64"),
    "bytes for numbers": (tensor(datatype="BYTES", data=list("abcd")), "column 'a' is FP64 and takes numbers"),
    "fraction in integers": (tensor(datatype="INT32", data=[1, 2, 3, 4.5]), "4.5 is no whole number"),
    "out of range": (tensor(datatype="INT8", data=[1, 2, 3, 300]), "300 is out of range for INT8 (-128 to 127)"),
    "out of float range": (tensor(datatype="FP32", data=[1, 2, 3, 1e39]), "out of range for FP32"),
    "number in bool": (tensor(datatype="BOOL", data=[1, 0, 1, 2]), "is no BOOL"),
    "missing and unexpected columns": (
        columns({"a": ("FP64", [1]), "b": ("FP64", [1]), "C": ("FP64", [1]), "d": ("FP64", [1])}),
        "missing columns: 'c'; unexpected columns: 'C'",
    ),
    "column twice": (
        {"inputs": columns({"a": ("FP64", [1])})["inputs"] * 2},
        "inputs[1].name: 'a' is given twice",
    ),
    "columns of different length": (columns({"a": ("FP64", [1]), "b": ("FP64", [1, 2])}), "inputs[1].shape: 2 rows"),
    "id is a number": ({**tensor(), "id": 3}, "id: expected a string"),
    "id is too long": ({**tensor(), "id": "x" * 257}, "id: expected a string of at most 256"),
    "outputs is a string": ({**tensor(), "outputs": "label"}, "outputs: expected a list"),
    "unknown output": ({**tensor(), "outputs": [{"name": "y"}]}, "expected one of 'label', 'probabilities'"),
    "parameters is a list": ({**tensor(), "parameters": []}, "parameters: expected an object"),
    "a list": ([], "the body must be a JSON object, got an empty list"),
    "null": (None, "the body must be a JSON object, got null"),
}


@pytest.mark.parametrize(("document", "sentence"), BAD_V2.values(), ids=BAD_V2.keys())
async def test_v2_refuses_and_says_why(app: Any, document: Any, sentence: str) -> None:
    reply = await post(app, V2, document)
    check_error(reply, 400, sentence)


BAD_V1: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "instances: missing"),
    "both": ({"instances": [ROW], "inputs": [ROW]}, "either instances or inputs"),
    "no list": ({"instances": 3}, "instances: expected a list"),
    "empty": ({"instances": []}, "instances: expected a list of at least one row, got an empty list"),
    "short row": ({"instances": [ROW, ROW[:2]]}, "row 1 has 2 values; the model takes 4"),
    "rows of two kinds": ({"instances": [ROW, {}]}, "all rows as lists or all as objects"),
    "bare values": ({"instances": [1, 2]}, "row 0: expected a list of 4 values"),
    "renamed column": (
        {"instances": [{"a": 1, "b": 1, "c": 1, "D": 1}]},
        "row 0: missing columns: 'd'; unexpected columns: 'D'",
    ),
    "string": ({"instances": [[1, 2, "x", 4]]}, "row 0: column 'c' takes numbers or null, got 'x'"),
    "bool": ({"instances": [[1, 2, True, 4]]}, "column 'c' takes numbers or null, got true"),
    "ragged columns": ({"inputs": {"a": [1], "b": [1, 2], "c": [1], "d": [1]}}, "column 'b' has 2 values"),
    "column is no list": ({"inputs": {"a": 1, "b": [1], "c": [1], "d": [1]}}, "column 'a': expected a list"),
}


@pytest.mark.parametrize(("document", "sentence"), BAD_V1.values(), ids=BAD_V1.keys())
async def test_v1_refuses_and_says_why(app: Any, document: Any, sentence: str) -> None:
    check_error(await post(app, V1, document), 400, sentence)


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"inputs": [}', b"[" * 100_000], ids=range(5))
async def test_broken_json(app: Any, path: str, body: bytes) -> None:
    check_error(await call(app, "POST", path, body), 400, "the body is not valid JSON")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_nan_and_infinity_in_requests(app: Any, value: float) -> None:
    sentence = "JSON has no NaN or Infinity, send null for a missing value"
    check_error(await post(app, V2, matrix([[value, 1, 1, 1]])), 400, sentence)
    check_error(await post(app, V1, {"instances": [[value, 1, 1, 1]]}), 400, sentence)


async def test_missing_values_that_the_model_cannot_take_are_named(app: Any) -> None:
    reply = await post(app, V1, {"instances": [ROW, [1, None, 1, 1]]})
    check_error(reply, 400, "the model")


async def test_numbers_beyond_the_graph_are_refused(numbers: Published) -> None:
    reply = await post(serve(numbers, runtime="ONNX").app, V1, {"instances": [[1, 2, 1e300, 4]]})
    check_error(reply, 400, "row 0: column 'c' takes at most ±3.4e38, got 1e+300")


async def test_text_where_numbers_go_and_the_other_way_round(mixed_app: Any) -> None:
    swapped = {**MIXED, "farbe": ("FP64", [1, 2])}
    check_error(await post(mixed_app, V2, columns(swapped)), 400, "column 'farbe' is BYTES and takes strings")
    rows = {"instances": [{"größe": "1.5", "alter": 3, "farbe": "rot"}]}
    check_error(await post(mixed_app, V1, rows), 400, "row 0: column 'größe' takes numbers or null, got '1.5'")
    check_error(
        await post(mixed_app, V2, matrix([[1, 2, 3]])), 400, "column 'farbe' is BYTES and takes strings, got numbers"
    )


async def test_an_estimator_that_refuses_is_the_clients_error(numbers: Published) -> None:
    parts = serve(numbers, runtime="Native")
    reply = await post(parts.app, V1, {"instances": [[None, 1, 1, 1]]})
    check_error(reply, 400, "the model refused the input: Input X contains NaN")


async def test_a_fault_of_the_model_is_the_servers_and_tells_nothing(numbers: Published) -> None:
    parts = serve(numbers)

    def fail(_: Any) -> Any:
        raise RuntimeError("secret internals")

    parts.plane._predict = fail
    reply = await post(parts.app, V2, matrix([ROW]))
    check_error(reply, 500, "the model failed")
    assert b"secret" not in reply.body


UNKNOWN: dict[str, tuple[str, str, int, str]] = {
    "model": ("POST", "/v2/models/nope/infer", 404, "unknown model 'nope'; this server has 'demo'"),
    "v1 model": ("POST", "/v1/models/nope:predict", 404, "unknown model 'nope'"),
    "version": ("POST", "/v2/models/demo/versions/8/infer", 404, "no version '8' here; it has '7'"),
    "metadata": ("GET", "/v2/models/nope", 404, "unknown model 'nope'"),
    "path": ("GET", "/v3", 404, "there is nothing at '/v3'"),
    "infer by GET": ("GET", V2, 405, "GET is not allowed"),
    "predict by PUT": ("PUT", V1, 405, "PUT is not allowed"),
    "health by POST": ("POST", "/v2/health/live", 405, "POST is not allowed"),
}


@pytest.mark.parametrize(("method", "path", "status", "sentence"), UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_what_is_not_there(app: Any, method: str, path: str, status: int, sentence: str) -> None:
    reply = await call(app, method, path)
    check_error(reply, status, sentence)
    if status == 405:
        assert reply.headers["allow"]


METADATA = {
    "name": "demo",
    "versions": ["7"],
    "inputs": [{"name": c, "datatype": "FP64", "shape": [-1]} for c in "abcd"],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]},
    ],
}
RUNTIMES = {"onnxruntime_onnx": "ONNX", "sklearn": "Native"}  # each is asked for
KNOWN: dict[str, Callable[[dict[str, Any]], bool]] = {
    "/": lambda b: b == {"status": "alive"},
    "/v1/models": lambda b: b == {"models": ["demo"]},
    "/v1/models/demo": lambda b: b == {"name": "demo", "ready": True},
    "/v2": lambda b: b["name"] == "tidemill" and b["extensions"] == ["binary_tensor_data"] and bool(b["version"]),
    "/v2/health/live": lambda b: b == {"live": True},
    "/v2/health/ready": lambda b: b == {"ready": True},
    "/v2/models": lambda b: b == {"models": ["demo"]},
    "/v2/models/demo": lambda b: {k: v for k, v in b.items() if k not in ("platform", "parameters")} == METADATA,
    "/v2/models/demo/versions/7": lambda b: (
        b["parameters"]
        == {
            "runtime": RUNTIMES[b["platform"]],
            "reason": f"spec.server.runtime is {RUNTIMES[b['platform']]}",
            "classes": [0, 1, 2],
        }
    ),
    "/v2/models/demo/ready": lambda b: b == {"name": "demo", "ready": True},
    "/v2/models/demo/versions/7/ready": lambda b: b == {"name": "demo", "ready": True},
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", KNOWN)
async def test_health_and_metadata(app: Any, path: str, slash: str) -> None:
    reply = await call(app, "GET", path if path == "/" else path + slash)
    assert reply.status == 200
    assert KNOWN[path](reply.json()), reply.body


async def test_server_metadata_needs_no_installed_distribution(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise packages.PackageNotFoundError

    monkeypatch.setattr(packages, "version", absent)
    assert (await call(app, "GET", "/v2")).json()["version"] == "unpackaged"


async def test_not_ready_is_503_everywhere(numbers: Published) -> None:
    config = numbers.config()
    app = assemble(config, State(), Telemetry(config), threads=1).app
    for path in ("/v2/health/ready", "/v2/models/demo/ready", "/v1/models/demo"):
        reply = await call(app, "GET", path)
        check_error(reply, 503, "the server is loading")
        assert reply.headers["retry-after"] == "1"
        assert reply.json()["ready"] is False


@pytest.mark.parametrize("published", ["numbers", "mixed"])
async def test_the_description_is_of_this_model_and_its_examples_are_answered(
    published: str, request: pytest.FixtureRequest
) -> None:
    app = serve(request.getfixturevalue(published)).app
    document = (await call(app, "GET", "/openapi.json")).json()
    assert {V2, "/v2/models/demo/versions/7/infer", V1, "/v2/models/demo/feedback"} <= document["paths"].keys()
    assert "422" not in str(document)
    for path in (V2, "/v2/models/demo/versions/7/infer", V1):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert (await post(app, path, example)).status == 200


@pytest.mark.parametrize(("path", "body"), [(V2, matrix([ROW], id="z")), (V1, {"instances": [ROW]})])
async def test_compressed_requests_are_answered_as_plain_ones(app: Any, path: str, body: Any) -> None:
    plain = json.dumps(body).encode()
    wanted = (await call(app, "POST", path, plain)).json()
    for encoding, content in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain)), ("identity", plain)):
        reply = await call(app, "POST", path, content, {"content-encoding": encoding})
        assert (reply.status, reply.json()) == (200, wanted)


async def test_what_cannot_be_inflated_is_refused(numbers: Published) -> None:
    app = serve(numbers, max_body_bytes=10_000).app
    reply = await call(app, "POST", V2, b"\x1f\x8b\x08", {"content-encoding": "gzip"})
    check_error(reply, 400, "the body is cut short: its gzip stream does not end")
    reply = await call(app, "POST", V2, b"{}", {"content-encoding": "br"})
    check_error(reply, 415, "Content-Encoding: expected one of gzip, deflate, identity, got 'br'")
    reply = await call(app, "POST", V2, gzip.compress(b" " * 1_000_000), {"content-encoding": "gzip"})
    check_error(reply, 413, "the body is larger than 10000 bytes once inflated")


async def test_encodings_in_several_lines_are_several_encodings(numbers: Published) -> None:
    plain = json.dumps(matrix([ROW])).encode()
    for path in (V2, V2.replace("infer", "explain")):
        for lines in (("gzip", "gzip"), ("gzip", "identity"), ("identity", "gzip")):
            headers = [("content-encoding", line) for line in lines]
            reply = await call(serve(numbers).app, "POST", path, gzip.compress(plain), headers)
            check_error(reply, 415, f"got several: '{', '.join(lines)}'")


async def test_binary_tensors_are_known_by_the_length_header_alone(app: Any) -> None:
    values = np.array(ROW, dtype="<f8").tobytes()
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "parameters": {"binary_data_size": len(values)}}
    head = json.dumps({"id": "b", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    reply = await call(app, "POST", V2, head + values, {"inference-header-content-length": str(len(head))})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/octet-stream")
    length = int(reply.headers["inference-header-content-length"])
    answered = json.loads(reply.body[:length])
    plain = (await post(app, V2, matrix([ROW]))).json()
    label, probabilities = answered["outputs"]
    sizes = [label["parameters"]["binary_data_size"], probabilities["parameters"]["binary_data_size"]]
    assert sum(sizes) == len(reply.body) - length
    assert np.frombuffer(reply.body, "<i8", offset=length, count=1).tolist() == plain["outputs"][0]["data"]
    assert np.frombuffer(reply.body, "<f8", offset=length + 8).tolist() == plain["outputs"][1]["data"]


def check_error(reply: Reply, status: int, sentence: str) -> None:
    """Hold a refusal against the protocol's form."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert sentence in body["error"]
    assert None not in body.values()
