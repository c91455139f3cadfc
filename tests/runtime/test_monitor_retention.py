"""Predictions are kept until their labels are due, as far as the volume holds them; others are counted and told."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts import retention as formula
from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig, RetentionReport
from tidemill_runtime.monitor import queries, schema
from tidemill_runtime.monitor.retention import Retention
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.predictionlog.prediction_ids import PredictionIds

HOUR, DAY = 3_600, 86_400


def settings(folder: Path, delay: int = DAY, **changes: Any) -> Any:
    performance = PerformanceConfig(metric="accuracy", min=0.8, min_labels=10, label_delay_seconds=delay)
    return config(folder, performance=performance, **changes)


def label(monitor: Monitor, number: int, rows: int, truth: int = 1) -> int:
    """Post labels of the first rows of a batch; return how many joined."""
    labels = [Feedback(id=f"p{number}/{row}", label=truth) for row in range(rows)]
    return monitor.add_feedback(labels).result(10).count("joined")


@pytest.mark.parametrize("days", [31, 60, 365])
def test_labels_that_are_due_after_more_than_thirty_days_are_judged(tmp_path: Path, days: int) -> None:
    clock = Clock()
    with running(settings(tmp_path, days * DAY), clock) as monitor:
        monitor.add_batch(batch(1, 20, at=START, predictions=[1] * 20)).result()
        for day in range(7, days + 1, 7):
            clock.now = START + day * DAY
            monitor.add_batch(batch(100 + day, 5, at=clock.now)).result()
            monitor.prune()
        clock.now = START + days * DAY + HOUR
        monitor.prune()
        assert label(monitor, 1, 15, 0) == 15
        monitor.detect()
        (version,) = monitor.report(DIGEST).versions
    found = version.performance
    assert found is not None
    assert (found.labels, found.labels_ratio, found.value, found.degraded) == (15, 0.75, 0.0, True)
    assert version.discarded == 0


def test_windows_are_kept_for_as_long_as_labels_need(tmp_path: Path) -> None:
    short, long = Retention.of(settings(tmp_path)), Retention.of(settings(tmp_path, 90 * DAY, window_seconds=DAY))
    assert (short.windows, short.predictions) == (30 * DAY, 2 * DAY + HOUR)
    assert (long.windows, long.predictions) == (205 * DAY, 181 * DAY)


def test_the_default_volume_holds_twelve_predictions_a_second_for_twice_a_day() -> None:
    """At 12 a second no label joined: a million predictions were kept, and a day has 1,036,800."""
    rows = formula.rows_that_fit(formula.STORAGE_BYTES, formula.USUAL_PREDICTION_BYTES)
    assert rows > 12 * formula.wait_seconds(DAY, HOUR)
    assert rows > 38 * formula.due_seconds(DAY, HOUR)


@pytest.mark.parametrize(("value", "score"), [("1", 0.75), ("17.123456789012345", None)], ids=["class", "number"])
def test_the_formula_gives_the_bytes_of_a_prediction(tmp_path: Path, value: str, score: float | None) -> None:
    rows, ids = 20_000, PredictionIds(DIGEST)
    connection = schema.connect(str(tmp_path / "t.db"))
    connection.execute("PRAGMA synchronous=OFF")
    schema.migrate(connection)
    before = used(connection)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO prediction (id, version, window, time, value, score) VALUES (?, 3, 4000, ?, ?, ?)",
        [(ids.new(), START + row / 12, value, score) for row in range(rows)],
    )
    connection.execute("COMMIT")
    measured, told = (used(connection) - before) / rows, queries.prediction_bytes(connection)
    connection.close()
    assert told == formula.PREDICTION_BYTES + 2 * 58 + len(value)
    assert 0.85 * told < measured <= told


def used(connection: Any) -> int:
    """Bytes of the pages that are in use."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((pages - free) * size)


def test_a_volume_that_is_smaller_than_stated_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(tmp_path, storage_bytes=5 * 2**30)
    volume = os.statvfs_result((4_096, 4_096, 200_000, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda path: volume)
    assert Retention.of(wanted).storage == 4_096 * 200_000
    assert Retention.of(settings(tmp_path, storage_bytes=1_000)).storage == 1_000


def test_what_the_volume_does_not_hold_is_discarded_counted_and_told(tmp_path: Path) -> None:
    clock = Clock()
    small = 100_000  # bytes: some 800 predictions
    with running(settings(tmp_path, storage_bytes=small), clock) as monitor:
        for hour in range(30):
            clock.now = START + hour * HOUR
            monitor.add_batch(batch(hour, 100, at=clock.now, predictions=[1] * 100)).result()
            label(monitor, hour, 10)
            monitor.prune()
        report = monitor.report()
        fits = formula.rows_that_fit(small, report.retention.prediction_bytes if report.retention else 0)
        assert 500 < fits < 1_000
        kept = 3_000 - (3_000 - fits)
        expected = sum(90 if (hour + 1) * 100 <= 3_000 - kept else 0 for hour in range(30))
        assert 0 <= report.versions[0].discarded - expected <= 90, "without those that have their label"
        assert report.retention is not None
        assert report.retention.rows == pytest.approx(100 * 25, abs=100), "the last day and the window of it"
        assert report.retention.labels_unmatched == 0
        assert label(monitor, 0, 10) + label(monitor, 29, 5) == 0, "known already, or gone"
        clock.now += 1_000
        monitor.prune()
        found = monitor.report().retention
        monitor.collector.update(monitor._evaluator.evaluate())
        samples = {one.name: one.value for family in monitor.collector.collect() for one in family.samples}
    assert found is not None
    assert found.labels_unmatched == 10
    assert samples["tidemill_labels_unmatched_total"] == 10
    assert samples["tidemill_predictions_discarded_total"] == report.versions[0].discarded


def test_the_need_is_projected_from_many_windows_and_not_from_a_burst(tmp_path: Path) -> None:
    clock = Clock()

    def needed() -> int:
        found = monitor.report().retention
        assert isinstance(found, RetentionReport)
        return found.rows

    with running(settings(tmp_path, 30 * DAY), clock) as monitor:
        assert needed() == 0
        monitor.add_batch(batch(0, 1_000)).result()
        clock.now += HOUR
        assert needed() == 1_000, "scored once a month: nothing says that the next hour is like this one"
        for hour in range(1, 24):
            clock.now = START + hour * HOUR
            monitor.add_batch(batch(hour, 1_000, at=clock.now)).result()
        clock.now += HOUR
        assert needed() == round(24_000 * (30 * DAY + HOUR) / DAY)
