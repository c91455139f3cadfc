"""The work queue: which keys need a look. Same promises as client-go's workqueue.

A key waits at most once; a key that is added while it is being worked on comes back afterwards; one key is never in two
workers; failures come back with exponential backoff and jitter. It says nothing about why a key is here.
Not thread-safe: one event loop uses it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial

from tidemill.core.plan import Key
from tidemill.engine import metrics
from tidemill.engine.clock import Clock, Timer

BASE_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 300.0


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, protects nothing


class WorkQueue:
    """A deduplicated queue of keys with delayed and rate-limited adds."""

    def __init__(self, name: str, clock: Clock, jitter: Callable[[], float] = _jitter) -> None:
        """`name` labels the metrics; `jitter` gives the factor on backoff delays."""
        self.name = name
        self._clock = clock
        self._jitter = jitter
        self._waiting: deque[Key] = deque()
        self._dirty: dict[Key, float] = {}
        self._processing: dict[Key, float] = {}
        self._timers: dict[Key, tuple[float, Timer]] = {}
        self._failures: dict[Key, int] = {}
        self._signal: set[asyncio.Future[None]] = set()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.QUEUE_DEPTH.labels(name).set_function(lambda: len(self._waiting))
        metrics.UNFINISHED_SECONDS.labels(name).set_function(self._unfinished)
        metrics.LONGEST_SECONDS.labels(name).set_function(self._longest)

    def add(self, key: Key) -> None:
        """Wants a look at `key` as soon as a worker is free; nothing happens when it waits already."""
        if self._closed or key in self._dirty:
            return
        metrics.QUEUE_ADDS.labels(self.name).inc()
        self._dirty[key] = self._clock.monotonic()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Adds `key` in `seconds`; of several such wishes the earliest counts, and taking the key clears them."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        pending = self._timers.get(key)
        if pending is not None:
            if pending[0] <= due:
                return
            pending[1].cancel()
        self._timers[key] = (due, self._clock.call_later(seconds, partial(self._fire, key)))

    def add_rate_limited(self, key: Key, at_least: float = 0.0) -> float:
        """Adds `key` after its backoff (1 s doubling to 5 min, with jitter); returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        metrics.QUEUE_RETRIES.labels(self.name).inc()
        delay = min(BASE_DELAY_SECONDS * 2.0 ** min(failures, 16), MAX_DELAY_SECONDS) * self._jitter()
        delay = max(min(delay, MAX_DELAY_SECONDS), at_least)
        self.add_after(key, delay)
        return delay

    def failures(self, key: Key) -> int:
        """How many times in a row `key` was added by `add_rate_limited`."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """The last pass went well: the next failure starts at the shortest delay again."""
        self._failures.pop(key, None)

    async def get(self) -> Key | None:
        """The next key, which the caller must hand to `done`; None when the queue has been shut down."""
        while not self._waiting and not self._closed:
            future = asyncio.get_running_loop().create_future()
            self._signal.add(future)
            try:
                await future
            finally:
                self._signal.discard(future)
        if self._closed:
            return None
        key = self._waiting.popleft()
        now = self._clock.monotonic()
        metrics.QUEUE_SECONDS.labels(self.name).observe(now - self._dirty.pop(key))
        self._processing[key] = now
        self._idle.clear()
        timer = self._timers.pop(key, None)
        if timer is not None:  # this look replaces it; the pass says when the next one is due
            timer[1].cancel()
        return key

    def done(self, key: Key) -> None:
        """The worker is through with `key`; if it was added meanwhile it waits again."""
        started = self._processing.pop(key)
        metrics.WORK_SECONDS.labels(self.name).observe(self._clock.monotonic() - started)
        if key in self._dirty and not self._closed:
            self._push(key)
        if not self._processing:
            self._idle.set()

    def shut_down(self) -> None:
        """No key is handed out any more; passes that run may finish (`drained`)."""
        self._closed = True
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for future in self._signal:
            if not future.done():
                future.set_result(None)

    async def drained(self) -> None:
        """Returns when no key is being worked on."""
        await self._idle.wait()

    def __len__(self) -> int:
        """How many keys wait for a worker now."""
        return len(self._waiting)

    def oldest_seconds(self) -> float:
        """How long the first of the waiting keys has waited for a worker; 0 when none waits."""
        return self._clock.monotonic() - self._dirty[self._waiting[0]] if self._waiting else 0.0

    def _push(self, key: Key) -> None:
        self._waiting.append(key)
        for future in self._signal:
            if not future.done():
                future.set_result(None)
                break

    def _fire(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _unfinished(self) -> float:
        now = self._clock.monotonic()
        return sum(now - started for started in self._processing.values())

    def _longest(self) -> float:
        now = self._clock.monotonic()
        return max((now - started for started in self._processing.values()), default=0.0)
