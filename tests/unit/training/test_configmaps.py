"""ConfigMaps that many pipelines share: one read for all, and no failure for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidemill.core.plan import ObjectRef
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache
from tidemill.training.configmaps import READS, SHARED_FAILURES, ConfigMapDigests

Obj = dict[str, Any]
AWAY = ApiError(0, "NoAnswer", "time-out")


class Client:
    """Answers when told; the first `failing` reads fail."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.reads: list[str] = []
        self.now = self.most = 0

    async def get(self, ref: ObjectRef) -> Obj:
        self.reads.append(ref.name)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if len(self.reads) <= self.failing:
            raise AWAY
        meta = {"name": ref.name, "namespace": "ns", "uid": f"u-{ref.name}", "resourceVersion": "1"}
        return {"metadata": meta, "data": {"train.py": "pass"}}


async def ask(client: Client, names: list[str]) -> list[Any]:
    found = ConfigMapDigests(client, Cache())  # type: ignore[arg-type]
    return await asyncio.gather(*(found.get("ns", name) for name in names), return_exceptions=True)


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_failed_read_fails_one_pass_and_is_made_again_for_the_others(failing: int) -> None:
    client = Client(failing)
    answers = await ask(client, ["code"] * 1510)
    assert answers.count(AWAY) == failing
    assert len(client.reads) == failing + 1, "whoever waits shares the next read"


async def test_where_every_read_fails_nobody_waits_for_ever() -> None:
    client = Client(10**6)
    assert await ask(client, ["code"] * 50) == [AWAY] * 50
    assert len(client.reads) == SHARED_FAILURES + 1


async def test_few_are_in_memory_at_the_same_time() -> None:
    client = Client()
    assert all(await ask(client, [f"code-{n}" for n in range(100)]))
    assert client.most == READS
