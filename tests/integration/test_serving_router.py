"""The generated router configuration on the real Envoy: weights, changes without a restart, retries, statistics."""

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidemill.serving import router_stats
from tidemill.serving.builders import envoy

ENVOY = Path(sys.executable).with_name("envoy")
CLUSTERS = ("churn-1-aaaa", "churn-2-bbbb")
RECORDED = Path(__file__).parents[1] / "unit" / "serving" / "envoy_stats.txt"


@dataclass
class Upstream:
    """A model server of two lines; `status` (by number of the try) and `delay` can be changed while it runs."""

    name: str
    port: int = 0
    status: Callable[[int], int] = lambda attempt: 200
    delay: float = 0.0
    seen: int = 0
    request_ids: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen += 1
        request_id = request.headers.get("x-request-id", "")
        self.request_ids.append(request_id)
        await asyncio.sleep(self.delay)
        return web.Response(status=self.status(self.request_ids.count(request_id)), text=self.name)


@dataclass
class Router:
    folder: Path
    port: int
    stats_port: int
    process: asyncio.subprocess.Process | None = None
    limits: envoy.Limits = field(default_factory=envoy.Limits)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stats_url(self) -> str:
        return f"http://127.0.0.1:{self.stats_port}"

    def write(self, upstreams: list[envoy.Upstream]) -> str:
        """Replaces the files as a kubelet does: a new folder, then the rename of `..data`."""
        clusters = envoy.clusters(upstreams, grpc=self.limits.grpc)
        routes = envoy.routes(upstreams, self.limits)
        version = envoy.version_of(routes)
        data = self.folder / f"..{version}-{envoy.version_of(clusters)}"
        data.mkdir(exist_ok=True)
        (data / "clusters.json").write_text(envoy.dump(clusters))
        (data / "routes.json").write_text(envoy.dump(routes))
        link = self.folder / "..data_tmp"
        link.symlink_to(data.name)
        link.rename(self.folder / "..data")
        for name in ("clusters.json", "routes.json"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        return version


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.asynccontextmanager
async def served(upstream: Upstream) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", upstream.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", upstream.port)
    await site.start()
    upstream.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Upstream, Upstream]]:
    stable, candidate = Upstream("stable"), Upstream("candidate")
    async with served(stable), served(candidate):
        yield stable, candidate


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40)) as client:
        yield client


