"""Who may send the next request: a bounded number at a time, and the kinds take turns.

Objects of users come first, and all that is no pass. What Tidemill makes of them, the Jobs of two thousand runs say,
has a share that it cannot lose, and no more than that while requests of the others wait or are being answered.

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
from typing import NamedTuple

OWN_SHARE = 32
"""While there are requests for objects of users, those for our own have one place in so many, at least one."""


class Line(NamedTuple):
    """The line that a request waits in: the reconciled kind, and whether the object is one that we made."""

    kind: str
    is_own: bool = False


_NO_PASS = Line("")
LINE: ContextVar[Line] = ContextVar("tidemill_line", default=_NO_PASS)
"""The line of this task's requests: set by the workers of a kind, before each pass."""


class Places:
    """At most `places` at a time. Used within one event loop."""

    def __init__(self, places: int) -> None:
        """Everybody is welcome until the places are taken."""
        self._free = places
        self._few = max(1, places // OWN_SHARE)
        self._held = {False: 0, True: 0}  # by `is_own`
        self._lines: dict[bool, OrderedDict[str, deque[asyncio.Future[None]]]] = {
            False: OrderedDict(),
            True: OrderedDict(),
        }

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a place in the line of this task, and gives it back at the end."""
        line = LINE.get()
        await self._take(line)
        try:
            yield
        finally:
            self._give(line)

    async def _take(self, line: Line) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines[line.is_own].setdefault(line.kind, deque()).append(place)
        self._hand_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give(line)  # it was ours already
            raise

    def _give(self, line: Line) -> None:
        self._free += 1
        self._held[line.is_own] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives every free place to the line of its class that was served longest ago."""
        while self._free and (own := self._next()) is not None:
            lines = self._lines[own]
            kind, waiting = lines.popitem(last=False)
            place = waiting.popleft()
            if waiting:
                lines[kind] = waiting  # to the end: the others come first
            if not place.done():
                self._free -= 1
                self._held[own] += 1
                place.set_result(None)

    def _next(self) -> bool | None:
        """Which class is next; None: nobody, or our own have their share."""
        if self._lines[True] and self._held[True] < self._few:
            return True
        if self._lines[False]:
            return False
        return True if self._lines[True] and not self._held[False] else None
