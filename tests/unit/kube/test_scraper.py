"""Reading pods within bounds, held against servers that answer as badly as they can."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tidemill.kube import scraper as scraping
from tidemill.kube.scraper import Answer, Limits, Scraper

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LIMITS = Limits(seconds=0.3, bytes=100_000)


class Pods:
    """One server; each path is a pod of its own."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.handlers: dict[str, Handler] = {}
        self.waiting = 0
        self.most_waiting = 0
        app = web.Application()
        app.router.add_get("/{name:.*}", self._handle)
        self.server = TestServer(app)

    def url(self, name: str) -> str:
        return str(self.server.make_url(f"/{name}"))

    async def never(self, request: web.Request) -> web.StreamResponse:
        """Holds the line."""
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        try:
            await asyncio.sleep(60)
        finally:
            self.waiting -= 1
        return web.Response()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        handler = self.handlers.get(request.match_info["name"])
        return await handler(request) if handler else web.Response(text="up 1\n")


class Time:
    """A clock that moves when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    found = Pods()
    await found.server.start_server()
    yield found
    await found.server.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def scraper(time: Time) -> AsyncIterator[Scraper]:
    found = Scraper(time)
    yield found
    await found.close()


async def one(scraper: Scraper, url: str, namespace: str = "team", owner: str = "u") -> Answer[str]:
    (answer,) = await scraper.read(namespace, owner, [url], LIMITS, bytearray.decode)
    return answer


def body(text: str | bytes, status: int = 200, **headers: str) -> Handler:
    content = text.encode() if isinstance(text, str) else text

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, status=status, headers=headers)

    return handle


async def test_an_answer_is_its_text_and_nothing_of_ours_is_sent(pods: Pods, scraper: Scraper) -> None:
    pods.handlers["a"] = body("up 1\n", **{"Set-Cookie": "a=b"})
    assert await one(scraper, pods.url("a")) == Answer("up 1\n")
    assert await one(scraper, pods.url("a")) == Answer("up 1\n")
    for request in pods.seen:
        assert "Authorization" not in request.headers and "Cookie" not in request.headers


async def test_a_redirect_is_not_followed(pods: Pods, scraper: Scraper) -> None:
    pods.handlers["a"] = body("", 302, Location=pods.url("b"))
    assert await one(scraper, pods.url("a")) == Answer(error=scraping.REDIRECT)
    assert [r.path for r in pods.seen] == ["/a"]


async def test_no_word_of_a_failed_answer_is_reported(pods: Pods, scraper: Scraper) -> None:
    pods.handlers["a"] = body("hunter2", 503)
    assert await one(scraper, pods.url("a")) == Answer(error="it answered 503 instead of 200")
    assert await one(scraper, "http://127.0.0.1:1/x") == Answer(error=scraping.UNREACHABLE)

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hunter2 is not HTTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(garbage, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await one(scraper, f"http://127.0.0.1:{port}/") == Answer(error=scraping.BROKEN)


@pytest.mark.slow
async def test_a_compressed_answer_is_not_undone(pods: Pods, scraper: Scraper) -> None:
    pods.handlers["a"] = body(gzip.compress(bytes(50 << 20)), **{"Content-Encoding": "gzip"})
    assert await one(scraper, pods.url("a")) == Answer(error=scraping.ENCODED)
    assert pods.seen[0].headers["Accept-Encoding"] == "identity"


async def test_the_bytes_of_all_pods_of_an_object_are_bounded_together(pods: Pods, scraper: Scraper) -> None:
    for name in ("a", "b", "c"):
        pods.handlers[name] = body("x" * 40_000)
    answers = await scraper.read("team", "u", [pods.url(n) for n in ("a", "b", "c")], LIMITS, bytearray.decode)
    assert sum(a.value is not None for a in answers) == 2
    assert [a.error for a in answers if a.value is None] == [scraping.LARGE.format(limit=100_000)]
    assert scraper._held == 0


async def test_large_answers_of_a_namespace_are_in_memory_one_at_a_time(pods: Pods, scraper: Scraper) -> None:
    """Five monitors of a tenant and five of others, all of whose answers are as large as they may be."""
    size = 1 << 20
    pods.handlers["a"] = body(b"x" * size)
    held: list[tuple[str, int]] = []

    async def read(namespace: str, owner: str) -> Answer[int]:
        def parse(found: bytearray) -> int:
            held.append((namespace, scraper._held))
            return len(found)

        (answer,) = await scraper.read(namespace, owner, [pods.url("a")], Limits(5.0, size), parse)
        return answer

    names = [("team", f"u{i}") for i in range(4)] + [(f"n{i}", f"o{i}") for i in range(5)]
    answers = await asyncio.gather(*(read(*name) for name in names))
    assert answers == [Answer(size)] * 9
    small = len(names) * scraping.LARGE_BYTES
    assert max(count for _, count in held) <= scraping.LARGE_SLOTS * size + small
    assert {namespace for namespace, _ in held[:4]} > {"team"}, "one namespace goes before all others"
    assert scraper._held == 0


async def test_a_large_answer_that_gets_no_place_is_given_up_and_counts_as_no_fault(
    pods: Pods, scraper: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "LARGE_SLOT_WAIT_SECONDS", 0.05)
    pods.handlers["a"] = body(b"x" * (1 << 20))
    for _ in range(scraping.LARGE_SLOTS):
        await scraper._large.acquire()
    for _ in range(3):
        (answer,) = await scraper.read("team", "u", [pods.url("a")], Limits(5.0, 2 << 20), len)
        assert answer == Answer(error=scraping.FULL)
    assert scraper._held == 0
    scraper._large.release()
    assert await scraper.read("team", "u", [pods.url("a")], Limits(5.0, 2 << 20), len) == [Answer(1 << 20)]


async def test_what_a_parse_raises_is_raised_and_its_bytes_are_given_back(pods: Pods, scraper: Scraper) -> None:
    with pytest.raises(ZeroDivisionError):
        await scraper.read("team", "u", [pods.url("a")], LIMITS, lambda found: 1 // 0)
    assert scraper._held == 0


async def test_an_endless_answer_ends_at_its_bound(pods: Pods, scraper: Scraper) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    pods.handlers["a"] = endless
    assert await one(scraper, pods.url("a")) == Answer(error=scraping.LARGE.format(limit=100_000))


async def test_the_time_of_all_pods_of_an_object_is_bounded_together(pods: Pods, scraper: Scraper) -> None:
    names = [str(i) for i in range(20)]
    pods.handlers = dict.fromkeys(names, pods.never)
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = await scraper.read("team", "u", [pods.url(n) for n in names], LIMITS, bytearray.decode)
    assert loop.time() - began < 3 * LIMITS.seconds
    assert answers == [Answer(error=scraping.LATE)] * 20
    assert pods.most_waiting <= scraping.PODS_AT_ONCE


async def test_one_silent_pod_does_not_cost_the_answers_of_its_siblings(pods: Pods, scraper: Scraper) -> None:
    pods.handlers["b"] = pods.never
    answers = await scraper.read("team", "u", [pods.url("a"), pods.url("b")], LIMITS, bytearray.decode)
    assert answers == [Answer("up 1\n"), Answer(error=scraping.LATE)]


async def test_an_object_that_was_late_rests_and_is_asked_again(pods: Pods, scraper: Scraper, time: Time) -> None:
    pods.handlers["a"] = pods.never
    for _ in range(2):  # once may be the node's fault
        assert (await one(scraper, pods.url("a"))).error == scraping.LATE
    pods.handlers.clear()
    assert (await one(scraper, pods.url("a"))).error == scraping.BACKING_OFF
    assert (await one(scraper, pods.url("a"), owner="another")).value == "up 1\n"
    time.now += scraping.BACKOFF_SECONDS
    assert (await one(scraper, pods.url("a"))).value == "up 1\n"
    pods.handlers["a"] = pods.never
    assert (await one(scraper, pods.url("a"))).error == scraping.LATE
    assert (await one(scraper, pods.url("a"))).error == scraping.LATE, "it had answered in between"


async def test_silent_pods_of_one_namespace_hold_up_neither_others_nor_many_workers(
    pods: Pods, scraper: Scraper, time: Time
) -> None:
    """Thirty objects of one tenant whose pods never answer, read at the same time by as many workers."""
    pods.handlers["hostile"] = pods.never
    assert (await one(scraper, pods.url("hostile"), "hostile", "first")).error == scraping.LATE
    reads = [
        asyncio.create_task(
            scraper.read("hostile", f"u{i}", [pods.url("hostile")], Limits(30.0, 1000), bytearray.decode)
        )
        for i in range(30)
    ]
    done, held = await asyncio.wait(reads, timeout=0.3)
    assert len(held) == scraping.SLOTS, "more workers are held by one namespace than it has places"
    assert all(task.result() == [Answer(error=scraping.BUSY)] for task in done)
    answers = await asyncio.gather(*(one(scraper, pods.url("good"), "good", f"g{i}") for i in range(20)))
    assert all(answer.value == "up 1\n" for answer in answers)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_late_namespaces_share_few_slots(pods: Pods, scraper: Scraper, time: Time) -> None:
    pods.handlers["hostile"] = pods.never
    namespaces = [f"n{i}" for i in range(12)]
    await asyncio.gather(*(one(scraper, pods.url("hostile"), n, n) for n in namespaces))
    reads = [
        asyncio.create_task(scraper.read(n, f"{n}-{i}", [pods.url("hostile")], Limits(30.0, 1000), bytearray.decode))
        for n in namespaces
        for i in range(2)
    ]
    _, held = await asyncio.wait(reads, timeout=0.3)
    assert len(held) == scraping.LATE_SLOTS
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert scraper._late == 0 and scraper._held == 0


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.1", "http://10.0.0.1:9901/stats"),
        ("fd00::1", "http://[fd00::1]:9901/stats"),
        ("", None),
        ("evil.example", None),
        ("10.0.0.1/@evil.example", None),
    ],
)
def test_only_an_address_becomes_a_url(address: str, url: str | None) -> None:
    assert scraping.pod_url(address, 9901, "/stats") == url
