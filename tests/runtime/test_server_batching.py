"""Adaptive batching: who is answered together with whom, and that everybody gets what is theirs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from tests.support import versions
from tests.support.asgi import call, post
from tests.support.rowsum import RowSum

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.inference import Batching
from tidemill_runtime.model.errors import BadRequestError, OutOfTimeError, ServingError, UnavailableError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.dataplane.batch_window import BatchWindow
from tidemill_runtime.server.dataplane.batcher import Batcher, concatenated
from tidemill_runtime.server.dataplane.dataplane import DataPlane
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.exposition import Page
from tidemill_runtime.server.telemetry.metrics import Telemetry

SCHEMA = Schema(
    Signature(
        inputs=tuple(ColumnSpec(name=n, datatype=d) for n, d in (("a", "FP64"), ("b", "INT64"))),
        outputs=(ColumnSpec(name="value", datatype="FP64"),),
    )
)
COST = 0.010


class Held(Executor):
    """Runs nothing until it is told to, and then in the caller's thread."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.jobs.append(lambda: future.set_result(function(*args, **kwargs)))
        return future

    async def run(self) -> None:
        """Do what waits, and let those who wait for it hear."""
        self.jobs.pop(0)()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def batcher(model: Any, pool: Executor, *, timeout: float = 30.0, **batching: Any) -> Batcher:
    return Batcher(
        model, pool, Batching(**{"max_delay_milliseconds": 0.0, **batching}), cost=COST, timeout=timeout,
        hold=lambda: None, release=lambda: None, count=lambda _: None,
    )  # fmt: skip


def matrix(*rows: tuple[float, float]) -> Frame:
    return Frame(SCHEMA, len(rows), matrix=np.array(rows, dtype=np.float64))


def columns(*rows: tuple[float, int]) -> Frame:
    a, b = zip(*rows, strict=True)
    return Frame(SCHEMA, len(rows), arrays=[np.array(a, dtype=np.float64), np.array(b, dtype=np.int64)])


async def waiting(plane: Batcher, *frames: Frame) -> "list[asyncio.Task[Prediction]]":
    tasks = [asyncio.create_task(plane.predict(frame)) for frame in frames]
    await settled()
    return tasks


async def test_an_idle_model_is_called_at_once_and_those_who_come_meanwhile_together() -> None:
    model, pool = RowSum(), Held()
    plane = batcher(model, pool)
    tasks = await waiting(plane, matrix((1, 1)), matrix((2, 2), (3, 3)), columns((4.5, 4)), matrix((5, 5)))
    assert len(pool.jobs) == 1
    await pool.run()
    assert (model.calls, tasks[0].done(), tasks[1].done()) == ([1], True, False)
    await pool.run()
    assert model.calls == [1, 4]
    found = [task.result() for task in tasks]
    assert [answer.prediction.tolist() for answer in found] == [[2], [4, 6], [8.5], [10]]
    assert [[array.tolist() for _, _, array in answer.tensors()] for answer in found][1] == [[4, 6], [[2, 2], [3, 3]]]


async def test_those_who_were_answered_together_are_waited_for_and_one_user_is_not() -> None:
    model, pool, now = RowSum(), Held(), [0.0]
    plane = Batcher(
        model, pool, Batching(), cost=COST, timeout=30, clock=lambda: now[0],
        hold=lambda: None, release=lambda: None, count=lambda _: None,
    )  # fmt: skip

    async def come(users: int) -> None:
        for i in range(users):
            now[0] += 0.0001
            await waiting(plane, matrix((i, i)))

    for _ in range(20):  # nobody else was there
        await come(1)
        assert len(pool.jobs) == 1
        now[0] += COST
        await pool.run()
    for _ in range(20):
        await come(8)
        for _ in range(200):
            now[0] += 0.0001
            await asyncio.sleep(0 if pool.jobs else 0.001)
            if pool.jobs:
                break
        now[0] += COST
        while pool.jobs:
            await pool.run()
    assert model.calls[-5:] == [8] * 5
    await come(1)
    assert pool.jobs == []
    plane.close()


async def test_a_request_is_never_split_and_rows_are_capped() -> None:
    model, pool = RowSum(), Held()
    plane = batcher(model, pool, max_rows=4)
    sizes = [1, 3, 2, 1, 4, 1]
    tasks = await waiting(plane, *[matrix(*[(i, 0)] * size) for i, size in enumerate(sizes)])
    while pool.jobs:
        await pool.run()
    assert model.calls == [1, 3, 3, 4, 1]
    assert [len((await task).prediction) for task in tasks] == sizes


async def test_an_error_stays_with_its_request() -> None:
    model, pool = RowSum(), Held()
    plane = batcher(model, pool)
    good = [matrix((i, i)) for i in range(6)]
    tasks = await waiting(plane, matrix((0, 0)), *good[:4], matrix((7, 7), (8, -8)), *good[4:])
    await pool.run()
    await pool.run()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(one) for one in found if isinstance(one, Exception)] == ["row 1 is negative"]
    assert isinstance(found[5], BadRequestError)
    predictions = [one for one in found if isinstance(one, Prediction)]
    assert [one.prediction.tolist() for one in predictions] == [[0], *[[2 * i] for i in range(6)]]


