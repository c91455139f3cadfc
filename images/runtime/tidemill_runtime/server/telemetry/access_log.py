"""The access log: one JSON line on standard output for each sampled request, written beside the event loop.

Bounded: when whoever reads standard output is slow, the oldest lines are dropped and counted; a request never
waits. A fault of the server (500) has its line whatever the share, overload (503) has not: it would fill the log.
"""

import asyncio
import contextlib
import logging
import os
import random
import select
from collections import deque
from typing import Any

import orjson

from tidemill_contracts import logs
from tidemill_runtime.server.telemetry.metrics import Cell

INTERVAL_SECONDS = 0.5
MAX_WAITING = 10_000  # lines
_LINE_BYTES = 2048  # no line is longer: ids and routes are bounded, and a character takes six bytes at most
_PATIENCE_SECONDS = 1.0  # with a reader that has not taken what was written before
_WHOLE_BYTES = 4096  # as much as a pipe takes from one process without a line of another in between
_LOGGER = "tidemill.access"
_log = logging.getLogger(__name__)


class AccessLog:
    """Collects lines and writes them. `record` and `run` belong to one event loop."""

    def __init__(self, ratio: float, dropped: Cell, descriptor: int = 1) -> None:
        self._ratio = ratio
        self._dropped = dropped
        self._descriptor = descriptor
        self._waiting: deque[tuple[float, int, dict[str, Any]]] = deque(maxlen=MAX_WAITING)  # a thread takes
        self._writing: asyncio.Task[None] | None = None

    def record(self, ended: float, status: int, fields: dict[str, Any]) -> None:
        """Keep a request's line if it is sampled; `ended` is seconds since the epoch, None among fields is left out."""
        if random.random() >= self._ratio and (status < 500 or status == 503):  # noqa: S311
            return
        if len(self._waiting) == MAX_WAITING:
            self._dropped.inc()
        self._waiting.append((ended, status, fields))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            if self._waiting and (self._writing is None or self._writing.done()):
                self._writing = asyncio.create_task(asyncio.to_thread(self._write))

    async def flush(self, timeout_seconds: float) -> None:
        """Write what is left, as far as that can be done in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if self._writing is not None:
                    await asyncio.shield(self._writing)
                await asyncio.to_thread(self._write)
        if self._waiting:
            _log.warning("%d lines of the access log were not written", len(self._waiting))
            self._dropped.inc(len(self._waiting))
            self._waiting.clear()

    def _write(self) -> None:
        """Write in pieces that never block: a thread that is stuck could not be ended."""
        try:
            while self._waiting and select.select([], [self._descriptor], [], _PATIENCE_SECONDS)[1]:
                chunk = _line(*self._waiting.popleft())
                while self._waiting and len(chunk) < _WHOLE_BYTES - _LINE_BYTES:
                    chunk += _line(*self._waiting.popleft())
                while chunk:
                    chunk = chunk[os.write(self._descriptor, chunk) :]
        except OSError as error:  # nobody reads standard output any more
            _log.warning("the access log cannot be written: %s", error)


def _line(ended: float, status: int, fields: dict[str, Any]) -> bytes:
    line = logs.common(ended, "error" if status >= 500 else "info", _LOGGER, "request")
    line.update((name, value) for name, value in fields.items() if value is not None)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
