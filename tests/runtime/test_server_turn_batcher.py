"""What is read in one turn of the event loop is answered by one call, and everybody gets what is theirs."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import uvicorn
from tests.support import versions
from tests.support.rowsum import RowSum
from uvicorn.server import ServerState

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.dataplane.batcher import Outcome
from tidemill_runtime.server.dataplane.turn_batcher import TurnBatcher
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http.connection import InferenceConnection
from tidemill_runtime.server.http.inference import Reply
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

SCHEMA = Schema(
    Signature(
        inputs=(ColumnSpec(name="a", datatype="FP64"), ColumnSpec(name="b", datatype="FP64")),
        outputs=(ColumnSpec(name="value", datatype="FP64"),),
    )
)


def frame(*values: float) -> Frame:
    return Frame(SCHEMA, len(values), matrix=np.array([[value, value] for value in values], dtype=np.float64))


def found(outcomes: list[Outcome]) -> list[Any]:
    return [str(one) if isinstance(one, Exception) else one.prediction.tolist() for one in outcomes]


async def test_a_turn_of_the_loop_is_one_call() -> None:
    model, counted, outcomes = RowSum(), list[int](), list[Outcome]()
    turn_batcher = TurnBatcher(model, counted.append, max_rows=100, max_requests=100)
    for value in range(5):
        turn_batcher.add(frame(value), outcomes.append)
    turn_batcher.add(frame(5, 6), outcomes.append)
    assert model.calls == []
    await asyncio.sleep(0)
    assert (model.calls, counted) == ([7], [7])
    assert found(outcomes) == [[0], [2], [4], [6], [8], [10, 12]]
    turn_batcher.add(frame(7), outcomes.append)
    await asyncio.sleep(0)
    assert (model.calls, counted, found(outcomes)[-1]) == ([7, 1], [7], [14]), "alone it is no batch"


async def test_rows_and_requests_are_bounded() -> None:
    model, outcomes = RowSum(), list[Outcome]()
    turn_batcher = TurnBatcher(model, lambda _: None, max_rows=4, max_requests=3)
    for rows in ((1, 1), (2, 2), (3,), (4,) * 9, (5,)):
        turn_batcher.add(frame(*rows), outcomes.append)
    assert model.calls == [4, 1, 9], "a request is never split, and a larger one goes alone"
    await asyncio.sleep(0)
    assert model.calls == [4, 1, 9, 1]
    for value in range(3):
        turn_batcher.add(frame(value), outcomes.append)
    assert model.calls[4:] == [3], "so many are not kept until the end of the turn"
    await asyncio.sleep(0)
    assert model.calls[4:] == [3]
    assert [len(one) for one in found(outcomes)] == [2, 2, 1, 9, 1, 1, 1, 1]


async def test_a_fault_stays_with_whom_it_belongs_to(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = list[Outcome]()
    turn_batcher = TurnBatcher(RowSum(), lambda _: None, max_rows=100, max_requests=100)

    def broken(outcome: Outcome) -> None:
        raise RuntimeError("no such connection")

    for value in (1, -1, 2):
        turn_batcher.add(frame(value), outcomes.append)
    turn_batcher.add(frame(3), broken)
    turn_batcher.add(frame(4), outcomes.append)
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(0)
    assert found(outcomes) == [[2], "row 0 is negative", [4], [8]]
    assert "an answer could not be given" in caplog.text


async def test_who_comes_while_answers_are_given_has_a_turn_of_their_own() -> None:
    model, outcomes = RowSum(), list[Outcome]()
    turn_batcher = TurnBatcher(model, lambda _: None, max_rows=100, max_requests=100)
    turn_batcher.add(frame(1), lambda _: turn_batcher.add(frame(2), outcomes.append))
    for _ in range(2):
        await asyncio.sleep(0)
    assert (model.calls, found(outcomes)) == ([1, 1], [[4]])


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    published = versions.numbers(tmp_path)
    state = State()
    state.phase = "ready"
    config = published.config(runtime="ONNX", max_in_flight=40)
    return assemble(config, state, Telemetry(config), threads=1)


def bodies(parts: Parts, count: int) -> list[bytes]:
    rows = np.random.default_rng(0).normal(size=(count, parts.plane.schema.width)).tolist()
    return [orjson.dumps({"instances": [row]}) for row in rows]


async def test_a_crowd_gets_the_answers_that_each_gets_alone(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    plane, inference = parts.plane, parts.wiring.inference
    calls: list[int] = []
    asked = [*bodies(parts, 60), b'{"instances": [["x"]]}']
    alone = [inference.answer("v1", [], body) for body in asked]
    turn_batcher = plane.turn_batcher
    assert turn_batcher is not None
    monkeypatch.setattr(turn_batcher, "_count", calls.append)
    together: list[Reply] = []
    for body in asked[:-1]:
        assert inference.answer("v1", [], body, together.append) is None
        assert plane.in_flight <= 20, "who waits leaves half of the places to others"
    refused = inference.answer("v1", [], asked[-1], together.append)
    assert isinstance(refused, Reply)
    assert refused.status == 400
    assert calls == [20, 20, 20]
    assert [reply.body for reply in together] == [reply.body for reply in alone[:-1] if isinstance(reply, Reply)]
    await asyncio.sleep(0)
    assert (plane.in_flight, len(together)) == (0, 60)
    plane.close()


async def test_tasks_are_gathered_too_and_one_whose_client_went_away_holds_up_nobody(parts: Parts) -> None:
    plane = parts.plane
    frames = [Frame(plane.schema, 1, matrix=np.full((1, plane.schema.width), float(i))) for i in range(4)]
    tasks = [asyncio.create_task(plane.predict(one)) for one in frames]
    asyncio.get_running_loop().call_soon(tasks[1].cancel)
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert isinstance(answers[1], asyncio.CancelledError)
    for one, answer in zip(frames, answers, strict=True):
        if isinstance(answer, Prediction):
            assert answer.prediction.tolist() == plane.answer(one).prediction.tolist()
    plane.close()


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def connected(parts: Parts) -> tuple[InferenceConnection, Wire]:
    config = uvicorn.Config(parts.app, http=InferenceConnection.of(parts.wiring), lifespan="off", log_config=None)
    config.load()
    connection, wire = InferenceConnection.of(parts.wiring)(config, ServerState(), {}), Wire()
    connection.connection_made(wire)
    return connection, wire


async def test_connections_that_are_read_in_one_turn_share_a_call_and_a_lost_one_costs_the_others_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    turn_batcher = parts.plane.turn_batcher
    assert turn_batcher is not None
    monkeypatch.setattr(turn_batcher, "_count", calls.append)
    lines = []
    for connection, wire in [connected(parts) for _ in range(3)]:
        (body,) = bodies(parts, 1)
        head = b"POST /v1/models/demo:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        connection.data_received(head + body)
        lines.append((connection, wire))
    lines[1][0].connection_lost(None)
    assert parts.plane.in_flight == 3
    assert not any(wire.written for _, wire in lines)
    await asyncio.sleep(0)
    assert [wire.written[:15] for _, wire in lines] == [b"HTTP/1.1 200 OK", b"", b"HTTP/1.1 200 OK"]
    assert (calls, parts.plane.in_flight) == ([3], 0)
    for connection, _ in lines[::2]:
        connection.connection_lost(None)
    parts.plane.close()
