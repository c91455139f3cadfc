"""The way of a prediction to the monitor: what arrives, what is dropped, what is never waited for."""

import asyncio
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from tests.support.asgi import post
from tests.support.servinglog import V2, FakeMonitor, recorder, request, serving
from tests.support.stored import check_readable
from tests.support.versions import Published

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.inference import BATCH_PATH, REFERENCE_PATH, PredictionBatch, Reference
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog import record_batches
from tidemill_runtime.predictionlog import recorder as predictionlog
from tidemill_runtime.predictionlog.client import MonitorUnavailableError
from tidemill_runtime.predictionlog.record_batches import BatchWriter, Record, Several, Singles
from tidemill_runtime.server.telemetry.exposition import Page
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import verification


async def test_records_arrive_as_the_contract_says(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url) as (parts, telemetry):
        rows = [[0.5, -1, 0.25, 2], [1, 2, 3, 4]]
        reply = await post(parts.app, V2, request(rows, "many"))
        one = await post(parts.app, V2, request([[4, 3, 2, 1]]))
        await recorder(parts).flush(5)
    (batch,) = monitor.batches()
    assert batch.ids == ["many/0", "many/1", one.headers["x-tidemill-prediction-id"]]
    assert batch.columns == {"a": [0.5, 1, 4], "b": [-1, 2, 3], "c": [0.25, 3, 2], "d": [2, 4, 1]}
    labels, probabilities = reply.json()["outputs"]
    assert batch.predictions[:2] == labels["data"]
    assert batch.scores is not None
    np.testing.assert_allclose(batch.scores[:2], np.reshape(probabilities["data"], (2, 3)).max(axis=1))
    assert (batch.deployment, batch.version, batch.digest) == ("demo", "demo-7", numbers.digest)
    assert len(batch.latencies) == 2
    assert all(0 < seconds < 5 for seconds in batch.latencies)
    assert all(abs(at - time.time()) < 60 for at in batch.times)
    assert b'records_sent_total{deployment="demo",namespace="team-a",version="demo-7"} 3.0' in Page(telemetry).render()


async def test_an_unknown_digest_gets_its_reference_first(numbers: Published, monitor: FakeMonitor) -> None:
    known: list[bool] = []

    def answer(path: str) -> tuple[int, Any]:
        if path == REFERENCE_PATH:
            known.append(True)
            return 201, {}
        return (202, {}) if known else (409, {"error": "digest: unknown"})

    monitor.answer = answer
    async with serving(numbers, monitor.url) as (parts, _):
        await post(parts.app, V2, request([[1, 2, 3, 4]]))
        await recorder(parts).flush(5)
    assert [path for path, _ in monitor.posts] == [BATCH_PATH, REFERENCE_PATH, BATCH_PATH]
    check_readable("posted-reference", monitor.posts[1][1])
    reference = Reference.model_validate(monitor.posts[1][1])
    assert (reference.digest, reference.profile.rows) == (numbers.digest, 120)
    first, second = monitor.batches()
    assert first == second


async def test_a_lost_acknowledgement_is_repeated_under_the_same_batch_id(
    numbers: Published, monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictionlog, "INTERVAL_SECONDS", 0.02)
    failures = [503, 500, 404]
    monitor.answer = lambda path: (failures.pop(0), {}) if failures else (202, {})
    async with serving(numbers, monitor.url) as (parts, _):
        running = asyncio.create_task(recorder(parts).run())
        await post(parts.app, V2, request([[1, 2, 3, 4]], "a"))
        await asyncio.sleep(0.1)
        await post(parts.app, V2, request([[1, 2, 3, 4]], "b"))
        await asyncio.sleep(0.6)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await recorder(parts).flush(5)
    batches = monitor.batches()
    assert [b.ids for b in batches[:4]] == [["a"]] * 4
    assert len({b.batch_id for b in batches[:4]}) == 1
    assert [b.ids for b in batches[4:]] == [["b"]]
    assert batches[4].dropped == 0


async def test_no_monitor_costs_records_and_never_an_answer(numbers: Published) -> None:
    async with serving(numbers, "http://monitor.does-not-resolve.invalid:8080", max_queue_rows=10) as (
        parts,
        telemetry,
    ):
        running = asyncio.create_task(recorder(parts).run())
        for i in range(25):
            assert (await post(parts.app, V2, request([[i, 2, 3, 4]]))).status == 200
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert recorder(parts)._queued_rows == 10
        assert (
            b'records_dropped_total{deployment="demo",namespace="team-a",version="demo-7"} 15.0'
            in Page(telemetry).render()
        )
        await recorder(parts).flush(0.5)
        assert (
            b'records_dropped_total{deployment="demo",namespace="team-a",version="demo-7"} 25.0'
            in Page(telemetry).render()
        )


