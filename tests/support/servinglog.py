"""A server's application with a monitor that answers as it is told: what tests of its prediction log share."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.support.stored import check_readable
from tests.support.versions import Published

from tidemill_contracts.access import AccessConfig
from tidemill_contracts.inference import BATCH_PATH, PredictionBatch, PredictionLog
from tidemill_runtime.predictionlog.recorder import Recorder
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

V2 = "/v2/models/demo/infer"
_NEW = frozenset({"clients", "logged"})  # fields that are there only where a deployment asks for what 0.1 does not know


def request(rows: list[list[Any]], request_id: str | None = None) -> dict[str, Any]:
    """Return a V2 request of rows of four numbers."""
    flat = [value for row in rows for value in row]
    document: dict[str, Any] = {
        "inputs": [{"name": "x", "shape": [len(rows), 4], "datatype": "FP64", "data": flat}],
    }
    return document if request_id is None else {**document, "id": request_id}


class FakeMonitor:
    """Answers as it is told and remembers what it got."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, Any]] = []
        self.answer: Callable[[str], tuple[int, Any]] = lambda path: (202, {"status": "counted"})
        self.url = ""

    async def handle(self, incoming: web.Request) -> web.Response:
        """Answer one request."""
        self.posts.append((incoming.path, json.loads(await incoming.read())))
        status, body = self.answer(incoming.path)
        return web.json_response(body, status=status)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeMonitor"]:
        """Listen on a free port, which `url` names."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield self
        await runner.cleanup()

    def batches(self) -> list[PredictionBatch]:
        """Return the batches that came, in their order; without `_NEW` a monitor of any version reads them."""
        for path, body in self.posts:
            if path == BATCH_PATH:
                check_readable("prediction-batch", {name: body[name] for name in body if name not in _NEW})
        return [PredictionBatch.model_validate(body) for path, body in self.posts if path == BATCH_PATH]


@asynccontextmanager
async def serving(
    published: Published, url: str, access: AccessConfig | None = None, **log: Any
) -> AsyncIterator[tuple[Parts, Telemetry]]:
    """Give the parts of a server that sends its records to `url`."""
    config = published.config(log=PredictionLog(url=url, **log), access=access)
    state, telemetry = State(), Telemetry(config)
    state.phase = "ready"
    parts = assemble(config, state, telemetry, threads=1)
    yield parts, telemetry
    assert parts.monitor is not None
    await parts.monitor.close()


def recorder(parts: Parts) -> Recorder:
    """Return the recorder that a server with a log has."""
    assert parts.recorder is not None
    return parts.recorder
