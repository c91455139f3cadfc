"""What is forgotten, and when: the database stays bounded whatever arrives. Runs inside the writer's transaction."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidemill_contracts import retention as formula
from tidemill_contracts.baselines import BaselineConfig
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_runtime.monitor import queries
from tidemill_runtime.monitor.baselines import windows_of_alarm
from tidemill_runtime.monitor.bounds import LARGEST_COUNT
from tidemill_runtime.monitor.queries import REPORTED_WINDOWS

SENDERS: Final = 100_000
"""Senders of batches whose numbers are known, and ids of batches without a number: about 10 MB each."""


@dataclass(frozen=True)
class Retention:
    """How long, in seconds, and how many of each thing is kept; the sooner bound holds."""

    windows: float
    predictions: float
    window_seconds: int = 0  # of the windows that are reported; 0: age alone decides
    newest_windows: int = REPORTED_WINDOWS  # of these, however old, for the versions that were heard of last
    newest_versions: int = 2
    detailed_windows: int = 2_000  # per version, with counters by bin; older ones keep rows, errors and performance
    total_windows: int = formula.MAX_WINDOWS  # per version
    storage: int = formula.STORAGE_BYTES  # bytes of the volume
    prediction_rows: int | None = None  # None: as many as fit into the share of the volume that is theirs
    senders: int = SENDERS
    baseline: tuple[float, float] | None = None  # a span of time whose windows stay, for the newest versions
    pending: float = 900  # a prediction record follows its answer within seconds
    pending_rows: int = 100_000

    @classmethod
    def of(cls, config: MonitorConfig) -> "Retention":
        """Return the bounds that follow from a monitor's configuration: all that labels need, for twice their delay."""
        delay = config.performance.label_delay_seconds if config.performance else formula.DEFAULT_LABEL_DELAY
        wait = formula.wait_seconds(delay, config.window_seconds)
        reported = REPORTED_WINDOWS * config.window_seconds
        judged = wait + reported if config.performance else 0
        baseline = config.baseline or BaselineConfig()
        season = (baseline.period_seconds or 0) * (baseline.count or 0)
        before = windows_of_alarm(config.drift) if baseline.type == "Previous" else 0
        span = None if baseline.start is None or baseline.end is None else (baseline.start, baseline.end)
        return cls(
            windows=max(config.retention_seconds, judged, season + reported if season else 0),
            newest_windows=REPORTED_WINDOWS + before,
            baseline=span,
            predictions=wait,
            window_seconds=config.window_seconds,
            storage=storage_bytes(config),
        )


def storage_bytes(config: MonitorConfig) -> int:
    """Return how many bytes the database may count on: the size that is stated, or the volume's where that is less.

    A claim is never made smaller or larger with the spec; a folder of a node has no size of its own.
    """
    try:
        volume = os.statvfs(Path(config.database).parent)
    except OSError:
        return config.storage_bytes
    return min(config.storage_bytes, volume.f_blocks * volume.f_frsize)


def prune(connection: sqlite3.Connection, keep: Retention, now: float) -> list[str]:
    """Remove what is beyond the bounds; return the digests of versions that were removed."""
    _cap(connection, "batch", "id", "received", keep.senders)
    _cap(connection, "sender", "name", "heard", keep.senders)
    late = connection.execute("DELETE FROM pending WHERE received < ?", (now - keep.pending,)).rowcount
    late += _cap(connection, "pending", "id", "received", keep.pending_rows)
    connection.execute(
        "INSERT INTO total (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        (queries.LABELS_UNMATCHED, late),
    )
    _prune_predictions(connection, keep, now)
    heard = "SELECT id FROM version WHERE last_record IS NOT NULL ORDER BY last_record DESC LIMIT ?"
    recent = {version for (version,) in connection.execute(heard, (keep.newest_versions,))}
    for version, seconds in connection.execute("SELECT DISTINCT version, seconds FROM window").fetchall():
        oldest = now - keep.windows - seconds
        if seconds == keep.window_seconds and version in recent:
            # scoring once a month: windows in a row are compared, however far apart they are
            oldest = min(oldest, _start(connection, version, seconds, keep.newest_windows))
        _prune_windows(connection, keep, version, seconds, oldest, keep.baseline if version in recent else None)
    return _prune_versions(connection, now - keep.windows)


