"""The one writer: a thread that takes what is queued, writes it in one transaction, syncs, and only then answers.

Group commit: while one transaction syncs, others queue and share the next sync. A job that fails is undone alone,
by its savepoint; a commit that fails answers every job of the transaction with the error. Nothing else writes.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_LOG = logging.getLogger(__name__)
_GROUP: Final = 64  # jobs a transaction


class BusyError(Exception):
    """The queue is full."""


class WriterStoppedError(Exception):
    """The writer no longer takes jobs."""


@dataclass
class _Entry:
    job: Job[Any]
    future: "Future[Any]"
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs jobs on one connection, in order, each whole or not at all."""

    def __init__(self, connection: sqlite3.Connection, *, capacity: int = 256) -> None:
        """Take over the connection; `capacity` jobs may wait."""
        self._connection = connection
        self._queue: queue.Queue[_Entry | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._stopping = False
        self.last_error: str | None = None  # of the last transaction; None when it was committed

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Job[T]) -> "Future[T]":
        """Queue a job; its future is resolved after the commit.

        Raises:
            BusyError: too many jobs wait.
            WriterStoppedError: stopped.
        """
        if self._stopping:
            raise WriterStoppedError
        entry = _Entry(job, Future())
        entry.future.set_running_or_notify_cancel()  # a caller that went away must not cancel what is being written
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            raise BusyError from None
        return entry.future

    def stop(self) -> None:
        """Write what is queued, then end and close the connection. Call once."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            entries, ended = self._collect()
            if entries:
                self._write(entries)
        while not self._queue.empty():  # whoever queued after the end gets an answer, too
            entry = self._queue.get_nowait()
            if entry is not None:
                entry.future.set_exception(WriterStoppedError())
        self._connection.close()

    def _collect(self) -> tuple[list[_Entry], bool]:
        """Wait for a job; return it with those that wait behind it, and whether the end was requested."""
        entries: list[_Entry] = []
        entry = self._queue.get()
        while entry is not None:
            entries.append(entry)
            if len(entries) == _GROUP:
                return entries, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return entries, False
        return entries, True

    def _write(self, entries: list[_Entry]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for entry in entries:
                self._apply(entry)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            _LOG.exception("transaction failed")
            self.last_error = str(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for entry in entries:
                entry.future.set_exception(error)
            return
        self.last_error = None
        for entry in entries:
            if entry.error is not None:
                entry.future.set_exception(entry.error)
            else:
                entry.future.set_result(entry.result)

    def _apply(self, entry: _Entry) -> None:
        """Run one job in a savepoint. An error that ended the whole transaction (disk full) is raised."""
        self._connection.execute("SAVEPOINT job")
        try:
            entry.result = entry.job(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO job")
            entry.error = error
        self._connection.execute("RELEASE job")
