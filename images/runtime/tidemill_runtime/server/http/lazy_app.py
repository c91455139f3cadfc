"""Frameworks that inference does not need wait until after the first answer (decision 119).

FastAPI and the client of the monitor take two fifths of a start's time to import, and 20 MiB. The application is
made at the first request that needs it, beside the event loop; many servers are only ever sent inference.
"""

import asyncio
import importlib
from collections.abc import Callable, MutableMapping
from typing import Any

from tidemill_runtime import late_imports
from tidemill_runtime.server.http.asgi import App, Send
from tidemill_runtime.server.http.body_limits import Receive
from tidemill_runtime.server.telemetry.observer import is_tracing

_MODULES = ("aiohttp", "tidemill_runtime.server.http.app")


def import_all() -> None:
    """Import now; for a process that forks, so that others share the memory."""
    for name in _MODULES:
        importlib.import_module(name)
    if is_tracing():
        importlib.import_module("tidemill_runtime.server.telemetry.tracing")


class LazyApp:
    """An ASGI application that is made when it is first called. Belongs to one event loop."""

    def __init__(self, make: Callable[[], App]) -> None:
        self._make = make
        self._app: App | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Call the application."""
        await (self._app or await self._made())(scope, receive, send)

    async def _made(self) -> App:
        async with self._making:
            if self._app is None:
                self._app = await late_imports.run(self._make)
            return self._app
