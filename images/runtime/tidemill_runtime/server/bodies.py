"""Reading request bodies within bounds: each one's size and time, and what all of them hold together.

A deadline for each read would cost more than the read (a body is nearly always there already), so reads
are noted and one timer looks for those that take too long.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.errors import SlowClientError, TooLargeError, UnavailableError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """The connection closed before the request was complete; nobody waits for an answer."""


class BodyReader:
    """Reads bodies for one server; belongs to one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._limit = config.max_body_bytes
        self._budget = 4 * config.max_body_bytes
        self._timeout = config.request_timeout_seconds
        self._interval = min(1.0, self._timeout / 4)
        self._held = 0
        self._reading: dict[asyncio.Task[Any], float] = {}  # to the loop's time at which it began
        self._given_up: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """Return the body.

        Raises:
            TooLargeError: as soon as it is known, which is before reading when the length is declared.
            SlowClientError: not complete in time. UnavailableError: too many large bodies at once.
            ClientGoneError: the connection closed.
        """
        for name, value in headers:
            if name == b"content-length" and (len(value) > 18 or (value.isdigit() and int(value) > self._limit)):
                raise self._too_large()
        task = self._note()
        try:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body: bytes = message.get("body", b"")
                if len(body) > self._limit:
                    raise self._too_large()
                return body
            return await self._rest(message, receive)
        except asyncio.CancelledError:
            if task not in self._given_up:
                raise
            task.uncancel()
            raise SlowClientError(f"the body did not arrive within {self._timeout:g} s") from None
        finally:
            del self._reading[task]
            self._given_up.discard(task)

    def _note(self) -> "asyncio.Task[Any]":
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  coroutines run in tasks
        loop = task.get_loop()
        self._reading[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._give_up, loop)
        return task

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        begun_before = loop.time() - self._timeout
        for task, began in self._reading.items():
            if began <= begun_before and task not in self._given_up:
                self._given_up.add(task)
                task.cancel()
        self._timer = loop.call_later(self._interval, self._give_up, loop) if self._reading else None

    async def _rest(self, message: MutableMapping[str, Any], receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            while message["type"] == "http.request":
                chunk = message.get("body", b"")
                size += len(chunk)
                self._held += len(chunk)
                chunks.append(chunk)
                if size > self._limit:
                    raise self._too_large()
                if self._held > self._budget:
                    raise UnavailableError("overloaded: too many large bodies at once")
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
        finally:
            self._held -= size
        raise ClientGoneError

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._limit} bytes")
