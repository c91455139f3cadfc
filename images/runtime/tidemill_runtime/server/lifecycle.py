"""The life of the process: load, warm up, serve, drain, end.

Order of the drain: not ready at once; keep serving for `drain_seconds` while every reply closes its
connection, so that proxies and endpoints move on; stop accepting without dropping the queue; finish what
is in flight; flush the log; exit 0. The only module that writes `State` and handles signals.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import cast

import uvicorn
import uvloop

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server import localcopy, models, sockets
from tidemill_runtime.server.application import create_application
from tidemill_runtime.server.bodies import BodyBounds, BodyReader
from tidemill_runtime.server.connection import KEEP_ALIVE_SECONDS, InferenceConnection, Wiring
from tidemill_runtime.server.dataplane import DataPlane
from tidemill_runtime.server.http import App, InferenceApp
from tidemill_runtime.server.inference import Inference
from tidemill_runtime.server.monitorclient import MonitorClient
from tidemill_runtime.server.predictionlog import Recorder, reference_document
from tidemill_runtime.server.state import State
from tidemill_runtime.server.telemetry import Telemetry

_log = logging.getLogger(__name__)
FLUSH_SECONDS = 3.0
_ACCEPT_QUEUE_SECONDS = 0.05
_ACCEPT_QUEUE_TURNS = 40  # at most 2 s


class HttpServer(uvicorn.Server):
    """uvicorn that says when it listens and leaves signals alone: `Process` decides when to stop."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


@dataclass
class Parts:
    """What serves, wired."""

    app: App
    wiring: Wiring
    plane: DataPlane
    recorder: Recorder | None
    monitor: MonitorClient | None


def assemble(config: ServerConfig, state: State, telemetry: Telemetry, threads: int) -> Parts:
    """Load the model and wire the server around it.

    Raises:
        StartError: the version cannot be served.
    """
    with localcopy.opened(config) as version:
        warm = models.load(version, config, threads)
        profile = models.reference_profile(version) if config.log is not None else None
    monitor = recorder = None
    if config.log is not None:
        monitor = MonitorClient(config.log.url)
        reference = reference_document(config, profile) if profile is not None else None
        recorder = Recorder(config, config.log, reference, monitor, telemetry)
    plane = DataPlane(warm, config, telemetry, recorder, threads)
    inference, bounds = Inference(plane), BodyBounds(config)
    reader = BodyReader(bounds)
    application = create_application(plane, state, reader, monitor)
    telemetry.platform = warm.model.platform
    milliseconds = warm.seconds(1) * 1000
    _log.info("version %s is warm on %s: %.3f ms a row", config.version, warm.model.platform, milliseconds)
    app = InferenceApp(inference, state, reader, cast(App, application))
    return Parts(app, Wiring(inference, bounds, state), plane, recorder, monitor)


class Process:
    """Serves until SIGTERM or SIGINT; a second signal ends the waiting."""

    def __init__(self, config: ServerConfig, state: State, parts: Parts, listener: socket.socket) -> None:
        self._config = config
        self._state = state
        self._parts = parts
        self._listener = listener
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def run(self) -> None:
        """Serve, drain, return."""
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk it again while requests are answered
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        server = HttpServer(self._uvicorn_config(), self._on_started)
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        sending = asyncio.create_task(self._parts.recorder.run()) if self._parts.recorder is not None else None
        await self._wait_for_stop(serving)
        await self._drain(server, serving)
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await self._close()

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._parts.app,
            http=InferenceConnection.of(self._parts.wiring),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(self._config.request_timeout_seconds) + 1,
        )

    def _on_started(self) -> None:
        self._state.phase = "ready"
        _log.info("ready")

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _wait_for_stop(self, serving: "asyncio.Task[None]") -> None:
        while not self._stop.is_set() and not serving.done():
            self._state.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    async def _drain(self, server: HttpServer, serving: "asyncio.Task[None]") -> None:
        self._state.phase = "draining"
        _log.info("draining for %g s", self._config.drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._config.drain_seconds)
        sockets.refuse_new(self._listener)
        await self._empty_queue()
        server.should_exit = True
        await serving

    async def _empty_queue(self) -> None:
        """Let the loop accept what the kernel had queued, and read it; on a busy machine that takes longer."""
        for _ in range(_ACCEPT_QUEUE_TURNS):
            await asyncio.sleep(_ACCEPT_QUEUE_SECONDS)
            if not sockets.waiting(self._listener):
                break
        for _ in range(3):  # a sleep may end before the loop has looked at its sockets; a turn of it has
            await asyncio.sleep(0)

    async def _close(self) -> None:
        if self._parts.recorder is not None:
            await self._parts.recorder.flush(FLUSH_SECONDS)
        if self._parts.monitor is not None:
            await self._parts.monitor.close()
        self._parts.plane.close()
        _log.info("stopped")