def _cap(connection: sqlite3.Connection, table: str, key: str, order: str, rows: int) -> int:
    """Keep the newest rows, also where many are of one moment; return how many went. Names are constants from here."""
    return connection.execute(
        f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {order} DESC LIMIT -1 OFFSET ?)",  # noqa: S608
        (rows,),
    ).rowcount


def _prune_predictions(connection: sqlite3.Connection, keep: Retention, now: float) -> None:
    """Rows are numbered as they arrive, so the oldest have the smallest numbers; no index by time is needed."""
    connection.execute(
        "DELETE FROM prediction WHERE number < "
        "ifnull((SELECT number FROM prediction WHERE time >= ? ORDER BY number LIMIT 1), 9223372036854775807)",
        (now - keep.predictions,),
    )
    rows = keep.prediction_rows
    if rows is None:
        rows = formula.rows_that_fit(keep.storage, queries.prediction_bytes(connection))
    (last,) = connection.execute("SELECT ifnull(max(number), 0) FROM prediction").fetchone()
    unjoined = connection.execute(
        "SELECT count(*), version FROM prediction WHERE number <= ? AND label IS NULL GROUP BY version", (last - rows,)
    ).fetchall()
    connection.executemany(
        "UPDATE version SET discarded = min(discarded + ?, ?) WHERE id = ?",
        [(count, LARGEST_COUNT, version) for count, version in unjoined],
    )
    connection.execute("DELETE FROM prediction WHERE number <= ?", (last - rows,))


def _prune_windows(
    connection: sqlite3.Connection,
    keep: Retention,
    version: int,
    seconds: int,
    oldest: float,
    kept: tuple[float, float] | None,
) -> None:
    expired = max(oldest, _start(connection, version, seconds, keep.total_windows))
    coarse = max(expired, _start(connection, version, seconds, keep.detailed_windows))
    of = (
        "SELECT id FROM window WHERE version = :version AND seconds = :seconds "
        "AND NOT (start >= :kept_from AND start + seconds <= :kept_until) AND start <"
    )
    kept_from, kept_until = kept or (float("inf"), float("-inf"))
    values = {"version": version, "seconds": seconds, "expired": expired, "coarse": coarse}
    values |= {"kept_from": kept_from, "kept_until": kept_until}
    connection.execute(f"DELETE FROM counter WHERE window IN ({of} :coarse AND detailed = 1)", values)  # noqa: S608
    sums = f"DELETE FROM segment_performance WHERE window IN ({of} :coarse AND detailed = 1)"  # noqa: S608
    connection.execute(sums, values)
    connection.execute(f"UPDATE window SET detailed = 0 WHERE id IN ({of} :coarse AND detailed = 1)", values)  # noqa: S608
    connection.execute(f"DELETE FROM performance WHERE window IN ({of} :expired)", values)  # noqa: S608
    connection.execute(f"DELETE FROM window WHERE id IN ({of} :expired)", values)  # noqa: S608


def _start(connection: sqlite3.Connection, version: int, seconds: int, newest: int) -> float:
    """Return the start of the oldest of so many newest windows; minus infinity when there are fewer."""
    row = connection.execute(
        "SELECT start FROM window WHERE version = ? AND seconds = ? ORDER BY start DESC LIMIT 1 OFFSET ?",
        (version, seconds, newest - 1),
    ).fetchone()
    return float(row[0]) if row else float("-inf")


def _prune_versions(connection: sqlite3.Connection, before: float) -> list[str]:
    """Remove versions that have no window left and were neither stored nor heard of for as long."""
    removed = connection.execute(
        "DELETE FROM version WHERE max(created, ifnull(last_record, 0)) < ? "
        "AND NOT EXISTS (SELECT 1 FROM window WHERE window.version = version.id) RETURNING id, digest",
        (before,),
    ).fetchall()
    for table in ("detector", "waiting"):
        connection.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM window "  # noqa: S608
            f"WHERE window.version = {table}.version AND window.seconds = {table}.seconds)"
        )
    for identifier, _ in removed:
        connection.execute("DELETE FROM prediction WHERE version = ?", (identifier,))
        connection.execute("DELETE FROM segment WHERE version = ?", (identifier,))
    return [digest for _, digest in removed]
