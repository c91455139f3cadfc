"""The server's connection to its monitor: kept while it leads there, and no longer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

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
