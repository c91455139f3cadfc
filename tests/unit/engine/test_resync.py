"""Full lists over several namespaces, one of which may refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.fakes import FakeClock

from tidemill.engine.event_handler import EventHandler, sources
from tidemill.engine.listing import Lister
from tidemill.engine.queue import WorkQueue
from tidemill.engine.resync import Resync
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache
from tidemill.kube.streams import Scope

Obj = dict[str, Any]


class Streams:
    """Lists one pipeline a namespace; some refuse."""

    def __init__(self, **refusals: ApiError) -> None:
        self.refusals = refusals

    async def read(self, scope: Scope, take: Callable[[Obj], None], beat: Callable[[], None]) -> int:
        if scope.namespace in self.refusals:
            raise self.refusals[scope.namespace]
        meta = {"name": "churn", "namespace": scope.namespace, "uid": f"u-{scope.namespace}", "resourceVersion": "5"}
        take({"apiVersion": scope.resource.api_version, "kind": scope.resource.kind, "metadata": meta})
        return 5


def resync(streams: Streams, *namespaces: str) -> tuple[Resync, Cache]:
    cache, clock = Cache(), FakeClock()
    queues = {"TrainingPipeline": WorkQueue("trainingpipeline", clock)}
    handler = EventHandler(cache, queues, sources(["TrainingPipeline"], []))
    lister = Lister(streams, handler, clock, lambda _: None)  # type: ignore[arg-type]
    return Resync(lister, handler, namespaces, 600), cache


FORBIDDEN = ApiError(403, "Forbidden", "cannot list trainingpipelines")


async def test_a_namespace_that_refuses_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found, cache = resync(Streams(b=FORBIDDEN), "a", "b", "c")
    with caplog.at_level(logging.WARNING):
        await found.once()
    assert [o["metadata"]["namespace"] for o in cache.list("TrainingPipeline")] == ["a", "c"]
    assert "namespace b is not served" in caplog.text


async def test_what_was_listed_a_moment_ago_is_not_listed_again() -> None:
    streams = Streams()
    found, _ = resync(streams, "a")
    clock = found._lister._clock
    await found.once()
    streams.refusals["a"] = ApiError(500, "InternalError", "it is listed again")
    clock.advance(20)  # type: ignore[attr-defined]
    await found.once(fresh_seconds=30)
    clock.advance(20)  # type: ignore[attr-defined]
    with pytest.raises(ApiError, match="listed again"):
        await found.once(fresh_seconds=30)


async def test_where_all_refuse_the_lists_have_failed() -> None:
    found, _ = resync(Streams(a=FORBIDDEN, b=FORBIDDEN), "a", "b")
    with pytest.raises(ApiError, match="cannot list"):
        await found.once()


async def test_what_is_no_refusal_fails_the_round() -> None:
    found, _ = resync(Streams(b=ApiError(500, "InternalError", "etcd is away")), "a", "b")
    with pytest.raises(ApiError, match="etcd is away"):
        await found.once()


class Enough(Exception):  # noqa: N818 - ends a test's loop
    """The script is over."""


def slept(monkeypatch: pytest.MonkeyPatch, rounds: int) -> list[float]:
    """How long the loop sleeps each time; it ends after so many rounds."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        if len(pauses) == rounds:
            raise Enough
        pauses.append(seconds)

    monkeypatch.setattr("tidemill.engine.resync.asyncio.sleep", sleep)
    return pauses


async def test_rounds_follow_each_other_about_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    found, cache = resync(Streams(), "a")
    pauses = slept(monkeypatch, 300)
    with pytest.raises(Enough):
        await found.run()
    assert 540 <= min(pauses) < 560
    assert 640 < max(pauses) <= 660
    assert cache.count("TrainingPipeline") == 1


async def test_a_round_that_failed_is_followed_in_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found, _ = resync(Streams(a=ApiError(500, "InternalError", "etcd is away")), "a")
    pauses = slept(monkeypatch, 4)
    with pytest.raises(Enough):
        await found.run()
    assert pauses[1::2] == [60, 60]
    assert "etcd is away" in caplog.text


async def test_a_round_lists_whatever_was_listed_just_now_and_wakes_everybody() -> None:
    streams = Streams()
    found, _ = resync(streams, "a")
    await found.once()
    queue = found._handler.queues["TrainingPipeline"]
    key = await queue.get()
    assert key is not None
    queue.done(key)
    await found.once()
    assert await queue.get() == key, "every object gets a look even when nothing seems to have happened"
    streams.refusals["a"] = ApiError(500, "InternalError", "it is listed again")
    with pytest.raises(ApiError, match="listed again"):
        await found.once()
    found._lister._clock.advance(30)  # type: ignore[attr-defined]
    with pytest.raises(ApiError, match="listed again"):
        await found.once(fresh_seconds=30)
