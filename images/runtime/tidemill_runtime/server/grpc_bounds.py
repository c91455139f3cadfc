"""What gRPC messages that are not complete hold, and how long they take: bounds for each method of a server.

The library keeps parts of its read buffers until a message is complete. What they hold is therefore known neither
from the message's length nor from the bytes that arrived of it: 24 bytes of a message can keep 8 KiB of frames around
them. The kernel counts what a connection received, whatever it was, so that is what is held against the bound.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.sockets import EARLY, Peer

LOOK_SECONDS = 0.05
_BODIES = 4  # what REST allows in half-sent bodies, too
_SHARED = 4  # calls of one connection are charged their limit at most, until it received so many times as much
_CALL_BYTES = 16 * 1024  # what a call without a message holds (measured: 15 KiB)
_MANY = "overloaded: too many large messages at once"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class _RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(eq=False)
class _Open:
    """A call whose message is not complete, or that may send more."""

    task: "asyncio.Task[Any]"
    context: Context
    seen: Mapping[Peer, int]  # what connections had received at the look before it began
    until: float | None  # by when its message is to be complete, in the loop's time
    is_slow: bool = False  # it was there at the last look
    refused: _RefusedError | None = None

    def refuse(self, code: grpc.StatusCode, message: str) -> None:
        if self.refused is None:
            self.refused = _RefusedError(code, message)
            self.task.cancel()


class MessageBounds:
    """What the open calls of one server may hold and how long a message may take; belongs to one event loop."""

    def __init__(self, config: ServerConfig, received: Callable[[], Mapping[Peer, int]]) -> None:
        """`received` returns the bytes that each connection has received since it was made."""
        self._limit = config.max_body_bytes
        self._timeout = config.request_timeout_seconds
        self._received = received
        self._seen: Mapping[Peer, int] = {}
        self._open: set[_Open] = set()
        self._timer: asyncio.TimerHandle | None = None

    def bounded(self, handler: Any) -> Any:
        """Return a method's handler as one that reads within bounds; the client sees no difference."""
        parse = handler.request_deserializer or bytes
        if not handler.response_streaming:

            async def answer(_: Any, context: Context) -> Any:
                return await handler.unary_unary(parse(await self._message(context)), context)

            return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)

        async def stream(_: Any, context: Context) -> Any:
            try:
                with self._bounds(context, None):  # to its end: what is not read is held, too
                    if handler.request_streaming:
                        async for reply in handler.stream_stream(_messages(context, parse), context):
                            await context.write(reply)
                    else:
                        await handler.unary_stream(parse(await self._message(context)), context)
            except _RefusedError as error:
                await context.abort(error.code, str(error))

        return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)

    async def _message(self, context: Context) -> bytes:
        """Return the only message of a call; the call ends here when there is none, or not in time and bounds."""
        try:
            with self._bounds(context, self._timeout):
                message: Any = await context.read()
        except _RefusedError as error:
            await context.abort(error.code, str(error))
        if message is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        return bytes(message)

    @contextlib.contextmanager
    def _bounds(self, context: Context, seconds: float | None) -> Iterator[None]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101  coroutines run in tasks
        until = None if seconds is None else loop.time() + seconds
        call = _Open(task, context, self._seen, until)
        self._open.add(call)
        if self._timer is None:
            self._timer = loop.call_later(LOOK_SECONDS, self._look, loop)
        try:
            yield
        except asyncio.CancelledError:
            if call.refused is None:
                raise
            task.uncancel()
            raise call.refused from None
        finally:
            self._open.discard(call)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse what is late, and what holds most while all together hold too much."""
        received, now = self._received(), loop.time()
        slow: dict[Peer, list[_Open]] = defaultdict(list)
        for call in self._open:
            if call.until is not None and call.until <= now:
                call.refuse(grpc.StatusCode.DEADLINE_EXCEEDED, f"the message did not arrive within {self._timeout:g} s")
            elif call.is_slow:
                slow[peer_of(call.context.peer())].append(call)
            call.is_slow = True
        held = {peer: self._held(received.get(peer, 0), peer, calls) for peer, calls in slow.items()}
        while sum(held.values()) > _BODIES * self._limit:
            most = max(held, key=held.__getitem__)
            del held[most]
            for call in slow[most]:
                call.refuse(grpc.StatusCode.UNAVAILABLE, _MANY)
        self._seen = received
        self._timer = loop.call_later(LOOK_SECONDS, self._look, loop) if self._open else None

    def _held(self, received: int, peer: Peer, calls: list[_Open]) -> int:
        """Return what the open calls of a connection hold; complete messages between theirs make it no larger."""
        most = len(calls) * self._limit
        since = received - min(call.seen.get(peer, 0) for call in calls)
        return len(calls) * _CALL_BYTES + (since if since > _SHARED * most else min(since, most))


class Bounded(grpc.GenericRpcHandler):
    """Services whose methods all read within bounds."""

    def __init__(self, bounds: MessageBounds, services: list[grpc.GenericRpcHandler]) -> None:
        self._bounds = bounds
        self._services = services
        self._methods: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method, None when no service has it."""
        name = handler_call_details.method
        if name not in self._methods:
            found = next(filter(None, (each.service(handler_call_details) for each in self._services)), None)
            if found is None:
                return None  # and not kept: clients make up names
            self._methods[name] = self._bounds.bounded(found)
        return self._methods[name]


def peer_of(text: str) -> Peer:
    """Return a client as the library writes it: `ipv4:127.0.0.1:1` or `ipv6:%5B::1%5D:1`; others are `EARLY`."""
    kind, _, rest = text.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return EARLY
    host, _, port = unquote(rest).rpartition(":")
    return Peer(host.strip("[]"), int(port))


async def _messages(context: Context, parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield parse(message)
