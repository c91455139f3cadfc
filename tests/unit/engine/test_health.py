"""The probes and the metrics page as the kubelet and Prometheus get them, and when each counts as failed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import REGISTRY, Gauge
from tests.unit.engine.fakes import FakeClock

from tidemill.engine.health import LOOP_LATE_SECONDS, HealthServer, Heartbeats

STALE = 60.0


def heartbeats() -> tuple[FakeClock, Heartbeats]:
    clock = FakeClock()
    return clock, Heartbeats(clock, STALE)


def alive(clock: FakeClock, beats: Heartbeats, seconds: float) -> list[str]:
    """What is dead after so many seconds in which the loop was never late."""
    clock.advance(seconds)
    beats._loop_seen = clock.monotonic()
    return beats.problems()


def test_a_watch_is_dead_after_more_than_its_time() -> None:
    clock, beats = heartbeats()
    beats.expect(["/b", "/a"])
    assert alive(clock, beats, STALE) == []
    assert alive(clock, beats, 1) == ["watch on /a silent for 61 s", "watch on /b silent for 61 s"]
    beats.expect(["/a"])
    assert len(beats.problems()) == 2, "naming it again is no sign of life"


def test_a_beat_is_shown_by_the_kind() -> None:
    _, beats = heartbeats()
    beats.expect(["/apis/x/things"])
    beats.beat("/apis/x/things")
    shown = REGISTRY.get_sample_value("tidemill_operator_watch_last_activity_timestamp_seconds", {"kind": "things"})
    assert shown is not None
    assert shown > 1_600_000_000


def test_a_leader_is_dead_when_work_waits_for_longer_than_its_time() -> None:
    clock, beats = heartbeats()
    assert beats._waited() == math.inf
    beats.lead()
    assert alive(clock, beats, STALE) == []
    beats.work(lambda: STALE)
    assert alive(clock, beats, 1) == []
    beats.work(lambda: STALE + 1)
    assert alive(clock, beats, 0) == ["no pass for 61 s although there is work"]


async def test_the_loop_is_late_after_ten_seconds_without_its_tick() -> None:
    clock, beats = heartbeats()
    clock.advance(LOOP_LATE_SECONDS)
    assert LOOP_LATE_SECONDS == 10
    assert beats.problems() == []
    clock.advance(1)
    assert beats.problems() == ["event loop late by 11 s"]
    ticking = asyncio.create_task(beats.tick())
    await asyncio.sleep(0)
    assert beats.problems() == []
    ticking.cancel()
    await asyncio.wait([ticking])


@asynccontextmanager
async def served(beats: Heartbeats) -> AsyncIterator[tuple[HealthServer, aiohttp.ClientSession]]:
    server = HealthServer(beats, 0)
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield server, session
    finally:
        await server.stop()


@pytest.mark.parametrize(("path", "code"), [("/healthz", 500), ("/readyz", 503)])
async def test_a_probe_answers_what_is_wrong(path: str, code: int) -> None:
    clock, beats = heartbeats()
    async with served(beats) as (server, session):
        assert server.port > 0
        beats.unready = lambda: []
        async with session.get(path) as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        beats.expect(["/a", "/b"])
        clock.advance(STALE + 1)
        beats._loop_seen = clock.monotonic()
        beats.unready = lambda: ["watch on /a silent for 61 s", "watch on /b silent for 61 s"]
        async with session.get(path) as answer:
            said = (answer.status, await answer.text())
        assert said == (code, "watch on /a silent for 61 s\nwatch on /b silent for 61 s\n")


async def test_an_operator_that_starts_is_not_ready() -> None:
    _, beats = heartbeats()
    assert beats.unready() == ["starting"]


async def test_the_page_shows_the_process_and_this_operator() -> None:
    _, beats = heartbeats()
    async with served(beats) as (server, session):
        Gauge("of_this_operator", "One.", registry=server.registry).set(1)
        async with session.get("/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "of_this_operator 1.0" in text
    assert "workqueue_depth" in text
    with pytest.raises(aiohttp.ClientConnectionError):
        async with aiohttp.ClientSession() as other, other.get(f"http://127.0.0.1:{server.port}/healthz"):
            pass


async def test_a_port_that_was_chosen_is_kept_and_stopping_before_the_start_is_nothing() -> None:
    _, beats = heartbeats()
    await HealthServer(beats, 0).stop()
    async with served(beats) as (first, _):
        chosen = first.port
    second = HealthServer(beats, chosen)
    await second.start()
    await second.stop()
    assert second.port == chosen


async def test_the_loop_ticks_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("tidemill.engine.health.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await heartbeats()[1].tick()
    assert pauses == [1.0, 1.0, 1.0]
