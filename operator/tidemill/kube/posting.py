"""Events are posted beside the passes: a pass that has written its status need not wait for what is only advice."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tidemill.core.plan import Event
from tidemill.kube.events import EventRecorder
from tidemill.kube.places import LINE, Line

logger = logging.getLogger(__name__)

LIMIT = 10_000
_AT_ONCE = 4


class Poster:
    """Posts events as they come, a few at a time, after requests that somebody waits for."""

    def __init__(self, recorder: EventRecorder, now: Callable[[], datetime]) -> None:
        """Starts nothing; the first event does."""
        self._recorder = recorder
        self._now = now
        self._waiting: deque[tuple[Mapping[str, Any], Event, datetime]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, obj: Mapping[str, Any], event: Event) -> None:
        """Takes an event about `obj` (a live object with a uid); beyond `LIMIT` waiting ones it is only logged."""
        if len(self._waiting) >= LIMIT:
            logger.warning(
                "event %s not posted: too many wait", event.reason, extra={"object": obj["metadata"]["name"]}
            )
            return
        self._waiting.append((obj, event, self._now()))
        if len(self._tasks) < _AT_ONCE:
            task = asyncio.create_task(self._work(), name="events")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Returns when all were posted, or gives up after `seconds`."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
            for task in late:
                task.cancel()

    async def _work(self) -> None:
        LINE.set(Line("events", is_awaited=False))
        while self._waiting:
            await self._recorder.post(*self._waiting.popleft())
