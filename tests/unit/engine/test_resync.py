"""Full lists over several namespaces, one of which may refuse."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.engine.fakes import FakeClock

from tidemill.engine.intake import Intake, sources
from tidemill.engine.queue import WorkQueue
from tidemill.engine.resync import Resync
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache

Obj = dict[str, Any]


class Client:
    """Lists one pipeline a namespace; some refuse."""

    def __init__(self, **refusals: ApiError) -> None:
        self.refusals = refusals

    async def pages(
        self, api_version: str, kind: str, namespace: str | None, *_: Any
    ) -> AsyncIterator[tuple[list[Obj], int]]:
        if namespace in self.refusals:
            raise self.refusals[namespace]
        meta = {"name": "churn", "namespace": namespace, "uid": f"u-{namespace}", "resourceVersion": "5"}
        yield [{"apiVersion": api_version, "kind": kind, "metadata": meta}], 5


def resync(client: Client, *namespaces: str) -> tuple[Resync, Cache]:
    cache = Cache()
    queues = {"TrainingPipeline": WorkQueue("trainingpipeline", FakeClock())}
    intake = Intake(cache, queues, sources(["TrainingPipeline"], []))
    return Resync(client, intake, namespaces, 600), cache  # type: ignore[arg-type]


FORBIDDEN = ApiError(403, "Forbidden", "cannot list trainingpipelines")


async def test_a_namespace_that_refuses_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found, cache = resync(Client(b=FORBIDDEN), "a", "b", "c")
    with caplog.at_level(logging.WARNING):
        await found.once()
    assert [o["metadata"]["namespace"] for o in cache.list("TrainingPipeline")] == ["a", "c"]
    assert "namespace b is not served" in caplog.text


async def test_where_all_refuse_the_lists_have_failed() -> None:
    found, _ = resync(Client(a=FORBIDDEN, b=FORBIDDEN), "a", "b")
    with pytest.raises(ApiError, match="cannot list"):
        await found.once()


async def test_what_is_no_refusal_fails_the_round() -> None:
    found, _ = resync(Client(b=ApiError(500, "InternalError", "etcd is away")), "a", "b")
    with pytest.raises(ApiError, match="etcd is away"):
        await found.once()
