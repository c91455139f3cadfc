"""kopf runs the process and nothing else: it handles no kind, asks for no right, and writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kopf._core.intents.causes import Activity

from tidemill import app, handlers
from tidemill.config import OperatorConfig
from tidemill.errors import TidemillError
from tidemill.kube.access import Access


@contextlib.contextmanager
def api_server() -> Iterator[tuple[Access, list[str]]]:
    """An API server without a kind, and what it was asked. In a thread: kopf ends every task that comes after it."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            body = b'{"kind": "APIVersions", "versions": ["v1"], "groups": [], "resources": []}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Access(f"http://127.0.0.1:{server.server_port}"), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def at_once() -> None:
    """Ready from the start."""


def test_only_activities_of_the_process_are_registered() -> None:
    async def run(stop: asyncio.Event) -> None:
        await stop.wait()

    found = handlers.registry(handlers.Process(run, at_once, Access("http://127.0.0.1:1")))
    for kinds in (found._watching, found._changing, found._spawning, found._indexing, found._webhooks):
        assert not kinds.get_all_handlers(), "it would list whole objects, or write annotations onto them"
    activities = [handler.activity for handler in found._activities.get_all_handlers()]
    assert sorted(activities, key=str) == sorted([Activity.STARTUP, Activity.AUTHENTICATION, Activity.CLEANUP], key=str)


def test_settings_that_keep_it_from_looking_and_writing() -> None:
    found = handlers.settings()
    assert found.peering.standalone
    assert found.scanning.disabled
    assert not found.posting.enabled


async def test_it_asks_which_kinds_there_are_and_nothing_else() -> None:
    with api_server() as (access, asked):
        begun = asyncio.Event()

        async def run(stop: asyncio.Event) -> None:
            begun.set()
            await stop.wait()

        process = handlers.Process(run, at_once, access)
        task = asyncio.create_task(handlers.run(process))
        await begun.wait()
        while not asked:  # noqa: ASYNC110 - the server's own record
            await asyncio.sleep(0.01)
        process.ended.set()  # as a signal ends it
        await task
    assert set(asked) <= {"GET /api", "GET /apis", "GET /api/v1"}


async def test_an_operator_that_ends_unasked_ends_the_process_with_its_reason() -> None:
    with api_server() as (access, asked):

        async def run(stop: asyncio.Event) -> None:
            del stop
            while not asked:  # noqa: ASYNC110 - the server's own record
                await asyncio.sleep(0.01)
            raise TidemillError("the Lease is lost")

        with pytest.raises(TidemillError, match="the Lease is lost"):
            await handlers.run(handlers.Process(run, at_once, access))


async def test_the_operator_ends_in_its_own_order_before_the_process_does() -> None:
    with api_server() as (access, _):
        done: list[str] = []
        begun = asyncio.Event()

        async def run(stop: asyncio.Event) -> None:
            begun.set()
            await stop.wait()
            await asyncio.sleep(0)
            done.append("released the Lease")

        process = handlers.Process(run, at_once, access)
        task = asyncio.create_task(handlers.run(process))
        await begun.wait()
        process.ended.set()
        await task
        assert done == ["released the Lease"]


def test_all_six_kinds_are_reconciled() -> None:
    operator = app.Operator(OperatorConfig(), Access("http://127.0.0.1:1"))
    kinds = {"TrainingPipeline", "TrainingRun", "ModelImport", "ModelVersion", "ModelDeployment", "ModelMonitor"}
    assert set(operator.handler.queues) == kinds


async def test_the_session_carries_the_credentials() -> None:
    async def run(stop: asyncio.Event) -> None:
        await stop.wait()

    access = Access("http://127.0.0.1:1", static_token="a-token")
    found = handlers.registry(handlers.Process(run, at_once, access))
    login = next(h for h in found._activities.get_all_handlers() if h.activity == Activity.AUTHENTICATION)
    session = await login.fn()
    assert session.aiohttp_session.headers["Authorization"] == "Bearer a-token"
    await session.aiohttp_session.close()
