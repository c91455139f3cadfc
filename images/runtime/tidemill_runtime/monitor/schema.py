"""The SQLite database: tables, connections, schema version.

Its schema migrates stepwise: each step makes the next version from the one before, in a transaction of its own. A step
that was released never changes; what comes later is one more step.

WAL lets readers work beside the one writer; `synchronous=FULL` syncs the log at every commit, so that what was
acknowledged survives a kill and a power cut. No statement on rows lives here.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_FIRST: Final = """
CREATE TABLE version (
  id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL, profile TEXT NOT NULL, created REAL NOT NULL,
  rows INTEGER NOT NULL DEFAULT 0, labels INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0,
  last_record REAL);
CREATE TABLE batch (id TEXT PRIMARY KEY, received REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX batch_received ON batch (received);
CREATE TABLE process (
  version INTEGER NOT NULL, name TEXT NOT NULL, dropped INTEGER NOT NULL, seen REAL NOT NULL,
  PRIMARY KEY (version, name)) WITHOUT ROWID;
CREATE TABLE window (
  id INTEGER PRIMARY KEY, version INTEGER NOT NULL, seconds INTEGER NOT NULL, start INTEGER NOT NULL,
  rows INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0, labels INTEGER NOT NULL DEFAULT 0,
  changes INTEGER NOT NULL DEFAULT 0, detailed INTEGER NOT NULL DEFAULT 1,
  UNIQUE (version, seconds, start));
CREATE TABLE counter (
  window INTEGER NOT NULL, name TEXT NOT NULL, bin INTEGER NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (window, name, bin)) WITHOUT ROWID;
CREATE TABLE performance (
  window INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (window, name)) WITHOUT ROWID;
CREATE TABLE prediction (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, window INTEGER NOT NULL,
  time REAL NOT NULL, value TEXT NOT NULL, score REAL, label TEXT);
CREATE TABLE pending (id TEXT PRIMARY KEY, label TEXT NOT NULL, received REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX pending_received ON pending (received);
"""

_SECOND: Final = """
CREATE TABLE version_2 (
  id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL, profile TEXT NOT NULL,
  created REAL NOT NULL, rows INTEGER NOT NULL DEFAULT 0, labels INTEGER NOT NULL DEFAULT 0,
  dropped INTEGER NOT NULL DEFAULT 0, last_record REAL, discarded INTEGER NOT NULL DEFAULT 0);
INSERT INTO version_2 SELECT id, digest, name, profile, created, rows, labels, dropped, last_record, 0 FROM version;
DROP TABLE version;
ALTER TABLE version_2 RENAME TO version;
CREATE TABLE window_2 (
  id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, seconds INTEGER NOT NULL, start INTEGER NOT NULL,
  rows INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0, labels INTEGER NOT NULL DEFAULT 0,
  changes INTEGER NOT NULL DEFAULT 0, detailed INTEGER NOT NULL DEFAULT 1,
  UNIQUE (version, seconds, start));
INSERT INTO window_2 SELECT id, version, seconds, start, rows, errors, labels, changes, detailed FROM window;
DROP TABLE window;
ALTER TABLE window_2 RENAME TO window;
UPDATE prediction SET window = 0 WHERE NOT EXISTS (
  SELECT 1 FROM window WHERE window.id = prediction.window AND window.version = prediction.version
  AND prediction.time >= window.start AND prediction.time < window.start + window.seconds);
CREATE TABLE sender (
  name TEXT PRIMARY KEY, last INTEGER NOT NULL, seen INTEGER NOT NULL, dropped INTEGER NOT NULL, heard REAL NOT NULL)
  WITHOUT ROWID;
CREATE INDEX sender_heard ON sender (heard);
CREATE TEMP VIEW numbered AS SELECT id, received, substr(id, length(rtrim(id, replace(id, '/', ''))) + 1) AS number
  FROM batch WHERE number != '' AND number NOT GLOB '*[^0-9]*' AND length(number) <= 18;
INSERT INTO sender SELECT name, max(last), 9223372036854775807, max(dropped), max(heard) FROM (
  SELECT substr(id, 1, length(id) - length(number) - 1) AS name, CAST(number AS INTEGER) AS last, 0 AS dropped,
    received AS heard FROM numbered WHERE length(id) > length(number) + 1
  UNION ALL SELECT name, 0, dropped, seen FROM process) GROUP BY name;
DELETE FROM batch WHERE id IN (SELECT id FROM numbered WHERE length(id) > length(number) + 1);
DROP VIEW temp.numbered;
DROP TABLE process;
CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
# A version and a window are numbered once (AUTOINCREMENT): what still names one that is gone must not meet another.
# A sender's `last` is the greatest number of its batches, bit i of `seen` whether `last` - i was counted (replays.py).

_DETECTORS: Final = """
ALTER TABLE window ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
CREATE INDEX window_due ON window (version, seconds, start) WHERE taken = 0 AND labels > 0;
CREATE TABLE detector (
  version INTEGER NOT NULL, seconds INTEGER NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (version, seconds)) WITHOUT ROWID;
CREATE TABLE waiting (
  version INTEGER NOT NULL, seconds INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (version, seconds, name)) WITHOUT ROWID;
"""

_KEYS: Final = """
ALTER TABLE window ADD COLUMN unauthenticated INTEGER NOT NULL DEFAULT 0;
UPDATE window SET unauthenticated = labels;
ALTER TABLE pending ADD COLUMN authenticated INTEGER NOT NULL DEFAULT 0;
"""

_SEGMENTS: Final = """
ALTER TABLE prediction ADD COLUMN segments TEXT;
CREATE TABLE segment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (version, name));
CREATE TABLE segment_performance (
  window INTEGER NOT NULL, segment INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (window, segment, name)) WITHOUT ROWID;
"""
# A prediction's segments are numbers of `segment`, apart by spaces; they go once its label has come.

_NOTICES: Final = """
CREATE TABLE notice (
  webhook TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, ended REAL, told INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, PRIMARY KEY (webhook, id)) WITHOUT ROWID;
"""
# `told`: 0 nothing, 1 that it began, 2 that it ended.

_PAYLOADS: Final = """
CREATE TABLE payload (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, time REAL NOT NULL, content TEXT NOT NULL);
CREATE TABLE payload_file (
  number INTEGER PRIMARY KEY AUTOINCREMENT, last INTEGER NOT NULL, written INTEGER NOT NULL DEFAULT 0);
CREATE TABLE secret (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# Rows are numbered once (AUTOINCREMENT): a file is of all up to its `last` that are still there.

_CLIENTS: Final = """
ALTER TABLE prediction ADD COLUMN client INTEGER;
ALTER TABLE pending ADD COLUMN client INTEGER;
CREATE TABLE client (id INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL UNIQUE, seen REAL NOT NULL);
CREATE TABLE client_total (
  client INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (client, name)) WITHOUT ROWID;
CREATE TABLE client_minute (
  client INTEGER NOT NULL, minute INTEGER NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (client, minute)) WITHOUT ROWID;
CREATE TABLE client_row (client INTEGER PRIMARY KEY, rows BLOB NOT NULL);
CREATE TABLE client_label (
  client INTEGER NOT NULL, stratum TEXT NOT NULL, agreeing INTEGER NOT NULL, labels INTEGER NOT NULL,
  PRIMARY KEY (client, stratum)) WITHOUT ROWID;
CREATE TABLE client_finding (
  client INTEGER NOT NULL, kind TEXT NOT NULL, began REAL NOT NULL, found REAL NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (client, kind)) WITHOUT ROWID;
CREATE TABLE gaming (
  id INTEGER PRIMARY KEY CHECK (id = 1), began REAL NOT NULL, looked REAL NOT NULL, mix TEXT NOT NULL);
CREATE VIEW marked_prediction AS SELECT * FROM prediction WHERE EXISTS (
  SELECT 1 FROM client_finding WHERE client_finding.client = prediction.client
  AND client_finding.began <= prediction.time);
"""
# `client` of a prediction is who asked for it, of `pending` who sent the label: NULL where spec does not ask, 0 where
# it is none of those that are told apart. `marked_prediction`: rows of clients since the evidence against them began.

_DELIVERIES: Final = """
CREATE TABLE delivery (webhook TEXT PRIMARY KEY, problem TEXT, http_status INTEGER) WITHOUT ROWID;
"""
# What became of the newest message to each webhook; `problem` is NULL where it was taken.

STEPS: Final = (_FIRST, _SECOND, _DETECTORS, _KEYS, _SEGMENTS, _NOTICES, _PAYLOADS, _CLIENTS, _DELIVERIES)
"""SQL that makes schema 1 of an empty database, schema 2 of schema 1, and so on."""


class NewerSchemaError(RuntimeError):
    """A database that a newer monitor has written; this one leaves it alone."""

    def __init__(self, found: int, known: int = len(STEPS)) -> None:
        """`found`: the database's schema; `known`: the newest that this monitor knows."""
        super().__init__(f"the database has schema {found}, and this monitor knows {known} at most")
        self.found = found


def connect(path: str, *, readonly: bool = False) -> sqlite3.Connection:
    """Open the database; the caller begins and ends transactions. One connection belongs to one thread at a time."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA temp_store=MEMORY")  # the root file system is read-only
    connection.execute("PRAGMA cache_size=-32768")  # KiB, negative as SQLite wants it
    if readonly:
        connection.execute("PRAGMA query_only=ON")
    return connection


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Bring a database, also an empty one, to the newest schema. One that was killed on its way goes on where it was.

    Raises:
        NewerSchemaError: it has a newer schema; nothing was changed.
        sqlite3.Error: a step failed; the database has the schema of the last step that did not.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(steps):
        raise NewerSchemaError(found, len(steps))
    for version in range(found + 1, len(steps) + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {steps[version - 1]} PRAGMA user_version={version}; COMMIT;")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
