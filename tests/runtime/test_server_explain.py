"""Explanations: held against closed forms and against Shapley's own definition, for both forms and mixed columns."""

import asyncio
import itertools
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from tests.support import versions
from tests.support.asgi import Reply, call, post
from tests.support.versions import Published

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.server.dataplane import shapley
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

V1, V2 = "/v1/models/demo:explain", "/v2/models/demo/explain"


def serve(published: Published, **changes: Any) -> Parts:
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=1)


def regressor(store: Path, estimator: Any, columns: int, target: Any, outputs: int = 1) -> Published:
    x = np.random.default_rng(5).normal(size=(80, columns))
    frame = pd.DataFrame(x, columns=[f"c{i}" for i in range(columns)])
    inputs = tuple(ColumnSpec(name=c, datatype="FP64") for c in frame.columns)
    value = ColumnSpec(name="value", datatype="FP64", shape=(-1,) if outputs == 1 else (-1, outputs))
    model = estimator.fit(x, target(x))
    return versions.write(
        store, model, frame, Signature(inputs=inputs, outputs=(value,), frame=False), None, task="regression", answer=x
    )


async def explained(parts: Parts, row: Any, **parameters: Any) -> dict[str, Any]:
    document = {"instances": [row], **({"parameters": parameters} if parameters else {})}
    reply = await post(parts.app, V1, document)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json()["explanations"][0]
    return found


def by_definition(model: Any, row: Any, background: Any) -> list[float]:
    """The mean over all orders of what each column adds when it joins; nothing is shared with the code under test."""
    columns = len(row)
    total = np.zeros(columns)
    for order in itertools.permutations(range(columns)):
        rows = background.copy()
        before = model(rows).mean()
        for column in order:
            rows[:, column] = row[column]
            after = model(rows).mean()
            total[column] += after - before
            before = after
    found: list[float] = (total / math.factorial(columns)).tolist()
    return found


@pytest.mark.parametrize("columns", [3, 25], ids=["exact", "permutations"])
async def test_a_linear_model_is_explained_by_its_weights(tmp_path: Path, columns: int) -> None:
    published = regressor(tmp_path, LinearRegression(), columns, lambda x: x @ np.arange(1.0, columns + 1) + 3)
    row = published.frame.to_numpy()[40]
    found = await explained(serve(published), row.tolist())
    background = published.frame.to_numpy()[:5]  # the sample rows of these versions
    weights = published.model.coef_
    assert list(found["contributions"]) == list(published.frame.columns)
    np.testing.assert_allclose(
        list(found["contributions"].values()), weights * (row - background.mean(axis=0)), atol=1e-9
    )
    assert found["base"] == pytest.approx(published.model.predict(background).mean())
    assert (found["output"], found["background_rows"]) == ("value", 5)
    assert found["method"] == ("exact" if columns == 3 else "permutations")
    assert "class" not in found


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
async def test_a_classifier_is_explained_as_shapley_defines_it(tmp_path: Path, runtime: str) -> None:
    estimator = RandomForestClassifier(n_estimators=15, random_state=0)
    published = versions.numbers(tmp_path, estimator=estimator)
    row, background = published.frame.to_numpy()[50], published.frame.to_numpy()[:5]
    parts = serve(published, runtime=runtime)
    predicted = int(published.model.predict([row])[0])
    for wanted in (None, 0, 1):
        label = predicted if wanted is None else wanted
        found = await explained(parts, row.tolist(), **({} if wanted is None else {"class": wanted}))
        assert (found["class"], found["output"], found["method"]) == (label, "probabilities", "exact")

        def probability(rows: Any, label: int = label) -> Any:
            return published.model.predict_proba(rows)[:, label]

        expected = by_definition(probability, row, background)
        np.testing.assert_allclose(list(found["contributions"].values()), expected, atol=1e-5)
        assert found["prediction"] == pytest.approx(probability([row])[0], abs=1e-5)
        assert found["base"] + sum(found["contributions"].values()) == pytest.approx(found["prediction"], abs=1e-9)


