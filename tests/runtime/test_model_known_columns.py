"""Columns that a model does not use: requests may have them or not, by every protocol and in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from tests.runtime.test_server_codecs_grpc import request_of

from tidemill_contracts.artifact import ColumnSpec, ModelManifest, Signature
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.server.http import openapi
from tidemill_runtime.server.protocol import protobuf, v1, v2
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

OUTPUTS = ("label",)


def signature(*, numeric: bool = False) -> Signature:
    """Used are the second and the fourth of five columns."""
    text = "FP64" if numeric else "BYTES"
    return Signature(
        inputs=(
            ColumnSpec(name="id", datatype="FP64" if numeric else "INT64", used=False),
            ColumnSpec(name="age", datatype="FP64"),
            ColumnSpec(name="date", datatype=text, used=False),
            ColumnSpec(name="plan", datatype=text),
            ColumnSpec(name="note", datatype=text, used=False),
        ),
        outputs=(ColumnSpec(name="label", datatype="INT64"),),
    )


MIXED, NUMBERS = Schema(signature()), Schema(signature(numeric=True))
IGNORING = Schema(signature(), ignores_others=True)
ROWS = {"id": [7, 8], "age": [31.5, 40.0], "date": ["2026-01-01", "x"], "plan": ["a", "b"], "note": ["", "n"]}
DATATYPES = {"id": "INT64", "age": "FP64", "date": "BYTES", "plan": "BYTES", "note": "BYTES", "more": "BOOL"}
ORDERS = {
    "used columns": ("age", "plan"),
    "used columns in another order": ("plan", "age"),
    "all columns": ("id", "age", "date", "plan", "note"),
    "some that are not used": ("note", "age", "plan", "id"),
}


def v2_frame(names: tuple[str, ...], schema: Schema = MIXED, **values: list[Any]) -> Frame:
    rows = ROWS | values
    inputs = [
        {"name": name, "shape": [len(rows[name])], "datatype": DATATYPES[name], "data": rows[name]} for name in names
    ]
    return v2.decode(orjson.dumps({"inputs": inputs}), schema, OUTPUTS).frame


def grpc_frame(names: tuple[str, ...], schema: Schema = MIXED, **values: list[Any]) -> Frame:
    rows = ROWS | values
    message = request_of([(name, DATATYPES[name], [len(rows[name])], rows[name]) for name in names], is_raw=False)
    return protobuf.decode(pb.ModelInferRequest.FromString(message.SerializeToString()), schema, OUTPUTS).frame


def v1_columns(names: tuple[str, ...], schema: Schema = MIXED, **values: list[Any]) -> Frame:
    rows = ROWS | values
    return v1.decode(orjson.dumps({"inputs": {name: rows[name] for name in names}}), schema).frame


def v1_records(names: tuple[str, ...], schema: Schema = MIXED, **values: list[Any]) -> Frame:
    rows = ROWS | values
    count = len(rows["age"])
    records = [{name: rows[name][i] if i < len(rows[name]) else None for name in names} for i in range(count)]
    return v1.decode(orjson.dumps({"instances": records}), schema).frame


BY_NAME = {"V2": v2_frame, "gRPC": grpc_frame, "V1 columns": v1_columns, "V1 records": v1_records}
by_name = pytest.mark.parametrize("frame", BY_NAME.values(), ids=BY_NAME)


def values_of(frame: Frame) -> dict[str, list[Any]]:
    return {name: frame.column(i).tolist() for i, name in enumerate(frame.schema.names)}


USED = {"age": [31.5, 40.0], "plan": ["a", "b"]}


def test_a_schema_has_the_used_columns_and_knows_the_others() -> None:
    assert MIXED.names == ("age", "plan")
    assert MIXED.known.names == ("id", "age", "date", "plan", "note")
    assert MIXED.known.unused == ("id", "date", "note")
    assert MIXED.known.of_used("abcde") == ["b", "d"]


def test_older_signatures_without_the_mark_use_all_columns() -> None:
    inputs = tuple(column.model_copy(update={"used": None}) for column in signature().inputs)
    schema = Schema(Signature(inputs=inputs, outputs=()))
    assert schema.names == schema.known.names
    with pytest.raises(BadRequestError, match="missing columns: 'id', 'date', 'note'"):
        v2_frame(("age", "plan"), schema)


def test_a_signature_without_the_mark_is_written_as_before() -> None:
    """Digests of versions that use all of their columns stay what they were."""
    assert "used" not in ColumnSpec(name="x", datatype="FP64").model_dump(mode="json", exclude_none=True)


@by_name
@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_columns_that_are_not_used_may_be_there_or_not(frame: Any, names: tuple[str, ...]) -> None:
    assert values_of(frame(names)) == USED


@by_name
def test_a_single_row_is_read_alike(frame: Any) -> None:
    """One row of the used columns is what the decoder of usual requests takes; more columns go to the other."""
    one = {name: values[:1] for name, values in ROWS.items()}
    expected = {name: values[:1] for name, values in USED.items()}
    assert values_of(frame(("age", "plan"), **one)) == expected
    assert values_of(frame(tuple(ROWS), **one)) == expected


@by_name
def test_a_used_column_is_required(frame: Any) -> None:
    with pytest.raises(BadRequestError, match="missing columns: 'plan'; the model takes 'age', 'plan'"):
        frame(("id", "age", "date"))


@by_name
def test_unknown_columns_are_refused_by_name(frame: Any) -> None:
    with pytest.raises(BadRequestError, match="unexpected columns: 'more'; the model takes 'age', 'plan'"):
        frame(("age", "plan", "note", "more"), more=[True, False])


@by_name
def test_or_ignored_where_the_deployment_says_so(frame: Any) -> None:
    assert values_of(frame(("more", "age", "plan", "note"), IGNORING, more=[True, False])) == USED
    with pytest.raises(BadRequestError, match=r"missing columns: 'plan'; the model"):
        frame(("more", "age"), IGNORING, more=[True, False])


@by_name
def test_what_is_not_used_is_not_read(frame: Any) -> None:
    """Of another length, or null: nobody looks."""
    assert values_of(frame(tuple(ROWS), id=[1], note=["only one"])) == USED


@pytest.mark.parametrize("given", [[None, None], [1.5, 2.5], ["text", None]], ids=str)
def test_nor_is_its_type_looked_at(given: list[Any]) -> None:
    assert values_of(v1_columns(tuple(ROWS), id=given, date=given)) == USED
    assert values_of(v1_records(tuple(ROWS), id=given, date=given)) == USED


WIDE = [[7.0, 31.5, 0.0, 2.0, 5.0], [8.0, 40.0, 0.0, 3.0, 5.0]]
NARROW = [[31.5, 2.0], [40.0, 3.0]]


def matrix(rows: list[list[float]], *, nested: bool = True, datatype: str = "FP64") -> bytes:
    data: Any = rows if nested else [value for row in rows for value in row]
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": datatype, "data": data}
    return orjson.dumps({"inputs": [tensor]})


@pytest.mark.parametrize("rows", [WIDE, NARROW], ids=["all columns", "used columns"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_matrix_has_all_columns_or_the_used_ones(rows: list[list[float]], nested: bool, count: int) -> None:
    found = v2.decode(matrix(rows[:count], nested=nested), NUMBERS, OUTPUTS).frame
    np.testing.assert_array_equal(found.numbers(), NARROW[:count])
    flat = [value for row in rows[:count] for value in row]
    message = request_of([("x", "FP64", [count, len(rows[0])], flat)], is_raw=True)
    raw = protobuf.decode(pb.ModelInferRequest.FromString(message.SerializeToString()), NUMBERS, OUTPUTS).frame
    np.testing.assert_array_equal(raw.numbers(), NARROW[:count])
    lists = v1.decode(orjson.dumps({"instances": rows[:count]}), NUMBERS).frame
    np.testing.assert_array_equal(lists.numbers(), NARROW[:count])


def test_rows_of_mixed_columns_by_place() -> None:
    wide = [[7, 31.5, "2026-01-01", "a", None], [8, 40.0, "x", "b", "n"]]
    assert values_of(v1.decode(orjson.dumps({"instances": wide}), MIXED).frame) == USED
    narrow = [row[1:4:2] for row in wide]
    assert values_of(v1.decode(orjson.dumps({"instances": narrow}), MIXED).frame) == USED


def test_another_width_is_refused_by_both_that_would_do() -> None:
    with pytest.raises(BadRequestError, match=r"has 2 columns \('age', 'plan'\) or 5, with those that it does not use"):
        v2.decode(matrix([[1.0, 2.0, 3.0]]), NUMBERS, OUTPUTS)
    with pytest.raises(BadRequestError, match=r"takes 2: 'age', 'plan', or 5 with those that it does not use"):
        v1.decode(orjson.dumps({"instances": [[1.0, 2.0, 3.0]]}), NUMBERS)
    with pytest.raises(BadRequestError, match="row 1 has 2 values"):
        v1.decode(orjson.dumps({"instances": [WIDE[0], NARROW[0]]}), NUMBERS)


def test_a_gap_in_what_is_not_used_is_no_gap() -> None:
    wide = orjson.dumps({"inputs": [{"name": "x", "shape": [1, 5], "datatype": "FP64", "data": [None, 1, None, 2, 3]}]})
    frame = v2.decode(wide, NUMBERS, OUTPUTS).frame
    np.testing.assert_array_equal(frame.numbers(), [[1.0, 2.0]])
    assert frame.missing_columns() == []


def test_a_matrix_of_whole_numbers_beyond_floats_keeps_them() -> None:
    names = ("id", "a", "b")
    inputs = tuple(ColumnSpec(name=name, datatype="INT64", used=None if name != "id" else False) for name in names)
    schema = Schema(Signature(inputs=inputs, outputs=()))
    large = 2**60 + 1
    found = v2.decode(matrix([[5, large, 3]], datatype="INT64"), schema, OUTPUTS).frame
    assert values_of(found) == {"a": [large], "b": [3]}


def test_a_model_of_one_used_column() -> None:
    inputs = (ColumnSpec(name="id", datatype="FP64", used=False), ColumnSpec(name="age", datatype="FP64"))
    schema = Schema(Signature(inputs=inputs, outputs=()))
    for name, shape, data in (("age", [2], [1, 2]), ("age", [2, 1], [1, 2]), ("x", [2, 2], [[9, 1], [9, 2]])):
        tensor = {"name": name, "shape": shape, "datatype": "FP64", "data": data}
        frame = v2.decode(orjson.dumps({"inputs": [tensor]}), schema, OUTPUTS).frame
        assert values_of(frame) == {"age": [1.0, 2.0]}
    assert values_of(v1.decode(b'{"instances": [1, 2]}', schema).frame) == {"age": [1.0, 2.0]}
    assert values_of(v1.decode(b'{"instances": [[9, 1], [9, 2]]}', schema).frame) == {"age": [1.0, 2.0]}


def test_bare_bytes_do_not_say_which_columns_they_have() -> None:
    """Six rows of two are as long as four of three: a guess would be a wrong answer."""
    body = np.array(WIDE, dtype="<f8").tobytes()
    with pytest.raises(BadRequestError, match=r"does not use 'id', 'date', 'note': send JSON with the shape before"):
        v2.decode(body, NUMBERS, OUTPUTS, 0)


def test_a_matrix_for_a_model_that_was_fitted_on_one_gets_its_places_back() -> None:
    known = NUMBERS.known
    np.testing.assert_array_equal(known.widened(np.array(NARROW)), [[0, 31.5, 0, 2, 0], [0, 40, 0, 3, 0]])
    assert known.widened(np.array(NARROW, dtype=np.float32)).dtype == np.float32
    assert known.widened(np.array([["a", 1.5]], dtype=object)).tolist() == [["", "a", "", 1.5, ""]]
    np.testing.assert_array_equal(known.narrowed(np.array(WIDE)), NARROW)


def described() -> dict[str, Any]:
    manifest = ModelManifest.model_construct(signature=signature())
    return openapi.describe("t", "demo", "7", manifest, "1")["paths"]


def test_the_description_requires_used_columns_and_names_the_others() -> None:
    predict = described()["/v1/models/demo:predict"]["post"]["requestBody"]["content"]["application/json"]
    row, record = predict["schema"]["properties"]["instances"]["items"]["anyOf"]
    assert record["required"] == ["age", "plan"]
    assert list(record["properties"]) == list(ROWS)
    assert (row["minItems"], row["maxItems"]) == (2, 5)
    assert list(predict["example"]["instances"][0]) == ["age", "plan"]
    infer = described()["/v2/models/demo/infer"]["post"]["requestBody"]["content"]["application/json"]
    (columns,) = infer["schema"]["properties"]["inputs"]["anyOf"]
    assert (columns["minItems"], columns["maxItems"], len(columns["items"]["oneOf"])) == (2, 5, 5)
    assert [tensor["name"] for tensor in infer["example"]["inputs"]] == ["age", "plan"]
