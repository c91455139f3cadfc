"""From a posted batch to additions: what each window gains, ready for storage.

Pure work on values, done outside the writer's thread. Record times come from other machines' clocks, so they are
bounded here: a time in the future counts as now, a time beyond retention is refused as expired.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from tidemill_contracts.inference import PredictionBatch, Value
from tidemill_runtime.monitor import bounds, client_rows, latency
from tidemill_runtime.monitor.binning import PREDICTION, Counts, Layout
from tidemill_runtime.monitor.bounds import InvalidBatchError
from tidemill_runtime.monitor.client_rows import ClientRows
from tidemill_runtime.monitor.groups import Answers
from tidemill_runtime.monitor.segments import Name

T = TypeVar("T")


@dataclass
class WindowAddition:
    """What one window gains: rows, failed requests, and counters by (column, bin)."""

    start: int
    counts: Counts
    rows: int = 0
    errors: int = 0
    latencies: Counts = field(default_factory=lambda: np.zeros(latency.BINS, dtype=np.int64))
    answers: Answers = field(default_factory=Answers)  # by group


class Prediction(NamedTuple):
    """One answered row, kept until its label has come."""

    id: str
    time: float
    window: int  # start
    value: Value
    score: float | None
    segments: tuple[int, ...] = ()  # places in `Addition.segments`
    client: str | None = None  # who asked, as a keyed hash


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
    predictions: list[Prediction]  # those of the rows that can wait for a label
    layout: Layout
    segments: tuple[Name, ...] = ()  # that rows may belong to, and groups
    clients: Mapping[str, ClientRows] | None = None  # by keyed hash; None: nobody asks for it


def count_batch(
    batch: PredictionBatch,
    layout: Layout,
    *,
    now: float,
    window_seconds: int,
    retention_seconds: float,
    by_client: bool = False,
) -> Addition:
    """Return what a batch adds to each window.

    Requests that failed and latencies carry no time of their own; they belong to the window of the newest record,
    or of `sent_at` when the batch has no records. `by_client`: whether anything is kept of who asked.

    Raises:
        InvalidBatchError: lists of different length, names or counters out of bounds, rows of too many windows.
    """
    bounds.check_batch(batch)
    times = [_bounded(time, now) for time in batch.times]
    starts = [_window(time, window_seconds) for time in times]
    oldest = now - retention_seconds
    windows: dict[int, WindowAddition] = {}
    for start, several in _rows_by_window(starts, oldest - window_seconds).items():
        rows = None if len(several) == len(starts) else several
        windows[start] = WindowAddition(
            start=start,
            counts=layout.count(
                {name: _take(values, rows) for name, values in batch.columns.items()},
                _take(batch.predictions, rows),
                None if batch.scores is None else _take(batch.scores, rows),
            ),
            rows=len(starts) if rows is None else len(rows),
        )
    if batch.errors or batch.latencies:
        newest = max(starts) if starts else _window(_bounded(batch.sent_at, now), window_seconds)
        if newest + window_seconds > oldest:
            window = windows.setdefault(newest, WindowAddition(newest, np.zeros(layout.size, dtype=np.int64)))
            window.errors += batch.errors
            window.latencies += latency.count(batch.latencies)
    names, places = _members(batch, layout, starts, windows)
    return Addition(
        batch_id=batch.batch_id,
        digest=batch.digest,
        received_at=now,
        dropped=batch.dropped,
        rows=sum(window.rows for window in windows.values()),
        expired=len(starts) - sum(window.rows for window in windows.values()),
        windows=list(windows.values()),
        predictions=_predictions(batch, times, starts, windows, places, by_client=by_client),
        layout=layout,
        segments=names,
        clients=client_rows.count(batch, times, layout.profile) if by_client else None,
    )


def _predictions(
    batch: PredictionBatch,
    times: Sequence[float],
    starts: Sequence[int],
    windows: Container[int],
    places: Sequence[tuple[int, ...]],
    *,
    by_client: bool,
) -> list[Prediction]:
    """Return the rows that can wait for a label, of those that are of one of the windows."""
    nothing = [None] * len(starts)
    asked: Sequence[str | None] = batch.clients if by_client and batch.clients is not None else nothing
    scores: Sequence[float | None] = batch.scores if batch.scores is not None else nothing
    return [
        Prediction(identifier, time, start, bounds.stored(value), score, place, client)
        for identifier, time, start, value, score, place, client in zip(
            batch.ids, times, starts, batch.predictions, scores, places, asked, strict=True
        )
        if start in windows and bounds.joinable(identifier, value)
    ]


def _members(
    batch: PredictionBatch, layout: Layout, starts: list[int], windows: dict[int, WindowAddition]
) -> tuple[tuple[Name, ...], list[tuple[int, ...]]]:
    """Count answers by group; return segments and groups, and for each row the places of those to keep with its id."""
    rows, by = len(starts), layout.segments
    names: dict[Name, int] = {name: place for place, name in enumerate(by.names)}
    places: list[tuple[int, ...]] = [()] * rows
    if by.names:
        places = [tuple(place) for place in by.of(batch.columns, rows).tolist()]
    if layout.groups is not None and rows:
        groups = layout.groups.of(batch.columns, rows)
        for column in groups:
            for name in column:
                names.setdefault(name, len(names))
        predicted = [layout.columns[PREDICTION].category(value) for value in batch.predictions]
        for start, several in _rows_by_window(starts, min(windows, default=0) - 1).items():
            if start in windows:
                chosen = [_take(column, several) for column in groups]
                windows[start].answers = layout.groups.answers(chosen, _take(predicted, several))
        if layout.groups.joins:
            kept = zip(*([names[name] for name in column] for column in groups), strict=True)
            places = [(*one, *more) for one, more in zip(places, kept, strict=True)]
    return tuple(names), places


def _bounded(time: float, now: float) -> float:
    return min(time, now) if math.isfinite(time) else now


def _window(time: float, seconds: int) -> int:
    return math.floor(time / seconds) * seconds


def _rows_by_window(starts: list[int], before: float) -> dict[int, list[int]]:
    """Return the rows of each window that starts after `before`, oldest window first."""
    rows: dict[int, list[int]] = {}
    for row, start in enumerate(starts):
        if start > before:
            rows.setdefault(start, []).append(row)
    if len(rows) > bounds.MAX_WINDOWS:
        raise InvalidBatchError(f"times: rows of more than {bounds.MAX_WINDOWS} windows; send them in several batches")
    return dict(sorted(rows.items()))


def _take(values: list[T], rows: list[int] | None) -> list[T]:
    return values if rows is None else [values[row] for row in rows]
