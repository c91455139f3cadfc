"""The listener for gRPC: port, life and drain of its server.

Nothing of gRPC is imported before a process serves, and then in a thread: REST answers meanwhile, and workers are
forked from a process that never saw the library.

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

from tidemill_runtime.server import sockets
from tidemill_runtime.server.dataplane import DataPlane
from tidemill_runtime.server.errors import StartError
from tidemill_runtime.server.observer import Observer
from tidemill_runtime.server.state import State

if TYPE_CHECKING:
    import grpc

    from tidemill_runtime.server import grpc_server

CONNECTION_SECONDS = 3.0
_JITTER = 1.2  # the library adds up to a tenth to the age of a connection; the rest is for the way to the client
_STATE_SECONDS = 0.1  # how soon those who watch the health service hear of a change
_LOOK_SECONDS = 0.05
_STREAM_SECONDS = 1.0


class GrpcListener:
    """Serves gRPC on a port of its own; a `listeners.Listener`."""

    def __init__(
        self, plane: DataPlane, state: State, port: int, *, is_shared: bool = False, observer: Observer | None = None
    ) -> None:
        """`is_shared` lets several processes accept on one port; an observer is told of each inference."""
        self._plane = plane
        self._state = state
        self._port = port
        self._is_shared = is_shared
        self._observer = observer
        self._server: grpc.aio.Server | None = None
        self._health: grpc_server.Health | None = None

    async def serve(self, on_started: Callable[[], None]) -> None:
        """Answer until drained.

        Raises:
            StartError: the port is taken.
        """
        module = await asyncio.to_thread(importlib.import_module, "tidemill_runtime.server.grpc_server")
        server, health = module.create_server(self._plane, self._state, self._options(), self._observer)
        self._bind(server)
        await server.start()
        self._server, self._health = server, health
        on_started()
        telling = asyncio.create_task(self._tell(health))
        try:
            await server.wait_for_termination()
        finally:
            telling.cancel()

    async def drain(self) -> None:
        """Take no new connections, wait until those that are there have been sent away, stop."""
        if self._server is None or self._health is None:
            return
        await self._health.end()
        for own in _sockets(self._port):
            if sockets.is_listening(own):
                sockets.refuse_new(own)
        for _ in range(int(CONNECTION_SECONDS * _JITTER / _LOOK_SECONDS)):
            if not any(map(_has_clients, _sockets(self._port))):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        # What streams still, an idle reflection client say, is cut off; calls end within the time that they have.
        for _ in range(int(self._plane.config.request_timeout_seconds / _LOOK_SECONDS)):
            if not self._plane.in_flight:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        await self._server.stop(_STREAM_SECONDS)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.so_reuseport", int(self._is_shared)),
            ("grpc.max_receive_message_length", self._plane.config.max_body_bytes),
            ("grpc.max_connection_age_ms", int(CONNECTION_SECONDS * 1000)),
        ]

    def _bind(self, server: "grpc.aio.Server") -> None:
        host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  a pod's own network
        try:
            self._port = server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise StartError("StartFailed", f"port {self._port} for gRPC: {error}", retryable=True) from error

    async def _tell(self, health: "grpc_server.Health") -> None:
        """Keep the health service's answers in step with the state of the process."""
        while True:
            await health.tell(self._state.is_ready)
            await asyncio.sleep(_STATE_SECONDS)


def _has_clients(own: socket.socket) -> bool:
    return sockets.waiting(own) > 0 if sockets.is_listening(own) else True


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
