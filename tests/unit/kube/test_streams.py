"""What lists and watches ask for, and what they make of the answers, against a server of this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tidemill.app import Operator
from tidemill.config import OperatorConfig
from tidemill.errors import ApiError
from tidemill.kube import registry, transport
from tidemill.kube.access import Access
from tidemill.kube.client import KubeClient
from tidemill.kube.streams import watched

Obj = dict[str, Any]
CONFIG_MAPS = watched(registry.lookup("v1", "ConfigMap"), None, None)
PIPELINES = watched(registry.lookup("tidemill.io/v1alpha1", "TrainingPipeline"), "ns", None)


class Server:
    """Answers each request with the next of `answers` (code, text), and goes on slowly when told."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, dict[str, str], str]] = []
        self.held: asyncio.Event | None = None
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query), request.headers["Accept"]))
        code, text = self.answers.pop(0) if self.answers else (200, '{"metadata":{"uid":"u"}}')
        if self.held is not None:
            await self.held.wait()
        return web.Response(status=code, text=text)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = int(runner.addresses[0][1])
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[KubeClient]:
    async with KubeClient(Access(f"http://127.0.0.1:{server.port}"), connections=2, timeout_seconds=0.5) as found:
        yield found


def page(names: str, following: str = "") -> tuple[int, str]:
    items = [{"kind": "PartialObjectMetadata", "metadata": {"name": n}} for n in names]
    return 200, json.dumps({"metadata": {"resourceVersion": "9", "continue": following}, "items": items})


async def test_of_config_maps_only_the_metadata_is_requested(server: Server, client: KubeClient) -> None:
    server.answers = [page("ab", "next"), page("c"), (200, '{"type":"ADDED","object":{"metadata":{"name":"d"}}}\n')]
    found: list[Obj] = []
    assert await client.streams.read(CONFIG_MAPS, found.append) == 9
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("ConfigMap", n) for n in "abc"]
    events = [(verb, o["kind"]) async for verb, o in client.streams.watch(CONFIG_MAPS, "9")]
    assert events == [("ADDED", "ConfigMap")]
    metadata = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    assert [a[2] for a in server.asked] == [metadata.format(w) for w in ("List", "List", "")]
    assert server.asked[0][1] == {"limit": "500", "fieldSelector": "metadata.name!=kube-root-ca.crt"}
    assert server.asked[1][1]["continue"] == "next"
    assert server.asked[2][1]["resourceVersion"] == "9"


async def test_a_list_is_as_old_as_its_first_page(server: Server, client: KubeClient) -> None:
    later = json.dumps({"metadata": {"resourceVersion": "12"}, "items": []})
    server.answers = [page("a", "next"), (200, later)]
    assert await client.streams.read(PIPELINES, lambda _: None) == 9


