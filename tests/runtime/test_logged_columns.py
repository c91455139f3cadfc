"""Columns that a request has for the prediction log alone: whatever protocol they come by, the model gets none."""

import json
from typing import Any

import pytest
from tests.support.asgi import post
from tests.support.monitoring import batch
from tests.support.servinglog import V2, FakeMonitor, recorder, request, serving
from tests.support.versions import Published

from tidemill_contracts.payloads import PayloadConfig
from tidemill_runtime.monitor import payloads

V1 = "/v1/models/demo:predict"
ROWS = [[0.5, -1, 0.25, 2], [1, 2, 3, 4]]
NAMES = ("a", "b", "c", "d")


def tensor(name: str, values: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}


def apart(rows: list[list[Any]], *more: dict[str, Any]) -> dict[str, Any]:
    columns = [tensor(name, [row[i] for row in rows], "FP64") for i, name in enumerate(NAMES)]
    return {"inputs": [*columns, *more]}


def beside(rows: list[list[Any]], *more: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [*request(rows)["inputs"], *more]}


def records(rows: list[list[Any]], *more: dict[str, Any]) -> dict[str, Any]:
    return {"instances": [dict(zip(NAMES, row, strict=True)) | extra for row, extra in zip(rows, more, strict=True)]}


SENT = {
    "a matrix and a column": (V2, beside(ROWS, tensor("gender", ["f", "m"])), ["f", "m"]),
    "columns": (V2, apart(ROWS, tensor("gender", ["f", "m"])), ["f", "m"]),
    "columns of one row": (V2, apart(ROWS[:1], tensor("gender", ["f"])), ["f"]),
    "numbers": (V2, apart(ROWS, tensor("gender", [1, 2], "INT64")), [1, 2]),
    "records": (V1, records(ROWS, {"gender": "f"}, {}), ["f", None]),
    "columns of V1": (
        V1,
        {"inputs": {name: [r[i] for r in ROWS] for i, name in enumerate(NAMES)} | {"gender": [True, None]}},
        [True, None],
    ),
    "a request without": (V2, request(ROWS), [None, None]),
}


@pytest.mark.parametrize("name", SENT)
async def test_a_logged_column_is_recorded_and_changes_no_answer(
    name: str, numbers: Published, monitor: FakeMonitor
) -> None:
    path, body, values = SENT[name]
    async with serving(numbers, monitor.url, columns=("gender", "a")) as (parts, _):
        reply = await post(parts.app, path, body)
        plain = await post(parts.app, V2, request(ROWS[: len(values)]))
        await recorder(parts).flush(5)
    assert reply.status == 200, reply.body
    (batch,) = monitor.batches()
    assert batch.columns.keys() == {*NAMES, "gender"}
    assert batch.logged == ["gender"]
    assert batch.columns["gender"] == [*values, *[None] * len(values)]
    assert batch.columns["a"] == [row[0] for row in ROWS[: len(values)]] * 2
    given = reply.json().get("predictions") or reply.json()["outputs"][0]["data"]
    assert given == plain.json()["outputs"][0]["data"]


async def test_single_rows_and_many_lie_in_one_batch(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url, columns=("gender",)) as (parts, _):
        for number in range(3):
            await post(parts.app, V2, apart(ROWS[:1], tensor("gender", [f"g{number}"])))
        await post(parts.app, V2, beside(ROWS * 2, tensor("gender", list("abcd"))))
        await post(parts.app, V2, request(ROWS[:1]))
        await recorder(parts).flush(5)
    (batch,) = monitor.batches()
    assert batch.columns["gender"] == ["g0", "g1", "g2", "a", "b", "c", "d", None]
    assert {len(values) for values in batch.columns.values()} == {8}


async def test_parts_of_a_large_request_have_their_own_values(numbers: Published, monitor: FakeMonitor) -> None:
    rows = 5_000
    async with serving(numbers, monitor.url, columns=("group",)) as (parts, _):
        body = beside([[1.0] * 4] * rows, tensor("group", list(range(rows)), "INT64"))
        assert (await post(parts.app, V2, body)).status == 200
        await recorder(parts).flush(5)
    batches = monitor.batches()
    assert len(batches) > 1
    assert [value for batch in batches for value in batch.columns["group"]] == list(range(rows))


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (V2, beside(ROWS, tensor("gender", ["f"])), "inputs[1].shape: column 'gender' takes [2] or [2, 1], got [1]"),
        (V2, beside(ROWS, *[tensor("gender", ["f", "m"])] * 2), "inputs[2].name: 'gender' is given twice"),
        (V2, {"inputs": [tensor("gender", ["f"]), tensor("gender", ["f"])]}, "inputs: expected the columns of the"),
        (
            V1,
            records(ROWS, {"gender": "f"}, {"gender": ["f"]}),
            "row 1: column 'gender' takes a number, a string, true",
        ),
        (V1, {"inputs": {n: [1] for n in NAMES} | {"gender": "f"}}, "column 'gender': expected a list of 1 value"),
        (V2, beside(ROWS, tensor("race", ["f", "m"])), "inputs"),
    ],
)
async def test_what_is_no_logged_column_is_refused(
    path: str, body: dict[str, Any], why: str, numbers: Published, monitor: FakeMonitor
) -> None:
    async with serving(numbers, monitor.url, columns=("gender",)) as (parts, _):
        reply = await post(parts.app, path, body)
    assert reply.status == 400
    assert why in reply.json()["error"]


async def test_without_logged_columns_they_are_unexpected(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url) as (parts, _):
        reply = await post(parts.app, V2, apart(ROWS, tensor("gender", ["f", "m"])))
    assert reply.status == 400
    assert "unexpected columns: 'gender'" in reply.json()["error"]


def test_rows_that_are_kept_have_logged_columns_only_where_those_are_named() -> None:
    sent = batch(0, 1, columns={"age": [0.5], "gender": ["f"]}, logged=["gender"])
    for named, wanted in ((None, {"age"}), (("age", "gender"), {"age", "gender"}), ((), set[str]())):
        (row,) = payloads.rows(sent, PayloadConfig(uri="pvc://lake/log", columns=named), 0.0)
        assert {"age", "gender"} & json.loads(row.content).keys() == wanted
