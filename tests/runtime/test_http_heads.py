"""Heads, codings and methods as HTTP has them, at the model server and at the monitor; bodies held as they are."""

import asyncio
import resource
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from tests.support.rawhttp import Answer, Client, listening, request
from tests.support.versions import Published
from uvicorn.server import ServerState

from tidemill_runtime.model.errors import UnavailableError
from tidemill_runtime.monitor.app import create_apps
from tidemill_runtime.monitor.body_limits import Admission
from tidemill_runtime.monitor.connection import Gate, MonitorConnection
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http.body_limits import BodyBounds, BodyReader
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

V2 = "/v2/models/demo/infer"
BODY: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1.0, 2.0, 3.0, 4.0]}]}
PATHS = (V2, "/v2/models/demo/feedback", "/v2/health/live")  # collected in callbacks; by ASGI; without a body


def serve(published: Published, **changes: Any) -> Parts:
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=2)


async def answer_to(parts: Parts, data: bytes) -> Answer:
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(data)
        return await client.answer()


@asynccontextmanager
async def strict(app: Any, gate: Gate | None = None) -> AsyncIterator[Client]:
    """A connection to an application behind the monitor's own protocol."""
    loop = asyncio.get_running_loop()
    protocol = MonitorConnection.of(gate or Gate())
    config = uvicorn.Config(app, access_log=False, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await loop.create_server(lambda: protocol(config, state, {}, loop), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        client = Client(reader, writer)
        try:
            yield client
        finally:
            await client.close()
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


def monitor_app() -> FastAPI:
    apps = create_apps(_NoMonitor(), Admission())  # type: ignore[arg-type]
    return apps["http"]


class _NoMonitor:
    """Answers nothing: no request of these tests gets so far."""

    collector = None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("size", [66_000, 100_000])
async def test_a_head_beyond_64_kib_is_431_however_it_arrives(
    numbers: Published, path: str, pieces: int, size: int
) -> None:
    head = request(path, b"", {"x": "y" * size}, "GET" if "health" in path else "POST")
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        for start in range(0, len(head), len(head) // pieces + 1):
            await client.send(head[start : start + len(head) // pieces + 1])
            await asyncio.sleep(0.01)
        answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (431, "close")
    assert answer.json() == {"error": "path and headers are larger than 65536 bytes"}


async def test_a_head_of_60_kb_and_a_large_body_are_fine(numbers: Published) -> None:
    data = request(V2, BODY, {"x": "y" * 60_000})
    assert (await answer_to(serve(numbers), data)).status == 200
    padded = {**BODY, "id": "x" * 200, "rest": "z" * 200_000}
    assert (await answer_to(serve(numbers), request(V2, padded))).status == 200


HOSTS = {
    "none": ("HTTP/1.1", "", 400),
    "two": ("HTTP/1.1", "host: a\r\nHost: a\r\n", 400),
    "no name": ("HTTP/1.1", "host: a/b\r\n", 400),
    "a list": ("HTTP/1.1", "host: a b\r\n", 400),
    "two in 1.0": ("HTTP/1.0", "host: a\r\nhost: b\r\n", 400),
    "none in 1.0": ("HTTP/1.0", "", 200),
    "one": ("HTTP/1.1", "Host: demo.team-a.svc:8080\r\n", 200),
    "an address": ("HTTP/1.1", "host: [::1]:8080\r\n", 200),
    "empty": ("HTTP/1.1", "host:\r\n", 400),
    "half an address": ("HTTP/1.1", "host: [::1\r\n", 400),
    "a port that is none": ("HTTP/1.1", "host: h:99999\r\n", 400),
    "the last port": ("HTTP/1.1", "host: h:65535\r\n", 200),
    "a coding before chunked": ("HTTP/1.1", "host: h\r\ntransfer-encoding: gzip, chunked\r\n", 501),
    "chunked in 1.0": ("HTTP/1.0", "host: h\r\ntransfer-encoding: chunked\r\n", 400),
    "HTTP/2.0 in text": ("HTTP/2.0", "host: h\r\n", 505),
}


@pytest.mark.parametrize(("version", "host", "status"), HOSTS.values(), ids=HOSTS.keys())
async def test_a_request_names_one_host(numbers: Published, version: str, host: str, status: int) -> None:
    content = request("/", BODY).partition(b"\r\n\r\n")[2]
    infer = f"POST {V2} {version}\r\n{host}content-length: {len(content)}\r\n\r\n".encode() + content
    if "transfer-encoding" in host:
        infer = f"POST {V2} {version}\r\n{host}\r\n{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
    answers = [await answer_to(serve(numbers), infer)]
    if "transfer-encoding" not in host:
        answers += [await answer_to(serve(numbers), f"GET /v2/health/live {version}\r\n{host}\r\n".encode())]
    for answer in answers:
        assert answer.status == status
        if status >= 400:
            assert answer.json()["error"].startswith(("Host: ", "Transfer-Encoding: ", "HTTP/2.0: "))
            assert answer.headers["connection"] == "close"


async def test_a_wrong_head_behind_a_request_costs_no_answer(numbers: Published) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(request("/v2", b"", method="GET") + b"GET /v2 HTTP/1.1\r\n\r\n")
        assert (await client.answer()).status == 200
        assert await client.is_closed()


@pytest.mark.parametrize("path", [V2, "/v2/models/demo/feedback"])
@pytest.mark.parametrize(("version", "is_sent"), [("1.0", False), ("1.1", True)])
async def test_100_continue_is_for_http_1_1(numbers: Published, path: str, version: str, is_sent: bool) -> None:
    head = f"POST {path} HTTP/{version}\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(head.encode())
        if is_sent:
            assert (await client.answer()).status == 100
        await client.send(b"{}")
        assert (await client.answer()).status >= 400


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
@pytest.mark.parametrize("path", [V2, "/v1/models/demo:explain", "/v2/models/demo/feedback"])
async def test_an_encoding_that_is_not_read_is_415(numbers: Published, encoding: str, path: str) -> None:
    answer = await answer_to(serve(numbers), request(path, BODY, {"content-encoding": encoding}))
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip, deflate, identity")
    assert answer.json()["error"].startswith("Content-Encoding: expected one of gzip, deflate, identity, got ")


GETS = ("/", "/v2", "/v2/models", "/v1/models", "/v2/health/live", "/v2/health/ready", "/v2/models/demo")
GETS += ("/v2/models/demo/ready", "/v2/models/demo/versions/7", "/v1/models/demo", "/openapi.json", "/docs")


@pytest.mark.parametrize("path", GETS)
async def test_what_answers_get_answers_head(numbers: Published, path: str) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(request(path, b"", method="GET"))
        got = await client.answer()
        await client.send(request(path, b"", method="HEAD") + request("/v2/health/live", b"", method="GET"))
        head = (await client._reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200 ")
        assert f"content-length: {got.headers['content-length']}\r\n" in head
        assert (await client.answer()).json() == {"live": True}  # no body was between


async def test_the_monitor_has_the_same_heads() -> None:
    for data, status in (
        (request("/nothing", b"", {"x": "y" * 70_000}, "GET"), 431),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (request("/nothing", b"", method="GET"), 404),
        (request("/nothing", b"", {"content-length": "3"}, "GET") + b"abc", 404),
    ):
        async with strict(FastAPI()) as client:
            await client.send(data)
            assert (await client.answer()).status == status


async def test_an_endless_head_of_the_monitor_is_ended() -> None:
    async with strict(FastAPI()) as client:
        await client.send(b"GET /nothing HTTP/1.1\r\nhost: a\r\nx: ")
        await asyncio.sleep(0.05)
        for _ in range(66):  # more would cost the client the answer
            await client.send(b"y" * 1000)
            await asyncio.sleep(0.001)
        assert (await client.answer()).status == 431


def resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


async def test_pieces_of_two_bytes_hold_what_they_are(numbers: Published) -> None:
    """Kept one by one, each would hold twenty times what it is, and 2 MiB would hold more than 40."""
    mebibytes = 1
    chunks = b"2\r\n{ \r\n" * (512 * 1024)
    async with listening(serve(numbers)) as server:
        clients = [await server.connect() for _ in range(2)]
        before = resident()
        for client in clients:
            await client.send(f"POST {V2} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            for _ in range(mebibytes):
                await client.send(chunks)
        await asyncio.sleep(0.05)
        assert resident() - before < 4 * 2 * mebibytes * 2**20


async def test_what_came_of_a_body_counts_from_its_first_piece(numbers: Published) -> None:
    parts = serve(numbers, max_body_bytes=100_000)
    async with listening(parts) as server:
        clients = [await server.connect() for _ in range(5)]
        half = f"POST {V2} HTTP/1.1\r\nhost: x\r\ncontent-length: 99000\r\n\r\n".encode() + b" " * 98_000
        for client in clients[:4]:
            await client.send(half)
        await asyncio.sleep(0.05)
        await clients[4].send(half)
        assert (await clients[4].answer()).status == 503


async def test_a_body_by_asgi_in_small_pieces_is_held_as_it_is(numbers: Published) -> None:
    bounds = BodyBounds(numbers.config(max_body_bytes=1_000_000))
    sent, held = 0, 0

    async def receive() -> dict[str, Any]:
        nonlocal sent, held
        sent += 1
        more = sent < 100_000
        held = held if more else tracemalloc.get_traced_memory()[0]
        return {"type": "http.request", "body": bytes(bytearray(b"{ ")), "more_body": more}

    tracemalloc.start()
    try:
        body = await BodyReader(bounds).read([], receive)
    finally:
        tracemalloc.stop()
    assert len(body) == 200_000
    assert 200_000 < held < 1_000_000, "with all pieces but the last: one by one they would hold 6 MB"
    assert bounds._held == 0
    with pytest.raises(UnavailableError):
        bounds.hold(5_000_000)