async def test_orders_come_close_to_all_coalitions_and_add_up(tmp_path: Path) -> None:
    forest = RandomForestRegressor(n_estimators=10, max_depth=5, random_state=0)
    published = regressor(
        tmp_path, forest, 6, lambda x: x[:, 0] * x[:, 1] + np.where(x[:, 2] > 0, x[:, 3], 2 * x[:, 4])
    )
    parts = serve(published)
    row = published.frame.to_numpy()[30].tolist()
    whole = await explained(parts, row)
    assert whole["method"] == "exact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapley, "EXACT_COLUMNS", 2)
        sampled = await explained(parts, row)
    assert sampled["method"] == "permutations"
    assert sampled["base"] + sum(sampled["contributions"].values()) == pytest.approx(sampled["prediction"], abs=1e-9)
    exact, estimate = (np.array(list(one["contributions"].values())) for one in (whole, sampled))
    assert np.abs(exact - estimate).max() < 0.05 * np.abs(exact).sum()
    assert exact[5] == pytest.approx(0, abs=0.2), "a column that decides nothing"


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
async def test_mixed_columns(tmp_path: Path, runtime: str) -> None:
    parts = serve(versions.mixed(tmp_path), runtime=runtime)
    found = await explained(parts, {"größe": None, "alter": 3, "farbe": "never seen"}, **{"class": "nein"})
    assert set(found["contributions"]) == {"größe", "alter", "farbe"}
    assert found["class"] == "nein"
    assert found["base"] + sum(found["contributions"].values()) == pytest.approx(found["prediction"], abs=1e-6)


async def test_one_of_several_targets_is_named(tmp_path: Path) -> None:
    published = regressor(tmp_path, LinearRegression(), 3, lambda x: x @ np.diag([1.0, 2.0, 3.0])[:, :2], outputs=2)
    parts = serve(published)
    row = published.frame.to_numpy()[7]
    found = await explained(parts, row.tolist(), target=1)
    expected = 2 * (row[1] - published.frame.to_numpy()[:5, 1].mean())
    np.testing.assert_allclose(list(found["contributions"].values()), [0, expected, 0], atol=1e-9)
    reply = await post(parts.app, V1, {"instances": [row.tolist()]})
    assert (reply.status, reply.json()["error"]) == (400, "parameters.target: expected a number from 0 to 1, got null")


async def test_v2_answers_in_tensors(numbers: Published) -> None:
    parts = serve(numbers)
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0.5, 1.0, -1.0, 2.0]}
    document = {"id": "one", "inputs": [tensor], "parameters": {"class": 2}}
    reply = await post(parts.app, V2, document)
    body = reply.json()
    assert (reply.status, body["id"], body["model_name"], body["model_version"]) == (200, "one", "demo", "7")
    assert body["parameters"] == {"output": "probabilities", "class": 2, "method": "exact", "background_rows": 5}
    outputs = {o["name"]: o for o in body["outputs"]}
    assert {name: (o["shape"], o["datatype"]) for name, o in outputs.items()} == {
        "contributions": ([1, 4], "FP64"), "base": ([1], "FP64"), "prediction": ([1], "FP64"),
    }  # fmt: skip
    v1 = await explained(parts, tensor["data"], **{"class": 2})
    assert list(v1["contributions"].values()) == outputs["contributions"]["data"]
    assert (await post(parts.app, "/v2/models/demo/versions/7/explain", document)).body == reply.body
    assert (await post(parts.app, "/v2/models/demo/versions/8/explain", document)).status == 404
    values = np.array(tensor.pop("data"), "<f8").tobytes()
    head = json.dumps(document | {"inputs": [tensor | {"parameters": {"binary_data_size": len(values)}}]}).encode()
    length = {"inference-header-content-length": str(len(head))}
    assert (await call(parts.app, "POST", V2, head + values, length)).body == reply.body


