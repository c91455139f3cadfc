"""Waiting by a clock: as long as it says, and no call stays due when nobody waits any more."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.engine.fakes import FakeClock, settle

from tidemill.engine.clock import SystemClock, sleep, within


async def test_sleep_ends_when_the_clock_has_moved_on() -> None:
    clock = FakeClock()
    task = asyncio.create_task(sleep(clock, 5))
    await settle()
    clock.advance(4.9)
    await settle()
    assert not task.done()
    clock.advance(0.1)
    await settle()
    assert task.done()


async def test_nothing_is_due_for_a_sleeper_that_was_cancelled() -> None:
    clock = FakeClock()
    task = asyncio.create_task(sleep(clock, 5))
    await settle()
    (timer,) = clock.timers
    task.cancel()
    await asyncio.wait([task])
    assert timer.cancelled


async def test_what_takes_longer_than_the_clock_allows_is_ended() -> None:
    clock = FakeClock()

    async def work() -> None:
        async with within(clock, 5):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await settle()
    clock.advance(4.9)
    await settle()
    assert not task.done()
    clock.advance(0.1)
    await settle()
    with pytest.raises(TimeoutError):
        task.result()


async def test_what_ends_in_time_leaves_nothing_due() -> None:
    clock = FakeClock()
    async with within(clock, 5):
        pass
    assert [timer.cancelled for timer in clock.timers] == [True]
    with pytest.raises(ValueError, match="boom"):
        async with within(clock, 5):
            raise ValueError("boom")
    assert [timer.cancelled for timer in clock.timers] == [True, True]


async def test_the_machines_clocks() -> None:
    clock, called = SystemClock(), asyncio.Event()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert clock.now().tzinfo is UTC
    assert abs(clock.monotonic() - time.monotonic()) < 60
    clock.call_later(0, called.set)
    other = clock.call_later(0, pytest.fail)
    other.cancel()
    async with asyncio.timeout(5):
        await called.wait()
