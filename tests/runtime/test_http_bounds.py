"""What requests that never end hold, at the model server and at the monitor: trailers, headers, time, connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from tests.runtime.test_http_heads import BODY, V2, serve, strict
from tests.support.rawhttp import Client, listening, request
from tests.support.versions import Published
from uvicorn.server import ServerState

from tidemill_contracts.inference import FEEDBACK_PATH
from tidemill_runtime.monitor.app import create_apps
from tidemill_runtime.monitor.body_limits import Admission
from tidemill_runtime.monitor.connection import Gate, MonitorConnection
from tidemill_runtime.monitor.senders import Senders
from tidemill_runtime.network.http_heads import MAX_FIELDS, MAX_HEAD_BYTES, MAX_WAITING, Unfinished

Connect = Callable[[], Any]
CHUNKED = "POST {} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
KINDS = ("server", "monitor")


class _Monitor:
    collector = None
    senders = Senders()  # anybody

    def check_labeller(self, sender: str | None) -> None:
        """Anybody may send labels: what is refused here is refused for its form."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of a monitor whom no body reaches")


@asynccontextmanager
async def monitor(gate: Gate | None = None, unfinished: Unfinished | None = None) -> AsyncIterator[Connect]:
    """A monitor's port; yields what connects to it."""
    loop, state, clients = asyncio.get_running_loop(), ServerState(), []
    protocol = MonitorConnection.of(gate or Gate())
    protocol.unfinished = unfinished or protocol.unfinished
    app = create_apps(_Monitor(), Admission())["http"]  # type: ignore[arg-type]
    config = uvicorn.Config(app, access_log=False, lifespan="off", log_config=None)
    config.load()
    server = await loop.create_server(lambda: protocol(config, state, {}, loop), "127.0.0.1", 0)

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])))
        return clients[-1]

    try:
        yield connect
    finally:
        server.close()
        await asyncio.gather(*(client.close() for client in clients))
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@asynccontextmanager
async def port(kind: str, published: Published) -> AsyncIterator[tuple[Connect, str]]:
    """A server's or a monitor's port, and a path that takes bodies there."""
    if kind == "monitor":
        async with monitor() as connect:
            yield connect, FEEDBACK_PATH
        return
    async with listening(serve(published)) as server:
        yield server.connect, V2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", [b"ab: c\r\n" * 11_000, b"x: " + b"y" * 70_000 + b"\r\n", b"x: " + b"y" * 70_000])
async def test_trailers_beyond_64_kib_are_431(numbers: Published, kind: str, line: bytes) -> None:
    async with port(kind, numbers) as (connect, path):
        client = await connect()
        await client.send(CHUNKED.format(path).encode() + b"1\r\n{\r\n0\r\n")
        await asyncio.sleep(0.02)
        for start in range(0, len(line), 40_000):
            await client.send(line[start : start + 40_000])
            await asyncio.sleep(0.02)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert answer.json() == {"error": "trailers are larger than 65536 bytes"}


async def test_trailers_are_counted_exactly_in_one_piece(numbers: Published) -> None:
    body = request("/", BODY).partition(b"\r\n\r\n")[2]
    start = CHUNKED.format(V2).encode() + b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    for size, status in ((MAX_HEAD_BYTES, 200), (MAX_HEAD_BYTES + 1, 431)):
        async with listening(serve(numbers)) as server:
            client = await server.connect()
            await client.send(start + b"x: " + b"y" * (size - 5) + b"\r\n\r\n")
            assert (await client.answer()).status == status


@pytest.mark.parametrize("kind", KINDS)
async def test_a_head_has_so_many_fields(numbers: Published, kind: str) -> None:
    async with port(kind, numbers) as (connect, path):
        for count, status in ((MAX_FIELDS - 1, (405, 415)), (MAX_FIELDS, (431,))):
            client = await connect()
            extra = b"a: b\r\n" * (count - 1) + b"content-encoding: br\r\n"
            await client.send(f"POST {path} HTTP/1.1\r\nhost: x\r\n".encode() + extra + b"\r\n")
            assert (await client.answer()).status in status


@pytest.mark.parametrize("kind", KINDS)
async def test_an_endless_head_of_tiny_fields_holds_no_more_than_the_most(numbers: Published, kind: str) -> None:
    async with port(kind, numbers) as (connect, _):
        client = await connect()
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\n" + b"a:b\r\n" * 12_000)
        answer = await client.answer()
        assert (answer.status, answer.json()["error"]) == (431, f"there are more than {MAX_FIELDS} headers")


