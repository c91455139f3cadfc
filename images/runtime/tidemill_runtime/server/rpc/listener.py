"""The listener for gRPC; it finds its sockets in /proc/self/fd, as the library does not show them.

Those sockets serve the bounds of unfinished messages (`message_limits`) and the drain. The library is imported beside
the loading of the model and started by each process that serves, after the fork: it starts threads, which no fork
survives.

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
import threading
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
_STATE_SECONDS = 0.1  # how soon watchers of the health service receive a change
_LOOK_SECONDS = 0.05
_STREAM_SECONDS = 1.0
_SERVICE = "tidemill_runtime.server.rpc.inference_service"


def importing() -> threading.Thread:
    """Import the library in a thread from now on; wait for its end before a fork. What fails, fails again in `serve`.

    The import alone starts no threads, so that workers share its pages.
    """

    def load() -> None:
        with contextlib.suppress(Exception):
            importlib.import_module(_SERVICE)

    thread = threading.Thread(target=load, name="import-grpc", daemon=True)
    thread.start()
    return thread


class GrpcListener:
    """Serves gRPC on a port of its own; a `listeners.Listener`."""

    def __init__(self, plane: DataPlane, state: State, port: int, *, observer: Observer | None = None) -> None:
        """The observer, if there is one, reports each inference."""
        self._plane = plane
        self._state = state
        self._port = port
        self._observer = observer
        self._server: grpc.aio.Server | None = None
        self._health: inference_service.Health | None = None
        self._is_settled = asyncio.Event()  # it serves, or never will

    async def serve(self, on_started: Callable[[], None]) -> None:
        """Answer until drained.

        Raises:
            StartError: the library cannot listen; the port is taken, say.
        """
        try:
            server, health = await self._start()
        finally:
            self._is_settled.set()
        on_started()
        updating = asyncio.create_task(self._update(health))
        try:
            await server.wait_for_termination()
        finally:
            updating.cancel()

    async def drain(self) -> None:
        """Take no new connections, wait until those that are there have been sent away, stop."""
        await self._is_settled.wait()
        if self._server is None or self._health is None:
            return
        await self._health.end()
        for own in _sockets(self._port):
            if sockets.is_listening(own):
                sockets.refuse_new(own)
        for _ in range(int(CONNECTION_SECONDS * _JITTER / _LOOK_SECONDS)):
            if not sum(map(_has_clients, _sockets(self._port))):  # not any(): each of them is to be heard
                break
            await asyncio.sleep(_LOOK_SECONDS)
        # What streams still, an idle reflection client say, is cut off; calls end within the time that they have.
        for _ in range(int(self._plane.config.request_timeout_seconds / _LOOK_SECONDS)):
            if not self._plane.in_flight:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        await self._server.stop(_STREAM_SECONDS)

    async def _start(self) -> "tuple[grpc.aio.Server, inference_service.Health]":
        module = importlib.import_module(_SERVICE)
        bounds = module.MessageBounds(self._plane.config, self._received, self._cut)
        server, health = module.create_server(self._plane, self._state, self._options(), bounds, self._observer)
        host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  a pod's own network
        try:
            self._port = server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise StartError("StartFailed", f"port {self._port} for gRPC: {error}", retryable=True) from error
        await health.update()  # so that the service is known from the first call on
        await server.start()
        self._server, self._health = server, health
        return server, health

    def _received(self) -> dict[sockets.Peer, int]:
        """Return what each client's connection has received."""
        found: dict[sockets.Peer, int] = {}
        for peer, own in self._connections():
            with contextlib.suppress(OSError):  # it ended
                found[peer] = sockets.received(own)
        return found

    def _cut(self, client: sockets.Peer) -> None:
        """End a client's connection."""
        for peer, own in self._connections():
            if peer == client:
                with contextlib.suppress(OSError):  # it ended by itself
                    sockets.reset(own)

    def _connections(self) -> Iterator[tuple[sockets.Peer, socket.socket]]:
        for own in _sockets(self._port):
            with contextlib.suppress(OSError):  # it ended
                if not sockets.is_listening(own):
                    yield sockets.peer(own), own

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._plane.config.max_body_bytes),
            ("grpc.max_connection_age_ms", int(CONNECTION_SECONDS * 1000)),
            ("grpc.max_connection_age_grace_ms", int(_GRACE_TIMES * self._plane.config.request_timeout_seconds * 1000)),
        ]

    async def _update(self, health: "inference_service.Health") -> None:
        """Keep the health service's answers in step with the state of the process."""
        while True:
            await health.update()
            await asyncio.sleep(_STATE_SECONDS)


def _has_clients(own: socket.socket) -> bool:
    if sockets.is_listening(own):
        return sockets.waiting(own) > 0
    sockets.hear(own)
    return True


def _sockets(port: int) -> Iterator[socket.socket]:
    """Yield this process's TCP sockets on a port, each open only until the next; none where there is no /proc."""
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
