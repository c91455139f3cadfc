"""From a posted batch to additions: what each window gains, ready for storage.

Pure work on values, done outside the writer's thread. Record times come from other machines' clocks, so they are
bounded here: a time in the future counts as now, a time beyond retention is refused as expired.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from tidemill_contracts.inference import PredictionBatch, Value
from tidemill_runtime.monitor import latency
from tidemill_runtime.monitor.binning import Counts, Layout

T = TypeVar("T")


class InvalidBatchError(ValueError):
    """A batch that contradicts itself; the message names the field."""


@dataclass
class WindowAddition:
    """What one window gains: rows, failed requests, and counters by (column, bin)."""

    start: int
    counts: Counts
    rows: int = 0
    errors: int = 0
    latencies: Counts = field(default_factory=lambda: np.zeros(latency.BINS, dtype=np.int64))


class Prediction(NamedTuple):
    """One answered row, kept until its label has come."""

    id: str
    time: float
    window: int  # start
    value: Value
    score: float | None


@dataclass(frozen=True)
class Addition:
    """One batch, counted."""

    batch_id: str
    digest: str
    received_at: float
    dropped: int  # by the sender since it started
    rows: int
    expired: int  # rows older than anything that is retained
    windows: list[WindowAddition]
    predictions: list[Prediction]
    layout: Layout


def count_batch(
    batch: PredictionBatch, layout: Layout, *, now: float, window_seconds: int, retention_seconds: int
) -> Addition:
    """Return what a batch adds to each window.

    Requests that failed and latencies carry no time of their own; they belong to the window of the newest record,
    or of `sent_at` when the batch has no records.

    Raises:
        InvalidBatchError: lists of different length.
    """
    check_lengths(batch)
    times = [_bounded(time, now) for time in batch.times]
    starts = [_window(time, window_seconds) for time in times]
    oldest = now - retention_seconds
    windows: dict[int, WindowAddition] = {}
    for start in sorted(set(starts)):
        if start + window_seconds <= oldest:
            continue
        rows = None if starts.count(start) == len(starts) else _rows_of(starts, start)
        windows[start] = WindowAddition(
            start=start,
            counts=layout.count(
                {name: _take(values, rows) for name, values in batch.columns.items()}, _take(batch.predictions, rows)
            ),
            rows=len(starts) if rows is None else len(rows),
        )
    if batch.errors or batch.latencies:
        newest = max(starts) if starts else _window(_bounded(batch.sent_at, now), window_seconds)
        if newest + window_seconds > oldest:
            window = windows.setdefault(newest, WindowAddition(newest, np.zeros(layout.size, dtype=np.int64)))
            window.errors += batch.errors
            window.latencies += latency.count(batch.latencies)
    scores = batch.scores if batch.scores is not None else [None] * len(starts)
    return Addition(
        batch_id=batch.batch_id,
        digest=batch.digest,
        received_at=now,
        dropped=batch.dropped,
        rows=sum(window.rows for window in windows.values()),
        expired=len(starts) - sum(window.rows for window in windows.values()),
        windows=list(windows.values()),
        predictions=[
            Prediction(*row)
            for row in zip(batch.ids, times, starts, batch.predictions, scores, strict=True)
            if row[2] in windows
        ],
        layout=layout,
    )


def check_lengths(batch: PredictionBatch) -> None:
    """Raise InvalidBatchError unless every list has one entry a row."""
    rows = len(batch.ids)
    lists: dict[str, Sequence[object]] = {"times": batch.times, "predictions": batch.predictions}
    if batch.scores is not None:
        lists["scores"] = batch.scores
    lists |= {f"columns[{name!r}]": values for name, values in batch.columns.items()}
    for name, values in lists.items():
        if len(values) != rows:
            raise InvalidBatchError(f"{name}: {len(values)} entries, but ids has {rows}; all lists have one length")
    if batch.errors < 0 or batch.dropped < 0:
        raise InvalidBatchError("errors and dropped must not be negative")


def _bounded(time: float, now: float) -> float:
    return min(time, now) if math.isfinite(time) else now


def _window(time: float, seconds: int) -> int:
    return math.floor(time / seconds) * seconds


def _rows_of(starts: list[int], start: int) -> list[int]:
    return [row for row, other in enumerate(starts) if other == start]


def _take(values: list[T], rows: list[int] | None) -> list[T]:
    return values if rows is None else [values[row] for row in rows]
