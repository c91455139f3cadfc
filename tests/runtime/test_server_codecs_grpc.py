"""gRPC messages: whatever a client may hold gets through, typed and raw; damaged ones are refused."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.test_server_codecs import EXAMPLES, NAMES, OUTPUTS, check_rows, same, schema_of
from tests.support.mutations import damaged
from tests.support.tensors import DATATYPES, TEXT, arrays, from_bytes, to_bytes, values

from tidemill_runtime.model.errors import BadRequestError, ServingError
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import protobuf
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

FIELDS = {
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
}


def request_of(columns: list[tuple[str, str, list[int], list[Any]]], is_raw: bool, **more: Any) -> pb.ModelInferRequest:
    """Return a message of tensors: name, datatype, shape, values."""
    message = pb.ModelInferRequest(model_name="demo", **more)
    for name, datatype, shape, items in columns:
        entry = message.inputs.add(name=name, datatype=datatype, shape=shape)
        if is_raw:
            message.raw_input_contents.append(to_bytes(items, datatype))
        else:
            given = [item.encode() for item in items] if datatype == "BYTES" else items
            getattr(entry.contents, FIELDS[datatype]).extend(given)
    return message


@pytest.mark.parametrize("is_raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("datatype", DATATYPES)
@EXAMPLES
@given(data=st.data())
def test_a_matrix_arrives_as_it_was_sent(datatype: str, is_raw: bool, data: st.DataObject) -> None:
    if datatype == "FP16" and not is_raw:
        datatype = "FP32"
    names = data.draw(NAMES)
    row = st.lists(values(datatype), min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    flat = [value for one in rows for value in one]
    message = request_of([("\0no column", datatype, [len(rows), len(names)], flat)], is_raw)
    schema = schema_of(**dict.fromkeys(names, datatype))
    decoded = protobuf.decode(pb.ModelInferRequest.FromString(message.SerializeToString()), schema, OUTPUTS)
    check_rows(decoded.frame, rows)
    if any(isinstance(value, float) and not math.isfinite(value) for value in flat):
        assert not decoded.frame.is_complete


@pytest.mark.parametrize("is_raw", [False, True], ids=["typed", "raw"])
@EXAMPLES
@given(data=st.data())
def test_columns_of_any_datatypes_arrive_as_they_were_sent(is_raw: bool, data: st.DataObject) -> None:
    names = data.draw(NAMES)
    datatypes = [data.draw(st.sampled_from([d for d in DATATYPES if is_raw or d != "FP16"])) for _ in names]
    count = data.draw(st.integers(1, 4))
    items = [data.draw(st.lists(values(d), min_size=count, max_size=count)) for d in datatypes]
    shape = data.draw(st.sampled_from([[count], [count, 1]]))
    columns = [(name, d, shape, column) for name, d, column in zip(names, datatypes, items, strict=True)]
    decoded = protobuf.decode(
        request_of(data.draw(st.permutations(columns)), is_raw),
        schema_of(**dict(zip(names, datatypes, strict=True))),
        OUTPUTS,
    )
    check_rows(decoded.frame, [list(row) for row in zip(*items, strict=True)])


@pytest.mark.parametrize("is_raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("datatype", DATATYPES)
@EXAMPLES
@given(data=st.data())
def test_an_answer_arrives_as_the_model_gave_it(datatype: str, is_raw: bool, data: st.DataObject) -> None:
    items, array = data.draw(arrays(datatype))
    request_id = data.draw(TEXT.filter(bool))
    request = protobuf.decode(request_of([("a", "FP64", [1], [1.0])], is_raw), schema_of(a="FP64"), ("y",))
    body = protobuf.encode(request_id, Prediction([("y", datatype)], array), request, "demo", "7")
    answer = pb.ModelInferResponse.FromString(body)
    assert (answer.id, answer.model_name, answer.model_version) == (request_id, "demo", "7")
    (output,) = answer.outputs
    assert (output.datatype, list(output.shape)) == (datatype, list(array.shape))
    if is_raw or datatype == "FP16":  # which has no typed form
        found = from_bytes(answer.raw_output_contents[0], datatype)
    else:
        assert not answer.raw_output_contents
        found = list(getattr(output.contents, FIELDS[datatype]))
        found = [value.decode() for value in found] if datatype == "BYTES" else found
    assert len(found) == len(items)
    assert all(same(a, b) for a, b in zip(found, items, strict=True))


def test_no_message_is_a_fault() -> None:
    """Damaged bytes are no message, or one that is read, or one that is refused."""
    chance = random.Random(20261123)
    schema = schema_of(age="FP64", n="INT64", plan="BYTES", vip="BOOL")
    columns: list[tuple[str, str, list[int], list[Any]]] = [
        ("age", "FP64", [2], [1.5, math.nan]),
        ("n", "INT64", [2, 1], [3, 2**60]),
        ("plan", "BYTES", [2], ["a", "ü"]),
        ("vip", "BOOL", [2], [True, False]),
    ]
    hint = {"content_type": pb.InferParameter(string_param="pd")}
    bodies = [request_of(columns, is_raw, id="i", parameters=hint).SerializeToString() for is_raw in (False, True)]
    seen = {"no message": 0, "read": 0, "refused": 0}
    for _ in range(6000):
        body = chance.choice(bodies)
        at = chance.randrange(len(body))
        flipped = (
            body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1 :]
        )  # most others are no message
        body = flipped if chance.random() < 0.8 else damaged(body, chance)
        try:
            frame = protobuf.decode(pb.ModelInferRequest.FromString(body), schema, OUTPUTS).frame
            assert frame.rows == len(frame.column(0)) > 0
            seen["read"] += 1
        except DecodeError:
            seen["no message"] += 1
        except ServingError as error:
            assert isinstance(error, BadRequestError) and error.message, body
            seen["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{error!r} for {body!r}") from error
    assert min(seen.values()) > 200, seen
