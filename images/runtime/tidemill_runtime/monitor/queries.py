"""What an evaluation reads: versions, windows with their counters, and performance sums. Never writes."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tidemill_contracts import retention
from tidemill_runtime.monitor import latency
from tidemill_runtime.monitor.binning import CALIBRATION, Counts, Layout
from tidemill_runtime.monitor.bounds import LARGEST_COUNT
from tidemill_runtime.monitor.delays import DELAY
from tidemill_runtime.monitor.detector import State
from tidemill_runtime.monitor.latency import LATENCY

REPORTED_WINDOWS: Final = retention.NEWEST_WINDOWS
LABELS_UNMATCHED: Final = "labels_unmatched"  # the name of a total
_MEASURED_PREDICTIONS: Final = 1_000  # the newest ones, whose mean size is that of all


@dataclass(frozen=True)
class StoredVersion:
    """The totals of one version."""

    key: int
    digest: str
    name: str
    rows: int
    labels: int
    dropped: int
    last_record: float | None
    discarded: int


@dataclass(frozen=True)
class StoredWindow:
    """One window; `changes` grows with every addition."""

    key: int
    start: int
    seconds: int
    rows: int
    errors: int
    labels: int
    changes: int


@dataclass(frozen=True)
class WindowCounts:
    """The counters of one window: the layout's vector and the latency histogram."""

    columns: Counts
    latencies: Counts


def versions(connection: sqlite3.Connection) -> list[StoredVersion]:
    """Return all versions, oldest first."""
    rows = connection.execute(
        "SELECT id, digest, name, rows, labels, dropped, last_record, discarded FROM version ORDER BY created, id"
    )
    return [StoredVersion(*row) for row in rows]


def newest_windows(connection: sqlite3.Connection, version: int, seconds: int) -> list[StoredWindow]:
    """Return the newest windows of this length that have any addition, newest last."""
    rows = connection.execute(
        "SELECT id, start, seconds, rows, errors, labels, changes FROM window "
        "WHERE version = ? AND seconds = ? ORDER BY start DESC LIMIT ?",
        (version, seconds, REPORTED_WINDOWS),
    )
    return [StoredWindow(*row) for row in rows][::-1]


def windows_of_span(
    connection: sqlite3.Connection, version: int, seconds: int, start: float, end: float
) -> list[StoredWindow]:
    """Return the windows with counters by bin that lie within a span of time, oldest first."""
    return _windows(connection, "start >= ? AND start + seconds <= ? ORDER BY start", (version, seconds, start, end))


def windows_at(connection: sqlite3.Connection, version: int, seconds: int, starts: Sequence[int]) -> list[StoredWindow]:
    """Return the windows with counters by bin that start at these times, oldest first."""
    places = ", ".join("?" * len(starts))
    return _windows(connection, f"start IN ({places}) ORDER BY start", (version, seconds, *starts))


def judged_window_before(
    connection: sqlite3.Connection, version: int, seconds: int, start: int, min_rows: int, number: int
) -> list[StoredWindow]:
    """Return the window that is the `number`-th before `start` among those of enough rows; none if there are fewer."""
    condition = "start < ? AND rows >= ? ORDER BY start DESC LIMIT 1 OFFSET ?"
    return _windows(connection, condition, (version, seconds, start, min_rows, number - 1))


def _windows(connection: sqlite3.Connection, condition: str, values: Sequence[float]) -> list[StoredWindow]:
    """`condition` is a text from here, never from outside."""
    rows = connection.execute(
        "SELECT id, start, seconds, rows, errors, labels, changes FROM window "  # noqa: S608
        f"WHERE version = ? AND seconds = ? AND detailed = 1 AND {condition}",
        values,
    )
    return [StoredWindow(*row) for row in rows]


def summed_columns(connection: sqlite3.Connection, windows: Sequence[int], layout: Layout) -> Counts:
    """Return the added counters of columns of these windows, at most a few thousand, as the layout's vector."""
    places = ", ".join("?" * len(windows))
    rows = connection.execute(
        f"SELECT name, bin, sum(count) FROM counter WHERE window IN ({places}) GROUP BY name, bin",  # noqa: S608
        windows,
    )
    return layout.vector(rows)


def window_counts(connection: sqlite3.Connection, window: int, layout: Layout) -> WindowCounts:
    """Return one window's counters."""
    rows = connection.execute("SELECT name, bin, count FROM counter WHERE window = ?", (window,)).fetchall()
    latencies = np.zeros(latency.BINS, dtype=np.int64)
    for name, number, count in rows:
        if name == LATENCY:
            latencies[number] += count
    return WindowCounts(layout.vector(rows), latencies)


def calibration_counts(
    connection: sqlite3.Connection, version: int, seconds: int, first: int, last: int, layout: Layout
) -> Counts | None:
    """Return rows by bin of the calibration tables in the windows that start from `first` to `last`, both included.

    None where there are no tables, or where counters by bin of some of these windows are gone.
    """
    windows = "FROM window WHERE version = ? AND seconds = ? AND start BETWEEN ? AND ?"
    span = (version, seconds, first, last)
    if layout.strata is None or connection.execute(f"SELECT 1 {windows} AND detailed = 0", span).fetchone():
        return None
    rows = connection.execute(
        f"SELECT name, bin, sum(count) FROM counter WHERE window IN (SELECT id {windows}) AND name = ? GROUP BY bin",  # noqa: S608
        (*span, CALIBRATION),
    )
    return layout.calibration(layout.vector(rows))


