"""Who may send the next request: a bounded number at a time, and the kinds take turns.

Why not the connection pool's own queue: it is one line for all, in which five hundred deployments stand behind two
thousand pipelines, and the time in it counts against the request's time-out. Here each kind has a line of its own, the
lines are served in turn, and a request's time starts when its turn has come.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

LINE: ContextVar[str] = ContextVar("tidemill_line", default="")
"""The line that requests of this task wait in: the reconciled kind, set by its workers."""


class Places:
    """At most `places` at a time. Used within one event loop."""

    def __init__(self, places: int) -> None:
        """Everybody is welcome until the places are taken."""
        self._free = places
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a place in the line of this task, and gives it back at the end."""
        await self._take(LINE.get())
        try:
            yield
        finally:
            self._give()

    async def _take(self, line: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(line, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give()  # it was ours already
            raise

    def _give(self) -> None:
        """Hands the place to the line that was served longest ago, else keeps it free."""
        while self._lines:
            line, waiting = self._lines.popitem(last=False)
            place = waiting.popleft()
            if waiting:
                self._lines[line] = waiting  # to the end: the others come first
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
