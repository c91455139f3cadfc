"""Answered rows on their way to Parquet files: each row of an acknowledged batch is in one file, once.

A row is stored in the transaction that counts its batch, and waits until its label is due. A file is written in three
steps: its number and its last row are committed, the file is written under a name that has the number, and the rows are
removed. Whoever is killed in between writes the same file again under the same name. Rows that wait take a stated share
of the volume; beyond it the oldest go, and are counted.
"""

import hashlib
import hmac
import io
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tidemill_contracts import payloads as contract
from tidemill_contracts.inference import PredictionBatch, Value
from tidemill_contracts.payloads import PayloadConfig
from tidemill_contracts.reference import category_text
from tidemill_runtime.monitor import bounds
from tidemill_runtime.storage.base import Folder

if TYPE_CHECKING:
    import pyarrow as pa

DISCARDED: Final = "payloads_discarded"
_PREFIX: Final = "rows-"
_DIGITS: Final = 16  # of a redacted value: 64 bits


class Row(NamedTuple):
    """A row that waits; `content` is the JSON of its columns."""

    id: str
    time: float
    content: str


class OpenFile(NamedTuple):
    """A file that is being written: of the rows up to number `last`."""

    number: int
    last: int


def rows(batch: PredictionBatch, config: PayloadConfig, now: float) -> list[Row]:
    """Return what is kept of a batch; a time that is none, or ahead, is now. Logged columns are kept where named."""
    inputs = batch.columns.keys() - set(batch.logged)
    kept = [name for name in batch.columns if name in (inputs if config.columns is None else config.columns)]
    taken = [batch.columns[name] for name in kept]
    names = [f"input.{name}" if name in contract.RESERVED else name for name in kept]
    if config.columns != ():
        names += [contract.PREDICTION] + ([contract.SCORE] if batch.scores is not None else [])
        taken += [list(batch.predictions)] + ([list(batch.scores)] if batch.scores is not None else [])
    if config.columns != () and batch.clients is not None:
        names.append(contract.CLIENT)
        taken.append(list(batch.clients))
    together = zip(*taken, strict=True) if taken else ((),) * len(batch.ids)
    return [
        Row(identifier[: bounds.MAX_ID], min(time, now) if time == time else now, _text(batch.version, names, values))
        for identifier, time, values in zip(batch.ids, batch.times, together, strict=True)
    ]


def _text(version: str, names: Sequence[str], values: Sequence[Value]) -> str:
    columns = {name: bounds.stored(value) for name, value in zip(names, values, strict=True)}
    return json.dumps({contract.VERSION: version, **columns}, ensure_ascii=False)


def add(connection: sqlite3.Connection, found: Sequence[Row]) -> None:
    """Store rows, inside the transaction that counts their batch."""
    connection.executemany("INSERT INTO payload (id, time, content) VALUES (?, ?, ?)", found)


def bound(connection: sqlite3.Connection, most_bytes: int) -> int:
    """Discard the oldest rows beyond so many bytes, none of a file that is being written; return how many went."""
    (size,) = connection.execute("SELECT ifnull(sum(length(content) + length(id) + 32), 0) FROM payload").fetchone()
    if size <= most_bytes:
        return 0
    rows, excess = 0, size - most_bytes
    opened = _open(connection)
    for number, length in connection.execute(
        "SELECT number, length(content) + length(id) + 32 FROM payload WHERE number > ? ORDER BY number",
        (opened.last if opened else 0,),
    ):
        if excess <= 0:
            break
        last, rows, excess = number, rows + 1, excess - length
    if rows:
        connection.execute("DELETE FROM payload WHERE number > ? AND number <= ?", (opened.last if opened else 0, last))
    connection.execute(
        "INSERT INTO total (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        (DISCARDED, rows),
    )
    return rows


def open_file(connection: sqlite3.Connection, config: PayloadConfig, now: float) -> OpenFile | None:
    """Return the file that was begun, or begin one of the oldest rows whose labels are due; None without such rows."""
    opened = _open(connection)
    if opened is not None:
        return opened
    last, rows, size = 0, 0, 0
    for number, time, length in connection.execute(
        "SELECT number, time, length(content) FROM payload ORDER BY number LIMIT ?", (contract.ROWS_PER_FILE,)
    ):
        if time > now - config.wait_seconds or (rows and size + length > contract.BYTES_PER_FILE):
            break
        last, rows, size = number, rows + 1, size + length
    if not rows:
        return None
    (number,) = connection.execute("INSERT INTO payload_file (last) VALUES (?) RETURNING number", (last,)).fetchone()
    return OpenFile(number, last)


def _open(connection: sqlite3.Connection) -> OpenFile | None:
    row = connection.execute("SELECT number, last FROM payload_file WHERE written = 0").fetchone()
    return OpenFile(*row) if row else None


def close_file(connection: sqlite3.Connection, opened: OpenFile) -> None:
    """Remove the rows that are in the file now."""
    connection.execute("DELETE FROM payload WHERE number <= ?", (opened.last,))
    connection.execute("UPDATE payload_file SET written = 1 WHERE number = ?", (opened.number,))
    connection.execute("DELETE FROM payload_file WHERE written = 1 AND number < ?", (opened.number,))


class Names(NamedTuple):
    """What a database has made at random, once, and keeps."""

    key: bytes  # of redacted values
    database: str  # part of the names of files: a new monitor numbers from one again


