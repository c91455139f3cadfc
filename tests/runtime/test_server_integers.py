"""Identifiers beyond 2^53: neighbours that float64 cannot tell apart stay apart, by every form and runtime."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import Int64TensorType
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier
from tests.runtime.test_server_protocol import V1, V2, check_error, serve
from tests.support import versions
from tests.support.asgi import call, post

from tidemill_contracts.artifact import ColumnSpec, Signature

IDS = [2**53 + i for i in range(6)]
COLUMNS = ("id", "other")
ROWS = [[a, b] for a in IDS for b in IDS[:2]]
LABELS = [IDS.index(a) % 3 for a, _ in ROWS]


@pytest.fixture(scope="module", params=["ONNX matrix", "ONNX columns", "native matrix", "native frame"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that answers by the last digit of an identifier."""
    runtime, form = request.param.split()
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS))
    encoder = OrdinalEncoder(categories=[np.array(IDS), np.array(IDS[:2])])
    model = make_pipeline(encoder, DecisionTreeClassifier(random_state=0))
    model.fit(frame if form == "frame" else frame.to_numpy(), LABELS)
    types: list[Any] = [("x", Int64TensorType([None, 2]))]
    content = None
    if runtime == "ONNX":
        if form == "columns":
            model.fit(frame, LABELS)
            types = [(name, Int64TensorType([None, 1])) for name in COLUMNS]
        options = {id(model): {"zipmap": False}}
        content = to_onnx(model, initial_types=types, options=options, target_opset=21).SerializeToString()
    signature = Signature(
        inputs=tuple(ColumnSpec(name=name, datatype="INT64") for name in COLUMNS),
        outputs=(
            ColumnSpec(name="label", datatype="INT64"),
            ColumnSpec(name="probabilities", datatype="FP64", shape=(-1, 3)),
        ),
        frame=form in ("frame", "columns"),
    )
    answer = frame if signature.frame else frame.to_numpy()
    published = versions.write(tmp_path_factory.mktemp("ids"), model, frame, signature, content, answer=answer)
    return serve(published, runtime="ONNX" if runtime == "ONNX" else "Native").app


FLAT = [value for row in ROWS for value in row]
MATRIX = {"name": "x", "shape": [len(ROWS), 2], "datatype": "INT64"}


@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
async def test_json(app: Any, datatype: str) -> None:
    by_column = [
        {"name": name, "shape": [len(ROWS)], "datatype": datatype, "data": [row[i] for row in ROWS]}
        for i, name in enumerate(COLUMNS)
    ]
    for inputs in ([{**MATRIX, "datatype": datatype, "data": FLAT}], by_column):
        reply = await post(app, V2, {"inputs": inputs, "outputs": [{"name": "label"}]})
        assert reply.json().get("outputs", reply.body)[0]["data"] == LABELS


async def test_binary(app: Any) -> None:
    raw = struct.pack(f"<{len(FLAT)}q", *FLAT)
    head = json.dumps({"inputs": [{**MATRIX, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    reply = await call(app, "POST", V2, head + raw, {"inference-header-content-length": str(len(head))})
    assert reply.json()["outputs"][0]["data"] == LABELS


async def test_v1(app: Any) -> None:
    records = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    columns = {name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}
    for document in ({"instances": ROWS}, {"instances": records}, {"inputs": columns}):
        assert (await post(app, V1, document)).json() == {"predictions": LABELS}


async def test_one_row_at_a_time(app: Any) -> None:
    for row, label in zip(ROWS, LABELS, strict=True):
        assert (await post(app, V1, {"instances": [row]})).json() == {"predictions": [label]}


async def test_beside_a_null_it_is_refused(app: Any) -> None:
    reply = await post(app, V1, {"instances": [[IDS[1], IDS[0]], [None, IDS[0]]]})
    check_error(reply, 400, f"instances: row 0: column 'id': {IDS[1]} is beyond what can be told apart")
