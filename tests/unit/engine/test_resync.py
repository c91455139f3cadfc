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
