"""Far more users than places: everybody gets a prediction or a 503, nobody somebody else's, and memory stays."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hack.bench.serving.processes import memory_mib
from sklearn.ensemble import RandomForestClassifier
from tests.support import serverprocess, versions
from tests.support.rawhttp import Client

from tidemill_contracts.inference import Batching

USERS, LIMIT = 300, 64
SECONDS = 6.0
_PATH = b"POST /v1/models/demo:predict HTTP/1.1\r\nhost: demo\r\ncontent-length: %d\r\n\r\n%s"


async def _user(port: int, requests: list[bytes], labels: list[Any], start: int, until: float) -> Counter[str]:
    """Ask for one row after the other on one connection; return how often what came."""
    seen: Counter[str] = Counter()
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    at = start
    while time.monotonic() < until:
        at = (at + 1) % len(requests)
        await client.send(requests[at])
        answer = await client.answer()
        if answer.status == 200:
            seen["right" if answer.json() == {"predictions": [labels[at]]} else "wrong"] += 1
        elif answer.status == 503 and answer.headers["retry-after"] == "1":
            seen["refused"] += 1
            await asyncio.sleep(0.02)  # what is asked for is a second
        else:
            seen[f"{answer.status} {answer.body!r}"] += 1
    await client.close()
    return seen


@pytest.mark.parametrize(
    ("runtime", "changes"),
    [("ONNX", {}), ("Native", {}), ("Native", {"batching": Batching(enabled=False)})],
    ids=["quick", "batches", "one call each"],
)
async def test_three_hundred_users_at_sixty_four_places(tmp_path: Path, runtime: str, changes: dict[str, Any]) -> None:
    estimator = RandomForestClassifier(n_estimators=500, random_state=0)
    published = versions.numbers(tmp_path / "store", estimator=estimator)
    rows = published.frame.to_numpy()
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows.tolist()]
    requests = [_PATH % (len(body), body) for body in bodies]
    labels = published.model.predict(rows).tolist()
    config = published.config(runtime=runtime, max_in_flight=LIMIT, **changes)
    with serverprocess.running(tmp_path, config) as server:
        await asyncio.to_thread(server.wait_ready)
        until = time.monotonic() + SECONDS
        users = [asyncio.create_task(_user(server.port, requests, labels, i, until)) for i in range(USERS)]
        memory = []
        for _ in range(2):
            await asyncio.sleep(SECONDS / 2 - 0.2)
            memory.append(memory_mib([server.process.pid]))
        seen = sum(await asyncio.gather(*users), Counter[str]())
    assert set(seen) <= {"right", "refused"}, seen
    assert seen["right"] > USERS
    assert (seen["refused"] > 0) is (runtime == "Native"), "a quick model refuses nobody, a slow one not everybody"
    assert memory[1] - memory[0] < 3, memory
