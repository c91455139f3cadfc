"""gRPC through the real Envoy, on the port of HTTP: weights, retries, statistics by status, connections that end."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tests.integration.test_serving_router import Router, free_port, router, running, scrape, session, until
from tests.support import serverprocess, versions
from tests.support.grpcclient import SERVICE, request, tensor

from tidemill.serving import router_stats
from tidemill.serving.builders import envoy
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

__all__ = ["router", "session"]  # fixtures
BODY = request(tensor("x", [1, 4], "FP64", fp64_contents=[0.5, -1.0, 0.25, 2.0])).SerializeToString()
Status = grpc.StatusCode
NAMES = ("churn-1-aaaa", "churn-2-bbbb")


@dataclass
class Upstream:
    """A service of one method that answers its own name; `status` is by number of the try of a request."""

    name: str
    port: int = 0
    status: Callable[[int], grpc.StatusCode] = lambda attempt: Status.OK
    seen: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._tries: Counter[str] = Counter()
        self.connections: set[str] = set()
        self.metadata: dict[str, Any] = {}

    async def infer(self, body: bytes, context: Any) -> bytes:
        self.seen += 1
        self.connections.add(context.peer())
        self.metadata = dict(context.invocation_metadata())
        request_id = self.metadata["x-request-id"]
        self._tries[request_id] += 1
        self.size = len(body)
        status = self.status(self._tries[request_id])
        if status is not Status.OK:
            await context.abort(status, "as the test says")
        return pb.ModelInferResponse(model_name=self.name, id="x" * (len(body) // 2)).SerializeToString()


@contextlib.asynccontextmanager
async def served(upstream: Upstream) -> AsyncIterator[Upstream]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    method = grpc.unary_unary_rpc_method_handler(upstream.infer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": method}),))
    upstream.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield upstream
    finally:
        await server.stop(None)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with served(Upstream("stable")) as stable, served(Upstream("candidate")) as candidate:
        yield stable, candidate


class Client:
    """Calls over one connection to the router."""

    def __init__(self, router: Router) -> None:
        options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{router.port}", options)
        self._infer = self.channel.unary_unary(f"/{SERVICE}/ModelInfer")

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.channel.close()

    async def call(self, body: bytes = BODY, **options: Any) -> tuple[grpc.StatusCode, Any, dict[str, Any]]:
        """Return status, answer or the error's words, and initial metadata."""
        call = self._infer(body, timeout=30, **options)
        try:
            answer = pb.ModelInferResponse.FromString(await call)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details(), dict(error.initial_metadata())
        return Status.OK, answer, dict(await call.initial_metadata())

    async def count(self, n: int) -> Counter[tuple[grpc.StatusCode, str]]:
        seen: Counter[tuple[grpc.StatusCode, str]] = Counter()

        async def one() -> None:
            status, answer, _ = await self.call()
            seen[status, answer.model_name if status is Status.OK else answer] += 1

        for _ in range(n // 20):
            await asyncio.gather(*(one() for _ in range(20)))
        return seen


@pytest.fixture
async def client(router: Router) -> AsyncIterator[Client]:
    async with Client(router) as client:
        yield client


async def weigh(
    session: aiohttp.ClientSession, router: Router, ports: tuple[int, int], weight: int, http: int = 1
) -> None:
    """Puts weights in force; the ports are of gRPC, those of HTTP do not matter here."""
    upstreams = [
        envoy.Upstream(NAMES[0], "localhost", "churn-1", 100 - weight, port=http, grpc_port=ports[0]),
        envoy.Upstream(NAMES[1], "localhost", "churn-2", weight, port=http, grpc_port=ports[1]),
    ]
    version = router.write(upstreams)

    async def in_force() -> bool:
        seen = await scrape(session, router)
        return seen.routes_version == version and all(seen.members.get(name) == 1 for name in NAMES)

    await until(in_force)


async def test_weights_hold_for_calls_too(router, session, client, pair) -> None:
    seen = await client.count(20)
    assert seen == {(Status.UNAVAILABLE, "no version of the model is ready yet"): 20}
    ports = (pair[0].port, pair[1].port)
    await weigh(session, router, ports, 0)
    assert await client.count(100) == {(Status.OK, "stable"): 100}
    await weigh(session, router, ports, 10)
    seen = await client.count(2000)
    assert sum(seen.values()) == 2000
    assert 140 <= seen[Status.OK, "candidate"] <= 260  # 200 ± 4.5 standard deviations
    await weigh(session, router, ports, 100)
    assert await client.count(100) == {(Status.OK, "candidate"): 100}


async def test_a_model_without_grpc_says_so(router, session, client) -> None:
    router.limits = envoy.Limits(grpc=False)
    version = router.write([envoy.Upstream(NAMES[0], "localhost", "churn-1", 100, port=free_port())])

    async def in_force() -> bool:
        return (await scrape(session, router)).routes_version == version

    await until(in_force)
    status, words, _ = await client.call()
    assert status is Status.UNIMPLEMENTED
    assert "spec.server.grpc" in words


async def test_stats_tell_errors_of_the_server_from_those_of_the_client(router, session, client, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, (stable.port, candidate.port), 50)
    before = {"p": await scrape(session, router)}
    stable.status = lambda attempt: Status.UNAVAILABLE if attempt == 1 else Status.INVALID_ARGUMENT
    candidate.status = lambda attempt: Status.INTERNAL
    seen = await client.count(400)
    assert {status for status, _ in seen} == {Status.INVALID_ARGUMENT, Status.INTERNAL}
    await asyncio.sleep(1.2)  # histograms are merged once a second
    after = {"p": await scrape(session, router)}
    good, bad = (router_stats.total(before, after, name) for name in NAMES)
    assert good.requests + bad.requests == 400
    assert good.error_ratio == 0 and bad.error_ratio == 1
    assert good.client_error_ratio == 1 and bad.client_error_ratio == 0
    assert stable.seen > good.requests, "a refused call was tried again"
    assert candidate.seen == bad.requests, "an answered one was not"
    assert good.quantile(0.5) is not None


async def test_a_server_that_is_away_is_an_error_of_its_version(router, session, client, tmp_path: Path) -> None:
    port = serverprocess.free_ports(1)[0]
    await weigh(session, router, (port, port), 0)
    before = {"p": await scrape(session, router)}
    seen = await client.count(40)
    assert {status for status, _ in seen} == {Status.UNAVAILABLE}
    await asyncio.sleep(1.2)
    found = router_stats.total(before, {"p": await scrape(session, router)}, NAMES[0])
    assert (found.requests, found.errors) == (40, 40)
    lines = [json.loads(line) for line in (tmp_path / "envoy.log").read_text().splitlines() if line.startswith("{")]
    assert {line["cluster"] for line in lines} == {f"{NAMES[0]}_grpc"}
    assert {line["grpcStatus"] for line in lines} == {"Unavailable"}


async def test_messages_and_metadata_pass(router, session, client, pair, tmp_path: Path) -> None:
    stable, candidate = pair
    await weigh(session, router, (stable.port, candidate.port), 0)
    metadata = (("x-request-id", "mine-1"), ("x-tidemill-prediction-id", "p-1"))
    status, answer, initial = await client.call(metadata=metadata)
    assert (status, answer.model_name) == (Status.OK, "stable")
    assert (initial["x-tidemill-version"], initial["x-request-id"]) == ("churn-1", "mine-1")
    assert stable.metadata["x-tidemill-prediction-id"] == "p-1"
    large = bytes(6 << 20)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        status, answer, _ = await client.call(large, compression=compression)
        assert (status, len(answer.id), stable.size) == (Status.OK, len(large) // 2, len(large))
    stable.status = lambda attempt: Status.INVALID_ARGUMENT
    assert (await client.call())[0] is Status.INVALID_ARGUMENT
    assert "{" not in (tmp_path / "envoy.log").read_text(), "what is the client's error is not logged"


async def test_calls_at_once_spread_over_connections(router, session, client, pair) -> None:
    stable, candidate = pair
    await weigh(session, router, (stable.port, candidate.port), 0)
    results = await asyncio.gather(*(client.call() for _ in range(400)))
    assert {status for status, *_ in results} == {Status.OK}
    assert len(stable.connections) > 1, "several processes on one port would not share the work"


async def test_no_call_fails_while_servers_send_their_clients_away_and_end(router, session, tmp_path: Path) -> None:
    published = versions.numbers(tmp_path / "store")
    config = published.config(drain_seconds=1.0)
    with (
        serverprocess.running(tmp_path / "one", config) as one,
        serverprocess.running(tmp_path / "two", config) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        await weigh(session, router, (one.grpc_port, two.grpc_port), 0)
        statuses: Counter[tuple[grpc.StatusCode, str]] = Counter()
        stop = asyncio.Event()

        async def traffic(client: Client) -> None:
            while not stop.is_set():
                status, answer, initial = await client.call()
                statuses[status, initial.get("x-tidemill-version", "") if status is Status.OK else str(answer)] += 1

        async with Client(router) as first, Client(router) as second:
            tasks = [asyncio.create_task(traffic(client)) for client in (first, second) for _ in range(4)]
            await asyncio.sleep(4)  # longer than a connection lasts
            await weigh(session, router, (one.grpc_port, two.grpc_port), 100)
            one.terminate()
            assert await asyncio.to_thread(one.wait, 30) == 0
            stop.set()
            await asyncio.gather(*tasks)
    assert {status for status, _ in statuses} == {Status.OK}, statuses
    assert {version for _, version in statuses} == {"churn-1", "churn-2"}


async def test_no_call_fails_while_the_router_sends_its_clients_away(session, pair, tmp_path: Path) -> None:
    stable, candidate = pair
    async with running(tmp_path / "one", session, connection_seconds=1) as router, Client(router) as client:
        await weigh(session, router, (stable.port, candidate.port), 0)
        loop = asyncio.get_running_loop()
        end = loop.time() + 3.5

        async def traffic() -> Counter[grpc.StatusCode]:
            seen: Counter[grpc.StatusCode] = Counter()
            while loop.time() < end:
                seen[(await client.call())[0]] += 1
            return seen

        found = await asyncio.gather(*(traffic() for _ in range(4)))
        assert {status for seen in found for status in seen} == {Status.OK}
        async with session.get(f"{router.stats_url}/stats/prometheus?filter=inference.downstream_cx") as response:
            stats = (await response.text()).splitlines()
        (ended,) = [f for f in stats if f.startswith("envoy_http_downstream_cx_max_duration_reached{")]
        assert int(ended.split()[-1]) >= 2


async def test_both_protocols_of_a_real_server_on_one_port(router, session, client, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path / "one", versions.numbers(tmp_path / "store").config()) as server:
        server.wait_ready()
        await weigh(session, router, (server.grpc_port, server.grpc_port), 0, http=server.port)
        status, answer, _ = await client.call()
        assert status is Status.OK
        document = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0.5, -1.0, 0.25, 2.0]}]}
        async with session.post(f"{router.url}/v2/models/demo/infer", json=document) as response:
            outputs = {output["name"]: output["data"] for output in (await response.json())["outputs"]}
        assert list(answer.outputs[0].contents.int64_contents) == outputs["label"]
        assert list(answer.outputs[1].contents.fp64_contents) == outputs["probabilities"]
