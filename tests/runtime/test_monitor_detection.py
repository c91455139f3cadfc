"""Each label is looked at once: late, early, again, after a kill and with other limits."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig, PerformanceReport
from tidemill_runtime.monitor import retention, schema
from tidemill_runtime.monitor.service import Monitor

HOUR = 3600.0


def settings(folder: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {"metric": "accuracy", "min": 0.8, "min_labels": 10, "label_delay_seconds": 0}
    return config(folder, performance=PerformanceConfig(**(values | changes)))


def served(monitor: Monitor, hour: int, rows: int) -> None:
    at = START + hour * HOUR
    monitor.add_batch(batch(hour, rows, at=at, columns={}, predictions=[1] * rows)).result(10)


def label(monitor: Monitor, hour: int, truths: list[int], first: int = 0) -> None:
    feedback = [Feedback(id=f"p{hour}/{row}", label=truth) for row, truth in enumerate(truths, start=first)]
    monitor.add_feedback(feedback).result(10)


def performance(monitor: Monitor) -> PerformanceReport:
    monitor.detect()
    report = monitor.report(DIGEST).versions[0].performance
    assert report is not None
    return report


def stored(folder: Path) -> list[Any]:
    connection = sqlite3.connect(f"file:{folder / 'monitor.db'}?mode=ro", uri=True)
    try:
        return [json.loads(row[0]) for row in connection.execute("SELECT state FROM detector")]
    finally:
        connection.close()


def test_looking_again_counts_nothing_again(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 10)
        label(monitor, 0, [1] * 6 + [0] * 4)
        monitor.detect()
        (before,) = stored(tmp_path)
        for _ in range(20):
            monitor.detect()
        assert stored(tmp_path) == [before]
    with running(settings(tmp_path), Clock(START + 9 * HOUR)) as monitor:
        monitor.detect()
        assert stored(tmp_path) == [before], "nor after a restart"


def test_late_labels_count_once_and_as_if_they_had_been_in_time(tmp_path: Path) -> None:
    late, early = tmp_path / "late", tmp_path / "early"
    with running(settings(late), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 20)
        label(monitor, 0, [0] * 10)
        monitor.detect()
        label(monitor, 0, [0] * 10, first=10)
        label(monitor, 0, [0] * 20)  # again
        monitor.detect()
        monitor.detect()
    with running(settings(early), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 20)
        label(monitor, 0, [0] * 20)
        monitor.detect()
    ((one,), (other,)) = stored(late), stored(early)
    assert one["side"] == other["side"] == "min"
    assert one["proof"] == other["proof"] == [START, START + HOUR]


def test_labels_of_young_predictions_wait(tmp_path: Path) -> None:
    clock = Clock(START + HOUR)
    with running(settings(tmp_path, label_delay_seconds=7200), clock) as monitor:
        served(monitor, 0, 40)
        label(monitor, 0, [0] * 40)
        assert not performance(monitor).degraded
        assert stored(tmp_path) == []
        clock.now += 7200
        assert performance(monitor).degraded


def test_windows_with_too_few_labels_are_passed_over_until_they_have_enough(tmp_path: Path) -> None:
    with running(settings(tmp_path, min_labels_ratio=0.5), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 100)
        label(monitor, 0, [0] * 40)
        found = performance(monitor)
        assert (found.labels_ratio, found.degraded) == (0.4, False)
        label(monitor, 0, [0] * 10, first=40)
        assert performance(monitor).degraded


def test_another_limit_judges_what_is_kept_anew(tmp_path: Path) -> None:
    with running(settings(tmp_path, min=0.1), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 60)
        label(monitor, 0, [1] * 24 + [0] * 36)
        assert not performance(monitor).degraded
    with running(settings(tmp_path, min=0.8), Clock(START + HOUR)) as monitor:
        assert performance(monitor).degraded
        (before,) = stored(tmp_path)
    with running(settings(tmp_path, min=0.8, false_alarms_per_month=0.1), Clock(START + HOUR)) as monitor:
        assert performance(monitor).degraded
        assert stored(tmp_path) == [before], "a rarer alarm is no other limit"


def test_a_breach_ends_when_labels_since_then_are_within_the_limit(tmp_path: Path) -> None:
    clock = Clock(START + HOUR)
    with running(settings(tmp_path), clock) as monitor:
        served(monitor, 0, 40)
        label(monitor, 0, [0] * 40)
        bad = performance(monitor)
        assert (bad.degraded, bad.value, bad.breach_start, bad.breach_end) == (True, 0.0, START, START + HOUR)
        clock.now += HOUR
        served(monitor, 1, 5)
        label(monitor, 1, [1] * 5)
        assert performance(monitor).degraded, "fewer than minLabels"
        clock.now += HOUR
        served(monitor, 2, 40)
        label(monitor, 2, [1] * 38 + [0] * 2)
        good = performance(monitor)
        assert (good.degraded, good.breach_start, good.breach_end) == (False, None, None)


def test_the_proof_begins_where_the_change_was(tmp_path: Path) -> None:
    clock = Clock(START + HOUR)
    with running(settings(tmp_path), clock) as monitor:
        for hour in range(4):
            served(monitor, hour, 40)
            label(monitor, hour, [1] * 39 + [0])
            monitor.detect()
            clock.now += HOUR
        for hour in (4, 5, 6):
            served(monitor, hour, 40)
            label(monitor, hour, [1] * 16 + [0] * 24)
            clock.now += HOUR
            found = performance(monitor)
        assert found.degraded and found.exceeded_since == START + 4 * HOUR
        assert found.value == pytest.approx(0.4)
        assert (found.breach_start or 0) > START + 4 * HOUR, "proven again, by other labels"


def test_a_metric_that_is_normal_for_many_labels_waits_for_them(tmp_path: Path) -> None:
    clock = Clock(START + HOUR)
    with running(settings(tmp_path, metric="balanced_accuracy"), clock) as monitor:
        served(monitor, 0, 60)
        label(monitor, 0, [0] * 30 + [1] * 30)
        assert performance(monitor).asymptotic
        assert stored(tmp_path)[0]["low"][0] == float("-inf")
        clock.now += HOUR
        served(monitor, 1, 60)
        label(monitor, 1, [0] * 30 + [1] * 30)
        assert performance(monitor).degraded


def test_what_waits_goes_with_its_windows(tmp_path: Path) -> None:
    with running(settings(tmp_path, metric="balanced_accuracy"), Clock(START + HOUR)) as monitor:
        served(monitor, 0, 10)
        label(monitor, 0, [0] * 5)
        monitor.detect()
        label(monitor, 0, [0], first=5)
    connection = schema.connect(str(tmp_path / "monitor.db"))
    tables = ("window", "detector", "waiting")

    def rows() -> list[int]:
        return [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]

    assert all(rows())
    retention.prune(connection, retention.Retention(windows=3600, predictions=3600), START + 9 * HOUR)
    assert rows() == [0, 0, 0]
    connection.close()