async def test_who_is_out_of_time_is_refused_while_waiting_and_while_the_model_works() -> None:
    held: list[int] = []
    pool = Held()
    plane = Batcher(
        RowSum(), pool, Batching(), cost=COST, timeout=0.2,
        hold=lambda: held.append(1), release=lambda: held.append(-1), count=lambda _: None,
    )  # fmt: skip
    running, queued = await waiting(plane, matrix((1, 1)), matrix((2, 2)))
    for task in (running, queued):
        with pytest.raises(OutOfTimeError, match=r"no answer within 0\.2 s"):
            await asyncio.wait_for(task, 5)
    assert held == [1], "a thread cannot be stopped: its place stays taken"
    await pool.run()
    assert held == [1, -1]
    assert pool.jobs == []
    (late,) = await waiting(plane, matrix((3, 3)))
    await pool.run()
    assert (await late).prediction.tolist() == [6]


async def test_a_request_whose_client_went_away_is_not_predicted() -> None:
    model, pool = RowSum(), Held()
    plane = batcher(model, pool)
    first, gone, last = await waiting(plane, matrix((1, 1)), matrix((2, 2)), matrix((3, 3)))
    gone.cancel()
    first.cancel()  # its rows are with the model already
    await pool.run()
    await pool.run()
    assert model.calls == [1, 1]
    assert (await last).prediction.tolist() == [6]
    assert gone.cancelled()
    assert first.cancelled()


async def test_nobody_waits_for_a_server_that_stops() -> None:
    pool = ThreadPoolExecutor(1)
    let_go = threading.Event()

    def slow(frame: Frame) -> Prediction:
        let_go.wait(10)
        return RowSum()(frame)

    plane = batcher(slow, pool)
    tasks = await waiting(plane, matrix((1, 1)), matrix((2, 2)))
    plane.close()
    for task in (*tasks, asyncio.create_task(plane.predict(matrix((3, 3))))):
        with pytest.raises(UnavailableError, match="the server is stopping"):
            await asyncio.wait_for(task, 5)
    let_go.set()
    pool.shutdown()
    await settled()
    shut = batcher(RowSum(), pool)
    with pytest.raises(UnavailableError, match="the server is stopping"):
        await asyncio.wait_for(shut.predict(matrix((1, 1))), 5)


async def test_a_fault_that_is_no_answer_reaches_everybody() -> None:
    def broken(frame: Frame) -> Prediction:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(ServingError, match="the model failed"):
        await asyncio.wait_for(batcher(broken, pool).predict(matrix((1, 1))), 5)


def test_frames_are_joined_whatever_form_they_have() -> None:
    joined = concatenated([matrix((1, 2)), columns((3.5, 4), (5, 6)), matrix((7, 8))])
    assert joined is not None
    assert joined.numbers().tolist() == [[1, 2], [3.5, 4], [5, 6], [7, 8]]
    both = concatenated([matrix((1, 2)), matrix((3, 4), (5, 6))])
    assert both is not None
    assert both.matrix is not None


def test_single_rows_are_joined_column_by_column() -> None:
    def joined(*rows: list[Any]) -> Frame:
        found = concatenated([Frame(SCHEMA, 1, row=row) for row in rows])
        assert found is not None
        assert found.is_complete
        return found

    both = joined([1.5, 2], [3, 4])
    assert [both.column(i).dtype.kind for i in range(2)] == ["f", "i"]
    assert both.numbers().tolist() == [[1.5, 2], [3, 4]]
    assert joined(["x", 1.0], ["y", 2]).column(0).tolist() == ["x", "y"]
    mixed = concatenated([Frame(SCHEMA, 1, row=[1.5, 2]), columns((0.5, 2**53 + 1))])
    assert mixed is not None
    assert mixed.column(1).tolist() == [2, 2**53 + 1]


def test_a_whole_number_that_floats_do_not_have_is_not_rounded_for_its_neighbours_sake() -> None:
    large = columns((1.0, 2**53 + 1))
    assert concatenated([matrix((1, 2)), large]) is None
    alone = concatenated([large, columns((1.0, 5))])
    assert alone is not None
    assert alone.column(1).tolist() == [2**53 + 1, 5]


def test_what_is_known_of_all_is_known_of_the_batch() -> None:
    complete = Frame(SCHEMA, 1, matrix=np.ones((1, 2)), is_complete=True)
    assert concatenated([complete, complete]).is_complete  # type: ignore[union-attr]
    assert not concatenated([complete, matrix((1, 1))]).is_complete  # type: ignore[union-attr]


