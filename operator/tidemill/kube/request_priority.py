"""Priority and fairness of our own requests: a bounded number of seats, and a queue for each flow.

The words are those of the API server's Priority and Fairness (APF): a request waits in the queue of its flow until it
gets a seat. Requests about objects of users have priority, and so have those of no pass. What Tidemill makes of them,
the Jobs of two thousand runs say, has a share of the seats that it cannot lose, and no more than that while requests
with priority wait or are being answered.

Why not the connection pool's own queue: it is one for all, in which five hundred deployments wait behind two thousand
pipelines, and the time in it counts against the request's time-out. Here each kind has a queue of its own, the queues
are served in turn, and a request's time starts when it has its seat.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import NamedTuple

OWN_SHARE = 32
"""While there are requests for objects of users, those for our own have one seat in so many, at least one."""


class Flow(NamedTuple):
    """What a request belongs to: the reconciled kind, and whether the object is one that we made."""

    kind: str
    is_own: bool = False


_NO_PASS = Flow("")
FLOW: ContextVar[Flow] = ContextVar("tidemill_flow", default=_NO_PASS)
"""The flow of this task's requests: set by the workers of a kind, before each pass."""


class RequestPriority:
    """Hands out `seats` to requests. Used within one event loop."""

    def __init__(self, seats: int) -> None:
        """`seats`: requests at a time."""
        self._free = seats
        self._few = max(1, seats // OWN_SHARE)
        self._held = {False: 0, True: 0}  # by `is_own`
        self._flows: dict[bool, OrderedDict[str, deque[asyncio.Future[None]]]] = {
            False: OrderedDict(),
            True: OrderedDict(),
        }

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[None]:
        """Waits for a seat in the queue of this task's flow, and gives it back at the end."""
        flow = FLOW.get()
        await self._take(flow)
        try:
            yield
        finally:
            self._give(flow)

    async def _take(self, flow: Flow) -> None:
        seat: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flows[flow.is_own].setdefault(flow.kind, deque()).append(seat)
        self._hand_out()
        try:
            await seat
        except asyncio.CancelledError:
            if seat.done() and not seat.cancelled():
                self._give(flow)  # it was ours already
            raise

    def _give(self, flow: Flow) -> None:
        self._free += 1
        self._held[flow.is_own] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives every free seat to the flow of its class that was served longest ago."""
        while self._free and (own := self._next()) is not None:
            flows = self._flows[own]
            kind, waiting = flows.popitem(last=False)
            seat = waiting.popleft()
            if waiting:
                flows[kind] = waiting  # to the end: the others come first
            if not seat.done():
                self._free -= 1
                self._held[own] += 1
                seat.set_result(None)

    def _next(self) -> bool | None:
        """Which class is next; None: nobody, or our own have their share."""
        if self._flows[True] and self._held[True] < self._few:
            return True
        if self._flows[False]:
            return False
        return True if self._flows[True] and not self._held[False] else None
