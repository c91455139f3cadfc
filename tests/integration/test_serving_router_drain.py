"""A router that goes away, on the real Envoy: clients leave by themselves, and nobody commands it by network."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.test_serving_router import Router, fetch_ok, pair, router, running, session, until, weigh
from tests.support.rawhttp import Client
from tests.unit.serving.make import snapshot

from tidemill.serving.builders import envoy
from tidemill.serving.builders import router as builder

__all__ = ["pair", "router", "session"]  # fixtures

REQUEST = b"POST /v1/models/churn:predict HTTP/1.1\r\nhost: churn\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def admin(router: Router) -> AsyncIterator[aiohttp.ClientSession]:
    """The admin interface, which only who is inside the pod reaches."""
    connector = aiohttp.UnixConnector(str(router.folder.parent / "admin.sock"))
    async with aiohttp.ClientSession("http://admin", connector=connector) as client:
        yield client


async def test_clients_of_a_router_that_goes_lose_no_request(session, pair, tmp_path: Path) -> None:
    stable, candidate = pair
    changes = {"connection_seconds": 1}
    async with (
        running(tmp_path / "old", session, **changes) as old,
        running(tmp_path / "new", session, **changes) as new,
    ):
        for one in (old, new):
            await weigh(session, one, stable, candidate, 0)
        where, answered, stop = old, [0, 0], asyncio.Event()

        async def client() -> None:
            """Asks one request after the other, and connects again only when it was asked to, as clients do."""
            while not stop.is_set():
                kept, closes = Client(*await asyncio.open_connection("127.0.0.1", where.port)), False
                while not closes and not stop.is_set():
                    await kept.send(REQUEST)
                    answer = await kept.answer()
                    assert (answer.status, answer.body) == (200, b"stable")
                    answered[where is new] += 1
                    closes = answer.headers.get("connection") == "close"
                await kept.close()

        async with asyncio.TaskGroup() as group:  # a lost request fails the test
            for _ in range(8):
                group.create_task(client())
            await asyncio.sleep(0.5)
            where = new  # the endpoint is gone; who is connected stays so
            await asyncio.sleep(1 + 0.5)  # the kubelet waits
            old.process.terminate()
            await old.process.wait()
            await asyncio.sleep(0.3)
            stop.set()
    assert min(answered) > 50


async def test_a_request_that_lasts_longer_than_a_connection_is_answered(session, pair, tmp_path: Path) -> None:
    stable, candidate = pair
    async with running(tmp_path / "one", session, connection_seconds=1) as router:
        await weigh(session, router, stable, candidate, 0)
        kept = Client(*await asyncio.open_connection("127.0.0.1", router.port))
        for stable.delay, closes in ((1.5, None), (0.0, "close")):
            await kept.send(REQUEST)
            answer = await kept.answer()
            assert (answer.status, answer.headers.get("connection")) == (200, closes)
        await kept.close()


async def test_an_idle_connection_of_any_age_takes_one_more_request(session, pair, tmp_path: Path) -> None:
    stable, candidate = pair
    async with running(tmp_path / "one", session, connection_seconds=1) as router:
        await weigh(session, router, stable, candidate, 0)
        kept = Client(*await asyncio.open_connection("127.0.0.1", router.port))
        for wait, closes in ((0.0, None), (1.5, "close")):
            await asyncio.sleep(wait)
            await kept.send(REQUEST)
            answer = await kept.answer()
            assert (answer.status, answer.headers.get("connection")) == (200, closes)
        assert await kept.is_closed()
        await kept.close()


ADMIN = (
    "/", "/certs", "/clusters", "/config_dump", "/contention", "/cpuprofiler?enable=y", "/drain",
    "/drain_listeners", "/drain_listeners?graceful", "/healthcheck/fail", "/healthcheck/ok",
    "/heapprofiler?enable=y", "/help", "/hot_restart_version", "/init_dump", "/listeners",
    "/logging?level=trace", "/memory", "/quitquitquit", "/reopen_logs", "/reset_counters", "/runtime",
    "/runtime_modify?x=y", "/server_info", "/stats", "/stats/recentlookups", "/stats/recentlookups/clear",
    "/tap", "/ready/../quitquitquit", "/ready/", "/stats/prometheus/../../healthcheck/fail",
    "//healthcheck/fail", "/%68ealthcheck/fail", "/ready%2f..%2fhealthcheck/fail",
)  # fmt: skip


async def test_nothing_that_the_network_reaches_changes_the_router(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    for path in ADMIN:
        for method in ("GET", "POST", "PUT"):
            head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nx-tidemill-drain: f00d\r\ncontent-length: 0\r\n\r\n"
            kept = Client(*await asyncio.open_connection("127.0.0.1", router.stats_port))
            await kept.send(head.encode())
            assert (await kept.answer()).status == 404, (method, path)
            await kept.close()
    for path in ("/ready", "/stats/prometheus"):
        async with session.post(router.stats_url + path) as response:
            await response.read()
    assert await fetch_ok(session, f"{router.stats_url}/ready")
    async with session.get(router.url) as response:
        assert response.status == 200 and "connection" not in response.headers


async def test_headers_of_a_client_set_neither_time_outs_nor_retries(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    stable.delay = 0.3
    async with session.get(router.url, headers={"x-envoy-upstream-rq-timeout-ms": "100"}) as response:
        assert response.status == 200
    stable.delay, stable.status = 0.0, lambda attempt: 500
    before = stable.seen
    async with session.get(router.url, headers={"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "50"}) as response:
        assert (response.status, stable.seen - before) == (500, 1)


async def test_a_router_that_drains_and_stays_fails_its_liveness_probe(router, session, pair) -> None:
    """Who is inside the pod can drain it; the kubelet then restarts it, and it serves again."""
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    (container,) = builder.pod_spec(snapshot())["containers"]
    probe = container["livenessProbe"]["httpGet"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports[probe["port"]] == envoy.ROUTER_STATS_PORT
    url = router.stats_url + probe["path"]
    assert await fetch_ok(session, url)
    async with admin(router) as inside, inside.post("/healthcheck/fail") as response:
        assert response.status == 200

    async def fails() -> bool:
        return not await fetch_ok(session, url)

    await until(fails)
    async with session.get(router.url) as response:
        assert response.status == 200


async def test_clients_that_take_every_connection_do_not_make_it_look_dead(session, pair, tmp_path: Path) -> None:
    async with running(tmp_path / "one", session, connections=5) as router:
        taken = [socket.create_connection(("127.0.0.1", router.port)) for _ in range(20)]
        refused: list[Any] = []

        async def is_full() -> bool:
            try:
                async with session.get(router.url):
                    return False
            except aiohttp.ClientError as error:
                refused.append(error)
                return True

        await until(is_full)
        async with aiohttp.ClientSession() as probe:  # a connection of its own, as a kubelet's
            assert await fetch_ok(probe, f"{router.stats_url}/ready")
        for one in taken:
            one.close()


@pytest.mark.parametrize("seconds", [1, 30, 31, 600])
def test_the_kubelet_waits_until_clients_and_their_requests_have_gone(seconds: int) -> None:
    found = snapshot({"server": {"requestTimeoutSeconds": seconds}})
    pod = builder.pod_spec(found)
    wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait >= envoy.CONNECTION_SECONDS + (15 if seconds <= 30 else seconds)
    assert pod["terminationGracePeriodSeconds"] >= wait + 10