@pytest.mark.parametrize("kind", KINDS)
async def test_so_many_requests_wait_behind_one_and_then_the_connection_ends(numbers: Published, kind: str) -> None:
    async with port(kind, numbers) as (connect, _):
        for count, is_closed in ((MAX_WAITING + 1, False), (2000, True)):
            client = await connect()
            await client.send(request("/nothing", b"", method="GET") * count)
            for _ in range(MAX_WAITING + 1):
                answer = await client.answer()
                assert answer.status == 404
            assert ("connection" in answer.headers) == is_closed
            if is_closed:
                assert await client.is_closed()


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    body = message["body"] + ((await receive())["body"] if message["more_body"] else b"")
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("is_together", [True, False])
async def test_an_offer_of_another_protocol_does_not_cost_the_monitor_the_body(is_together: bool) -> None:
    """Java's client offers HTTP/2 with its first request."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAA"}
    data = request("/", b"GET / HTTP/1.1", offer)
    async with strict(_echo) as client:
        for part in (data,) if is_together else (data[:-14], data[-14:]):
            await client.send(part)
            await asyncio.sleep(0.02)
        assert (await client.answer()).body == b"GET / HTTP/1.1"
        await client.send(request("/", b"next"))
        assert (await client.answer()).body == b"next"


@pytest.mark.parametrize("kind", KINDS)
async def test_no_port_is_a_proxy_and_answers_keep_their_order(numbers: Published, kind: str) -> None:
    connect_to = b"CONNECT example.org:80 HTTP/1.1\r\nhost: example.org\r\n\r\n"
    async with port(kind, numbers) as (connect, _):
        client = await connect()
        await client.send(connect_to)
        assert (await client.answer()).status == 405
        client = await connect()
        await client.send(request("/nothing", b"", method="GET") + connect_to)
        assert (await client.answer()).status == 404
        assert await client.is_closed()


async def test_unfinished_requests_have_one_bound() -> None:
    """A head of 50 kB counts until its request is whole, body included; each field counts more than its bytes."""
    unfinished = Unfinished(limit=130_000)
    half = b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 50_000
    async with monitor(unfinished=unfinished) as connect:
        await (await connect()).send(half)
        holder = await connect()
        await holder.send(half + b"\r\ncontent-length: 9\r\n\r\n[")
        await asyncio.sleep(0.05)
        assert unfinished.held > 100_000
        refused = await connect()
        await refused.send(half)
        answer = await refused.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        await holder.close()
        await asyncio.sleep(0.05)
        before = unfinished.held
        assert before < 60_000
        await (await connect()).send(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:b\r\n" * 100)
        await asyncio.sleep(0.05)
        assert unfinished.held - before > 100 * 150
    await asyncio.sleep(0.02)
    assert unfinished.held == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\nx: y", 408),
        (b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[", 408),
        (b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[", 404),
    ],
)
async def test_a_request_of_the_monitor_has_its_time(data: bytes, status: int | None) -> None:
    async with monitor(Gate(request_seconds=0.1)) as connect:
        client = await connect()
        await client.send(data)
        if status is not None:
            assert (await client.answer()).status == status
        async with asyncio.timeout(3):
            assert await client.is_closed()


async def test_a_port_of_the_monitor_ends_the_oldest_connection_beyond_its_most() -> None:
    async with monitor(Gate(most=3)) as connect:
        clients = [await connect() for _ in range(3)]
        await asyncio.sleep(0.02)
        newest = await connect()
        assert await clients[0].is_closed()
        for client in (*clients[1:], newest):
            await client.send(request("/nothing", b"", method="GET"))
            assert (await client.answer()).status == 404


@pytest.mark.parametrize("kind", KINDS)
async def test_codings_in_several_lines_are_one_list(numbers: Published, kind: str) -> None:
    async with port(kind, numbers) as (connect, path):
        client = await connect()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\n"
        await client.send(f"{head}content-length: 2\r\n\r\n{{}}".encode())
        assert (await client.answer()).status == 415


async def test_every_refusal_of_the_monitor_has_one_form() -> None:
    async with monitor() as connect:
        for data, status in (
            (request("/nothing", b"", method="GET"), 404),
            (request(FEEDBACK_PATH, b"", method="PUT"), 405),
            (b"\0\xff\r\n\r\n", 400),
        ):
            client = await connect()
            await client.send(data)
            answer = await client.answer()
            assert answer.status == status
            assert list(answer.json()) == ["error"]