def names(connection: sqlite3.Connection) -> Names:
    """Return the random names of this database, made by the first call."""
    made = {"redaction": secrets.token_hex(32), "database": secrets.token_hex(4)}
    connection.executemany("INSERT OR IGNORE INTO secret (name, value) VALUES (?, ?)", made.items())
    found = dict(connection.execute("SELECT name, value FROM secret"))
    return Names(bytes.fromhex(found["redaction"]), found["database"])


def write(connection: sqlite3.Connection, folder: Folder, config: PayloadConfig, opened: OpenFile, made: Names) -> str:
    """Write the rows of a file with their labels; return its key, empty without rows. `connection` only reads.

    Raises:
        StorageError: the store does not take it.
    """
    import pyarrow.parquet as pq

    found = connection.execute(
        "SELECT payload.id, payload.time, content, label FROM payload LEFT JOIN prediction "
        "ON prediction.id = payload.id AND prediction.time = payload.time WHERE payload.number <= ? "
        "ORDER BY payload.number",
        (opened.last,),
    ).fetchall()
    if not found:  # all were erased meanwhile
        return ""
    content = io.BytesIO()
    pq.write_table(table(found, config, made.key), content, compression="zstd")
    key = contract.file_key(_day(max(row[1] for row in found)), made.database, opened.number)
    folder.write(key, content.getvalue())
    return key


def table(found: Sequence[tuple[str, float, str, str | None]], config: PayloadConfig, redaction: bytes) -> "pa.Table":
    """Return rows as a table: always the three columns of the contract first, then what the configuration keeps.

    `found`: id, time, JSON of the columns and JSON of the label of each row.
    """
    import pyarrow as pa

    parsed = [json.loads(content) for _, _, content, _ in found]
    redacted = {f"input.{name}" if name in contract.RESERVED else name for name in config.redact}
    names = list(dict.fromkeys(name for row in parsed for name in row if name != contract.VERSION))
    columns: dict[str, Any] = {
        contract.ID: pa.array([row[0] for row in found], pa.string()),
        contract.TIME: pa.array([row[1] for row in found], pa.float64()),
        contract.VERSION: pa.array([row[contract.VERSION] for row in parsed], pa.string()),
    }
    for name in names:
        values = [row.get(name) for row in parsed]
        columns[name] = _array([_redacted(v, redaction) for v in values] if name in redacted else values)
    if config.columns != ():
        columns[contract.LABEL] = _array([None if text is None else json.loads(text) for *_, text in found])
    return pa.table(columns)


def _redacted(value: Value, redaction: bytes) -> Value:
    """Return a digest that equal values share and that says nothing without the key; nothing stays nothing."""
    if value is None:
        return None
    return hmac.new(redaction, category_text(value).encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _array(values: Sequence[Value]) -> "pa.Array":
    """Return values as one type: whole numbers, numbers, booleans; texts where they are mixed."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pa.array(values, pa.bool_() if kinds else pa.null())
    if kinds <= {int}:  # none beyond 64 bits: `bounds.stored` has made numbers of those
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if v is None else category_text(v) for v in values], pa.string())


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y%m%d")


def expire(folder: Folder, config: PayloadConfig, now: float) -> list[str]:
    """Remove the files of which every row is older than the retention; return their keys."""
    limit = datetime.fromtimestamp(now, UTC) - timedelta(seconds=config.retention_seconds, days=1)
    before = f"{contract.ROWS}/{_PREFIX}{limit.strftime('%Y%m%d')}"
    old = [
        entry.key
        for entry in folder.files(contract.ROWS)
        if entry.key.startswith(f"{contract.ROWS}/{_PREFIX}") and entry.key[: len(before)] <= before
    ]
    folder.delete(old)
    return old


def erase(
    connection: sqlite3.Connection, folder: Folder, ids: frozenset[str], clients: frozenset[str] = frozenset()
) -> int:
    """Remove rows by their prediction ids, or those of whole requests, from files and from what waits; return how many.

    `clients`: as the column of that name has them; all of their rows go.

    A request of several rows has one id, of which those of its rows are made: `<request>/<row>`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting = [
        number
        for number, identifier, content in connection.execute("SELECT number, id, content FROM payload")
        if _is(identifier, ids) or (clients and json.loads(content).get(contract.CLIENT) in clients)
    ]
    connection.executemany("DELETE FROM payload WHERE number = ?", [(number,) for number in waiting])
    removed = len(waiting)
    for entry in folder.files(contract.ROWS):
        stored = pq.read_table(io.BytesIO(b"".join(folder.chunks(entry.key))))
        known = stored[contract.CLIENT].to_pylist() if contract.CLIENT in stored.column_names else [None] * len(stored)
        keep = [
            not _is(identifier, ids) and client not in clients
            for identifier, client in zip(stored[contract.ID].to_pylist(), known, strict=True)
        ]
        if all(keep):
            continue
        removed += keep.count(False)
        content = io.BytesIO()
        pq.write_table(stored.filter(pa.array(keep)), content, compression="zstd")
        folder.write(entry.key, content.getvalue())
    return removed


def _is(identifier: str, ids: frozenset[str]) -> bool:
    return identifier in ids or identifier.rpartition("/")[0] in ids


def status(connection: sqlite3.Connection) -> Mapping[str, int]:
    """Return how many rows wait, how many files were written, and how many rows were discarded for lack of room."""
    (waiting,) = connection.execute("SELECT count(*) FROM payload").fetchone()
    (files,) = connection.execute("SELECT ifnull(max(number), 0) FROM payload_file WHERE written = 1").fetchone()
    row = connection.execute("SELECT value FROM total WHERE name = ?", (DISCARDED,)).fetchone()
    return {"waiting": waiting, "files": files, "discarded": row[0] if row else 0}
