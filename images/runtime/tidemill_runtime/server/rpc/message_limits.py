"""What gRPC messages that are not complete hold, and how long they take: bounds for each method of a server.

The library keeps parts of its read buffers until a message is complete. What they hold is therefore known neither
from the message's length nor from the bytes that arrived of it: 24 bytes of a message can keep 8 KiB of frames around
them. The kernel counts what a connection received, whatever it was, so that is what is held against the bound.
"""

import asyncio
import contextlib
import ctypes
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.host.sockets import Peer

LOOK_SECONDS = 0.05
_BODIES = 4  # what REST allows in half-sent bodies, too
_SHARED = 4  # calls of one connection are charged their limit at most, until it received so many times as much
_CALL_BYTES = 16 * 1024  # what a call without a message holds (measured: 15 KiB)
_REPLY_SECONDS = 1.0
_FREED_SECONDS = 0.5  # after a refusal: its call has ended, or its connection
_MANY = "overloaded: too many large messages at once"
_GONE = Peer("", 0)  # the library knows the client no more; nothing is counted for it
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(eq=False)
class _Open:
    """A call whose message is not complete, or that may send more, or that is refused and has not ended."""

    task: "asyncio.Task[Any]"
    context: Context
    seen: Mapping[Peer, int]  # what connections had received at the look before it began
    until: float | None  # by when its message is to be complete, in the loop's time
    is_slow: bool = False  # it was there at the last look
    refused: tuple[grpc.StatusCode, str] | None = None
    had: int = 0  # what its connection had received by then

    def refuse(self, code: grpc.StatusCode, message: str, received: int) -> None:
        if self.refused is None:
            self.refused, self.had = (code, message), received
            self.task.cancel()


class _Writer:
    """The context of a call with many replies, for its servicer: one that is cancelled interrupts no reply.

    The library cannot end a call while a reply is on its way.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reply: asyncio.Future[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        self._reply = asyncio.ensure_future(self._context.write(message))
        self._reply.add_done_callback(_failure)  # asyncio would log one that nobody waits for any more
        await asyncio.shield(self._reply)

    async def abort(self, code: grpc.StatusCode, message: str) -> None:
        """End the call, if need be after the reply that is on its way.

        Raises:
            grpc.aio.AbortError: it has ended.
            grpc.aio.InternalError: it cannot be ended: the client does not take the reply.
        """
        if self._reply is not None:
            await asyncio.wait([self._reply], timeout=_REPLY_SECONDS)
        await self._context.abort(code, message)


class MessageBounds:
    """What the open calls of one server may hold and how long a message may take; belongs to one event loop."""

    def __init__(
        self, config: ServerConfig, received: Callable[[], Mapping[Peer, int]], cut: Callable[[Peer], None]
    ) -> None:
        """`received` returns the bytes that each connection has received since it was made; `cut` ends one."""
        self._limit = config.max_body_bytes
        self._timeout = config.request_timeout_seconds
        self._received = received
        self._cut = cut
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
            writer: Any = _Writer(context)
            async with self._bounds(writer, None):  # to its end: what is not read is held, too
                if handler.request_streaming:
                    async for reply in handler.stream_stream(_messages(context, parse), writer):
                        await writer.write(reply)
                else:
                    await handler.unary_stream(parse(await self._message(context)), writer)

        return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)

    async def _message(self, context: Context) -> bytes:
        """Return the only message of a call; the call ends here when there is none, or not in time and bounds."""
        async with self._bounds(context, self._timeout):
            message: Any = await context.read()
        if message is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        return bytes(message)

    @contextlib.asynccontextmanager
    async def _bounds(self, context: Context, seconds: float | None) -> AsyncIterator[None]:
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
            with contextlib.suppress(grpc.aio.InternalError):
                await context.abort(*call.refused)  # raises AbortError when the call has ended
            self._cut(peer_of(context.peer()))  # it has not: the client takes no reply
            raise
        finally:
            self._open.discard(call)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the open calls, and again as long as there are any, whatever a look found."""
        try:
            self._refuse(loop)
        finally:
            self._timer = loop.call_later(LOOK_SECONDS, self._look, loop) if self._open else None

    def _refuse(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse what is late, and what holds most while all together hold too much; cut off who goes on."""
        received, now = self._received(), loop.time()
        bound = _BODIES * self._limit
        open_: dict[Peer, list[_Open]] = defaultdict(list)
        for call in self._open:
            peer = peer_of(call.context.peer())
            has = received.get(peer, 0)
            if call.refused is not None:
                if has - call.had > bound:
                    self._cut(peer)
            elif call.until is not None and call.until <= now:
                late = f"the message did not arrive within {self._timeout:g} s"
                call.refuse(grpc.StatusCode.DEADLINE_EXCEEDED, late, has)
            else:
                open_[peer].append(call)
        held = {peer: self._held(received.get(peer, 0), peer, calls) for peer, calls in open_.items()}
        if sum(held.values()) > bound:
            loop.call_later(_FREED_SECONDS, loop.run_in_executor, None, _give_back)
        while sum(held.values()) > bound:
            most = max(held, key=held.__getitem__)
            del held[most]
            for call in open_[most]:
                call.refuse(grpc.StatusCode.UNAVAILABLE, _MANY, received.get(most, 0))
        for call in self._open:
            call.is_slow = True
        self._seen = received

    def _held(self, received: int, peer: Peer, calls: list[_Open]) -> int:
        """Return what the open calls of a connection hold; complete messages between theirs make it no larger."""
        since = self._since(received, peer, calls)
        if since > _SHARED * len(calls) * self._limit:
            return since
        slow = [call for call in calls if call.is_slow]  # others are quick, as far as is known
        return len(slow) * _CALL_BYTES + min(self._since(received, peer, slow), len(slow) * self._limit)

    def _since(self, received: int, peer: Peer, calls: list[_Open]) -> int:
        return received - min((call.seen.get(peer, 0) for call in calls), default=received)


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


def _failure(reply: "asyncio.Future[None]") -> BaseException | None:
    return None if reply.cancelled() else reply.exception()


def _give_back() -> None:
    """Return freed memory to the system; glibc by itself keeps what lies below a piece that is in use."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def peer_of(text: str) -> Peer:
    """Return a client as the library writes it: `ipv4:127.0.0.1:1` or `ipv6:%5B::1%5D:1`."""
    kind, _, rest = text.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return _GONE
    host, _, port = unquote(rest).rpartition(":")
    return Peer(host.strip("[]"), int(port))


async def _messages(context: Context, parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield parse(message)
