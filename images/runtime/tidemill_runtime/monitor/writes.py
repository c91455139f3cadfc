"""What is added: references and batches.

Each function runs inside a transaction that the writer holds; none commits. Counters only ever grow by addition,
so a batch is either counted whole, together with its id, or not at all. They stop at `bounds.LARGEST_COUNT`, 2**53.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from tidemill_contracts.inference import Reference
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.model import auc
from tidemill_runtime.monitor import clients, ground_truth, payloads, replays
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.bounds import LARGEST_COUNT
from tidemill_runtime.monitor.ingest import Addition, WindowAddition
from tidemill_runtime.monitor.latency import LATENCY


class UnknownDigestError(LookupError):
    """No reference of this digest is stored."""


class ReferenceConflictError(ValueError):
    """A digest that is stored with another profile."""


def layouts(connection: sqlite3.Connection, config: MonitorConfig) -> dict[str, Layout]:
    """Return the layout of every stored version by digest."""
    rows = connection.execute("SELECT digest, profile FROM version")
    return {digest: layout(ReferenceProfile.from_json(profile), config) for digest, profile in rows}


def layout(profile: ReferenceProfile, config: MonitorConfig) -> Layout:
    """Return how rows of a version are counted.

    Raises:
        ValueError: the profile contradicts itself.
    """
    watched = config.performance
    segments = watched.segments if watched else ()
    return Layout(
        profile,
        config.columns,
        segments,
        config.fairness,
        joins=watched is not None,
        random_sample=watched is not None and watched.random_sample,
        ordered=watched is not None and watched.metric == auc.METRIC,
    )


def stored_profile(connection: sqlite3.Connection, digest: str) -> ReferenceProfile:
    """Return the profile of a version that is stored: what all posts together said.

    Raises:
        UnknownDigestError: it is not stored.
    """
    row = connection.execute("SELECT profile FROM version WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        raise UnknownDigestError(digest)
    return ReferenceProfile.from_json(row[0])


def set_total(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Keep a number for good."""
    connection.execute(
        "INSERT INTO total (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
    )


def add_reference(connection: sqlite3.Connection, reference: Reference, now: float) -> bool:
    """Store a version's reference; False when it is stored already.

    A version is immutable, but not every version of trainer, server and monitor knows every field of its profile: what
    the posted one says beyond the stored one is added.

    Raises:
        ReferenceConflictError: stored with another profile.
    """
    found = connection.execute("SELECT profile FROM version WHERE digest = ?", (reference.digest,)).fetchone()
    if found is None:
        connection.execute(
            "INSERT INTO version (digest, name, profile, created) VALUES (?, ?, ?, ?)",
            (reference.digest, reference.version, reference.profile.model_dump_json(), now),
        )
        return True
    stored, posted = _said(ReferenceProfile.from_json(found[0])), _said(reference.profile)
    try:
        both = united(stored, posted)
    except ValueError:
        raise ReferenceConflictError(f"digest {reference.digest} is stored with another profile") from None
    if both == stored:
        return False
    profile = ReferenceProfile.model_validate(both).model_dump_json()
    connection.execute("UPDATE version SET profile = ? WHERE digest = ?", (profile, reference.digest))
    return True


def _said(profile: ReferenceProfile) -> Any:
    return json.loads(profile.to_json())


def united(one: Any, other: Any) -> Any:
    """Return what two JSON values say together; ValueError where one says what the other denies."""
    if isinstance(one, dict) and isinstance(other, dict):
        common = {name: united(one[name], other[name]) for name in one.keys() & other.keys()}
        return {**one, **other, **common}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [united(a, b) for a, b in zip(one, other, strict=True)]
    if one != other:
        raise ValueError(f"{one!r} is not {other!r}")
    return one


def add_batch(
    connection: sqlite3.Connection, addition: Addition, window_seconds: int, kept: Sequence[payloads.Row] = ()
) -> bool:
    """Count a batch, and keep its rows for the store; False when a batch of this id was counted before.

    Raises:
        UnknownDigestError: the version is not stored, or no longer.
    """
    version = connection.execute("SELECT id FROM version WHERE digest = ?", (addition.digest,)).fetchone()
    if version is None:
        raise UnknownDigestError(addition.digest)
    dropped = replays.note(connection, addition.batch_id, addition.dropped, addition.received_at)
    if dropped is None:
        return False
    windows = {w.start: _add_window(connection, version[0], window_seconds, w, addition) for w in addition.windows}
    _add_totals(connection, version[0], addition, dropped)
    numbers = clients.identify(connection, addition.clients or (), addition.received_at)
    clients.add_rows(connection, addition.clients or {}, numbers)
    ground_truth.add_predictions(connection, version[0], windows, addition, numbers)
    payloads.add(connection, kept)
    return True


def _add_window(
    connection: sqlite3.Connection, version: int, seconds: int, window: WindowAddition, addition: Addition
) -> int:
    (identifier,) = connection.execute(
        "INSERT INTO window (version, seconds, start, rows, errors) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET rows = min(rows + excluded.rows, 9007199254740992), "
        "errors = min(errors + excluded.errors, 9007199254740992), changes = changes + 1 RETURNING id",
        (version, seconds, window.start, window.rows, window.errors),
    ).fetchone()
    slots, counts = addition.layout.slots, window.counts
    rows = [(identifier, *slots[place], int(counts[place])) for place in counts.nonzero()[0].tolist()]
    rows += [
        (identifier, LATENCY, place, int(window.latencies[place])) for place in window.latencies.nonzero()[0].tolist()
    ]
    connection.executemany(
        "INSERT INTO counter (window, name, bin, count) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET count = min(count + excluded.count, 9007199254740992)",
        rows,
    )
    return int(identifier)


def _add_totals(connection: sqlite3.Connection, version: int, addition: Addition, dropped: int) -> None:
    """Add rows, and what the sender dropped since it was last heard."""
    connection.execute(
        "UPDATE version SET rows = min(rows + ?, ?), dropped = min(dropped + ?, ?), "
        "discarded = min(discarded + ?, ?), "
        "last_record = CASE WHEN ? > 0 THEN max(ifnull(last_record, 0), ?) ELSE last_record END WHERE id = ?",
        (
            addition.rows,
            LARGEST_COUNT,
            dropped + addition.expired,
            LARGEST_COUNT,
            addition.rows - len(addition.predictions),
            LARGEST_COUNT,
            addition.rows,
            addition.received_at,
            version,
        ),
    )
