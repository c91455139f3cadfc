"""ConfigMaps that many pipelines share: one read for all, and no failure for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidemill.core.plan import ObjectRef
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache
from tidemill.training.config_map_digests import READS, SHARED_FAILURES, ConfigMapDigests

Obj = dict[str, Any]
AWAY = ApiError(0, "NoAnswer", "time-out")


class Client:
    """Answers when told; the first `failing` reads fail."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.reads: list[str] = []
        self.now = self.most = 0
        self.version, self.code = 1, "pass"
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def get(self, ref: ObjectRef) -> Obj:
        self.reads.append(ref.name)
        self.asked.set()
        version, code = self.version, self.code
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        await self.answers.wait()
        self.now -= 1
        if len(self.reads) <= self.failing:
            raise AWAY
        meta = {"name": ref.name, "namespace": "ns", "uid": f"u-{ref.name}", "resourceVersion": str(version)}
        return {"metadata": meta, "data": {"train.py": code}}


async def ask(client: Client, names: list[str]) -> list[Any]:
    found = ConfigMapDigests(client, Cache())  # type: ignore[arg-type]
    return await asyncio.gather(*(found.get("ns", name) for name in names), return_exceptions=True)


@pytest.mark.slow
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


async def test_what_was_read_before_the_change_that_woke_a_pass_does_not_count_for_it() -> None:
    client, cache = Client(), Cache()
    found = ConfigMapDigests(client, cache)  # type: ignore[arg-type]
    client.answers.clear()
    early = asyncio.create_task(found.get("ns", "code"))
    await client.asked.wait()
    client.version, client.code = 2, "print()"
    meta = {"name": "code", "namespace": "ns", "uid": "u-code", "resourceVersion": "2"}
    cache.put({"kind": "ConfigMap", "metadata": meta})
    late = [asyncio.create_task(found.get("ns", "code")) for _ in range(100)]
    await asyncio.sleep(0)
    client.answers.set()
    old, new = await early, {str(answer) for answer in await asyncio.gather(*late)}
    assert len(new) == 1 and str(old) not in new
    assert len(client.reads) == 2, "and all of them share the next one"


@pytest.mark.slow
async def test_few_are_in_memory_at_the_same_time() -> None:
    client = Client()
    assert all(await ask(client, [f"code-{n}" for n in range(100)]))
    assert client.most == READS
