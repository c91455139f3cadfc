"""One HTTP/1.1 connection, byte by byte: pieces, pipelines, refusals, half-sent requests, hanging up."""

import asyncio
import gzip
import itertools
import json
import random
import threading
from typing import Any

import pytest
from tests.support.rawhttp import Client, listening, request
from tests.support.versions import Published

from tidemill_runtime.network import http_heads
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

V2, V1 = "/v2/models/demo/infer", "/v1/models/demo:predict"
ROW = [0.5, -1.0, 0.25, 2.0]


def v2(request_id: str) -> dict[str, Any]:
    return {"id": request_id, "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}


def serve(published: Published, **changes: Any) -> Parts:
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=2)


class Held:
    """Keeps every prediction until told, as a slow model would; the plane takes it for one."""

    def __init__(self, parts: Parts) -> None:
        self.let_go = threading.Event()
        self.calls = 0
        self._predict = parts.plane._predict
        parts.plane._predict = self
        parts.plane._inline_rows = 0

    def __call__(self, frame: Any) -> Any:
        self.calls += 1
        self.let_go.wait(20)
        return self._predict(frame)


async def test_a_request_in_any_pieces_is_the_same_request(numbers: Published) -> None:
    parts = serve(numbers)
    whole = request(V2, v2("pieces"))
    cuts = [[n] for n in range(1, len(whole))] + [sorted(random.Random(7).sample(range(1, len(whole)), 9))]
    async with listening(parts) as server:
        client = await server.connect()
        for places in cuts[:: len(cuts) // 40]:
            edges = [0, *places, len(whole)]
            for start, end in itertools.pairwise(edges):
                await client.send(whole[start:end])
                await asyncio.sleep(0.001)
            answer = await client.answer()
            assert (answer.status, answer.json()["id"]) == (200, "pieces")


async def test_a_chunked_body_is_collected(numbers: Published) -> None:
    body = request("/", v2("chunks")).partition(b"\r\n\r\n")[2]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:10], body[10:11], body[11:]))
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(
            f"POST {V2} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
        )
        assert (await client.answer()).json()["id"] == "chunks"


@pytest.mark.parametrize("is_slow", [False, True])
async def test_pipelined_requests_of_every_kind_are_answered_in_order(numbers: Published, is_slow: bool) -> None:
    parts = serve(numbers)
    held = Held(parts) if is_slow else None
    wanted = []
    sent = b""
    for i in range(6):
        sent += request(V2, v2(f"p{i}")) + request("/v2", b"", method="GET") + request(V1, {"instances": [ROW]})
        sent += request("/v2/models/other/infer", v2("x"))
        wanted += [200, 200, 200, 404]
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(sent)
        if held:
            await asyncio.sleep(0.1)
            held.let_go.set()
        answers = [await client.answer() for _ in wanted]
        assert [a.status for a in answers] == wanted
        assert [a.json()["id"] for a in answers[::4]] == [f"p{i}" for i in range(6)]
        assert all("predictions" in a.json() for a in answers[2::4])
        assert parts.plane.in_flight == 0


async def test_expect_continue_is_answered_before_the_body(numbers: Published) -> None:
    head, _, body = request(V2, v2("go"), {"expect": "100-continue"}).partition(b"\r\n\r\n")
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(head + b"\r\n\r\n")
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).json()["id"] == "go"


async def test_a_declared_length_above_the_limit_is_refused_at_once_and_the_connection_ends(numbers: Published) -> None:
    async with listening(serve(numbers, max_body_bytes=1000)) as server:
        client = await server.connect()
        await client.send(
            f"POST {V2} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n".encode()
        )
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert answer.json() == {"error": "the body is larger than 1000 bytes"}
        await client.send(b"x" * 1001)  # what a client had on its way does not cost it the answer
        assert await client.is_closed()


