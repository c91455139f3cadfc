"""The way of a label to the monitor, and a server and a monitor together."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support import monitoring
from tests.support.asgi import Reply, post
from tests.support.servinglog import V2, FakeMonitor, recorder, request, serving
from tests.support.versions import Published

from tidemill_contracts.inference import FEEDBACK_PATH
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

FEEDBACK = "/v2/models/demo/feedback"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (202, {"joined": 1}, (202, {"joined": 1})),
        (200, {"repeated": 1}, (200, {"repeated": 1})),
        (413, {"error": "too large"}, (413, {"error": "too large"})),
        (409, {"error": "another label", "conflicts": ["x"]}, (409, {"error": "another label", "conflicts": ["x"]})),
        (400, {"error": "label: must"}, (400, {"error": "label: must"})),
        (400, {"detail": "bad"}, (400, {"detail": "bad", "error": "no reason given"})),
        (404, {"detail": "Not Found"}, (503, {"error": "the monitor cannot store it now: its address answers 404"})),
        (500, {"error": "disk"}, (503, {"error": "the monitor cannot store it now: disk"})),
        (503, {"error": "busy"}, (503, {"error": "the monitor cannot store it now: busy"})),
    ],
)
async def test_feedback_is_answered_as_the_monitor_answers(
    numbers: Published, monitor: FakeMonitor, status: int, body: Any, expected: tuple[int, Any]
) -> None:
    monitor.answer = lambda path: (status, body)
    async with serving(numbers, monitor.url) as (parts, _):
        for path in (FEEDBACK, "/v1/models/demo:feedback"):
            reply = await post(parts.app, path, {"id": "x", "label": 1})
            assert (reply.status, reply.json()) == expected
            assert ("retry-after" in reply.headers) == (expected[0] == 503)
    assert monitor.posts[0] == (FEEDBACK_PATH, {"id": "x", "label": 1})


async def test_feedback_without_anybody_who_stores_it_is_not_acknowledged(numbers: Published) -> None:
    async with serving(numbers, "http://127.0.0.1:9") as (parts, _):
        reply = await post(parts.app, FEEDBACK, {"id": "x", "label": 1})
        assert_unavailable(reply, "the monitor does not answer; nothing was stored")
    config = numbers.config()
    parts = assemble(config, State(), Telemetry(config), threads=1)
    reply = await post(parts.app, FEEDBACK, {"id": "x", "label": 1})
    assert_unavailable(reply, "no monitor watches this deployment, so feedback cannot be stored")
    assert (await post(parts.app, "/v2/models/nope/feedback", {})).status == 404


def assert_unavailable(reply: Reply, sentence: str) -> None:
    assert (reply.status, reply.json()) == (503, {"error": sentence})
    assert reply.headers["retry-after"]


async def test_the_real_monitor_counts_what_the_server_answered(numbers: Published, tmp_path: Path) -> None:
    import uvicorn

    from tidemill_runtime.monitor.app import Doors
    from tidemill_runtime.monitor.service import Monitor

    watching = Monitor(monitoring.config(tmp_path, deployment="demo"))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(Doors(watching, None, {"http": port}), log_config=None, ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    async with serving(numbers, f"http://127.0.0.1:{port}") as (parts, _):
        reply = await post(parts.app, V2, request([[0.5, -1, 0.25, 2]] * 3, "req"))
        await recorder(parts).flush(5)
        label = reply.json()["outputs"][0]["data"][0]
        known = await post(parts.app, FEEDBACK, [{"id": f"req/{i}", "label": label} for i in range(3)])
        assert (known.status, known.json()["joined"]) == (202, 3)
        again = await post(parts.app, FEEDBACK, {"id": "req/0", "label": label})
        assert (again.status, again.json()["repeated"]) == (200, 1)
        bad = await post(parts.app, FEEDBACK, {"id": "req/0"})
        assert bad.status == 400
        assert "label" in bad.json()["error"]
        report = watching.report(None)
    server.should_exit = True
    await task
    assert [(v.version, v.digest, v.rows) for v in report.versions] == [("demo-7", numbers.digest, 3)]


def _no_signals() -> Any:
    import contextlib

    return contextlib.nullcontext()
