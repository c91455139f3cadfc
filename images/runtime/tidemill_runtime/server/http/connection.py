"""One HTTP/1.1 connection: uvicorn's, with a short way for inference that saves 35 µs a request (decision 135).

A POST on an inference path is collected, answered and written in the parser's own callbacks, without an
ASGI cycle, a task or a timer; a model that is not quick is awaited in a task. Everything else, pipelined
requests included, is uvicorn's. Decides nothing about inference: `Inference` does.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tidemill_runtime.model.errors import ServingError
from tidemill_runtime.network.http_heads import StrictHeads
from tidemill_runtime.server.host import sockets
from tidemill_runtime.server.host.access import Access
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http.body_limits import BodyBounds
from tidemill_runtime.server.http.inference import Headers, Inference, Protocol, Reply

# Longer than any proxy keeps an idle upstream connection (Envoy: one hour), so that never both ends
# decide at once: a request on a connection that its server just closed would be lost.
KEEP_ALIVE_SECONDS = 3700
_LAST_REQUEST_SECONDS = 1.0  # how long a drain waits for the request of a client that has just connected
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


@dataclass(frozen=True)
class Wiring:
    """What every connection of a server shares."""

    inference: Inference
    bounds: BodyBounds
    state: State
    access: Access | None = None  # None: everybody may call

    @cached_property
    def routes(self) -> dict[bytes, Protocol]:
        """The paths of inference as they are on the wire."""
        return {path.encode(): protocol for path, protocol in self.inference.routes.items()}


class _Heard:
    """An event that nobody waits for, where uvicorn wants to set one."""

    def set(self) -> None:
        """Do nothing."""


class _Exchange:
    """The inference request that a connection is busy with; in uvicorn's eyes a request cycle."""

    __slots__ = ("body", "client", "disconnected", "held", "keep_alive", "pieces", "protocol", "response_complete")
    message_event = _Heard()
    response_started = False  # it is written whole

    def __init__(self) -> None:
        self.response_complete = True
        self.disconnected = False
        self.keep_alive = True
        self.held = 0

    def begin(self, protocol: Protocol, keep_alive: bool) -> None:
        """Start over for the next request of the connection."""
        self.protocol = protocol
        self.keep_alive = keep_alive
        self.response_complete = False
        self.client: str | None = None  # as its keyed hash
        self.body = b""
        self.pieces: bytearray | None = None  # a list of pieces would hold more than they do