async def test_an_undeclared_body_above_the_limit_is_refused_while_it_comes(numbers: Published) -> None:
    parts = serve(numbers, max_body_bytes=1000)
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(f"POST {V2} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(11):
            await client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
            await asyncio.sleep(0.001)
        assert (await client.answer()).status == 413
        await client.send(b"0\r\n\r\n")
        assert await client.is_closed()
        assert parts.wiring.bounds._held == 0


async def test_half_sent_bodies_share_a_budget_and_give_it_back(numbers: Published) -> None:
    parts = serve(numbers, max_body_bytes=100_000)
    async with listening(parts) as server:
        clients = [await server.connect() for _ in range(6)]
        for client in clients:
            await client.send(
                f"POST {V2} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n".encode() + b" " * 49_999
            )
            await asyncio.sleep(0.02)
            await client.send(b" " * 49_999)
        refused = await asyncio.wait_for(_first(clients), 20)
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        for client in clients:
            await client.close()
        await _until(lambda: not server.state.connections)
        assert parts.wiring.bounds._held == 0


async def _first(clients: list[Client]) -> Any:
    tasks = [asyncio.create_task(client.answer()) for client in clients]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return done.pop().result()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  others' state, which sets no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("start", [b"POST ", f"POST {V2} HTTP/1.1\r\nhost: x\r\n".encode()])
async def test_half_sent_headers_end_the_connection(numbers: Published, start: bytes) -> None:
    async with listening(serve(numbers, request_timeout_seconds=0.2)) as server:
        client = await server.connect()
        await client.send(start)
        assert await client.is_closed()


async def test_a_half_sent_body_is_answered_408(numbers: Published) -> None:
    async with listening(serve(numbers, request_timeout_seconds=0.2)) as server:
        client = await server.connect()
        await client.send(f"POST {V2} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n123".encode())
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.json() == {"error": "the body did not arrive within 0.2 s"}
        assert await client.is_closed()


async def test_a_client_that_hangs_up_frees_its_place(numbers: Published) -> None:
    parts = serve(numbers, max_in_flight=1)
    held = Held(parts)
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(request(V2, v2("gone")))
        await _until(lambda: parts.plane.in_flight == 1)
        await client.close()
        await _until(lambda: not server.state.connections)
        assert parts.plane.in_flight == 1  # its thread cannot be stopped
        held.let_go.set()
        await _until(lambda: parts.plane.in_flight == 0)
        client = await server.connect()
        await client.send(request(V2, v2("next")))
        assert (await client.answer()).status == 200


async def test_a_request_that_waits_for_a_thread_is_dropped_when_its_client_hangs_up(numbers: Published) -> None:
    parts = serve(numbers)
    held = Held(parts)
    async with listening(parts) as server:
        clients = [await server.connect() for _ in range(6)]
        for i, client in enumerate(clients):
            await client.send(request(V2, v2(str(i))))
        await _until(lambda: parts.plane.in_flight == 6)
        for client in clients[2:]:  # two threads are busy with the first two
            await client.close()
        await _until(lambda: parts.plane.in_flight == 2)
        held.let_go.set()
        assert [(await client.answer()).status for client in clients[:2]] == [200, 200]
        assert held.calls == 2


async def test_more_than_the_limit_in_flight_are_refused_and_the_rest_answered(numbers: Published) -> None:
    parts = serve(numbers, max_in_flight=64)
    held = Held(parts)
    async with listening(parts) as server:
        clients = [await server.connect() for _ in range(300)]
        for i, client in enumerate(clients):
            await client.send(request(V2, v2(str(i))))
        await _until(lambda: parts.plane.in_flight == 64)
        held.let_go.set()
        answers = await asyncio.gather(*(client.answer() for client in clients))
        by_status = {s: [i for i, a in enumerate(answers) if a.status == s] for s in (200, 503)}
        assert len(by_status[200]) + len(by_status[503]) == 300
        assert len(by_status[503]) == 236
        assert all(answers[i].json()["id"] == str(i) for i in by_status[200])
        assert all(answers[i].headers["retry-after"] == "1" for i in by_status[503])


HEADS = {
    "a path": b"GET /",
    "a header": f"POST {V2} HTTP/1.1\r\nhost: x\r\nx: ".encode(),
    "a trailer": f"POST {V2} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n0\r\nx: ".encode(),
}


@pytest.mark.parametrize("start", HEADS.values(), ids=HEADS.keys())
async def test_a_head_without_end_is_refused(numbers: Published, start: bytes) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(start)
        for size in [1000] * 65 + [600]:  # more would cost the client the answer
            await asyncio.sleep(0.001)
            await client.send(b"y" * size)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        what = "trailers" if b"chunked" in start else "path and headers"
        assert answer.json() == {"error": f"{what} are larger than 65536 bytes"}
        assert await client.is_closed()


async def test_a_large_body_in_chunks_is_no_large_head(numbers: Published) -> None:
    body = request("/", v2("chunks")).partition(b"\r\n\r\n")[2] + b" " * 300_000
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        for size in (1000, len(body)):
            await client.send(f"POST {V2} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            for start in range(0, len(body), size):
                piece = body[start : start + size]
                await client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            await client.send(b"0\r\n\r\n")
            assert (await client.answer()).json()["id"] == "chunks"


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        ("HTTP/1.0\r\n", True),
        ("HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", True),
        ("HTTP/1.1\r\nhost: x\r\n", False),
    ],
)
async def test_the_connection_is_kept_as_the_client_asked(numbers: Published, head: str, closes: bool) -> None:
    body = request("/", v2("1")).partition(b"\r\n\r\n")[2]
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(f"POST {V2} {head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await client.answer()
        assert (answer.status, answer.headers.get("connection")) == (200, "close" if closes else None)
        if closes:
            assert await client.is_closed()


async def test_what_follows_a_request_that_closes_is_not_answered_and_takes_no_place(numbers: Published) -> None:
    parts = serve(numbers, max_body_bytes=1000)
    slow = request(V2, gzip.compress(json.dumps(v2("2")).encode()), {"content-encoding": "gzip"})
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(request(V2, b" " * 1001) + slow)
        assert (await client.answer()).status == 413
        assert await client.is_closed()
        await _until(lambda: not server.state.connections)
        assert parts.plane.in_flight == 0


async def test_an_offer_to_upgrade_is_passed_over(numbers: Published) -> None:
    """Java's client makes one with every first request."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAABAAMAAABk"}
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        for i in range(2):
            await client.send(request(V2, v2(str(i)), offer))
            assert (await client.answer()).json()["id"] == str(i)
        await client.send(request(V2, v2("plain")))
        assert (await client.answer()).json()["id"] == "plain"


@pytest.mark.parametrize(
    "data", [b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
)
async def test_bytes_that_are_no_http_are_refused_in_the_servers_form(numbers: Published, data: bytes) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.json()) == (400, {"error": "Invalid HTTP request received."})
        assert await client.is_closed()


async def test_connect_is_refused(numbers: Published) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(b"CONNECT example.org:80 HTTP/1.1\r\nhost: example.org\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.json()) == (405, {"error": "CONNECT is not allowed: this server is no proxy"})
        assert await client.is_closed()


async def test_a_client_that_reads_nothing_is_not_served_without_end(
    numbers: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_heads, "MAX_WAITING", 1 << 30)  # which would end the connection first
    parts = serve(numbers)
    one = request(V2, v2("unread"))
    async with listening(parts) as server:
        client = await server.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                while True:
                    await client.send(one * 100)
        assert server.state.total_requests < 200_000
        (connection,) = server.state.connections
        assert connection.transport.get_write_buffer_size() < 4 << 20


async def test_draining_closes_each_connection_after_its_answer(numbers: Published) -> None:
    parts = serve(numbers)
    async with listening(parts) as server:
        client = await server.connect()
        await client.send(request(V2, v2("1")))
        assert "connection" not in (await client.answer()).headers
        parts.wiring.state.phase = "draining"
        await client.send(request(V2, v2("2")))
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.is_closed()


async def test_idle_connections_are_closed_in_the_end(numbers: Published) -> None:
    async with listening(serve(numbers)) as server:
        client = await server.connect()
        await client.send(request(V2, v2("1")))
        await client.answer()
        (connection,) = server.state.connections
        connection.timeout_keep_alive = 0.2
        connection.timeout_keep_alive_handler()  # as the timer does: not idle long enough yet, so it looks again
        await client.send(request(V2, v2("2")))
        assert (await client.answer()).status == 200
        assert await client.is_closed()