async def test_the_oldest_records_are_dropped(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url, max_queue_rows=4) as (parts, _):
        for name in "abcdef":
            await post(parts.app, V2, request([[1, 2, 3, 4]], name))
        await post(parts.app, V2, request([[1, 2, 3, 4]] * 5, "too-many"))
        await post(parts.app, V2, request([[1, 2, 3, 4]], "z"))
        await recorder(parts).flush(5)
    (batch,) = monitor.batches()
    assert batch.ids == ["z"]
    assert batch.dropped == 11


@pytest.mark.parametrize("ends", ["cancelled", "out of time"])
async def test_records_on_their_way_into_a_batch_are_sent_at_the_end_or_counted(
    numbers: Published, monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(predictionlog, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(predictionlog, "_SLICE_VALUES", 0)  # every record is written in a thread
    writing, original = threading.Event(), record_batches.slice_of

    def slow(records: list[Record], schema: Schema) -> dict[str, Any]:
        writing.set()
        time.sleep(0.3)
        return original(records, schema)

    monkeypatch.setattr(record_batches, "slice_of", slow)
    async with serving(numbers, monitor.url) as (parts, telemetry):
        for name in "ab":
            await post(parts.app, V2, request([[1, 2, 3, 4]] * 2, name))
        recorder(parts).record_error()
        if ends == "out of time":
            await recorder(parts).flush(0.1)
            expected = b"records_dropped_total"
        else:
            running = asyncio.create_task(recorder(parts).run())
            await asyncio.to_thread(writing.wait, 5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await recorder(parts).flush(5)
            (batch,) = monitor.batches()
            assert (batch.ids, batch.errors, batch.dropped) == (["a/0", "a/1", "b/0", "b/1"], 1, 0)
            expected = b"records_sent_total"
        labels = b'{deployment="demo",namespace="team-a",version="demo-7"}'
        assert expected + labels + b" 4.0" in Page(telemetry).render()


async def test_a_batch_cut_short_between_two_of_its_slices_loses_no_record_and_repeats_none(
    numbers: Published, monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictionlog, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(predictionlog, "_SLICE_VALUES", 8)
    slices, original = 0, record_batches.slice_of

    def counted(records: list[Record], schema: Schema) -> dict[str, Any]:
        nonlocal slices
        slices += 1
        if slices == 3:
            running.cancel()
        return original(records, schema)

    monkeypatch.setattr(record_batches, "slice_of", counted)
    async with serving(numbers, monitor.url) as (parts, _):
        for i in range(11):
            await post(parts.app, V2, request([[i, 2, 3, 4]], f"r{i}"))
        running = asyncio.create_task(recorder(parts).run())
        await asyncio.gather(running, return_exceptions=True)
        assert not monitor.batches()
        assert recorder(parts)._queued_rows == 5
        await recorder(parts).flush(5)
    first, second = monitor.batches()
    assert first.ids + second.ids == [f"r{i}" for i in range(11)]
    assert len(first.ids) == 6
    assert next(iter(first.columns.values())) == [0, 1, 2, 3, 4, 5]


async def test_records_that_make_no_batch_are_counted_and_end_nothing(
    numbers: Published, monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = record_batches.slice_of

    def broken(records: list[Record], schema: Schema) -> dict[str, Any]:
        raise TypeError("not serializable")

    monkeypatch.setattr(record_batches, "slice_of", broken)
    async with serving(numbers, monitor.url) as (parts, _):
        await post(parts.app, V2, request([[1, 2, 3, 4]] * 3, "lost"))
        recorder(parts).record_error()
        await recorder(parts).flush(5)
        monkeypatch.setattr(record_batches, "slice_of", original)
        await post(parts.app, V2, request([[1, 2, 3, 4]], "kept"))
        await recorder(parts).flush(5)
    (batch,) = monitor.batches()
    assert (batch.ids, batch.dropped, batch.errors) == (["kept"], 3, 1)


async def test_a_refused_batch_is_dropped_and_counted(numbers: Published, monitor: FakeMonitor) -> None:
    monitor.answer = lambda path: (400, {"error": "columns: wrong"})
    async with serving(numbers, monitor.url) as (parts, telemetry):
        await post(parts.app, V2, request([[1, 2, 3, 4]]))
        await recorder(parts).flush(5)
        assert len(monitor.posts) == 1
        assert (
            b'records_dropped_total{deployment="demo",namespace="team-a",version="demo-7"} 1.0'
            in Page(telemetry).render()
        )


async def test_a_batch_that_the_monitor_fails_at_costs_no_other(numbers: Published, monitor: FakeMonitor) -> None:
    """A fault of the monitor that one batch finds again and again: it is dropped and counted, and the next ones go."""

    def answer(path: str) -> tuple[int, Any]:
        return (500, {"error": "internal error"}) if monitor.posts[-1][1]["ids"] == ["bad"] else (202, {})

    monitor.answer = answer
    async with serving(numbers, monitor.url) as (parts, telemetry):
        await post(parts.app, V2, request([[1, 2, 3, 4]], "bad"))
        for _ in range(9):
            with pytest.raises(MonitorUnavailableError, match="answered 500"):
                await recorder(parts)._send_all()
        await post(parts.app, V2, request([[1, 2, 3, 4]], "good"))
        await recorder(parts)._send_all()
        await recorder(parts).flush(5)
        assert [batch.ids for batch in monitor.batches()] == [["bad"]] * 10 + [["good"]]
        assert len({batch.batch_id for batch in monitor.batches()}) == 2
        dropped = b'records_dropped_total{deployment="demo",namespace="team-a",version="demo-7"} 1.0'
        assert dropped in Page(telemetry).render()


async def test_large_logs_are_split_into_batches(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url) as (parts, _):
        for i in range(9):
            await post(parts.app, V2, request([[1, 2, 3, 4]] * 500, f"r{i}"))
        await recorder(parts).flush(10)
    assert [len(batch.ids) for batch in monitor.batches()] == [2000, 2000, 500]
    assert len({batch.batch_id for batch in monitor.batches()}) == 3


async def test_one_large_request_is_split_like_many_small_ones(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url) as (parts, _):
        rows = [[float(i), 2, 3, 4] for i in range(4100)]
        reply = (await post(parts.app, V2, request(rows, "big"))).json()
        await post(parts.app, V2, request(rows[:3], "small"))
        await recorder(parts).flush(10)
    batches = monitor.batches()
    assert [len(batch.ids) for batch in batches] == [2000, 2000, 103]
    assert [one for b in batches for one in b.ids] == [f"big/{i}" for i in range(4100)] + [
        f"small/{i}" for i in range(3)
    ]
    assert [one for b in batches for one in b.columns["a"]][:4100] == list(range(4100))
    assert [one for b in batches for one in b.predictions][:4100] == reply["outputs"][0]["data"]
    assert [len(b.latencies) for b in batches] == [1, 0, 1], "a request waited once"


async def test_a_batch_of_long_texts_ends_before_the_monitor_refuses_it(
    numbers: Published, monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictionlog, "MAX_BATCH_BYTES", 500)
    async with serving(numbers, monitor.url) as (parts, _):
        for i in range(40):
            await post(parts.app, V2, request([[i, 2, 3, 4]] * 2, f"r{i}"))
        monkeypatch.setattr(predictionlog, "_SLICE_VALUES", 8)
        await recorder(parts).flush(10)
    batches = monitor.batches()
    assert [one for b in batches for one in b.ids] == [f"r{i}/{row}" for i in range(40) for row in range(2)]
    assert 4 < len(batches) < 40


async def test_sampling_keeps_whole_requests_and_always_the_same(numbers: Published, monitor: FakeMonitor) -> None:
    kept: list[list[str]] = []
    for _ in range(2):
        async with serving(numbers, monitor.url, sample_ratio=0.3) as (parts, _telemetry):
            for i in range(200):
                await post(parts.app, V2, request([[1, 2, 3, 4]], f"request-{i}"))
            await recorder(parts).flush(5)
        kept.append([one for batch in monitor.batches() for one in batch.ids])
        monitor.posts.clear()
    assert kept[0] == kept[1]
    assert 30 < len(kept[0]) < 90


async def test_faults_of_the_server_are_counted_and_those_of_clients_are_not(
    numbers: Published, monitor: FakeMonitor
) -> None:
    async with serving(numbers, monitor.url) as (parts, _):
        await post(parts.app, V2, {})

        def fail(_: Frame) -> Prediction:
            raise RuntimeError("broken")

        parts.plane._predict = fail
        for _i in range(2):
            assert (await post(parts.app, V2, request([[1, 2, 3, 4]]))).status == 500
        await recorder(parts).flush(5)
    (batch,) = monitor.batches()
    assert (batch.errors, batch.ids) == (2, [])


def test_values_are_logged_as_the_profile_counts_them(tmp_path: Path) -> None:
    kinds = {"flag": "BOOL", "name": "BYTES", "count": "INT64", "x": "FP64"}
    signature = Signature(inputs=tuple(ColumnSpec(name=n, datatype=d) for n, d in kinds.items()), outputs=())
    arrays = [
        np.array([1.0, np.nan]),
        np.array(["ü", None], dtype=object),
        np.array([3, 4]),
        np.array([np.nan, 0.5]),
    ]
    frame = Frame(Schema(signature), 2, arrays=arrays)
    answer = Prediction([("value", "FP64")], np.array([np.nan, 1.5]))
    head = {"batch_id": "p/1", "deployment": "d", "version": "v", "digest": "x", "sent_at": 1.0}
    writer = BatchWriter(head)
    writer.add(record_batches.written([Several("id", frame, answer, 1.0, 0.1)], frame.schema))
    batch = PredictionBatch.model_validate_json(writer.body())
    assert batch.columns == {"flag": [True, None], "name": ["ü", None], "count": [3, 4], "x": [None, 0.5]}
    assert batch.predictions == [None, 1.5]
    assert batch.scores is None
    assert batch.ids == ["id/0", "id/1"]

    alone, singles = BatchWriter(head), Singles(4)  # the same rows, each in a request of its own
    for row in range(2):
        one = Frame(frame.schema, 1, arrays=[array[row : row + 1] for array in arrays])
        singles.add(f"id/{row}", one, answer.part(row, row + 1), 1.0, 0.1)
    alone.add(record_batches.written([singles], frame.schema))
    apart = PredictionBatch.model_validate_json(alone.body())
    assert apart == batch.model_copy(update={"latencies": [0.1, 0.1]})


@pytest.mark.parametrize("kind", ["rows of one request", "requests for a row each"])
@pytest.mark.parametrize(
    ("classes", "scores"),
    [
        pytest.param({"no": 0, "yes": 1}, [0.3, 0.9, 0.6], id="a model that says yes from 0.2 on"),
        pytest.param({"no": 0, "maybe": 1}, [0.7, 0.9, 0.6], id="a class that is not known has the largest"),
        pytest.param(None, [0.7, 0.9, 0.6], id="no classes are known"),
    ],
)
def test_the_score_is_the_probability_of_the_predicted_class(
    kind: str, classes: dict[str, int] | None, scores: list[float]
) -> None:
    """It is not the largest where a model has a threshold of its own; log_loss is computed from it."""
    frame = Frame(
        Schema(Signature(inputs=(ColumnSpec(name="x", datatype="FP64"),), outputs=())), 3, matrix=np.ones((3, 1))
    )
    labels = np.array(["yes", "no", "yes"], dtype=object)
    probabilities = np.array([[0.7, 0.3], [0.9, 0.1], [0.4, 0.6]])
    answer = Prediction([("label", "BYTES"), ("probabilities", "FP64")], labels, probabilities, (), classes)
    assert answer.scores() == scores
    record: Several | Singles = Several("id", frame, answer, 1.0, 0.1)
    if kind == "requests for a row each":
        record = Singles(1)
        for row in range(3):
            record.add(f"id/{row}", frame.part(row, row + 1), answer.part(row, row + 1), 1.0, 0.1)
    assert record_batches.slice_of([record], frame.schema)["scores"] == scores


def test_scores_of_many_classes_make_no_python_object_of_each_probability() -> None:
    """They are computed on the event loop: as objects, two million probabilities take a third of a second."""
    rows, classes = 2000, 1000
    probabilities = np.random.default_rng(0).random((rows, classes))
    labels = np.array([f"class {row % (classes + 1)}" for row in range(rows)], dtype=object)  # the last is not known
    columns = {f"class {number}": number for number in range(classes)}
    answer = Prediction([("label", "BYTES"), ("probabilities", "FP64")], labels, probabilities, (), columns)
    tracemalloc.start()
    try:
        scores = answer.scores()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    column = [columns.get(label) for label in labels]
    assert scores == [max(row) if at is None else row[at] for row, at in zip(probabilities, column, strict=True)]
    assert most < 1 << 20


def test_a_classifier_with_a_threshold_of_its_own_has_scores_of_its_predictions() -> None:
    random = np.random.default_rng(5)
    rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    target = np.where(rows["a"] + random.normal(size=200) > 0, "yes", "no")
    estimator = FixedThresholdClassifier(LogisticRegression(), threshold=0.1, response_method="predict_proba")
    model = inspection.inspect(estimator.fit(rows, target), rows, Path("/code"))
    signature = inspection.signature(model, rows)
    schema = Schema(signature)
    served = model.framework.serve(estimator, schema, verification.manifest(model, signature))
    answer = served.predict(Frame(schema, 200, matrix=rows.to_numpy()))
    probability = estimator.predict_proba(rows)[:, 1]
    expected = np.where(estimator.predict(rows) == "yes", probability, 1 - probability)
    assert expected.min() < 0.5
    assert answer.scores() == pytest.approx(expected)


async def test_recording_costs_microseconds(numbers: Published, monitor: FakeMonitor) -> None:
    async with serving(numbers, monitor.url) as (parts, _):
        frame = Frame(parts.plane.schema, 1, matrix=np.zeros((1, 4)))
        answer = parts.plane.answer(frame)
        record = recorder(parts).record
        best = 1.0
        for _ in range(20):
            started = time.perf_counter()
            for _i in range(500):
                record("0123456789abcdef", frame, answer, 0.001)
            best = min(best, (time.perf_counter() - started) / 500)
        assert best < 5e-6
