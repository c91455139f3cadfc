"""The server's connection to its monitor: kept while it leads there, and no longer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.servinglog import FakeMonitor

from tidemill_contracts.inference import REFERENCE_PATH
from tidemill_runtime.model.errors import UnavailableError
from tidemill_runtime.predictionlog.client import MonitorClient
from tidemill_runtime.server.http import feedback


@asynccontextmanager
async def answering(status: int, ports: list[int]) -> AsyncIterator[MonitorClient]:
    """Give a client of a server that answers with one status and notes from which port it was asked."""

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = MonitorClient(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 201, 202, 400, 409, 413, 503])
async def test_the_connection_to_a_monitor_is_kept(status: int) -> None:
    ports: list[int] = []
    async with answering(status, ports) as client:
        assert [(await client.post("/v1/batches", b"{}"))[0] for _ in range(3)] == [status] * 3
    assert len(set(ports)) == 1


@pytest.mark.parametrize("status", [302, 403, 404, 502])
async def test_a_connection_on_which_somebody_else_answers_is_not_used_again(status: int) -> None:
    ports: list[int] = []
    async with answering(status, ports) as client:
        assert [(await client.post("/v1/batches", b"{}"))[0] for _ in range(3)] == [status] * 3
        with pytest.raises(UnavailableError, match=f"its address answers {status}"):
            await feedback.forward(b"{}", client)
    assert len(set(ports)) == 4


PLAIN = {"deployment": "churn", "version": "churn-1", "digest": "sha256:1", "profile": {"rows": 1, "features": []}}
PROVEN = {**PLAIN, "manifest": "{}", "profile_text": "{}"}


@pytest.mark.parametrize(
    ("has_token", "accepts", "posted", "status"),
    [
        (False, (PLAIN,), [PLAIN], 202),
        (True, (PROVEN,), [PROVEN], 202),
        (True, (PLAIN,), [PROVEN, PLAIN], 202),  # a monitor of 0.1 in the middle of an upgrade
        (True, (), [PROVEN, PLAIN], 400),
    ],
    ids=["no token", "a token", "a monitor that knows no proof", "a reference that is wrong"],
)
async def test_a_reference_has_its_proof_where_a_token_is_shown(
    tmp_path: Path, has_token: bool, accepts: tuple[Any, ...], posted: list[Any], status: int
) -> None:
    token, monitor = tmp_path / "token", FakeMonitor()
    if has_token:
        token.write_text("secret")

    def answer(path: str) -> tuple[int, Any]:
        document = monitor.posts[-1][1]
        if path == REFERENCE_PATH:
            return (201, {}) if document in accepts else (400, {"error": f"{len(document)} fields"})
        known = any(path == REFERENCE_PATH and body in accepts for path, body in monitor.posts)
        return (202, {}) if known else (409, {})

    monitor.answer = answer
    async with monitor.running():
        client = MonitorClient(monitor.url, token_file=token)
        found = await client.post_batch(b"{}", json.dumps(PROVEN).encode())
        await client.close()
    assert [body for path, body in monitor.posts if path == REFERENCE_PATH] == posted
    assert found[0] == status
    assert status != 400 or json.loads(found[1]) == {"error": f"{len(PROVEN)} fields"}, "what the first post was told"
