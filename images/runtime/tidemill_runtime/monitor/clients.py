"""Clients in the database: their figures of this period, the evidence against them, and what is suspected.

A client is known by its keyed hash. So many are told apart; all others, and rows and labels without a client, count
as client 0. Each function runs inside the writer's transaction, but for `report`, which only reads.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from tidemill_contracts.gaming import (
    MAX_CLIENTS,
    PERIOD_SECONDS,
    REPORTED_CLIENTS,
    TESTED,
    ClientReport,
    GamingConfig,
    GamingFinding,
    GamingReport,
    Kind,
)
from tidemill_contracts.inference import Value
from tidemill_contracts.reference import NumericProfile
from tidemill_runtime.monitor import client_rows, gaming_evidence
from tidemill_runtime.monitor.binning import PREDICTION, Layout
from tidemill_runtime.monitor.client_rows import ClientRows
from tidemill_runtime.monitor.label_mix import POOL as POOL
from tidemill_runtime.monitor.label_mix import Difference, LabelMix
from tidemill_runtime.monitor.values import as_floats

LOOK_LABELS: Final = 100
"""A block of labels is looked at when it has so many, or is a day old."""
DAY: Final = 86_400
_TABLES: Final = ("client_total", "client_minute", "client_row", "client_label")
_MINUTES: Final = 60  # that are kept
_CLASSES: Final = 10  # predicted classes that are told apart
_SCORES: Final = 10
_REFRESH_SECONDS: Final = 3600  # how often a finding that goes on is written again
Totals = dict[int, dict[str, float]]


class Label(NamedTuple):
    """Where a label counts."""

    stratum: str
    agrees: bool


def identify(connection: sqlite3.Connection, hashes: Iterable[str], now: float) -> dict[str, int]:
    """Return the number of each client; POOL for those beyond what is told apart."""
    wanted = set(hashes)
    found: dict[str, int] = {}
    for one in sorted(wanted):
        row = connection.execute("UPDATE client SET seen = ? WHERE hash = ? RETURNING id", (now, one)).fetchone()
        if row is None:
            row = connection.execute(
                "INSERT INTO client (hash, seen) SELECT ?, ? WHERE (SELECT count(*) FROM client) < ? RETURNING id",
                (one, now, MAX_CLIENTS),
            ).fetchone()
        found[one] = int(row[0]) if row else POOL
    return found


def add_rows(connection: sqlite3.Connection, counted: Mapping[str, ClientRows], numbers: Mapping[str, int]) -> None:
    """Add what a batch says about each client."""
    for client, rows in counted.items():
        number = numbers[client]
        sums = {"rows": rows.rows, "followed": rows.followed, "probing": rows.probing}
        sums |= {"scored": rows.scored, "boundary": rows.boundary}
        if number != POOL:
            sums["near_duplicates"] = _remember(connection, number, rows.digests)
            connection.executemany(
                "INSERT INTO client_minute (client, minute, rows) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
                [(number, minute, count) for minute, count in rows.minutes.items()],
            )
        _add(connection, number, sums)


def _remember(connection: sqlite3.Connection, client: int, digests: Mapping[int, int]) -> int:
    stored = connection.execute("SELECT rows FROM client_row WHERE client = ?", (client,)).fetchone()
    rows, counts = np.frombuffer(stored[0], dtype=np.int64).reshape(-1, 2).T.tolist() if stored else ([], [])
    again, known = client_rows.near_duplicates(dict(zip(rows, counts, strict=True)), digests)
    blob = np.array(list(known.items()), dtype=np.int64).tobytes()
    connection.execute(
        "INSERT INTO client_row (client, rows) VALUES (?, ?) ON CONFLICT DO UPDATE SET rows = excluded.rows",
        (client, blob),
    )
    return again


def _add(connection: sqlite3.Connection, client: int, sums: Mapping[str, float]) -> None:
    connection.executemany(
        "INSERT INTO client_total (client, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(client, name, value) for name, value in sums.items() if value],
    )


def place(layout: Layout, version: int, value: Value, score: float | None, label: Value) -> Label | None:
    """Return where a label counts: with those for like predictions of like scores; None where that cannot be said.

    Of a classifier a label agrees when it names the predicted class. Of a regression it does when it is greater than
    the prediction.
    """
    column = layout.columns.get(PREDICTION)
    if column is None or value is None:
        return None
    if isinstance(column.profile, NumericProfile):
        predicted, truth = (float(as_floats([one])[0][0]) for one in (value, label))
        if not np.isfinite([predicted, truth]).all():
            return None
        place_ = int(np.searchsorted(column.profile.edges, predicted, side="right"))
        return Label(f"{version}/{place_}", truth > predicted)
    text = column.category(value)
    known = column.profile.categories
    number = known.index(text) if text in known else _CLASSES
    by_score = -1 if score is None or not 0 <= score <= 1 else min(_SCORES - 1, int(score * _SCORES))
    return Label(f"{version}/{min(number, _CLASSES)}/{by_score}", column.label(label) == text)


def add_label(connection: sqlite3.Connection, labeller: int, owner: int | None, label: Label | None) -> None:
    """Count a label that joined. `owner`: who asked for the prediction; None and POOL: not known."""
    sums = {"labels": 1.0}
    if owner and labeller != POOL:
        sums |= {"of_known": 1.0, "foreign": float(owner != labeller)}
    _add(connection, labeller, sums)
    if label is not None:
        connection.execute(
            "INSERT INTO client_label (client, stratum, agreeing, labels) VALUES (?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET agreeing = agreeing + excluded.agreeing, labels = labels + 1",
            (labeller, label.stratum, label.agrees),
        )


def look(connection: sqlite3.Connection, config: GamingConfig, now: float) -> None:
    """Judge every client by what is known now, and begin anew after a period."""
    period = connection.execute("SELECT began, looked, mix FROM gaming").fetchone()
    if period is None or now - period[0] >= PERIOD_SECONDS:
        if period is None and connection.execute("SELECT 1 FROM client_total LIMIT 1").fetchone() is None:
            return
        if period is not None:
            _clear(connection)
        period = (now, now, LabelMix().to_json())
        connection.execute("INSERT OR REPLACE INTO gaming (id, began, looked, mix) VALUES (1, ?, ?, ?)", period)
    began, looked, mix = period
    _expire(connection, config, now)
    bound = gaming_evidence.threshold(config.false_alarms_per_month, MAX_CLIENTS * len(TESTED))
    (waiting,) = connection.execute("SELECT ifnull(sum(labels), 0) FROM client_label").fetchone()
    if waiting >= LOOK_LABELS or (waiting and now - looked >= DAY):
        _look_at_labels(connection, config, LabelMix.from_json(mix), bound, began, now)
    _judge_totals(connection, config, bound, began, now)
    _judge_rates(connection, config, now)


def _look_at_labels(
    connection: sqlite3.Connection, config: GamingConfig, mix: LabelMix, bound: float, began: float, now: float
) -> None:
    block: dict[int, dict[str, tuple[float, float]]] = {}
    for client, stratum, agreeing, labels in connection.execute(
        "DELETE FROM client_label RETURNING client, stratum, agreeing, labels"
    ).fetchall():
        block.setdefault(client, {})[stratum] = (float(agreeing), float(labels))
    limit = config.max_label_difference
    known = {POOL, *(client for (client,) in connection.execute("SELECT id FROM client"))}
    mix.forget([client for client in mix.seen if client not in known])
    block = {client: cells for client, cells in block.items() if client in known}
    found = mix.look(block, _suspected(connection, "LabelMix"), limit, bound)
    connection.execute("UPDATE gaming SET looked = ?, mix = ?", (now, mix.to_json()))
    if found is not None:
        _find(connection, found.client, _mix_finding(found, limit, began, now), now)


def _mix_finding(found: Difference, limit: float, began: float, now: float) -> GamingFinding:
    return GamingFinding(
        kind="LabelMix",
        began=began,
        found=now,
        value=found.share,
        limit=limit,
        of=found.labels,
        expected=found.expected,
    )


def _judge_totals(connection: sqlite3.Connection, config: GamingConfig, bound: float, began: float, now: float) -> None:
    totals = _totals(connection)
    every = sum(sums.get("labels", 0.0) for sums in totals.values())
    for client, sums in totals.items():
        labels = (sums.get("labels", 0.0), every) if now - began >= DAY else (0.0, 0.0)
        shares: tuple[tuple[Kind, float | None, float, float], ...] = (
            (
                "NearDuplicates",
                config.max_near_duplicate_share,
                sums.get("near_duplicates", 0.0),
                sums.get("rows", 0.0),
            ),
            ("LabelShare", config.max_label_share_of_client, *labels),
            ("ForeignLabels", config.max_foreign_label_share, sums.get("foreign", 0.0), sums.get("of_known", 0.0)),
        )
        for kind, limit, number, of in shares:
            if client == POOL or limit is None or not of or number / of <= limit:
                continue
            if float(gaming_evidence.excess(number, of, limit)) >= bound:
                finding = GamingFinding(kind=kind, began=began, found=now, value=number / of, limit=limit, of=int(of))
                _find(connection, client, finding, now)


def _judge_rates(connection: sqlite3.Connection, config: GamingConfig, now: float) -> None:
    connection.execute("DELETE FROM client_minute WHERE minute < ?", (int(now // 60) - _MINUTES,))
    limit = config.max_predictions_per_minute
    if limit is None:
        return
    for client, minute, rows in connection.execute(
        "SELECT client, minute, max(rows) FROM client_minute WHERE rows > ? GROUP BY client", (limit,)
    ).fetchall():
        finding = GamingFinding(
            kind="PredictionRate", began=minute * 60.0, found=now, value=float(rows), limit=float(limit), of=60
        )
        _find(connection, client, finding, now)


def _find(connection: sqlite3.Connection, client: int, finding: GamingFinding, now: float) -> None:
    """Keep what is suspected; what goes on keeps its beginning."""
    connection.execute(
        "INSERT INTO client_finding (client, kind, began, found, document) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET found = excluded.found, document = excluded.document WHERE found < ?",
        (client, finding.kind, finding.began, now, finding.to_json(), now - _REFRESH_SECONDS),
    )


def _expire(connection: sqlite3.Connection, config: GamingConfig, now: float) -> None:
    """End what was not found again within a period (a rate: a day), and what is not looked for any more."""
    connection.execute(
        "DELETE FROM client_finding WHERE found < ? OR (kind = 'PredictionRate' AND found < ?)",
        (now - PERIOD_SECONDS, now - DAY),
    )
    limits: dict[Kind, float | None] = {
        "PredictionRate": config.max_predictions_per_minute,
        "NearDuplicates": config.max_near_duplicate_share,
        "LabelShare": config.max_label_share_of_client,
        "ForeignLabels": config.max_foreign_label_share,
    }
    off = [(kind,) for kind, limit in limits.items() if limit is None]
    connection.executemany("DELETE FROM client_finding WHERE kind = ?", off)


def _suspected(connection: sqlite3.Connection, kind: Kind) -> set[int]:
    return {client for (client,) in connection.execute("SELECT client FROM client_finding WHERE kind = ?", (kind,))}


def _totals(connection: sqlite3.Connection) -> Totals:
    found: Totals = {}
    for client, name, value in connection.execute("SELECT client, name, value FROM client_total"):
        found.setdefault(client, {})[name] = value
    return found


def _clear(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  names from here


def prune(connection: sqlite3.Connection, *, watched: bool, now: float) -> None:
    """Forget clients that were not seen for two periods; all of them where spec does not ask for them any more."""
    if not watched:
        _clear(connection)
        for table in ("client_finding", "gaming"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608  names from here
    before = now - 2 * PERIOD_SECONDS if watched else float("inf")
    _remove(connection, connection.execute("DELETE FROM client WHERE seen < ? RETURNING id", (before,)).fetchall())


def erase(connection: sqlite3.Connection, hashes: Iterable[str]) -> int:
    """Forget these clients, also whose predictions those are that wait for labels; return how many were known."""
    erased = 0
    for one in hashes:
        gone = connection.execute("DELETE FROM client WHERE hash = ? RETURNING id", (one,)).fetchall()
        _remove(connection, gone)
        for table in ("prediction", "pending"):
            connection.executemany(f"UPDATE {table} SET client = NULL WHERE client = ?", gone)  # noqa: S608
        erased += len(gone)
    return erased


def _remove(connection: sqlite3.Connection, gone: list[tuple[int]]) -> None:
    for table in (*_TABLES, "client_finding"):
        connection.executemany(f"DELETE FROM {table} WHERE client = ?", gone)  # noqa: S608  names from here


def report(connection: sqlite3.Connection) -> GamingReport:
    """Return the figures and what is suspected."""
    began = connection.execute("SELECT began FROM gaming").fetchone()
    hashes = dict(connection.execute("SELECT id, hash FROM client"))
    totals, findings = _totals(connection), _findings(connection)
    most = dict(connection.execute("SELECT client, max(rows) FROM client_minute GROUP BY client"))
    every = sum(sums.get("labels", 0.0) for sums in totals.values())
    clients = [
        _client(hashes[client], totals.get(client, {}), every, findings.get(client, ()), most.get(client, 0))
        for client in hashes
        if client in totals or client in findings
    ]
    clients.sort(key=lambda c: (not c.findings, -(c.rows + c.labels), c.client))
    scored = sum(sums.get("scored", 0.0) for sums in totals.values())
    return GamingReport(
        period_start=began[0] if began else None,
        clients=tuple(clients[:REPORTED_CLIENTS]),
        known=len(hashes),
        suspected=sum(bool(c.findings) for c in clients),
        boundary_share=_share(sum(sums.get("boundary", 0.0) for sums in totals.values()), scored),
    )


def _findings(connection: sqlite3.Connection) -> dict[int, tuple[GamingFinding, ...]]:
    found: dict[int, tuple[GamingFinding, ...]] = {}
    for client, began, last, document in connection.execute(
        "SELECT client, began, found, document FROM client_finding ORDER BY client, kind"
    ):
        finding = GamingFinding.model_validate({**json.loads(document), "began": began, "found": last})
        found[client] = (*found.get(client, ()), finding)
    return found


def _client(
    name: str, sums: Mapping[str, float], every: float, findings: tuple[GamingFinding, ...], most: int
) -> ClientReport:
    rows, labels = sums.get("rows", 0.0), sums.get("labels", 0.0)
    return ClientReport(
        client=name,
        findings=findings,
        rows=int(rows),
        most_per_minute=most,
        near_duplicate_share=_share(sums.get("near_duplicates", 0.0), rows),
        probing_share=_share(sums.get("probing", 0.0), sums.get("followed", 0.0)),
        boundary_share=_share(sums.get("boundary", 0.0), sums.get("scored", 0.0)),
        labels=int(labels),
        label_share=_share(labels, every),
        foreign_label_share=_share(sums.get("foreign", 0.0), sums.get("of_known", 0.0)),
    )


def _share(number: float, of: float) -> float | None:
    return number / of if of else None