async def test_the_id_comes_from_the_header_where_the_body_has_none(numbers: Published) -> None:
    parts = serve(numbers)
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0.5, 1.0, -1.0, 2.0]}
    by_id = await post(parts.app, V2, {"inputs": [tensor]}, {"x-tidemill-prediction-id": "from-header"})
    assert by_id.json()["id"] == "from-header"


@pytest.mark.parametrize(
    ("path", "document", "error"),
    [
        (V1, {"instances": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "an explanation is of one row, got 2"),
        (V1, {"instances": [[1, 2, 3]]}, "instances: row 0 has 3 values"),
        (
            V1,
            {"instances": [[1, 2, 3, 4]], "parameters": {"class": 9}},
            "parameters.class: expected one of 0, 1, 2, got 9",
        ),
        (V1, {"instances": [[1, 2, 3, 4]], "parameters": {"class": True}}, "expected one of 0, 1, 2, got true"),
        (
            V1,
            {"instances": [[1, 2, 3, 4]], "parameters": {"target": 0}},
            "parameters.target: this model has one target",
        ),
        (V1, {"instances": [[None, 2, 3, 4]]}, "missing values"),
        (V2, {"inputs": []}, "inputs"),
        ("/v1/models/other:explain", {}, "unknown model 'other'"),
    ],
)
async def test_what_cannot_be_explained_is_refused(numbers: Published, path: str, document: Any, error: str) -> None:
    reply = await post(serve(numbers).app, path, document)
    assert reply.status == (404 if "other" in path else 400)
    assert error in reply.json()["error"]


async def test_explanations_wait_in_a_short_queue_and_keep_no_prediction_waiting(numbers: Published) -> None:
    parts = serve(numbers)
    let_go = threading.Event()
    predict, main = parts.plane._predict, threading.current_thread()

    def slow(frame: Any) -> Any:
        if threading.current_thread() is not main:
            let_go.wait(20)
        return predict(frame)

    parts.plane._predict = slow
    document = {"instances": [[1, 2, 3, 4]]}
    waiting = [asyncio.create_task(post(parts.app, V1, document)) for _ in range(shapley.MAX_WAITING)]
    await asyncio.sleep(0.2)
    refused: Reply = await post(parts.app, V1, document)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {"error": "overloaded: 4 explanations wait already"}
    assert (await post(parts.app, "/v1/models/demo:predict", document)).status == 200
    let_go.set()
    assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * shapley.MAX_WAITING
    assert (await post(parts.app, V1, document)).status == 200


async def test_bodies_are_held_to_the_limit_of_requests_in_flight(numbers: Published) -> None:
    parts = serve(numbers, max_in_flight=3)
    body = {"instances": [[0.5, 1.0, -1.0, 2.0]]}
    replies = await asyncio.gather(*(post(parts.app, V1, body) for _ in range(20)))
    assert {reply.status for reply in replies} == {200, 503}
    assert any("overloaded: 3 requests are in flight" in reply.json().get("error", "") for reply in replies)
    assert parts.plane.in_flight == 0
    assert (await post(parts.app, V1, body)).status == 200


async def test_what_takes_too_long_is_given_up(numbers: Published) -> None:
    parts = serve(numbers, request_timeout_seconds=0.2)
    let_go = threading.Event()
    predict = parts.plane._predict
    calls: list[int] = []

    def slow(frame: Any) -> Any:
        calls.append(frame.rows)
        let_go.wait(20)
        return predict(frame)

    parts.plane._predict = slow
    reply = await post(parts.app, V1, {"instances": [[1, 2, 3, 4]]})
    assert (reply.status, reply.json()["error"]) == (503, "no explanation within 0.2 s")
    let_go.set()
    await asyncio.sleep(0.1)
    assert calls == [1], "the coalitions of a request that nobody waits for are not asked"
    parts.plane.close()
