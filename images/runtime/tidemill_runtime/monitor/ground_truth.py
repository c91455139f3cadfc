"""Predictions that wait for their label, labels that wait for their prediction, and the joining of the two.

A label counts once per prediction id. It may come before its prediction does, because servers send records in
batches after they answered; then it is stored and joined when the batch comes. Runs inside the writer's transaction.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from tidemill_contracts.inference import Feedback, Value
from tidemill_contracts.reference import NumericProfile, category_text
from tidemill_runtime.monitor import clients, delays, detection, performance, powered, queries
from tidemill_runtime.monitor.binning import PREDICTION, Layout
from tidemill_runtime.monitor.groups import ANSWER
from tidemill_runtime.monitor.ingest import Addition
from tidemill_runtime.monitor.segments import Name

MAX_SUMS: Final = 10_000  # of one window: enough for all cells of a hundred classes
Outcome = Literal["joined", "pending", "repeated", "conflict"]


class _Stored(NamedTuple):
    """A prediction as it is stored."""

    id: str
    version: int
    window: int
    value: Value
    score: float | None
    label: str | None  # JSON
    segments: str | None
    time: float
    client: int | None  # who asked


class _Sender(NamedTuple):
    """Who sent a label."""

    authenticated: bool  # with a feedback key
    client: int | None  # None: nothing is kept of clients


def add_predictions(
    connection: sqlite3.Connection,
    version: int,
    windows: dict[int, int],
    addition: Addition,
    clients_: Mapping[str, int],
) -> None:
    """Remember rows for their labels and join those whose label is here already. A repeated id keeps its first row.

    `clients_`: the numbers of the clients that asked for rows, by keyed hash.
    """
    numbers = _segment_numbers(connection, version, addition)
    _add_answers(connection, windows, addition, numbers)
    connection.executemany(
        "INSERT OR IGNORE INTO prediction (id, version, window, time, value, score, segments, client) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(p.id, version, windows[p.window], p.time, json.dumps(p.value), p.score),
                _packed(p.segments, numbers),
                clients_.get(p.client) if p.client is not None else None,
            )
            for p in addition.predictions
        ],
    )
    if connection.execute("SELECT 1 FROM pending LIMIT 1").fetchone() is None:
        return
    for prediction in addition.predictions:
        early = connection.execute(
            "DELETE FROM pending WHERE id = ? RETURNING label, authenticated, received, client", (prediction.id,)
        ).fetchone()
        stored = _find(connection, prediction.id) if early is not None else None
        if stored is not None and stored.label is None:
            label = json.loads(early[0])
            sender = _Sender(bool(early[1]), early[3])
            _join(connection, stored, label, addition.layout, now=early[2], sender=sender)


def _segment_numbers(connection: sqlite3.Connection, version: int, addition: Addition) -> list[int]:
    """Return the number under which each segment and group of an addition is stored."""
    if not addition.segments:
        return []
    known = queries.segments(connection, version)
    names: Sequence[Name] = addition.segments
    if addition.layout.groups is not None:
        admitted = addition.layout.groups.admitted(names, [tuple(json.loads(text)) for text in known])
        names = [admitted.get(name, name) for name in names]
    texts = [json.dumps(name, ensure_ascii=False) for name in names]
    if not known.keys() >= set(texts):
        connection.executemany(
            "INSERT OR IGNORE INTO segment (version, name) VALUES (?, ?)", [(version, text) for text in texts]
        )
        known = queries.segments(connection, version)
    return [known[text] for text in texts]


def _add_answers(
    connection: sqlite3.Connection, windows: Mapping[int, int], addition: Addition, numbers: Sequence[int]
) -> None:
    """Add rows by group and predicted class to windows that have counters by bin."""
    number_of = dict(zip(addition.segments, numbers, strict=True))
    for window in addition.windows:
        of = windows[window.start]
        if (
            not window.answers
            or not connection.execute("SELECT detailed FROM window WHERE id = ?", (of,)).fetchone()[0]
        ):
            continue
        connection.executemany(
            "INSERT INTO segment_performance (window, segment, name, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [(of, number_of[group], ANSWER + text, rows) for (group, text), rows in window.answers.items()],
        )


def _packed(places: Sequence[int], numbers: Sequence[int]) -> str | None:
    return " ".join(str(numbers[place]) for place in places) or None


def add_feedback(
    connection: sqlite3.Connection,
    feedback: Feedback,
    layouts: Mapping[str, Layout],
    now: float,
    authenticated: bool = False,
    labeller: int | None = None,
) -> Outcome:
    """Store one label; `authenticated`: whether it was sent with a feedback key.

    `labeller`: the number of the client that sent it; None where nothing is kept of clients.

    Returns:
        joined: its prediction is known; pending: not yet; repeated: the same label was stored before;
        conflict: another label was stored before, and stays.
    """
    stored, sender = _find(connection, feedback.id), _Sender(authenticated, labeller)
    if stored is None:
        return _keep_pending(connection, feedback, now, sender)
    if stored.label is not None:
        return "repeated" if _same(json.loads(stored.label), feedback.label) else "conflict"
    row = connection.execute("SELECT digest FROM version WHERE id = ?", (stored.version,)).fetchone()
    layout = layouts.get(row[0]) if row else None
    _join(connection, stored, feedback.label, layout, now=now, sender=sender)
    return "joined"


def _keep_pending(connection: sqlite3.Connection, feedback: Feedback, now: float, sender: _Sender) -> Outcome:
    known = connection.execute("SELECT label FROM pending WHERE id = ?", (feedback.id,)).fetchone()
    if known is not None:
        return "repeated" if _same(json.loads(known[0]), feedback.label) else "conflict"
    connection.execute(
        "INSERT INTO pending (id, label, received, authenticated, client) VALUES (?, ?, ?, ?, ?)",
        (feedback.id, json.dumps(feedback.label), now, *sender),
    )
    return "pending"


def _find(connection: sqlite3.Connection, wanted: str) -> _Stored | None:
    row = connection.execute(
        "SELECT id, version, window, value, score, label, segments, time, client FROM prediction WHERE id = ?",
        (wanted,),
    ).fetchone()
    if row is None:
        return None
    identifier, version, window, value, *others = row
    return _Stored(identifier, version, window, json.loads(value), *others)


def _join(
    connection: sqlite3.Connection,
    stored: _Stored,
    label: Value,
    layout: Layout | None,
    *,
    now: float,
    sender: _Sender,
) -> None:
    """Count a label that came at `now`."""
    if sender.client is not None:
        place = clients.place(layout, stored.version, stored.value, stored.score, label) if layout else None
        clients.add_label(connection, sender.client, stored.client, place)
    connection.execute("UPDATE prediction SET label = ?, segments = NULL WHERE id = ?", (json.dumps(label), stored.id))
    connection.execute("UPDATE version SET labels = labels + 1 WHERE id = ?", (stored.version,))
    counted = connection.execute(
        "UPDATE window SET labels = labels + 1, unauthenticated = unauthenticated + ? WHERE id = ? "
        "RETURNING version, seconds, taken, detailed",
        (not sender.authenticated, stored.window),
    ).fetchone()
    if counted is not None and counted[3]:
        connection.execute(
            "INSERT INTO counter (window, name, bin, count) VALUES (?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET count = count + 1",
            (stored.window, delays.DELAY, delays.place(now - stored.time)),
        )
    if counted is None or layout is None or PREDICTION not in layout.columns:
        return
    column = layout.columns[PREDICTION]
    sums = performance.addition(column, stored.value, stored.score, label, layout.order)
    if not column.names(label) and not _has_room(connection, stored.window, sums):
        sums = {performance.without_label(name): value for name, value in sums.items()}
    rests: dict[str, float] = {}
    expectations = powered.of(layout)
    if expectations is not None and (column.names(label) or isinstance(column.profile, NumericProfile)):
        rests = expectations.addition(stored.value, stored.score, sums)
    connection.executemany(
        "INSERT INTO performance (window, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(stored.window, name, value) for name, value in {**sums, **rests}.items()],
    )
    version, seconds, taken, detailed = counted
    if stored.segments and detailed:
        _add_to_segments(connection, stored.window, stored.segments, column.names(label), sums)
    if taken:
        detection.add_late(connection, (version, seconds), sums)


def _add_to_segments(
    connection: sqlite3.Connection, window: int, segments: str, is_known: bool, sums: Mapping[str, float]
) -> None:
    """Add a label to the sums of its segments, which do not tell labels apart that no class has."""
    kept = sums if is_known else {performance.without_label(name): value for name, value in sums.items()}
    connection.executemany(
        "INSERT INTO segment_performance (window, segment, name, value) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(window, int(number), name, value) for number in segments.split() for name, value in kept.items()],
    )


def _has_room(connection: sqlite3.Connection, window: int, sums: Mapping[str, float]) -> bool:
    """Return whether a window may get new sums: clients choose the text of labels, so their number is bounded."""
    for name in sums:
        known = "SELECT 1 FROM performance WHERE window = ? AND name = ?"
        if connection.execute(known, (window, name)).fetchone() is None:
            (rows,) = connection.execute("SELECT count(*) FROM performance WHERE window = ?", (window,)).fetchone()
            return bool(rows < MAX_SUMS)
    return True


def _same(one: Value, other: Value) -> bool:
    return one is not None and other is not None and category_text(one) == category_text(other)