class InferenceConnection(StrictHeads):
    """See the module. One a connection; made by uvicorn."""

    wiring: Wiring  # of the subclass that `of` makes

    @classmethod
    def of(cls, wiring: Wiring) -> type["InferenceConnection"]:
        """Return a class of connections that share `wiring`."""
        return cls.sharing(wiring=wiring)

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inference = self.wiring.inference
        self._bounds = self.wiring.bounds
        self._routes = self.wiring.routes
        self._access = self.wiring.access
        self._exchange = _Exchange()
        self._is_collecting = False  # the parser is inside an inference request that the exchange collects
        self._is_watched = False
        self._idle_since = 0.0  # still 0: nothing was answered yet
        self._task: asyncio.Task[None] | None = None  # of the last model call that was not quick

    def data_received(self, data: bytes) -> None:
        """Parse; uvicorn would also cancel the keep-alive timer, which here looks at the time itself."""
        if self._is_refused:
            return
        self.parse(data)
        if self._is_open:
            self._bound()

    def _bound(self) -> None:
        """Bound the time of a request that is not complete, and what it holds."""
        if not self._is_watched:
            self._is_watched = True
            self._bounds.watch(self, self._give_up)
        self.bound_unfinished()
        if self._is_collecting and not self._exchange.held and not self._is_refused:
            self._count_first(self._exchange)

    def on_message_begin(self) -> None:
        """Start a request; uvicorn's scope is only made for those that are its own."""
        self.begin_head()
        self.url = b""
        self.headers: Headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Take an inference request, or leave it to uvicorn."""
        if self.is_head_wrong() or self.parser.should_upgrade():
            return  # the latter comes again, as if it did not
        protocol = self._routes.get(self.url) if self.parser.get_method() == b"POST" else None
        is_free = self.cycle is None or self.cycle.response_complete
        if protocol is None or not is_free:
            self._leave_to_uvicorn()
            return
        exchange = self._exchange
        exchange.begin(protocol, self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0")
        self.cycle = cast(Any, exchange)
        self._is_collecting = True
        try:
            if self._access is not None:
                exchange.client = self._access.hashed(self._access.client(self.headers))
            for name, value in self.headers:
                if name == b"content-length":
                    self._bounds.check_declared(value)
        except ServingError as error:
            self._finish(self._inference.refused(error))
            return
        if self.expect_100_continue:
            self.transport.write(_CONTINUE)

    def _leave_to_uvicorn(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self._is_collecting = False
        HttpToolsProtocol.on_headers_complete(self)

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body."""
        self._is_in_tail = False
        if self._is_refused or not self._is_collecting:
            super().on_body(body)
            return
        exchange = self._exchange
        if exchange.response_complete:
            return  # refused already; what is left of it is read and forgotten
        if not exchange.body and exchange.pieces is None:
            exchange.body = body
            if len(body) <= self._bounds.limit:
                return
        try:
            self._collect(exchange, body)
        except ServingError as error:
            self._finish(self._inference.refused(error))

    def _count_first(self, exchange: _Exchange) -> None:
        """Count what came of a body that is not whole; it may be all that ever comes."""
        if exchange.body:
            try:
                self._collect(exchange, b"")
            except ServingError as error:
                self._finish(self._inference.refused(error))

    def _collect(self, exchange: _Exchange, body: bytes) -> None:
        """Keep a piece of a body that came in several.

        Raises:
            TooLargeError, UnavailableError: as `BodyBounds` has them.
        """
        if exchange.pieces is None:
            exchange.pieces = bytearray()
            if exchange.body is not body:
                self._keep(exchange, exchange.pieces, exchange.body)
            exchange.body = b""
        self._keep(exchange, exchange.pieces, body)

    def _keep(self, exchange: _Exchange, pieces: bytearray, body: bytes) -> None:
        if exchange.held + len(body) > self._bounds.limit:
            raise self._bounds.too_large()
        self._bounds.hold(len(body))
        exchange.held += len(body)
        pieces += body

    def on_message_complete(self) -> None:
        """Answer the collected request."""
        if self.parser.should_upgrade():
            return
        self.end_request()
        if self._is_watched:
            self._is_watched = False
            self._bounds.unwatch(self)
        if self._is_refused or not self._is_collecting:
            super().on_message_complete()
            return
        self._is_collecting = False
        exchange = self._exchange
        if exchange.response_complete:  # refused before it was whole; closing any sooner could lose the refusal
            self.transport.close()
            return
        body = exchange.body if exchange.pieces is None else bytes(exchange.pieces)
        self._release(exchange)
        if self.transport.is_closing():  # sent behind a request that closed the connection: nobody would be answered
            return
        result = self._inference.answer(exchange.protocol, self.headers, body, self._finish, exchange.client)
        if isinstance(result, Reply):
            self._finish(result)
        elif result is not None:
            self._task = self.loop.create_task(self._finish_later(result))
            self.tasks.add(self._task)
            self._task.add_done_callback(self.tasks.discard)

    async def _finish_later(self, result: Coroutine[Any, Any, Reply]) -> None:
        self._finish(await result)

    def _finish(self, reply: Reply) -> None:
        """Write a reply, whole."""
        exchange = self._exchange
        self._release(exchange)
        exchange.response_complete = True
        if exchange.disconnected:
            return
        if self._is_collecting or self.wiring.state.is_draining:
            exchange.keep_alive = False
        self.transport.write(self._bytes_of(reply, exchange.keep_alive))
        self.server_state.total_requests += 1
        if self._is_collecting:
            return  # what is left of the body is read and forgotten
        if not exchange.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._watch_idleness(self.timeout_keep_alive)

    def _bytes_of(self, reply: Reply, keep_alive: bool) -> bytes:
        parts = [_STATUS_LINES[reply.status]]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        if not keep_alive:
            parts.insert(1, b"connection: close\r\n")
        parts.append(reply.body)
        return b"".join(parts)

    def _release(self, exchange: _Exchange) -> None:
        """Forget the collected body."""
        if exchange.held:
            self._bounds.free(exchange.held)
            exchange.held = 0
        exchange.body, exchange.pieces = b"", None

    def _give_up(self) -> None:
        """A request is not complete in time: answer an inference request, close on any other's headers."""
        self._is_watched = False
        if self._is_collecting and not self._exchange.response_complete:
            self._finish(self._inference.refused(self._bounds.too_slow()))
            self.transport.close()
        elif self._is_collecting or self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle long enough; look again later at any other."""
        self.timeout_keep_alive_task = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._is_open or (self.cycle is not None and not self.cycle.response_complete):
            left = self.timeout_keep_alive
        if left > 0:
            self._watch_idleness(left)
        else:
            super().timeout_keep_alive_handler()

    def _watch_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Note the time, too; a client that does not read its answers is not heard again for one more."""
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self.flow.write_paused:
            self.flow.pause_reading()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, also one that the listener has ceased to listen for."""
        super().connection_made(transport)
        self._watch_idleness(self.timeout_keep_alive)
        if self.wiring.state.is_draining:
            sockets.hear(transport.get_extra_info("socket"))

    def shutdown(self) -> None:
        """Close when idle, else after the answer; the exchange may not be the newest request.

        A client that has just connected, or sent half a request, is idle in nobody's eyes but uvicorn's.
        """
        self._exchange.keep_alive = False
        if self._is_open or self._idle_since == 0.0:
            self.loop.call_later(_LAST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held; an answer that nobody will read is not waited for."""
        self._exchange.disconnected = True
        if self._task is not None:
            self._task.cancel()
        self._release(self._exchange)
        self._bounds.unwatch(self)
        if self.timeout_keep_alive_task is not None:  # uvicorn keeps it when the connection broke
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)
