"""The thread that moves rows whose labels are due from the database into Parquet files of the store.

It has a connection of its own for reading and asks the writer for every change, so neither counting nor housekeeping
waits for the store. A store that does not answer is tried again; rows wait meanwhile, as many as their share of the
volume holds.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from tidemill_contracts import payloads as contract
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.payloads import PayloadConfig, PayloadReport
from tidemill_runtime.monitor import payloads, queries
from tidemill_runtime.monitor.retention import storage_bytes
from tidemill_runtime.monitor.writer import Writer
from tidemill_runtime.storage.base import Folder, StorageError
from tidemill_runtime.storage.folders import open_folder

_LOG = logging.getLogger(__name__)
LOOK_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 30.0
EXPIRE_SECONDS: Final = 3600.0


class PayloadWriter:
    """Writes files while it runs; does nothing where no rows are kept."""

    def __init__(
        self,
        config: MonitorConfig,
        reader: sqlite3.Connection,
        writer: Writer,
        clock: Callable[[], float],
        opened: Callable[[PayloadConfig], Folder] = lambda config: open_folder(config.uri, config.secret),
    ) -> None:
        """`opened`: how the folder of a configuration is opened. The reader is closed at the end."""
        self._config, self._reader, self._writer, self._clock = config, reader, writer, clock
        self._opened = opened
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._expire_at = 0.0
        self._discarded = queries.total(reader, payloads.DISCARDED)
        self.last_error: str | None = None  # of the store; None once a look went well

    def start(self) -> None:
        """Start the thread, if rows are kept."""
        if self._config.payloads is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what waits is written by the next monitor."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._reader.close()

    def report(self) -> PayloadReport | None:
        """Return how far the rows have come; None where none are kept."""
        if self._config.payloads is None:
            return None
        return PayloadReport(discarded=self._discarded, error=self.last_error or "")

    def step(self) -> bool:
        """Write one file; False when no row is due. Raises StorageError."""
        config, now = self._config.payloads, self._clock()
        if config is None:
            return False
        opened = self._writer.submit(lambda c: payloads.open_file(c, config, now)).result()
        if opened is None:
            return False
        names = self._writer.submit(payloads.names).result()
        payloads.write(self._reader, self._opened(config), config, opened, names)
        self._writer.submit(lambda c: payloads.close_file(c, opened)).result()
        return True

    def tidy(self) -> None:
        """Keep what waits within its share of the volume, and once an hour remove old files. Raises StorageError."""
        config, now = self._config.payloads, self._clock()
        if config is None:
            return
        most = storage_bytes(self._config) // contract.STORAGE_SHARE
        discarded = self._writer.submit(lambda c: payloads.bound(c, most)).result()
        self._discarded += discarded
        if discarded:
            _LOG.warning("%d rows were discarded: the store has not taken them, and there is no more room", discarded)
        if now >= self._expire_at:
            payloads.expire(self._opened(config), config, now)
            self._expire_at = now + EXPIRE_SECONDS

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS if self.last_error is None else RETRY_SECONDS):
            try:
                while not self._stop.is_set() and self.step():
                    pass
                self.tidy()
                self.last_error = None
            except StorageError as error:
                if self.last_error is None:
                    _LOG.warning("rows wait for the store: %s", error)
                self.last_error = f"{error.reason}: {error}"
            except Exception as error:  # the thread must go on: rows wait in the database
                _LOG.exception("writing rows failed")
                self.last_error = f"InternalError: {type(error).__name__}"
