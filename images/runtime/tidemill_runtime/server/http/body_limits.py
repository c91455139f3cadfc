"""Request bodies within bounds: each one's size and time, and what all of them hold together.

A deadline for each read would cost more than the read (a body is nearly always there already), so those
that are awaited are noted, and one timer looks for those that take too long.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, MutableMapping
from typing import Any

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.model.errors import SlowClientError, TooLargeError, UnavailableError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]
_LONGEST_LENGTH = 18  # digits of a declared length; no more are read as a number


class ClientGoneError(Exception):
    """The connection closed before the request was complete; nobody waits for an answer."""


class BodyBounds:
    """What the bodies of one server may hold and how long they may take; belongs to one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self.limit = config.max_body_bytes
        self._budget = 4 * config.max_body_bytes
        self._timeout = config.request_timeout_seconds
        self._interval = min(1.0, self._timeout / 4)
        self._held = 0
        self._awaited: dict[Hashable, tuple[float, Callable[[], object]]] = {}  # to when, and what ends it
        self._timer: asyncio.TimerHandle | None = None

    def check_declared(self, length: bytes) -> None:
        """Refuse a Content-Length above the limit, before anything is read.

        Raises:
            TooLargeError
        """
        if len(length) > _LONGEST_LENGTH or (length.isdigit() and int(length) > self.limit):
            raise self.too_large()

    def hold(self, size: int) -> None:
        """Take bytes that were received of an incomplete body into account; give them back with `free`.

        Raises:
            UnavailableError: all incomplete bodies together are too large; nothing was taken.
        """
        if self._held + size > self._budget:
            raise UnavailableError("overloaded: too many large bodies at once")
        self._held += size

    def free(self, size: int) -> None:
        """Give held bytes back."""
        self._held -= size

    def watch(self, key: Hashable, give_up: Callable[[], object]) -> None:
        """Call `give_up` once when `key` is still awaited after the request timeout."""
        loop = asyncio.get_running_loop()
        self._awaited[key] = (loop.time(), give_up)
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._look, loop)

    def unwatch(self, key: Hashable) -> None:
        """The body of `key` is complete, or of no interest any more."""
        self._awaited.pop(key, None)

    def too_large(self) -> TooLargeError:
        """Return the error of a body above the limit."""
        return TooLargeError(f"the body is larger than {self.limit} bytes")

    def too_slow(self) -> SlowClientError:
        """Return the error of a body that did not arrive in time."""
        return SlowClientError(f"the body did not arrive within {self._timeout:g} s")

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        begun_before = loop.time() - self._timeout
        late = [key for key, (began, _) in self._awaited.items() if began <= begun_before]
        for key in late:
            self._awaited.pop(key)[1]()
        self._timer = loop.call_later(self._interval, self._look, loop) if self._awaited else None


class BodyReader:
    """Reads the bodies of ASGI requests within bounds."""

    def __init__(self, bounds: BodyBounds) -> None:
        self._bounds = bounds
        self._given_up: set[asyncio.Task[Any]] = set()

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """Return the body.

        Raises:
            TooLargeError: as soon as it is known, which is before reading when the length is declared.
            SlowClientError: not complete in time. UnavailableError: too many large bodies at once.
            ClientGoneError: the connection closed.
        """
        for name, value in headers:
            if name == b"content-length":
                self._bounds.check_declared(value)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  coroutines run in tasks
        self._bounds.watch(task, lambda: self._give_up(task))
        try:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body: bytes = message.get("body", b"")
                if len(body) > self._bounds.limit:
                    raise self._bounds.too_large()
                return body
            return await self._rest(message, receive)
        except asyncio.CancelledError:
            if task not in self._given_up:
                raise
            task.uncancel()
            raise self._bounds.too_slow() from None
        finally:
            self._bounds.unwatch(task)
            self._given_up.discard(task)

    def _give_up(self, task: "asyncio.Task[Any]") -> None:
        self._given_up.add(task)
        task.cancel()

    async def _rest(self, message: MutableMapping[str, Any], receive: Receive) -> bytes:
        pieces = bytearray()  # a list of pieces would hold more than they do
        held = 0
        try:
            while message["type"] == "http.request":
                chunk = message.get("body", b"")
                self._bounds.hold(len(chunk))
                held += len(chunk)
                pieces += chunk
                if held > self._bounds.limit:
                    raise self._bounds.too_large()
                if not message.get("more_body", False):
                    return bytes(pieces)
                message = await receive()
        finally:
            self._bounds.free(held)
        raise ClientGoneError