def label_delays(connection: sqlite3.Connection, version: int, seconds: int, first: int, last: int) -> dict[int, int]:
    """Return labels by bin of their delay in the windows that start from `first` to `last`, both included."""
    return dict(
        connection.execute(
            "SELECT bin, sum(count) FROM counter WHERE window IN "
            "(SELECT id FROM window WHERE version = ? AND seconds = ? AND start BETWEEN ? AND ?) "
            "AND name = ? GROUP BY bin",
            (version, seconds, first, last, DELAY),
        )
    )


def labelled_windows(
    connection: sqlite3.Connection, version: int, seconds: int, after: float, until: float, most: int = -1
) -> list[tuple[int, int, int]]:
    """Return (start, rows, labels) of the windows that end after `after` and not after `until`, newest first.

    `most`: so many of them; -1: all.
    """
    return connection.execute(
        "SELECT start, rows, labels FROM window WHERE version = ? AND seconds = ? "
        "AND start + seconds > ? AND start + seconds <= ? ORDER BY start DESC LIMIT ?",
        (version, seconds, after, until, most),
    ).fetchall()


def performance_sums(
    connection: sqlite3.Connection, version: int, seconds: int, first: int, last: int
) -> dict[str, float]:
    """Return the added performance sums of the windows that start from `first` to `last`, both included."""
    return dict(
        connection.execute(
            "SELECT performance.name, sum(performance.value) FROM window JOIN performance ON window = window.id "
            "WHERE version = ? AND seconds = ? AND start BETWEEN ? AND ? GROUP BY performance.name",
            (version, seconds, first, last),
        )
    )


def segments(connection: sqlite3.Connection, version: int) -> dict[str, int]:
    """Return the numbers of a version's segments and groups by their names, which are JSON."""
    return dict(connection.execute("SELECT name, id FROM segment WHERE version = ?", (version,)))


def segment_sums(
    connection: sqlite3.Connection, version: int, seconds: int, first: int, last: int, segments: Iterable[int]
) -> dict[int, dict[str, float]]:
    """Return the added sums of each of some segments or groups in the windows that start from `first` to `last`."""
    found: dict[int, dict[str, float]] = {}
    wanted = tuple(segments)
    rows = connection.execute(
        "SELECT segment, name, sum(value) FROM window JOIN segment_performance ON window = window.id "  # noqa: S608
        f"WHERE version = ? AND seconds = ? AND start BETWEEN ? AND ? AND segment IN ({', '.join('?' * len(wanted))}) "
        "GROUP BY segment, name",
        (version, seconds, first, last, *wanted),
    )
    for segment, name, value in rows:
        found.setdefault(segment, {})[name] = value
    return found


def prediction_bytes(connection: sqlite3.Connection) -> float:
    """Return the mean size in bytes of a stored prediction, measured on the newest; the usual one if there is none."""
    sizes = connection.execute(
        "SELECT avg(length(CAST(id AS BLOB))), avg(length(CAST(value AS BLOB)) + ifnull(length(segments), 0)) "
        "FROM (SELECT id, value, segments FROM prediction ORDER BY number DESC LIMIT ?)",
        (_MEASURED_PREDICTIONS,),
    ).fetchone()
    return retention.USUAL_PREDICTION_BYTES if sizes[0] is None else retention.prediction_bytes(*sizes)


def rows_within(connection: sqlite3.Connection, versions: Iterable[int], seconds: int, span: float, now: float) -> int:
    """Return how many predictions these versions make in `span` seconds.

    Those of the windows of the last so many seconds. While less time than that was seen they are projected, from at
    least 24 windows: one burst, as of scoring once a month, says nothing of the time after it.
    """
    rows = windows = 0
    oldest = now
    for version in versions:
        found = connection.execute(
            "SELECT count(*), ifnull(sum(rows), 0), ifnull(min(start), ?) FROM window "
            "WHERE version = ? AND seconds = ? AND start > ? AND rows > 0",
            (now, version, seconds, now - span - seconds),
        ).fetchone()
        windows, rows, oldest = windows + found[0], rows + found[1], min(oldest, found[2])
    seen = now - oldest
    if windows >= REPORTED_WINDOWS and 0 < seen < span:
        rows = round(rows * span / seen)
    return min(rows, LARGEST_COUNT)


def total(connection: sqlite3.Connection, name: str) -> int:
    """Return a total over all versions, 0 when nothing was added to it."""
    row = connection.execute("SELECT value FROM total WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def window_sums(connection: sqlite3.Connection, window: int) -> dict[str, float]:
    """Return the performance sums of one window."""
    return dict(connection.execute("SELECT name, value FROM performance WHERE window = ?", (window,)))


def taken_windows(
    connection: sqlite3.Connection, version: int, seconds: int, after: float, until: float, most: int
) -> list[tuple[int, int, int]]:
    """Return (id, start, labels) of windows that a detector was given and that are of a time, newest first."""
    return connection.execute(
        "SELECT id, start, labels FROM window WHERE version = ? AND seconds = ? AND taken = 1 AND labels > 0 "
        "AND start >= ? AND start < ? ORDER BY start DESC LIMIT ?",
        (version, seconds, after, until, most),
    ).fetchall()


def detector_state(connection: sqlite3.Connection, version: int, seconds: int) -> State | None:
    """Return what a detector knows; None when it has looked at nothing yet."""
    row = connection.execute(
        "SELECT state FROM detector WHERE version = ? AND seconds = ?", (version, seconds)
    ).fetchone()
    return State.from_json(row[0]) if row else None
