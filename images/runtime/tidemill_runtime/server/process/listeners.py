"""What accepts requests in a process: started after a fork, drained at the end.

`lifecycle` holds a list of listeners and knows no more of them than `Listener` says. A transport has one.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Protocol

import uvicorn

from tidemill_runtime.server.host import sockets

_ACCEPT_QUEUE_SECONDS = 0.05
_ACCEPT_QUEUE_TURNS = 40  # at most 2 s


class Listener(Protocol):
    """One transport. Both methods run on the event loop of the process that serves."""

    async def serve(self, on_started: Callable[[], None]) -> None:
        """Accept, call `on_started` once, answer; return when drained. What it raises ends the process with code 1."""

    async def drain(self) -> None:
        """Accept no more without losing what the kernel has queued, and let `serve` finish what is in flight."""


class HttpListener:
    """uvicorn on a socket that listens already."""

    def __init__(self, listener: socket.socket, config: uvicorn.Config) -> None:
        self._listener = listener
        self._config = config
        self._server: _Server | None = None

    async def serve(self, on_started: Callable[[], None]) -> None:
        """Answer until drained."""
        self._server = _Server(self._config, on_started)
        await self._server.serve(sockets=[self._listener])

    async def drain(self) -> None:
        """Refuse new connections, take those that the kernel has completed, stop."""
        sockets.refuse_new(self._listener)
        await self._empty_queue()
        if self._server is not None:
            self._server.should_exit = True

    async def _empty_queue(self) -> None:
        """Let the loop accept what the kernel had queued, and read it; on a busy machine that takes longer."""
        for _ in range(_ACCEPT_QUEUE_TURNS):
            await asyncio.sleep(_ACCEPT_QUEUE_SECONDS)
            if not sockets.waiting(self._listener):
                break
        for _ in range(3):  # a sleep may end before the loop has looked at its sockets; a turn of it has
            await asyncio.sleep(0)


class _Server(uvicorn.Server):
    """uvicorn that says when it listens and leaves signals alone: `lifecycle` decides when to stop."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield
