"""Events are posted beside the passes: in order, a bounded number, and those that wait are posted before the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.unit.engine.fakes import FakeClock

from tidemill.core.plan import Event
from tidemill.kube import posting
from tidemill.kube.places import LINE, Line
from tidemill.kube.posting import Poster


class Recorder:
    """Posts when it is let."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.posted: set[str] = set()
        self.lines: set[Line] = set()
        self.open = asyncio.Event()

    async def post(self, obj: Mapping[str, Any], event: Event, when: datetime) -> None:
        assert when == CLOCK.now()
        self.lines.add(LINE.get())
        self.begun.append(event.reason)
        await self.open.wait()
        self.posted.add(event.reason)


def events(count: int) -> list[Event]:
    return [Event("Normal", f"Reason{n}", "m", "A") for n in range(count)]


OBJ = {"metadata": {"name": "a"}}
CLOCK = FakeClock()


async def test_a_pass_does_not_wait_and_the_order_is_kept() -> None:
    recorder = Recorder()
    poster = Poster(recorder, CLOCK.now)  # type: ignore[arg-type]
    wanted = events(20)
    for event in wanted:
        poster.post(OBJ, event)
    await asyncio.sleep(0)
    assert not recorder.posted
    recorder.open.set()
    await poster.drain(5)
    assert recorder.begun == [e.reason for e in wanted]
    assert len(recorder.posted) == 20
    assert recorder.lines == {Line("events", is_awaited=False)}
    poster.post(OBJ, Event("Normal", "Later", "m", "A"))
    await poster.drain(5)
    assert "Later" in recorder.posted, "it starts again"


async def test_waiting_events_are_bounded_and_the_end_does_not_wait_for_ever() -> None:
    poster = Poster(Recorder(), CLOCK.now)  # type: ignore[arg-type]
    for event in events(posting.LIMIT + 50):
        poster.post(OBJ, event)
    assert len(poster._waiting) == posting.LIMIT
    async with asyncio.timeout(1):
        await poster.drain(0.01)