class TestPace:
    """When waiting pays; times are given, nothing sleeps."""

    def test_one_user_is_never_kept_waiting(self) -> None:
        window, now = BatchWindow(COST, 0.002), 0.0
        for _ in range(100):
            now += 0.0001
            window.arrived(now, others=False)
            assert window.wait_until(1, now) == now
            now += COST
            window.answered(now)

    def test_many_users_are_waited_for_until_they_are_late(self) -> None:
        window, now = BatchWindow(COST, 0.002), 0.0
        for _ in range(20):
            now += 0.0001
            for i in range(16):
                now += 0.0001
                window.arrived(now, others=i > 0)
            now += COST
            window.answered(now)
        now += 0.0001
        window.arrived(now, others=False)
        assert now + 0.0001 < window.wait_until(1, now) < now + 0.0005
        assert window.wait_until(16, now) > now
        assert window.wait_until(200, now) == now, "so many that their waiting costs more than a call"

    def test_two_users_who_always_miss_each_other_are_brought_together(self) -> None:
        window, now = BatchWindow(COST, 0.002), 0.0
        for _ in range(50):  # one is answered and comes back while the other's call runs
            now += COST
            window.answered(now)
            window.arrived(now + 0.0002, others=True)
        now += COST
        window.answered(now)
        assert now + 0.0002 < window.wait_until(1, now) < now + 0.001

    def test_no_wait_is_longer_than_allowed(self) -> None:
        window, now = BatchWindow(COST, 0.002), 0.0
        for _ in range(50):
            now += 0.003
            window.arrived(now, others=True)
        assert window.wait_until(1, now) == now + 0.002
        assert BatchWindow(COST, 0.0).wait_until(1, now) == now


@settings(max_examples=60)
@given(st.data())
def test_everybody_gets_their_own_rows_in_any_order_of_events(data: st.DataObject) -> None:
    asyncio.run(_random_events(data))


async def _random_events(data: st.DataObject) -> None:
    model, pool = RowSum(), Held()
    plane = batcher(model, pool, max_rows=data.draw(st.integers(1, 6)))
    sent: list[tuple[list[tuple[float, int]], asyncio.Task[Prediction]]] = []
    for step in range(data.draw(st.integers(1, 25))):
        event = data.draw(st.sampled_from(["matrix", "columns", "bad", "run", "cancel"]))
        if event == "run" and pool.jobs:
            await pool.run()
        elif event == "cancel" and sent:
            data.draw(st.sampled_from(sent))[1].cancel()
            await settled()
        elif event in ("matrix", "columns", "bad"):
            rows = [(step + i / 8, -1 if event == "bad" else step) for i in range(data.draw(st.integers(1, 4)))]
            sent.append((rows, (await waiting(plane, (columns if event == "columns" else matrix)(*rows)))[0]))
    while pool.jobs:
        await pool.run()
    for rows, task in sent:
        assert task.done(), "somebody still waits"
        if task.cancelled():
            continue
        if rows[0][1] < 0:
            assert str(task.exception()) == "row 0 is negative"
        else:
            assert task.result().prediction.tolist() == [a + b for a, b in rows]


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> versions.Published:
    estimator = RandomForestClassifier(n_estimators=30, random_state=0)
    return versions.numbers(tmp_path_factory.mktemp("forest"), estimator=estimator, with_onnx=False)


def served(published: versions.Published, **changes: Any) -> tuple[Parts, Telemetry]:
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    telemetry = Telemetry(config)
    parts = assemble(config, state, telemetry, threads=2)
    parts.plane._inline_rows = 0  # as measured for a larger forest
    return parts, telemetry


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_forest_is_called_for_many_requests_at_once(
    forest: versions.Published, enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, telemetry = served(forest, batching=None if enabled else Batching(enabled=False))
    calls: list[int] = []
    predict = parts.plane._predict
    monkeypatch.setattr(parts.plane, "_predict", lambda frame: calls.append(frame.rows) or predict(frame))
    rows = forest.frame.to_numpy()[:40]
    replies = await asyncio.gather(
        *[post(parts.app, "/v1/models/demo:predict", {"instances": [row]}) for row in rows.tolist()]
    )
    assert [reply.json()["predictions"][0] for reply in replies] == forest.model.predict(rows).tolist()
    assert sum(calls) == 40
    assert (len(calls) <= 8) is enabled
    assert telemetry_value(telemetry, "tidemill_batched_rows_total") == sum(n for n in calls if n > 1)
    parts.plane.close()
    assert (await call(parts.app, "GET", "/v2/health/live")).status == 200


def telemetry_value(telemetry: Telemetry, name: str) -> float:
    lines = Page(telemetry).render().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


def test_models_whose_rows_cost_as_much_as_calls_are_not_batched(forest: versions.Published) -> None:
    parts, _ = served(forest)
    warm = parts.plane.warm
    assert warm.seconds_per_row < warm.seconds_per_call / 4
    even = replace(warm, seconds_per_row=warm.seconds_per_call)
    config = forest.config()
    planes = [DataPlane(one, config, Telemetry(config), None, 1) for one in (even, warm)]
    assert [plane._batcher is not None for plane in planes] == [False, True]
    assert [plane.turn_batcher is not None for plane in planes] == [False, True]
