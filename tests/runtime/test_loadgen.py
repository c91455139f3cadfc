"""The load generator against servers whose behaviour is known: it counts, it notices, and it does not flatter."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hack.bench.serving.generator import Form, Load, LoadError, Measurement, binary, measure, program
from tests.support.programs import needed

Reply = Callable[[int, str], Awaitable[bytes | None]]  # number of the request, from 0, and its body → the answer
BODIES = ['{"row": 0}', '{"row": 1}', '{"row": 2}']
FORM = Form("/infer", BODIES, [[0], [1], [2]], ["outputs", 0, "data"])


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The generator is compiled beforehand, not by the first test."""
    needed("the load generator", program())


class Server:
    """Answers with what a function returns; None ends the connection without an answer."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.requests, self.port = reply, 0, 0
        self.tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.ensure_future(self.handle(reader, writer)))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        number, self.requests = self.requests, self.requests + 1
        answer = await self.reply(number, body)
        if answer is None:
            return False
        for at in range(0, len(answer), 40):  # in pieces, as a network may
            writer.write(answer[at : at + 40])
            await writer.drain()
        return b"connection: close" not in answer


@contextlib.asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    server = Server(reply)
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


def answer(body: str, status: str = "200 OK", extra: str = "") -> bytes:
    document = {"id": 'a "quoted" [id]', "outputs": [{"data": [[json.loads(body)["row"]]]}]}
    content = json.dumps(document)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{extra}\r\n{content}".encode()


async def right(number: int, body: str) -> bytes:
    return answer(body)


async def load(
    server: Server, users: int = 4, seconds: float = 0.3, rate: float = 0.0, drain: float = 2.0
) -> Measurement:
    return await asyncio.to_thread(measure, f"127.0.0.1:{server.port}", FORM, Load(users, seconds, 0.1, rate, drain))


async def test_every_request_is_counted_and_right() -> None:
    async with serving(right) as server:
        found = await load(server)
    assert found.errors == 0, found.first_error
    assert found.sent == found.answers == server.requests > 50
    assert found.samples == sum(count for _, count in found.histogram) <= found.sent
    assert found.per_second == pytest.approx(found.samples / found.seconds, rel=0.1)
    assert 0 < found.p50 <= found.p90 <= found.p99 <= found.p999 <= found.max
    assert 0 < found.generator_cpu < 1.1


async def test_every_wrong_label_is_found() -> None:
    async def sometimes_wrong(number: int, body: str) -> bytes:
        return answer('{"row": 7}' if number % 10 == 0 else body)

    async with serving(sometimes_wrong) as server:
        found = await load(server)
    assert found.error_kinds == {"wrong answer": (server.requests + 9) // 10}
    assert "[[7]]" in found.first_error


@pytest.mark.parametrize("text", ['{"outputs": []}', '{"outputs": [{"data": [0, 1]}]}', '{"other": 1}', "[", ""])
async def test_an_answer_without_the_labels_is_wrong(text: str) -> None:
    async def odd(number: int, body: str) -> bytes:
        return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()

    async with serving(odd) as server:
        found = await load(server, seconds=0.05)
    assert found.error_kinds == {"wrong answer": found.answers}
    assert found.answers > 0
    assert found.samples == 0
    assert found.per_second == 0


async def test_a_refusal_is_an_error_and_no_throughput() -> None:
    async def refuses(number: int, body: str) -> bytes:
        return answer(body, "503 Service Unavailable")

    async with serving(refuses) as server:
        found = await load(server, seconds=0.1)
    assert found.error_kinds == {"status 503": found.answers}
    assert found.answers > 0
    assert found.per_second == 0


async def test_a_run_that_errors_end_early_has_the_rate_until_then() -> None:
    async def fails_soon(number: int, body: str) -> bytes:
        return answer(body, "200 OK" if time.monotonic() < began + 0.5 else "503 Service Unavailable")

    began = time.monotonic()
    async with serving(fails_soon) as server:
        found = await load(server, seconds=20.0)
    assert found.errors >= 1000
    assert 0 < found.seconds < 19
    assert 0 < found.per_second < 100_000
    assert found.server_cpu >= 0 and found.generator_cpu >= 0


async def test_closed_connections_are_opened_again() -> None:
    async def closes(number: int, body: str) -> bytes:
        return answer(body, extra="connection: close\r\n")

    async with serving(closes) as server:
        found = await load(server)
    assert found.errors == 0, found.first_error
    assert found.reconnects == found.answers > 10


async def test_a_connection_that_breaks_is_an_error() -> None:
    async def breaks(number: int, body: str) -> bytes | None:
        return None if number == 5 else answer(body)

    async with serving(breaks) as server:
        found = await load(server)
    assert found.error_kinds == {"connection lost": 1}
    assert found.answers == server.requests - 1


async def test_chunks_are_read() -> None:
    async def chunked(number: int, body: str) -> bytes:
        content = answer(body).partition(b"\r\n\r\n")[2]
        parts = (b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:9], content[9:]))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"

    async with serving(chunked) as server:
        found = await load(server)
    assert found.errors == 0, found.first_error


async def test_what_is_never_answered_is_an_error() -> None:
    async def silent(number: int, body: str) -> bytes:
        await asyncio.sleep(30)
        return b""

    async with serving(silent) as server:
        found = await load(server, users=3, seconds=0.1, drain=0.2)
    assert found.error_kinds == {"no answer in time": 3}


async def test_an_open_loop_keeps_its_rate_whatever_the_answers_take() -> None:
    async def slow(number: int, body: str) -> bytes:
        await asyncio.sleep(0.02)
        return answer(body)

    async with serving(slow) as server:
        found = await load(server, users=16, seconds=1.0, rate=100)
    assert found.errors == 0, found.first_error
    assert found.sent == server.requests == 110  # the warm-up's included
    assert found.samples == 100
    assert 20_000 <= found.p50 < 100_000


async def test_requests_of_an_open_loop_are_sent_when_they_are_due() -> None:
    async with serving(right) as server:
        found = await load(server, users=4, seconds=0.5, rate=100)
    assert found.errors == 0, found.first_error
    assert found.p50 < 8_000  # less than the time between two arrivals: none waits for the next one


async def test_an_open_loop_counts_the_wait_of_requests_that_a_stall_held_up() -> None:
    """One stall of 0.4 s at 100/s holds up 40 arrivals; a generator that waits for answers would see two."""

    async def stalls_once(number: int, body: str) -> bytes:
        if number == 50:
            time.sleep(0.4)  # noqa: ASYNC251  the whole server stands still
        return answer(body)

    async with serving(stalls_once) as server:
        found = await load(server, users=2, seconds=1.0, rate=100)
    assert found.errors == 0, found.first_error
    held_up = sum(count for edge, count in found.histogram if edge > 100_000)
    assert held_up >= 28  # those of the first 0.3 s of the stall wait longer than 0.1 s
    assert found.max >= 390_000
    assert found.lag_p99 > 200_000


async def test_arrivals_that_never_found_a_user_are_errors() -> None:
    async def silent(number: int, body: str) -> bytes:
        await asyncio.sleep(30)
        return b""

    async with serving(silent) as server:
        found = await load(server, users=2, seconds=0.4, rate=100, drain=0.1)
    assert found.error_kinds == {"no answer in time": 2, "never sent: every user waited for an answer": 48}


def test_nothing_to_load_is_said() -> None:
    with pytest.raises(LoadError, match="connection refused"):
        measure("127.0.0.1:1", FORM, Load(1, 0.1))


def test_the_program_is_built_once() -> None:
    first = binary().stat()
    assert binary().stat() == first


async def test_a_server_that_answers_all_users_together_is_judged_by_the_whole_run() -> None:
    """Its one answer to everybody comes after the measured time, which on its own would show no throughput at all."""

    async def together(number: int, body: str) -> bytes:
        await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))
        return answer(body)

    began = time.monotonic()
    async with serving(together) as server:
        found = await load(server, users=8, seconds=0.2)
    assert found.errors == 0, found.first_error
    assert found.whole
    assert found.samples == found.answers == 8
    assert 6 < found.per_second < 16
    assert found.p50 > 300_000
