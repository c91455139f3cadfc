"""What can wait until after the first answer: frameworks that inference does not need.

FastAPI and the client of the monitor take two fifths of a start's time to import. They are imported by whoever
needs them first, beside the event loop, or once the server has been ready for a while.
"""

import asyncio
import importlib
from collections.abc import Callable, MutableMapping
from typing import Any

from tidemill_runtime.server.bodies import Receive
from tidemill_runtime.server.http import App, Send
from tidemill_runtime.server.observer import is_tracing

PREPARE_AFTER_SECONDS = 1.0
_MODULES = ("aiohttp", "tidemill_runtime.server.application")


def import_all() -> None:
    """Import now; for a process that forks, so that others share the memory."""
    for name in _MODULES:
        importlib.import_module(name)
    if is_tracing():
        importlib.import_module("tidemill_runtime.server.tracing")


class LaterApp:
    """An ASGI application that is made when it is first called, or prepared. Belongs to one event loop."""

    def __init__(self, make: Callable[[], App]) -> None:
        self._make = make
        self._app: App | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Call the application."""
        await (self._app or await self._made())(scope, receive, send)

    async def prepare(self) -> None:
        """Make what was not needed so far, in a while."""
        await asyncio.sleep(PREPARE_AFTER_SECONDS)
        await asyncio.to_thread(import_all)
        await self._made()

    async def _made(self) -> App:
        async with self._making:
            if self._app is None:
                self._app = await asyncio.to_thread(self._make)
            return self._app
