"""Damaged requests: valid ones of every kind, bytes and JSON values changed at random; each is read or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.runtime.test_server_codecs import HEAD, OUTPUTS, schema_of
from tests.support.mutations import damaged, twisted
from tests.support.tensors import Body

from tidemill_runtime.model.errors import ServingError
from tidemill_runtime.model.frame import Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import v1, v2

ROUNDS = 6000
MIXED = schema_of(age="FP64", n="INT64", plan="BYTES", vip="BOOL")
NUMBERS = schema_of(a="FP64", b="INT64")
ONE = schema_of(a="FP32", b="FP32")
ANSWER = Prediction([("label", "BYTES"), ("probabilities", "FP64")], np.array(["ä"]), np.array([[0.5, np.inf]]))


def requests() -> list[tuple[dict[str, Any], bytes, bool, Schema]]:
    """Return V2 documents with what follows them, whether there is a length header, and the schema they are for."""
    mixed = {"age": ("FP64", [1.5]), "n": ("INT64", [3]), "plan": ("BYTES", ["a"]), "vip": ("BOOL", [True])}
    found = []
    for binary in (False, True):
        columns = Body({"id": "i", "outputs": [{"name": "label", "parameters": {"binary_data": True}}]})
        for name, (datatype, items) in mixed.items():
            columns.add(name, datatype, [1], items, binary=binary)
        matrix = Body({"parameters": {"binary_data_output": False, "content_type": "pd"}})
        matrix.add("x", "INT64", [2, 2], [1, 2, 3, 4], binary=binary)
        found += [(columns.document, b"".join(columns.raw), binary, MIXED)]
        found += [(matrix.document, b"".join(matrix.raw), binary, NUMBERS)]
    text = {
        "name": "plan",
        "shape": [1, 1],
        "datatype": "BYTES",
        "data": ['"a"'],
        "parameters": {"content_type": "pd_json"},
    }
    found.append(({"inputs": [text]}, b"", False, schema_of(plan="BYTES")))
    return found


def check(read: Callable[[], Any], seen: dict[str, int], shown: object) -> None:
    """Read once; anything but an answer or a refusal is a fault."""
    try:
        read()
        seen["read"] += 1
    except ServingError as error:
        assert (error.status, bool(error.message)) == (400, True), shown
        seen["refused"] += 1
    except Exception as error:
        raise AssertionError(f"{error!r} for {shown!r}") from error


def use(request: Any) -> None:
    """Do with a request what the server does with it, but for the model."""
    frame = request.frame
    assert frame.rows > 0
    columns = [frame.column(index) for index in range(frame.schema.width)]
    assert all(len(column) == frame.rows for column in columns)
    for column, values in zip(frame.schema.columns, columns, strict=True):
        assert values.dtype.kind in ("O" if column.kind == "text" else "fiu")
        if column.kind == "text":
            assert {type(value) for value in values} <= {str, type(None)}
    missing = frame.missing_columns()
    assert not (frame.is_complete and missing)
    if isinstance(request, v2.Request):
        v2.encode(request.id or "i", ANSWER, request, HEAD)
    else:
        v1.encode(ANSWER, request)


def test_no_v2_request_is_a_fault() -> None:
    chance, seen = random.Random(20261123), {"read": 0, "refused": 0}
    kinds = requests()
    for _ in range(ROUNDS):
        document, raw, has_length, schema = chance.choice(kinds)
        head = json.dumps(document).encode()
        if chance.random() < 0.6:
            head = twisted(head, chance)
        length = len(head) if has_length or chance.random() < 0.1 else None
        body = head + raw if chance.random() < 0.6 else damaged(head + raw, chance)
        if length is not None and chance.random() < 0.15:
            length = chance.choice([0, length - 1, length + 1, len(body), len(body) + 1])
        check(lambda: use(v2.decode(body, schema, OUTPUTS, length)), seen, (body, length))  # noqa: B023
    assert min(seen.values()) > ROUNDS / 20, seen


def test_no_bare_matrix_is_a_fault() -> None:
    chance, seen = random.Random(1), {"read": 0, "refused": 0}
    for size in range(64):
        body = chance.randbytes(size)
        check(lambda: use(v2.decode(body, ONE, OUTPUTS, 0)), seen, body)  # noqa: B023
    assert seen == {"read": 7, "refused": 57}


@pytest.mark.parametrize("schema", [MIXED, NUMBERS], ids=["mixed", "numbers"])
def test_no_v1_request_is_a_fault(schema: Schema) -> None:
    chance, seen = random.Random(7), {"read": 0, "refused": 0}
    row = [1.5, 2**60, "a", True][: schema.width]
    record = dict(zip(schema.names, row, strict=True))
    documents: list[dict[str, Any]] = [
        {"instances": [row, row], "parameters": {"probabilities": True}},
        {"instances": [record], "signature_name": "x"},
        {"inputs": {name: [value] for name, value in record.items()}},
    ]
    for _ in range(ROUNDS // 2):
        body = json.dumps(chance.choice(documents)).encode()
        body = twisted(body, chance) if chance.random() < 0.7 else body
        body = body if chance.random() < 0.7 else damaged(body, chance)
        check(lambda: use(v1.decode(body, schema)), seen, body)  # noqa: B023
    assert min(seen.values()) > ROUNDS / 60, seen