@contextlib.asynccontextmanager
async def running(
    folder: Path, session: aiohttp.ClientSession, *, connections: int | None = None, **changes: Any
) -> AsyncIterator[Router]:
    """A router with files of its own; `connections` it takes at most, `changes` to the usual bootstrap file."""
    config = folder / "config"
    config.mkdir(parents=True)
    it = Router(config, free_port(), free_port())
    document = envoy.bootstrap(
        "churn",
        directory=str(config),
        admin_socket=str(folder / "admin.sock"),
        port=it.port,
        stats_port=it.stats_port,
        **changes,
    )
    if connections is not None:
        (bound,) = document["overload_manager"]["resource_monitors"]
        bound["typed_config"]["max_active_downstream_connections"] = connections
    (folder / "bootstrap.json").write_text(envoy.dump(document))
    it.write([])
    log = (folder / "envoy.log").open("wb")
    it.process = process = await asyncio.create_subprocess_exec(
        str(ENVOY),
        *("--config-path", str(folder / "bootstrap.json"), "--disable-hot-restart", "--concurrency", "1"),
        *("--log-level", "warning"),
        stdout=log,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    try:
        await until(lambda: fetch_ok(session, f"{it.stats_url}/ready"), seconds=20)
        yield it
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        log.close()
    text = (folder / "envoy.log").read_text()
    assert "Deprecated" not in text and "rejected" not in text, text


@pytest.fixture
async def router(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Router]:
    async with running(tmp_path, session) as it:
        yield it


async def fetch_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def until(check, seconds: float = 5.0) -> float:
    """Waits for a coroutine function to return something true; returns how long it took in seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not await check():
        assert loop.time() - start < seconds, "did not happen in time"
        await asyncio.sleep(0.02)
    return loop.time() - start


async def scrape(session: aiohttp.ClientSession, router: Router) -> router_stats.Scrape:
    async with session.get(f"{router.stats_url}/stats/prometheus?{router_stats.QUERY}") as response:
        assert response.status == 200
        return router_stats.parse(await response.text(), CLUSTERS)


async def weigh(session: aiohttp.ClientSession, router: Router, stable: Upstream, candidate: Upstream, weight: int):
    """Puts weights in force, as seen by the router itself; returns how long that took in seconds."""
    version = router.write(
        [
            envoy.Upstream("churn-1-aaaa", "localhost", "churn-1", 100 - weight, port=stable.port),
            envoy.Upstream("churn-2-bbbb", "localhost", "churn-2", weight, port=candidate.port),
        ]
    )

    async def in_force() -> bool:
        seen = await scrape(session, router)
        known = min(seen.members.get(name, 0) for name in ("churn-1-aaaa", "churn-2-bbbb"))
        return seen.routes_version == version and known == 1

    return await until(in_force)


async def count(session: aiohttp.ClientSession, router: Router, n: int) -> Counter[tuple[int, str]]:
    seen: Counter[tuple[int, str]] = Counter()

    async def one() -> None:
        async with session.post(f"{router.url}/v2/models/churn/infer", data=b"{}") as response:
            seen[response.status, (await response.text())[:20]] += 1

    for _ in range(n // 20):
        await asyncio.gather(*(one() for _ in range(20)))
    return seen


async def test_weights_are_exact_and_change_without_a_restart(router, session, pair) -> None:
    assert await count(session, router, 20) == {(503, '{"error": "no versio'): 20}
    stable, candidate = pair
    assert await weigh(session, router, stable, candidate, 0) < 3
    assert await count(session, router, 200) == {(200, "stable"): 200}
    assert await weigh(session, router, stable, candidate, 10) < 2
    seen = await count(session, router, 2000)
    assert sum(seen.values()) == 2000
    assert 140 <= seen[200, "candidate"] <= 260  # 200 ± 4.5 standard deviations
    assert await weigh(session, router, stable, candidate, 100) < 2
    assert await count(session, router, 100) == {(200, "candidate"): 100}


async def test_no_request_fails_while_weights_change(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    statuses: Counter[int] = Counter()
    stop = asyncio.Event()

    async def traffic() -> None:
        while not stop.is_set():
            async with session.get(router.url) as response:
                statuses[response.status] += 1

    tasks = [asyncio.create_task(traffic()) for _ in range(4)]
    for weight in (10, 50, 100, 0, 100):
        await weigh(session, router, stable, candidate, weight)
        await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*tasks)
    assert set(statuses) == {200} and statuses[200] > 100


async def test_retries_hide_a_refused_request_and_stats_tell_what_clients_saw(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 50)
    before = {"p": await scrape(session, router)}
    stable.status = lambda attempt: 503 if attempt == 1 else 200
    candidate.status = lambda attempt: 500
    seen = await count(session, router, 400)
    assert not any(status == 503 for status, _ in seen)
    await asyncio.sleep(1.2)  # histograms are merged once a second
    after = {"p": await scrape(session, router)}
    good = router_stats.total(before, after, "churn-1-aaaa")
    bad = router_stats.total(before, after, "churn-2-bbbb")
    assert good.requests + bad.requests == 400
    assert good.error_ratio == 0 and bad.error_ratio == 1
    assert stable.seen > good.requests


async def test_stats_tell_requests_that_a_version_refused_from_others_of_that_class(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 50)
    before = {"p": await scrape(session, router)}
    stable.status = lambda attempt: 404
    refusals = itertools.cycle(router_stats.CLIENT_ERRORS)
    candidate.status = lambda attempt: next(refusals)
    await count(session, router, 200)
    after = {"p": await scrape(session, router)}
    good = router_stats.total(before, after, "churn-1-aaaa")
    bad = router_stats.total(before, after, "churn-2-bbbb")
    assert good.requests + bad.requests == 200 and good.errors == bad.errors == 0
    assert good.client_error_ratio == 0 and bad.client_error_ratio == 1


async def test_latency_quantile_from_the_histogram(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 50)
    before = {"p": await scrape(session, router)}
    candidate.delay = 0.08
    await count(session, router, 200)
    await asyncio.sleep(1.2)
    after = {"p": await scrape(session, router)}
    slow, slowest = (router_stats.total(before, after, "churn-2-bbbb").quantile(q) for q in (0.5, 0.99))
    fast = router_stats.total(before, after, "churn-1-aaaa").quantile(0.5)
    assert slow is not None and 75 <= slow <= 400
    assert slowest is not None and slowest >= slow  # no upper bound: a busy machine has its own slowest request
    assert fast is not None and fast < 75


async def test_the_histogram_has_an_edge_at_an_objective_and_counts_what_took_longer_as_slow(
    tmp_path, session, pair
) -> None:
    stable, candidate = pair
    async with running(tmp_path, session, edge=router_stats.edge_of(120)) as router:
        await weigh(session, router, stable, candidate, 50)
        candidate.delay = 0.121
        await count(session, router, 60)
        await asyncio.sleep(1.2)
        async with session.get(f"{router.stats_url}/stats/prometheus?{router_stats.QUERY}") as response:
            text = await response.text()
    edge = router_stats.edge_of(120)
    with pytest.raises(router_stats.StatsError):
        router_stats.parse(text, CLUSTERS)
    clusters = router_stats.parse(text, CLUSTERS, edge).clusters
    slow, fast = clusters["churn-2-bbbb"].buckets, clusters["churn-1-aaaa"].buckets
    assert slow[float("inf")] > 0
    assert slow[edge] == 0
    assert 0 < fast[edge] <= fast[float("inf")]


async def test_headers_name_the_version_and_keep_the_request_id(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    async with session.get(router.url, headers={"x-request-id": "mine-1"}) as response:
        assert response.headers["x-tidemill-version"] == "churn-1"
        assert response.headers["x-request-id"] == "mine-1"
    assert stable.request_ids[-1] == "mine-1"
    async with session.get(router.url) as response:
        assert len(response.headers["x-request-id"]) == 36


async def test_a_body_above_the_limit_is_refused_before_a_server_sees_it(router, session, pair) -> None:
    stable, candidate = pair
    router.limits = envoy.Limits(request_seconds=600, body_bytes=1000)
    await weigh(session, router, stable, candidate, 0)

    async def post(body: bytes) -> tuple[int, str]:
        async with session.post(router.url, data=body) as response:
            return response.status, await response.text()

    assert await post(b"x" * 1000) == (200, "stable")
    assert await post(b"x" * 1001) == (413, '{"error": "the body is larger than 1000 bytes"}')
    assert stable.seen == 1
    assert await post(b"") == (200, "stable")


async def test_a_stopped_pod_is_survived_by_another_version_being_there(router, session, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 0)
    router.write([envoy.Upstream("churn-1-aaaa", "localhost", "churn-1", 100, port=free_port())])

    async def refused() -> bool:
        async with session.get(router.url) as response:
            return response.status == 503

    await until(refused)
    await asyncio.sleep(0.5)
    assert (await scrape(session, router)).clusters["churn-1-aaaa"].errors >= 1  # also what the router itself answered


async def test_recorded_stats_are_what_this_envoy_writes(router, session, pair) -> None:
    """The recording that other tests replay must not go stale when the pinned Envoy changes."""
    stable, candidate = pair
    await weigh(session, router, stable, candidate, 50)
    candidate.status = lambda attempt: 500
    await count(session, router, 100)
    await asyncio.sleep(1.2)  # histograms are merged once a second
    async with session.get(f"{router.stats_url}/stats/prometheus?{router_stats.QUERY}") as response:
        now = await response.text()
    recorded = RECORDED.read_text()
    for name in ("envoy_cluster_upstream_rq_xx{", "envoy_cluster_upstream_rq_time_bucket{", "_version_text{"):
        assert name in now and name in recorded
    assert router_stats.parse(recorded, CLUSTERS).clusters.keys() == set(CLUSTERS)
    assert router_stats.parse(now, CLUSTERS).members.keys() == router_stats.parse(recorded, CLUSTERS).members.keys()