async def test_a_stale_token_is_read_again_for_a_list_and_a_watch(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    access = Access(f"http://127.0.0.1:{server.port}", token_file=tmp_path / "token")
    async with KubeClient(access) as client:
        server.answers = [(401, "{}"), page("a"), (401, "{}"), (200, ""), (401, "{}"), (401, "{}")]
        assert await client.streams.read(PIPELINES, lambda _: None) == 9
        assert [e async for e in client.streams.watch(PIPELINES, "9")] == []
        with pytest.raises(ApiError) as caught:
            await client.streams.read(PIPELINES, lambda _: None)
    assert (caught.value.status, len(server.asked)) == (401, 6)


async def test_our_own_kinds_come_twenty_a_page(server: Server, client: KubeClient) -> None:
    server.answers = [page("a")]
    await client.streams.read(PIPELINES, lambda _: None)
    assert server.asked == [
        ("/apis/tidemill.io/v1alpha1/namespaces/ns/trainingpipelines", {"limit": "20"}, "application/json")
    ]


def test_content_of_others_that_nobody_reads_is_not_watched() -> None:
    """Of Deployment, Job and Pod the status is needed: those are watched by our label, and cached in bounds."""
    theirs = {
        s.resource.kind: s.resource.metadata_only
        for s in Operator(OperatorConfig(), Access("http://127.0.0.1:1")).handler.sources.values()
        if s.resource.api_version != PIPELINES.resource.api_version
    }
    whole = {kind for kind, only_metadata in theirs.items() if not only_metadata}
    assert whole == {"Deployment", "Job", "Pod"}
    assert {"ConfigMap", "Service", "PersistentVolumeClaim"} <= theirs.keys()


@pytest.mark.parametrize("code", [410, 500, 403])
@pytest.mark.parametrize("how", ["as the answer", "in the stream"])
async def test_a_watch_is_refused(server: Server, client: KubeClient, code: int, how: str) -> None:
    said = {"kind": "Status", "code": code, "reason": "Why", "message": "no"}
    as_answer = how == "as the answer"
    server.answers = [
        (code, json.dumps(said)) if as_answer else (200, json.dumps({"type": "ERROR", "object": said}) + "\n")
    ]
    with pytest.raises(ApiError) as caught:
        async for _ in client.streams.watch(PIPELINES, "7"):
            pass
    assert caught.value.status == code


NO_LISTS = {
    "nothing": "",
    "half of one": '{"items":[{"metadata":{"name":"a"}}',
    "an array": "[]",
    "no metadata": '{"items":[]}',
    "no version": '{"metadata":{"resourceVersion":"new"},"items":[]}',
    "an item of something else": '{"metadata":{"resourceVersion":"1"},"items":[{"name":"a"}]}',
    "an item without a name": '{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{}}]}',
    "an item whose metadata is none": '{"metadata":{"resourceVersion":"1"},"items":[{"metadata":[1]}]}',
}


@pytest.mark.parametrize("text", NO_LISTS.values(), ids=NO_LISTS)
async def test_a_list_that_is_none_is_an_error(server: Server, client: KubeClient, text: str) -> None:
    server.answers = [(200, text)]
    with pytest.raises(ApiError, match="BadAnswer"):
        await client.streams.read(PIPELINES, lambda _: None)


@pytest.mark.parametrize(
    "line", ["7", "[]", '{"kind":"Status"}', '{"type":"ADDED","object":[]}', '{"type":"ADDED","object":{"spec":{}}}']
)
async def test_a_watch_of_something_else_is_an_error(server: Server, client: KubeClient, line: str) -> None:
    """A proxy in between may answer anything; that must not end the process."""
    server.answers = [(200, line + "\n")]
    with pytest.raises(ApiError, match="BadAnswer"):
        async for _ in client.streams.watch(PIPELINES, "7"):
            pass


async def test_what_python_cannot_read_is_left_out(server: Server, client: KubeClient) -> None:
    deep = "[" * 200_000 + "]" * 200_000
    items = f'[{{"a":{deep}}},{{"metadata":{{"name":"b"}}}}]'
    server.answers = [(200, f'{{"metadata":{{"resourceVersion":"1"}},"items":{items}}}')]
    found: list[Obj] = []
    await client.streams.read(PIPELINES, found.append)
    assert len(found) == 1


async def test_a_slow_list_has_no_time_out_of_a_request(server: Server, client: KubeClient) -> None:
    """The client's is half a second; a list may take longer, as long as it goes on."""
    server.held, server.answers = asyncio.Event(), [page("a")]
    reading = asyncio.create_task(client.streams.read(PIPELINES, lambda _: None))
    await asyncio.sleep(0.7)
    server.held.set()
    assert await reading == 9


async def test_time_in_the_line_is_not_the_requests(server: Server, client: KubeClient) -> None:
    """Two places, a time-out of 0.5 s, answers after 0.2 s: the eighth has waited longer than its own time-out."""
    server.held = asyncio.Event()

    async def release() -> None:
        while True:
            await asyncio.sleep(0.2)
            assert server.held is not None
            server.held.set()
            server.held = asyncio.Event()

    task = asyncio.create_task(release())
    try:
        got = await asyncio.gather(*(client.get("v1", "Pod", "ns", f"p{n}") for n in range(8)))
    finally:
        task.cancel()
        server.held.set()
    assert all(got)


async def test_an_answer_that_does_not_come_is_given_up(server: Server, client: KubeClient) -> None:
    server.held = asyncio.Event()
    with pytest.raises(ApiError, match="NoAnswer"):
        await client.get("v1", "Pod", "ns", "p")
    server.held.set()


async def test_large_answers_are_read_two_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BIG_ANSWER_BYTES", 10)
    async with KubeClient(Access(f"http://127.0.0.1:{server.port}"), connections=16) as client:
        big = client._transport._big
        assert big._value == transport._BIG_ANSWERS == 2
        server.answers = [(200, json.dumps({"metadata": {"uid": "x" * 1000}}))] * 8
        for _ in range(2):
            await big.acquire()
        asked = [asyncio.create_task(client.get("v1", "Pod", "ns", f"p{n}")) for n in range(8)]
        done, _ = await asyncio.wait(asked, timeout=0.3)
        assert not done, "two others are being read"
        for _ in range(2):
            big.release()
        assert all(await asyncio.gather(*asked))
