"""The listener for gRPC: port, life and drain of its server.

Most servers are never asked over gRPC, and the library takes 16 MiB and a fifth of a second: it is imported when the
first client connects, in a thread, while REST answers. Until the library listens itself, on the same port, the
connections that came are passed on to it. Workers are forked from a process that never saw it.

A gRPC server that is stopped cancels calls that have arrived and are not yet handed on, so it is stopped only when
no client is connected. Clients are sent away all the time, each a few seconds after it connected, in the way that
loses no call (two GOAWAY frames); they find another server when this one takes no new connections any more.
"""

import asyncio
import contextlib
import importlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tidemill_runtime.model.errors import StartError
from tidemill_runtime.server.dataplane.dataplane import DataPlane
from tidemill_runtime.server.host import sockets
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.telemetry.observer import Observer

if TYPE_CHECKING:
    import grpc

    from tidemill_runtime.server.rpc import inference_service

CONNECTION_SECONDS = 3.0
_JITTER = 1.2  # the library adds up to a tenth to the age of a connection; the rest is for the way to the client
_GRACE_TIMES = 3  # a message and its answer each have the time of a request; streams end then
_STATE_SECONDS = 0.1  # how soon those who watch the health service hear of a change
_LOOK_SECONDS = 0.05
_STREAM_SECONDS = 1.0
_HAND_OVER_SECONDS = 1.0
_TURN_SECONDS = 0.01


class GrpcListener:
    """Serves gRPC on a port of its own; a `listeners.Listener`."""

    def __init__(self, plane: DataPlane, state: State, port: int, *, observer: Observer | None = None) -> None:
        """An observer is told of each inference."""
        self._plane = plane
        self._state = state
        self._port = port
        self._observer = observer
        self._inner = f"tidemill-grpc-{os.getpid()}"  # a socket without a file, in this pod's network alone
        self._server: grpc.aio.Server | None = None
        self._health: inference_service.Health | None = None
        self._early = set[sockets.Peer]()
        self._wanted = asyncio.Event()
        self._up = asyncio.Event()
        self._over = asyncio.Event()

    async def serve(self, on_started: Callable[[], None]) -> None:
        """Answer until drained.

        Raises:
            StartError: the library cannot listen.
            OSError: the port is taken.
        """
        own = sockets.listen(self._port, shared=True)
        self._port = own.getsockname()[1]
        early = await asyncio.start_server(self._pass_on, sock=own)
        on_started()
        await self._first_of(self._wanted, self._over)
        if not self._wanted.is_set():
            early.close()
            return
        try:
            server, health = await self._start()
        except BaseException:
            self._over.set()  # or `drain`, and the clients that were to be passed on, would wait for the library
            raise
        await self._hand_over(own)
        early.close()
        telling = asyncio.create_task(self._tell(health))
        try:
            await server.wait_for_termination()
        finally:
            telling.cancel()

    async def drain(self) -> None:
        """Take no new connections, wait until those that are there have been sent away, stop."""
        if self._wanted.is_set():
            await self._first_of(self._up, self._over)
        if self._health is not None:
            await self._health.end()
        for own in _sockets(self._port):
            if sockets.is_listening(own):
                sockets.refuse_new(own)
        for _ in range(int(CONNECTION_SECONDS * _JITTER / _LOOK_SECONDS)):
            if not sum(map(_has_clients, _sockets(self._port))):  # not any(): each of them is to be heard
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self._over.set()
        if self._server is None:
            return
        # What streams still, an idle reflection client say, is cut off; calls end within the time that they have.
        for _ in range(int(self._plane.config.request_timeout_seconds / _LOOK_SECONDS)):
            if not self._plane.in_flight:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        await self._server.stop(_STREAM_SECONDS)

    async def _start(self) -> "tuple[grpc.aio.Server, inference_service.Health]":
        module = await asyncio.to_thread(importlib.import_module, "tidemill_runtime.server.rpc.inference_service")
        bounds = module.MessageBounds(self._plane.config, self._received, self._cut)
        server, health = module.create_server(self._plane, self._state, self._options(), bounds, self._observer)
        host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  a pod's own network
        try:
            server.add_insecure_port(f"unix-abstract:{self._inner}")
            server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise StartError("StartFailed", f"port {self._port} for gRPC: {error}", retryable=True) from error
        await health.tell(self._state.is_ready)  # nobody is to hear that the service is unknown
        await server.start()
        self._server, self._health = server, health
        self._up.set()
        return server, health

    async def _hand_over(self, own: socket.socket) -> None:
        """Leave new connections to the library, after those that the kernel has queued for us."""
        sockets.refuse_new(own)  # a client's kernel asks again in a second, and meets the library then
        for _ in range(int(_HAND_OVER_SECONDS / _TURN_SECONDS)):
            await asyncio.sleep(_TURN_SECONDS)
            if not sockets.waiting(own):
                break
        await asyncio.sleep(_TURN_SECONDS)  # what was taken from the queue a moment ago is passed on

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection that came before the library; it lasts as long as any."""
        self._wanted.set()
        own = writer.get_extra_info("socket")
        sockets.hear(own)
        with contextlib.suppress(OSError):
            self._early.add(sockets.peer(own))
        await self._first_of(self._up, self._over)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as inner:
            inner.setblocking(False)
            await asyncio.get_running_loop().sock_connect(inner, f"\0{self._inner}")
            from_library, to_library = await asyncio.open_unix_connection(sock=inner)
            await asyncio.gather(_carry(reader, to_library), _carry(from_library, writer))
        writer.close()

    async def _first_of(self, *events: asyncio.Event) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    def _received(self) -> dict[sockets.Peer, int]:
        """Return what each client's connection has received; those that came before the library count as one."""
        found: dict[sockets.Peer, int] = {}
        for peer, own in self._connections():
            with contextlib.suppress(OSError):  # it ended
                found[peer] = found.get(peer, 0) + sockets.received(own)
        return found

    def _cut(self, client: sockets.Peer) -> None:
        """End a client's connection; with one that came before the library, all of those."""
        for peer, own in self._connections():
            if peer == client:
                with contextlib.suppress(OSError):  # it ended by itself
                    sockets.reset(own)

    def _connections(self) -> Iterator[tuple[sockets.Peer, socket.socket]]:
        for own in _sockets(self._port):
            with contextlib.suppress(OSError):  # it ended
                if not sockets.is_listening(own):
                    peer = sockets.peer(own)
                    yield sockets.EARLY if peer in self._early else peer, own

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._plane.config.max_body_bytes),
            ("grpc.max_connection_age_ms", int(CONNECTION_SECONDS * 1000)),
            ("grpc.max_connection_age_grace_ms", int(_GRACE_TIMES * self._plane.config.request_timeout_seconds * 1000)),
        ]

    async def _tell(self, health: "inference_service.Health") -> None:
        """Keep the health service's answers in step with the state of the process."""
        while True:
            await health.tell(self._state.is_ready)
            await asyncio.sleep(_STATE_SECONDS)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _has_clients(own: socket.socket) -> bool:
    if sockets.is_listening(own):
        return sockets.waiting(own) > 0
    sockets.hear(own)
    return True


def _sockets(port: int) -> Iterator[socket.socket]:
    """Yield this process's TCP sockets on a port, each open only until the next; none where there is no /proc.

    The library tells neither its sockets nor how many clients are connected.
    """
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  names only
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as own:
                is_tcp = own.family in (socket.AF_INET, socket.AF_INET6) and own.type == socket.SOCK_STREAM
                if is_tcp and own.getsockname()[1] == port:
                    yield own
