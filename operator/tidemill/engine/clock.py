"""Where time comes from. Slices get a `Clock` and pass `now()` into their snapshots; they never ask the system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A call that is due."""

    def cancel(self) -> None:
        """It is not made."""
        ...


class Clock(Protocol):
    """Wall clock for what is recorded, monotonic clock for what is measured."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` in `seconds`, within the running event loop, unless the timer is cancelled."""
        ...


async def sleep(clock: Clock, seconds: float) -> None:
    """Returns when `clock` has moved on by `seconds`."""
    due = asyncio.Event()
    timer = clock.call_later(seconds, due.set)
    try:
        await due.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def within(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Ends what it holds with TimeoutError once `clock` has moved on by `seconds`."""
    async with asyncio.timeout(None) as limit:
        timer = clock.call_later(seconds, lambda: limit.reschedule(0.0))
        try:
            yield
        finally:
            timer.cancel()


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Calls `callback` in `seconds`, within the running event loop, unless the timer is cancelled."""
        return asyncio.get_running_loop().call_later(seconds, callback)
