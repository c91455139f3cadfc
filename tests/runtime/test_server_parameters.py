"""What requests say beside their data: parameters, hints how to read it, selections; tables over the decoders."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from tests.runtime.test_server_codecs import HEAD, OUTPUTS, check_rows, schema_of

from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import v1, v2

MIXED = schema_of(age="FP64", plan="BYTES")
NUMBERS = schema_of(a="FP64", b="FP64")
WORDS = schema_of(plan="BYTES")
NAN = math.nan


def tensor(name: str, datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    """Return a tensor of one column."""
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **more}


def matrix(**more: Any) -> dict[str, Any]:
    """Return a request of one row of numbers."""
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2.5]}], **more}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def kind(content_type: object) -> dict[str, Any]:
    return {"parameters": {"content_type": content_type}}


# What MLServer 1.7.1 encodes (PandasCodec, NumpyRequestCodec, StringRequestCodec, Base64Codec), as its clients send it.
MLSERVER: dict[str, tuple[bytes, Any, list[list[Any]]]] = {
    "PandasCodec": (
        '{"parameters":{"content_type":"pd"},"inputs":[{"name":"age","shape":[2,1],"datatype":"FP64","data":[1.5,null]},'
        '{"name":"plan","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"str"},"data":["a","ü"]}]}'.encode(),
        MIXED,
        [[1.5, "a"], [NAN, "ü"]],
    ),
    "PandasCodec, a column of several types": (
        b'{"parameters":{"content_type":"pd"},"inputs":[{"name":"plan","shape":[3,1],"datatype":"BYTES",'
        b'"parameters":{"content_type":"pd_json","headers":null},"data":["\\"a\\"","null","\\"1\\""]}],"outputs":null}',
        WORDS,
        [["a"], [None], ["1"]],
    ),
    "PandasCodec, numbers among others": (
        b'{"inputs":[{"name":"age","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"pd_json"},'
        b'"data":["1.5","null"]},{"name":"plan","shape":[2,1],"datatype":"BYTES","data":["a","b"]}]}',
        MIXED,
        [[1.5, "a"], [NAN, "b"]],
    ),
    "NumpyRequestCodec": (
        b'{"id":null,"parameters":{"content_type":"np"},"inputs":[{"name":"input-1","shape":[2,2],"datatype":"FP64",'
        b'"parameters":{"content_type":"np"},"data":[1.0,2.0,3.0,null]}]}',
        NUMBERS,
        [[1.0, 2.0], [3.0, NAN]],
    ),
    "StringRequestCodec": (
        b'{"parameters":{"content_type":"str"},"inputs":[{"name":"input-1","shape":[2,1],"datatype":"BYTES",'
        b'"parameters":{"content_type":"str"},"data":["a","b"]}]}',
        WORDS,
        [["a"], ["b"]],
    ),
    "Base64Codec": (
        b'{"inputs":[{"name":"plan","shape":[2,1],"datatype":"BYTES","parameters":{"content_type":"base64"},'
        b'"data":["YmFzaWM=",null]}]}',
        WORDS,
        [["basic"], [None]],
    ),
    "a content type of nobody's": (
        encoded({"inputs": [{**matrix()["inputs"][0], **kind("hf")}], **kind("x-mine")}),
        NUMBERS,
        [[1.5, 2.5]],
    ),
}


@pytest.mark.parametrize(("body", "schema", "rows"), MLSERVER.values(), ids=MLSERVER.keys())
def test_content_types_are_read(body: bytes, schema: Any, rows: list[list[Any]]) -> None:
    check_rows(v2.decode(body, schema, OUTPUTS).frame, rows)


ACCEPTED: dict[str, dict[str, Any]] = {
    "no parameters at all": matrix(),
    "null everywhere": matrix(id=None, parameters=None, outputs=None),
    "an empty id": matrix(id=""),
    "unknown parameters": matrix(parameters={"priority": 3, "timeout": 1.5, "tag": "x", "debug": True, "none": None}),
    "no output named": matrix(outputs=[]),
    "unknown keys": matrix(model_name="demo", extra={"a": [1]}),
    "null in an output": matrix(outputs=[{"name": "label", "parameters": None}, {"name": "probabilities"}]),
    "an output twice": matrix(outputs=[{"name": "label"}, {"name": "probabilities"}, {"name": "label"}]),
}


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_means_nothing_is_ignored(document: dict[str, Any]) -> None:
    request = v2.decode(encoded(document), NUMBERS, OUTPUTS)
    check_rows(request.frame, [[1.5, 2.5]])
    assert request.id is None
    answer = Prediction([("label", "INT64"), ("probabilities", "FP64")], np.array([1]), np.array([[0.5, 0.5]]))
    body, length = v2.encode("i", answer, request, HEAD)
    assert length is None
    assert [output["name"] for output in json.loads(body)["outputs"]] == list(OUTPUTS)


def test_the_request_keeps_its_parameters() -> None:
    given = {"priority": 3, "binary_data_output": True}
    request = v2.decode(encoded(matrix(parameters=given, outputs=[{"name": "label"}])), NUMBERS, OUTPUTS)
    assert (request.parameters, request.outputs, request.binary) == (given, {"label"}, {"label"})


def column(**more: Any) -> dict[str, Any]:
    """Return a request of mixed columns whose number has something more."""
    return {"inputs": [tensor("age", "FP64", [1.5], **more), tensor("plan", "BYTES", ["a"])]}


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "parameters a list": (NUMBERS, matrix(parameters=[]), "parameters: expected an object, got an empty list"),
    "a list in parameters": (NUMBERS, matrix(parameters={"a": [1]}), "parameters.a: expected a string, a number or a"),
    "an object in parameters": (NUMBERS, matrix(parameters={"b": {}}), "parameters.b: expected a string, a number"),
    "a tensor's parameters": (MIXED, column(parameters="x"), "inputs[0].parameters: expected an object, got 'x'"),
    "in a tensor's": (MIXED, column(parameters={"a": [1]}), "inputs[0].parameters.a: expected a string, a number"),
    "an output's parameters": (
        NUMBERS,
        matrix(outputs=[{"name": "label", "parameters": 1}]),
        "outputs[0].parameters: expected an object, got 1",
    ),
    "in an output's": (
        NUMBERS,
        matrix(outputs=[{"name": "label"}, {"name": "label", "parameters": {"a": []}}]),
        "outputs[1].parameters.a: expected a string, a number or a boolean, got an empty list",
    ),
    "binary_data a string": (
        NUMBERS,
        matrix(outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]),
        "outputs[0].parameters.binary_data: expected true or false, got 'yes'",
    ),
    "binary_data_output a number": (
        NUMBERS,
        matrix(parameters={"binary_data_output": 1}),
        "parameters.binary_data_output: expected true or false, got 1",
    ),
    "shared memory in": (
        MIXED,
        column(parameters={"shared_memory_region": "r"}),
        "inputs[0].parameters.shared_memory_region: shared memory is not supported",
    ),
    "shared memory out": (
        NUMBERS,
        matrix(outputs=[{"name": "label", "parameters": {"shared_memory_region": "r"}}]),
        "outputs[0].parameters.shared_memory_region: shared memory is not supported",
    ),
    "str for numbers": (
        MIXED,
        column(**kind("str")),
        "content_type: 'str' is for BYTES, but inputs[0].datatype is FP64",
    ),
    "str for all": (
        NUMBERS,
        matrix(**kind("str")),
        "parameters.content_type: 'str' is for BYTES, but inputs[0].datatype",
    ),
    "base64 for numbers": (MIXED, column(**kind("base64")), "'base64' is for BYTES"),
    "datetime for numbers": (MIXED, column(**kind("datetime")), "'datetime' is for BYTES"),
    "a content type that is no string": (
        MIXED,
        column(**kind(3)),
        "inputs[0].parameters.content_type: expected a string",
    ),
    "no base64": (
        WORDS,
        {"inputs": [tensor("plan", "BYTES", ["YQ==", "???"], **kind("base64"))]},
        "inputs[0]: element 1 is not what content type 'base64' says",
    ),
    "base64 of no text": (
        WORDS,
        {"inputs": [tensor("plan", "BYTES", ["/w=="], **kind("base64"))]},
        "inputs[0]: element 0 is not what content type 'base64' says",
    ),
    "no JSON": (
        WORDS,
        {"inputs": [tensor("plan", "BYTES", ["a"], **kind("pd_json"))]},
        "inputs[0]: element 0 is not what content type 'pd_json' says",
    ),
    "an object for text": (
        WORDS,
        {"inputs": [tensor("plan", "BYTES", ['"a"', '{"x": 1}'], **kind("pd_json"))]},
        "inputs[0]: row 1: column 'plan' takes strings or null, got an object",
    ),
    "text for numbers by JSON": (
        schema_of(a="FP64"),
        {"inputs": [tensor("a", "BYTES", ['"1"'], **kind("pd_json"))]},
        "inputs[0]: row 0: column 'a' takes numbers or null, got '1'",
    ),
    "text matrix for mixed columns": (
        MIXED,
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["1.5", "a"]}]},
        "column 'age' is FP64 and takes numbers, got strings; send one tensor per column, named as the column",
    ),
    "number matrix for mixed columns": (
        MIXED,
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2]}]},
        "column 'plan' is BYTES and takes strings, got numbers; send one tensor per column",
    ),
    "BF16": (NUMBERS, {"inputs": [tensor("a", "BF16", [1])]}, "inputs[0].datatype: BF16 is not supported; send FP32"),
    "one dimension": (
        NUMBERS,
        {"inputs": [tensor("x", "FP64", [1, 2])]},
        "inputs[0].shape: a matrix for this model has 2 columns ('a', 'b'), got shape [2]",
    ),
    "three dimensions": (
        NUMBERS,
        {"inputs": [{"name": "x", "shape": [1, 1, 2], "datatype": "FP64", "data": [1, 2]}]},
        "inputs[0].shape: a matrix for this model has 2 columns ('a', 'b'), got shape [1, 1, 2]",
    ),
    "nine dimensions": (
        NUMBERS,
        {"inputs": [{"name": "x", "shape": [1] * 9, "datatype": "FP64", "data": [1]}]},
        "inputs[0].shape: expected a list of 1 to 8 whole numbers, got [1, 1, 1, 1, 1, 1, 1, 1, 1]",
    ),
    "a boolean length": (
        NUMBERS,
        {"inputs": [{"name": "x", "shape": [True, 2], "datatype": "FP64", "data": [1, 2]}]},
        "inputs[0].shape: expected a list of 1 to 8 whole numbers, got [true, 2]",
    ),
    "no whole number": (
        schema_of(a="INT64"),
        {"inputs": [tensor("a", "INT64", [1, 2.5])]},
        "inputs[0].data: 2.5 is no whole number, as INT64 takes",
    ),
    "below UINT64": (
        schema_of(a="UINT64"),
        {"inputs": [tensor("a", "UINT64", [1, -1])]},
        "inputs[0].data: -1 is out of range for UINT64 (0 to 18446744073709551615)",
    ),
    "beyond INT64": (
        schema_of(a="INT64"),
        {"inputs": [tensor("a", "INT64", [2**63])]},
        "inputs[0].data: 9223372036854775808 is out of range for INT64",
    ),
    "beyond INT64 as a float": (
        schema_of(a="INT64"),
        {"inputs": [tensor("a", "INT64", [1e300])]},
        "is out of range for INT64",
    ),
}


@pytest.mark.parametrize(("schema", "document", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals_name_the_field(schema: Any, document: Any, sentence: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        v2.decode(encoded(document), schema, OUTPUTS)
    assert sentence in refused.value.message


@pytest.mark.parametrize("literal", ["3.4028235e38", "-3.4028235e+38"])
def test_the_largest_single_in_its_shortest_form(literal: str) -> None:
    """Clients print FP32 as short as it can be told apart, which is a little above its exact value."""
    body = b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[%s]}]}' % literal.encode()
    found = v2.decode(body, schema_of(a="FP64"), OUTPUTS).frame.column(0)
    assert abs(found[0]) == float(np.finfo(np.float32).max)


ANSWER = Prediction([("label", "BYTES"), ("probabilities", "FP64")], np.array(["x"]), np.array([[0.25, np.nan]]))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, {"predictions": ["x"]}),
        ({"parameters": None}, {"predictions": ["x"]}),
        ({"parameters": {"probabilities": None, "other": 1}}, {"predictions": ["x"]}),
        ({"parameters": {"probabilities": False}}, {"predictions": ["x"]}),
        ({"parameters": {"probabilities": True}}, {"predictions": ["x"], "probabilities": [[0.25, None]]}),
        ({"signature_name": "serving_default", "id": 3}, {"predictions": ["x"]}),
    ],
)
def test_v1_gives_probabilities_on_request(parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    request = v1.decode(encoded({"instances": [[1, 2]], **parameters}), NUMBERS)
    assert json.loads(v1.encode(ANSWER, request)) == expected


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ([], "parameters: expected an object, got an empty list"),
        ({"probabilities": 1}, "parameters.probabilities: expected true or false, got 1"),
        ({"x": {}}, "parameters.x: expected a string, a number or a boolean, got an empty object"),
    ],
)
def test_v1_refuses_parameters(parameters: Any, sentence: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        v1.decode(encoded({"instances": [[1, 2]], "parameters": parameters}), NUMBERS)
    assert refused.value.message == sentence


def test_v1_has_no_probabilities_where_the_model_has_none() -> None:
    request = v1.decode(encoded({"instances": [[1, 2]], "parameters": {"probabilities": True}}), NUMBERS)
    with pytest.raises(BadRequestError, match="this model gives no probabilities"):
        v1.encode(Prediction([("value", "FP64")], np.array([1.0])), request)


def test_v1_gives_the_probabilities_of_each_target() -> None:
    names = [("label", "INT64"), ("probabilities_0", "FP64"), ("probabilities_1", "FP64")]
    others = [np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])]
    answer = Prediction(names, np.array([[0, 2], [1, 0]]), None, others)
    request = v1.decode(encoded({"instances": [[1, 2]] * 2, "parameters": {"probabilities": True}}), NUMBERS)
    assert json.loads(v1.encode(answer, request)) == {
        "predictions": [[0, 2], [1, 0]],
        "probabilities": [[[0.5, 0.5], [0.1, 0.2, 0.7]], [[0.25, 0.75], [1.0, 0.0, 0.0]]],
    }


def test_v1_rows_of_one_text_column_may_be_bare() -> None:
    check_rows(v1.decode(encoded({"instances": ["a", None, ""]}), WORDS).frame, [["a"], [None], [""]])
