"""Codecs: whatever a client may hold gets through both forms unchanged, and both decoders read it alike."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tensors import DATATYPES, TEXT, Body, arrays, outputs, values

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import tensors_to_frame, v1, v2

OUTPUTS = ("label", "probabilities")
HEAD = v2.Head("demo", "7")
EXAMPLES = settings(max_examples=40)
NAMES = st.lists(TEXT, min_size=1, max_size=3, unique=True)


def schema_of(**columns: str) -> Schema:
    """Return a schema of columns and their datatypes."""
    return Schema(Signature(inputs=tuple(ColumnSpec(name=name, datatype=d) for name, d in columns.items()), outputs=()))


def same(found: Any, expected: Any) -> bool:
    """Return whether two values are one: NaN is itself, -0.0 is not 0.0, and whole numbers are exact."""
    if isinstance(expected, float) and isinstance(found, (int, float)):
        if math.isnan(expected) or math.isnan(found):
            return math.isnan(expected) and math.isnan(found)
        return found == expected and math.copysign(1, found) == math.copysign(1, expected)
    if isinstance(expected, str):
        return type(found) is str and found == expected
    return bool(found == expected)


def check_rows(frame: Frame, rows: list[list[Any]]) -> None:
    """Hold a frame against the rows that were sent."""
    assert frame.rows == len(rows)
    for index in range(frame.schema.width):
        found = frame.column(index).tolist()
        assert len(found) == len(rows)
        assert all(same(a, row[index]) for a, row in zip(found, rows, strict=True)), (found, rows)
    flat = [value for row in rows for value in row]
    missing = any(isinstance(value, float) and math.isnan(value) for value in flat)
    assert not (frame.is_complete and missing)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("datatype", DATATYPES)
@EXAMPLES
@given(data=st.data())
def test_a_matrix_arrives_as_it_was_sent(datatype: str, binary: bool, data: st.DataObject) -> None:
    names = data.draw(NAMES)
    item = values(datatype, finite=not binary)
    rows = data.draw(st.lists(st.lists(item, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    body = Body()
    flat = [value for row in rows for value in row]
    if not binary and data.draw(st.booleans()):
        flat = rows
    body.add("\0no column", datatype, [len(rows), len(names)], flat, binary=binary)
    encoded, length = body.encoded()
    schema = schema_of(**dict.fromkeys(names, datatype))
    if datatype == "FP16" and not binary:
        with pytest.raises(BadRequestError, match="FP16 has no JSON form"):
            v2.decode(encoded, schema, OUTPUTS, length)
        return
    check_rows(v2.decode(encoded, schema, OUTPUTS, length).frame, rows)


@EXAMPLES
@given(data=st.data())
def test_columns_of_any_datatypes_arrive_as_they_were_sent(data: st.DataObject) -> None:
    names = data.draw(NAMES)
    forms = [(name, data.draw(st.sampled_from(DATATYPES)), data.draw(st.booleans())) for name in names]
    forms = [
        (name, "FP32" if datatype == "FP16" and not binary else datatype, binary) for name, datatype, binary in forms
    ]
    count = data.draw(st.integers(1, 4))
    columns = {
        name: data.draw(st.lists(values(datatype, finite=not binary), min_size=count, max_size=count))
        for name, datatype, binary in forms
    }
    body = Body()
    for name, datatype, binary in data.draw(st.permutations(forms)):
        shape = data.draw(st.sampled_from([[count], [count, 1]]))
        body.add(name, datatype, shape, columns[name], binary=binary)
    encoded, length = body.encoded()
    schema = schema_of(**{name: datatype for name, datatype, _ in forms})
    rows = [list(row) for row in zip(*(columns[name] for name in names), strict=True)]
    check_rows(v2.decode(encoded, schema, OUTPUTS, length).frame, rows)


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("datatype", DATATYPES)
@EXAMPLES
@given(data=st.data())
def test_an_answer_arrives_as_the_model_gave_it(datatype: str, binary: bool, data: st.DataObject) -> None:
    items, array = data.draw(arrays(datatype))
    request_id = data.draw(TEXT.filter(bool))
    request = json.dumps({"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]})
    document = json.loads(request) | {"parameters": {"binary_data_output": binary}}
    decoded = v2.decode(json.dumps(document).encode(), schema_of(a="FP64"), ("y",))
    answer = Prediction([("y", datatype)], array)
    if datatype == "FP16" and not binary:
        with pytest.raises(BadRequestError, match="FP16, which has no JSON form"):
            v2.encode(request_id, answer, decoded, HEAD)
        return
    body, length = v2.encode(request_id, answer, decoded, HEAD)
    assert (length is not None) is binary
    head = json.loads(body if length is None else body[:length])
    assert (head["model_name"], head["model_version"], head["id"]) == ("demo", "7", request_id)
    if not binary:
        items = [None if isinstance(value, float) and not math.isfinite(value) else value for value in items]
    found = outputs(body, length)["y"]
    assert found[:2] == (datatype, list(array.shape))
    assert len(found[2]) == len(items)
    assert all(same(a, b) if b is not None else a is None for a, b in zip(found[2], items, strict=True))


def test_an_answer_of_another_type_than_its_datatype_is_sent_as_the_datatype() -> None:
    answer = Prediction([("label", "INT64"), ("probabilities", "FP64")], np.int32([3]), np.float32([[0.1, np.nan]]))
    document = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}]}
    found = []
    for binary in (False, True):
        document["parameters"] = {"binary_data_output": binary}  # type: ignore[assignment]
        request = v2.decode(json.dumps(document).encode(), schema_of(a="FP64"), OUTPUTS)
        found.append(outputs(*v2.encode("1", answer, request, HEAD)))
    assert found[0]["label"] == found[1]["label"] == ("INT64", [1], [3])
    assert found[0]["probabilities"][2] == [float(np.float32(0.1)), None]
    assert found[1]["probabilities"][2][0] == float(np.float32(0.1))


MIXED = {"size": "FP64", "age": "INT64", "plan": "BYTES", "serial": "UINT64", "vip": "BOOL"}
EDGES = [3.4028235e38, 3.4028235677973366e38, -1e39, 1e-46, -0.0, 2**53 + 1, 2**64 - 1]
PLAIN = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1) | st.sampled_from(EDGES)
LOOSE = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=300)
@given(data=st.data())
def test_the_shortcut_reads_what_the_full_decoder_reads(data: st.DataObject) -> None:
    """A parameter without a meaning keeps a tensor from the shortcut; what it took, the full decoder takes alike."""
    names = data.draw(st.sampled_from([["size"], ["size", "age"], list(MIXED), ["size", "vip"]]))
    schema = schema_of(**{name: MIXED[name] for name in names})
    count = data.draw(st.sampled_from([1, 1, 2, 0, True, 1.0]))
    inputs: list[dict[str, Any]] = []
    if data.draw(st.booleans()):
        size = int(count) * len(names)
        items = data.draw(st.lists(data.draw(st.sampled_from([PLAIN, LOOSE])), min_size=size, max_size=size))
        nested = data.draw(st.sampled_from([items, [items], items[:1], ["a"], [{}]]))
        datatype = data.draw(st.sampled_from(["FP64", "FP32"]))
        inputs.append({"name": "x", "shape": [count, len(names)], "datatype": datatype, "data": nested})
    else:
        counts = data.draw(st.sampled_from([(count,), (count,), (count, 0), (count, 2)]))
        for name in data.draw(st.permutations(names)):
            count = data.draw(st.sampled_from(counts))
            usual = {"BYTES": TEXT, "FP64": PLAIN}.get(MIXED[name], st.integers(-(2**63), 2**64 - 1))
            item = data.draw(st.sampled_from([usual, LOOSE | TEXT]))
            datatype = data.draw(st.sampled_from([MIXED[name], "FP64", "FP32", "INT64"]))
            items = data.draw(st.lists(item, min_size=int(count), max_size=int(count)))
            shape = data.draw(st.sampled_from([[count], [count, 1], [count, True]]))
            inputs.append({"name": name, "shape": shape, "datatype": datatype, "data": items})

    hints = st.sampled_from([None, None, "pd", "np", "str", "base64", 1, [], {}])
    given = {"content_type": hint} if (hint := data.draw(hints)) is not None else {}
    for entry in inputs:
        if (hint := data.draw(hints)) is not None:
            entry["parameters"] = {"content_type": hint}

    def decoded(entries: list[dict[str, Any]]) -> tuple[Any, ...]:
        try:
            document = json.dumps({"parameters": given, "inputs": entries}).encode()
            frame = v2.decode(document, schema, OUTPUTS).frame
        except BadRequestError as error:
            return ("refused", error.message)
        columns = [frame.column(index) for index in range(schema.width)]
        return frame.rows, frame.is_complete, frame.matrix is None, [(c.dtype, repr(c.tolist())) for c in columns]

    assert decoded(inputs) == decoded([{**e, "parameters": {**e.get("parameters", {}), "other": 1}} for e in inputs])


def test_columns_of_no_rows_beside_others_are_refused() -> None:
    """What one column has and another has not would fail in the model, as a fault of the server."""
    for lengths in ([0, 2], [2, 0], [1, 2], [0, 0]):
        columns = [
            {"name": name, "shape": [rows], "datatype": "FP64", "data": [1.5] * rows}
            for name, rows in zip("ab", lengths, strict=True)
        ]
        with pytest.raises(BadRequestError, match=r"^inputs\[[01]\]\.shape: "):
            v2.decode(json.dumps({"inputs": columns}).encode(), schema_of(a="FP64", b="FP64"), OUTPUTS)


def test_the_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors_to_frame, "frame_of", lambda *_: pytest.fail("the full decoder was asked"))
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2]}
    frame = v2.decode(json.dumps({"inputs": [entry]}).encode(), schema_of(a="FP64", b="INT64"), OUTPUTS).frame
    assert (frame.column(0).tolist(), frame.column(1).tolist(), frame.is_complete) == ([1.5], [2.0], True)
    columns = [
        {"name": "b", "shape": [1, 1], "datatype": "BYTES", "data": ["x"]},
        {"name": "a", "shape": [1], "datatype": "INT64", "data": [2**53]},
    ]
    frame = v2.decode(json.dumps({"inputs": columns}).encode(), schema_of(a="INT64", b="BYTES"), OUTPUTS).frame
    assert (frame.column(0).tolist(), frame.column(1).tolist(), frame.is_complete) == ([2**53], ["x"], True)
    columns[0]["parameters"] = {"content_type": "str"}
    columns[1]["parameters"] = {"content_type": "np"}
    hinted = json.dumps({"parameters": {"content_type": "pd"}, "inputs": columns}).encode()
    assert v2.decode(hinted, schema_of(a="INT64", b="BYTES"), OUTPUTS).frame.column(1).tolist() == ["x"]


WIDE = 2**53 + 1


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"a": "INT64"}, [[WIDE], [-WIDE]]),
        ({"a": "INT64", "b": "FP64"}, [[WIDE, 1.5], [-(2**63), 2.0]]),
        ({"a": "UINT64", "b": "INT64"}, [[2**64 - 1, 2**63 - 1], [0, -(2**63)]]),
        ({"a": "INT64"}, [[1.0], [2]]),
        ({"a": "INT64", "b": "FP64"}, [[WIDE, None], [3, 2.0]]),
        ({"a": "INT64"}, [[2**60], [None]]),
    ],
)
def test_v1_keeps_whole_numbers_exact(columns: dict[str, str], rows: list[list[Any]]) -> None:
    schema = schema_of(**columns)
    by_name = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
    for document in (
        {"instances": rows},
        {"instances": [dict(zip(columns, r, strict=True)) for r in rows]},
        {"inputs": by_name},
    ):
        frame = v1.decode(json.dumps(document).encode(), schema).frame
        check_rows(frame, [[math.nan if value is None else value for value in row] for row in rows])


@pytest.mark.parametrize(
    "values", [[WIDE, None], [WIDE, 0.5], [2**63 + 1025, -1]], ids=["null", "fraction", "beyond both integer types"]
)
def test_a_whole_number_that_would_be_rounded_is_refused(values: list[Any]) -> None:
    body = json.dumps({"instances": [[value] for value in values]}).encode()
    with pytest.raises(BadRequestError, match=f"row 0: column 'a': {values[0]} is beyond what can be told apart"):
        v1.decode(body, schema_of(a="INT64"))


def test_a_null_costs_no_other_column_its_exactness() -> None:
    schema = schema_of(a="INT64", b="INT64")
    tensor = {"name": "x", "shape": [2, 2], "datatype": "INT64", "data": [WIDE, None, WIDE + 1, 4]}
    frame = v2.decode(json.dumps({"inputs": [tensor]}).encode(), schema, OUTPUTS).frame
    check_rows(frame, [[WIDE, math.nan], [WIDE + 1, 4]])
    assert frame.column(0).dtype == np.int64
    tensor["data"] = [WIDE, 1, None, 4]
    with pytest.raises(BadRequestError, match=f"row 0: column 'a': {WIDE} is beyond"):
        v2.decode(json.dumps({"inputs": [tensor]}).encode(), schema, OUTPUTS)


def test_what_is_decoded_may_be_written_to() -> None:
    body = Body()
    body.add("x", "FP64", [1, 2], [1.0, 2.0], binary=True)
    matrix = v2.decode(*_with_length(body)).frame.matrix
    assert matrix is not None
    matrix += 1
    assert matrix.tolist() == [[2.0, 3.0]]


def _with_length(body: Body) -> tuple[bytes, Schema, tuple[str, ...], int | None]:
    encoded, length = body.encoded()
    return encoded, schema_of(a="FP64", b="FP64"), OUTPUTS, length
