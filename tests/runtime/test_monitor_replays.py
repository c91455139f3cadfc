"""A batch counts once, however often and however late it is posted; what a window was does not become another."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_runtime.monitor import replays, retention, schema
from tidemill_runtime.monitor.retention import Retention
from tidemill_runtime.monitor.service import Monitor

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("batch_id", "parts"),
    [
        ("pod-1/77/12", ("pod-1/77", 12)),
        ("pod-1-77-12", ("pod-1-77", None)),
        ("pod:9", ("pod", None)),
        ("alone", ("alone", None)),
        ("pod/" + "9" * 18, ("pod", 10**18 - 1)),
        ("pod/" + "9" * 19, ("pod", None)),
        ("pod/\u0661", ("pod", None)),
        ("", ("", None)),
    ],
)
def test_a_batch_id_names_its_sender_and_its_number(batch_id: str, parts: tuple[str, int | None]) -> None:
    assert replays.parts_of(batch_id) == parts


@given(st.lists(st.integers(0, 300)))
def test_a_number_counts_once_and_each_near_the_greatest_does(numbers: list[int]) -> None:
    last, seen, counted = 0, 0, set()
    for number in numbers:
        marked = replays.with_number(last, seen, number)
        if marked is None:
            assert number in counted or number < last - 62
        else:
            assert number not in counted
            counted.add(number)
            last, seen = marked
        assert 0 <= seen < 2**63
        assert last == max(counted)


def test_a_batch_is_known_months_later_and_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with running(config(tmp_path), clock) as monitor:
        for number in range(1, 4):
            assert monitor.add_batch(batch(number, 10)).result() is True
        clock.now += 25 * DAY
        monitor.add_batch(batch(1, 5, at=clock.now, batch_id="pod-2/1/1")).result()
        monitor.prune()
    clock.now += 1 * DAY
    with running(config(tmp_path), clock) as monitor:
        assert [monitor.add_batch(batch(number, 10)).result() for number in (3, 1, 2)] == [False] * 3
        assert monitor.report().versions[0].rows == 35


def test_what_a_server_dropped_counts_once_though_it_was_silent_for_days(tmp_path: Path) -> None:
    clock = Clock()
    with running(config(tmp_path), clock) as monitor:
        monitor.add_batch(batch(1, 10, dropped=500)).result()
        clock.now += 4 * DAY
        monitor.prune()
        monitor.add_batch(batch(2, 10, at=clock.now, dropped=503)).result()
        assert monitor.report().versions[0].dropped == 503


def scored_monthly(monitor: Monitor, clock: Clock, shifts: list[float]) -> list[bool]:
    """Score once a month and look at the report each time; return which of the windows in it drifted."""
    for month, shift in enumerate(shifts):
        clock.now = START + month * 31 * DAY
        monitor.prune()
        batch_id = f"predict-month-{month}/aaaa/1"
        monitor.add_batch(batch(month, 2_000, at=clock.now, shift=shift, batch_id=batch_id)).result()
        clock.now += 2 * HOUR
        report = monitor.report()
    return [window.drift for window in report.versions[0].windows]


def test_monthly_scoring_drifts_where_it_should(tmp_path: Path) -> None:
    """Each month's window is a window of its own, and two in a row are there to be compared."""
    clock = Clock()
    with running(config(tmp_path), clock) as monitor:
        assert scored_monthly(monitor, clock, [0.0, 0.9, 0.9]) == [False, True, True]


@pytest.mark.parametrize("table", ["window", "version"])
def test_a_number_is_never_used_again(tmp_path: Path, table: str) -> None:
    connection = schema.connect(str(tmp_path / "t.db"))
    schema.migrate(connection)
    columns: dict[str, tuple[Any, ...]] = {"window": (1, 60, 0), "version": ("d", "n", "p", 0)}
    names = {"window": "version, seconds, start", "version": "digest, name, profile, created"}[table]
    seen = set()
    for _ in range(3):
        holes = ",".join("?" * len(columns[table]))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", columns[table])
        seen.add(connection.execute(f"SELECT id FROM {table}").fetchone()[0])
        connection.execute(f"DELETE FROM {table}")
    connection.close()
    assert len(seen) == 3


def test_a_late_label_is_not_of_the_window_that_came_after(tmp_path: Path) -> None:
    """The window of its prediction is gone; today's has another number, so it does not get the label."""
    clock = Clock()
    performance = PerformanceConfig(metric="accuracy", min_labels=1, label_delay_seconds=0)
    with running(config(tmp_path, performance=performance), clock) as monitor:
        monitor.add_batch(batch(1, 10, at=clock.now - 20 * DAY)).result()
        shorter = Retention(windows=10 * DAY, predictions=10**9)
        monitor._writer.submit(lambda c: retention.prune(c, shorter, clock.now)).result()
        monitor.add_batch(batch(2, 10, at=clock.now)).result()
        assert monitor.add_feedback([Feedback(id="p1/0", label=1)]).result().count("joined") == 1
        clock.now += 2 * HOUR
        (version,) = monitor.report(DIGEST).versions
    assert version.performance is not None
    assert version.performance.labels == 0


def test_an_older_database_keeps_what_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    old = sqlite3.connect(path)
    old.executescript(schema.STEPS[0] + "PRAGMA user_version=1;")
    old.executemany("INSERT INTO batch VALUES (?, ?)", [("pod/a/9", 5.0), ("pod/a/10", 6.0), ("x-1", 7.0), ("/3", 1.0)])
    old.execute("INSERT INTO process VALUES (1, 'pod/a', 42, 6.5)")
    old.execute("INSERT INTO process VALUES (1, 'quiet', 7, 2.0)")
    old.execute("INSERT INTO window (id, version, seconds, start) VALUES (8, 1, 60, 600)")
    for number, (window, time) in enumerate([(8, 610.0), (8, 10.0), (3, 610.0)]):
        values = (f"p{number}", 1, window, time, "1")
        old.execute("INSERT INTO prediction (id, version, window, time, value) VALUES (?, ?, ?, ?, ?)", values)
    old.commit()
    old.close()
    new = schema.connect(str(path))
    schema.migrate(new)
    assert [replays.note(new, one, 0, 9.0) for one in ("pod/a/9", "pod/a/10", "x-1", "pod/a/3")] == [None] * 4
    assert replays.note(new, "pod/a/11", 44, 9.0) == 2
    assert replays.note(new, "quiet/1", 8, 9.0) == 1
    windows = [window for (window,) in new.execute("SELECT window FROM prediction ORDER BY number")]
    new.close()
    assert windows == [8, 0, 0], "a prediction names the window that it is in, or none"
