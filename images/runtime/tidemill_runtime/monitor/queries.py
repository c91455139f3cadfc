"""What an evaluation reads: versions, windows with their counters, and performance sums. Never writes."""

import sqlite3
from dataclasses import dataclass
from typing import Final

import numpy as np

from tidemill_runtime.monitor import latency
from tidemill_runtime.monitor.binning import Counts, Layout
from tidemill_runtime.monitor.writes import LATENCY

REPORTED_WINDOWS: Final = 24


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
        "SELECT id, digest, name, rows, labels, dropped, last_record FROM version ORDER BY created, id"
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


def window_counts(connection: sqlite3.Connection, window: int, layout: Layout) -> WindowCounts:
    """Return one window's counters."""
    rows = connection.execute("SELECT name, bin, count FROM counter WHERE window = ?", (window,)).fetchall()
    latencies = np.zeros(latency.BINS, dtype=np.int64)
    for name, number, count in rows:
        if name == LATENCY:
            latencies[number] += count
    return WindowCounts(layout.vector(rows), latencies)


def labelled_windows(
    connection: sqlite3.Connection, version: int, seconds: int, after: float, until: float
) -> list[tuple[int, int, int]]:
    """Return (start, rows, labels) of the windows that end after `after` and not after `until`, newest first."""
    return connection.execute(
        "SELECT start, rows, labels FROM window WHERE version = ? AND seconds = ? "
        "AND start + seconds > ? AND start + seconds <= ? ORDER BY start DESC",
        (version, seconds, after, until),
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
