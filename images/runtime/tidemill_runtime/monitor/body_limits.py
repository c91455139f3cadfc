"""How much posted data may be in the process at once. Beyond that, posts are refused at once with a Retry-After.

A bound on bytes, not only on requests: dozens of servers that retry together must not fill the memory. What counts is
what a body becomes: one of many short values counts more than its bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request

from tidemill_runtime.monitor.writer import BusyError

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_TOTAL_BYTES: Final = 32 * 1024 * 1024
VALUE_BYTES: Final = 16  # that a JSON value counts at least; parsed, a label of three takes 1 KiB


class TooLargeError(Exception):
    """A body above the limit."""


class EncodedError(Exception):
    """A body with a content coding; none is read here."""


class Admission:
    """Counts the bytes of bodies that are being handled. Used from one event loop."""

    def __init__(self, *, max_body: int = MAX_BODY_BYTES, max_total: int = MAX_TOTAL_BYTES) -> None:
        """Set the limits in bytes."""
        self._max_body = max_body
        self._max_total = max_total
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Read a request's body and hold its share of memory until the block ends.

        Raises:
            EncodedError: it says that it is compressed, or encoded in another way.
            TooLargeError: above the limit of one body, in bytes or in values.
            BusyError: above the limit of all bodies.
        """
        encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
        if encoding not in ("", "identity"):
            raise EncodedError(f"Content-Encoding: expected identity, got {encoding!r}")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body:
            raise self._too_large()
        held = 0
        try:
            chunks = bytearray()
            async for chunk in request.stream():
                if len(chunks) + len(chunk) > self._max_body:
                    raise self._too_large()
                if self._held + len(chunk) > self._max_total:
                    raise BusyError
                chunks += chunk
                self._held += len(chunk)
                held += len(chunk)
            body = bytes(chunks)
            del chunks  # or both are held until the body is handled
            more = max(0, VALUE_BYTES * _values(body) - held)
            if held + more > self._max_body:
                raise TooLargeError(f"body: at most {self._max_body // VALUE_BYTES} values")
            if self._held + more > self._max_total:
                raise BusyError
            self._held += more
            held += more
            yield body
        finally:
            self._held -= held

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"body: at most {self._max_body} bytes")


def _values(body: bytes) -> int:
    """Return how many values a JSON text has at most: each but the first of a list or an object follows a comma."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")
