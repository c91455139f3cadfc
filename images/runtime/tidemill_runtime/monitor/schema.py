"""The SQLite database: tables, connections, schema version.

WAL lets readers work beside the one writer; `synchronous=FULL` syncs the log at every commit, so that what was
acknowledged survives a kill and a power cut. No statement on rows lives here.
"""

import sqlite3
from pathlib import Path
from typing import Final

SCHEMA_VERSION: Final = 1

_SCHEMA = """
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


class SchemaError(RuntimeError):
    """A database of another schema version."""


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


def migrate(connection: sqlite3.Connection) -> None:
    """Create the schema in an empty database.

    Raises:
        SchemaError: the database has another schema version.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == SCHEMA_VERSION:
        return
    if found != 0:
        raise SchemaError(f"database schema {found} is not schema {SCHEMA_VERSION} of this monitor")
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
