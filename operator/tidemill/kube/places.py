"""Who may send the next request: a bounded number at a time, and the kinds take turns.

What somebody waits for comes first: passes over an object of a user whose status does not answer its spec yet, and all
that is no pass, the Lease above all. The rest, what became of two thousand runs say, has a share that it cannot lose.

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
from typing import NamedTuple, TypeAlias

_Lines: TypeAlias = "OrderedDict[str, deque[asyncio.Future[None]]]"

OTHERS_EVERY = 16
"""While somebody waits for a first answer, every sixteenth place goes to the other requests."""


class Line(NamedTuple):
    """The line that a request waits in: the reconciled kind, and whether somebody waits for the answer."""

    kind: str
    is_awaited: bool = True


_NO_PASS = Line("")
LINE: ContextVar[Line] = ContextVar("tidemill_line", default=_NO_PASS)
"""The line of this task's requests: set by the workers of a kind, before each pass."""


class Places:
    """At most `places` at a time. Used within one event loop."""

    def __init__(self, places: int) -> None:
        """Everybody is welcome until the places are taken."""
        self._free = places
        self._given = 0
        self._awaited: _Lines = OrderedDict()
        self._others: _Lines = OrderedDict()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a place in the line of this task, and gives it back at the end."""
        await self._take(LINE.get())
        try:
            yield
        finally:
            self._give()

    async def _take(self, line: Line) -> None:
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lines = self._awaited if line.is_awaited else self._others
        lines.setdefault(line.kind, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give()  # it was ours already
            raise

    def _give(self) -> None:
        """Hands the place to the line that was served longest ago, else keeps it free."""
        while self._awaited or self._others:
            self._given += 1
            first, second = self._awaited, self._others
            if self._given % OTHERS_EVERY == 0:
                first, second = second, first
            lines = first or second
            kind, waiting = lines.popitem(last=False)
            place = waiting.popleft()
            if waiting:
                lines[kind] = waiting  # to the end: the others come first
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
