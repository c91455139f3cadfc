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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import uvicorn
import uvloop

from tidemill_contracts import signatures
from tidemill_contracts.inference import ServedForm, ServerConfig
from tidemill_runtime.loading import local_copy, warm_up
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.predictionlog.client import MonitorClient
from tidemill_runtime.predictionlog.record_batches import VersionFiles, reference_document
from tidemill_runtime.predictionlog.recorder import Recorder
from tidemill_runtime.server.dataplane.dataplane import DataPlane
from tidemill_runtime.server.host import access
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http.asgi import App, InferenceApp
from tidemill_runtime.server.http.body_limits import BodyBounds, BodyReader
from tidemill_runtime.server.http.connection import KEEP_ALIVE_SECONDS, InferenceConnection, Wiring
from tidemill_runtime.server.http.inference import Inference
from tidemill_runtime.server.http.lazy_app import LazyApp
from tidemill_runtime.server.http.observed import ObservedInference
from tidemill_runtime.server.process.listeners import HttpListener, Listener
from tidemill_runtime.server.rpc.listener import GrpcListener
from tidemill_runtime.server.telemetry import observer
from tidemill_runtime.server.telemetry.metrics import Telemetry
from tidemill_runtime.server.telemetry.observer import Observer

_log = logging.getLogger(__name__)
FLUSH_SECONDS = 3.0
BEAT_SECONDS = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
HURRY_SIGNAL = signal.SIGUSR1  # what a second of them means, for those who cannot wait until the first has arrived


@dataclass
class Parts:
    """What serves, wired."""

    app: App
    wiring: Wiring
    plane: DataPlane
    recorder: Recorder | None
    monitor: MonitorClient | None
    observer: Observer | None


@dataclass(frozen=True)
class Loaded:
    """What worker processes share: made once, before any fork."""

    warm: WarmModel
    profile: VersionFiles | None  # where records are logged


def load(config: ServerConfig, telemetry: Telemetry, threads: int) -> Loaded:
    """Load the model and warm it up.

    Raises:
        StartError: the version cannot be served.
    """
    with local_copy.opened(config) as version:
        warm = warm_up.load(version, config, threads)
        profile = warm_up.profile_files(version) if config.log is not None else None
    telemetry.platform = warm.model.platform
    telemetry.form = ServedForm(digest=config.digest, runtime=warm.runtime, surprise=warm.fallback)
    signature = signatures.brief(warm.manifest.signature)
    telemetry.signature = signatures.ServedSignature(digest=config.digest, signature=signature)
    milliseconds = warm.seconds(1) * 1000
    _log.info("version %s is warm: %s, %.3f ms a row; %s", config.version, warm.runtime, milliseconds, warm.reason)
    return Loaded(warm, profile)


def wire(loaded: Loaded, config: ServerConfig, state: State, telemetry: Telemetry, threads: int) -> Parts:
    """Wire the server around a loaded model, in the process that will serve."""
    monitor = recorder = None
    if config.log is not None:
        monitor = MonitorClient(config.log.url)
        reference = reference_document(config, loaded.profile) if loaded.profile is not None else None
        sent, dropped = telemetry.records_sent, telemetry.records_dropped
        recorder = Recorder(config, config.log, loaded.warm.schema, reference, monitor, sent, dropped)
    plane = DataPlane(loaded.warm, config, telemetry, recorder, threads)
    watching = observer.create(config, telemetry)
    inference = Inference(plane) if watching is None else ObservedInference(plane, watching)
    bounds = BodyBounds(config)
    reader = BodyReader(bounds)

    def application() -> App:
        from tidemill_runtime.server.http.app import create_application

        return cast(App, create_application(plane, state, reader, monitor))

    guard = access.create(config.access)
    app = InferenceApp(inference, state, reader, LazyApp(application), guard)
    return Parts(app, Wiring(inference, bounds, state, guard), plane, recorder, monitor, watching)


def assemble(config: ServerConfig, state: State, telemetry: Telemetry, threads: int) -> Parts:
    """Load and wire, for one process.

    Raises:
        StartError: the version cannot be served.
    """
    return wire(load(config, telemetry, threads), config, state, telemetry, threads)


class Process:
    """Serves until a signal; a second one ends the waiting."""

    def __init__(
        self,
        config: ServerConfig,
        state: State,
        parts: Parts,
        listeners: Sequence[Listener],
        signals: Iterable[signal.Signals] = STOP_SIGNALS,
    ) -> None:
        self._config = config
        self._state = state
        self._parts = parts
        self._listeners = listeners
        self._signals = tuple(signals)
        self._started = 0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def run(self) -> None:
        """Serve, drain, return."""
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk it again while requests are answered
        gc.enable()  # it was off during the start
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(HURRY_SIGNAL, self._on_hurry)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, (*self._signals, HURRY_SIGNAL)
        )  # a worker was forked with them held back
        background = [asyncio.create_task(self._beat())]
        if self._parts.recorder is not None:
            background.append(asyncio.create_task(self._parts.recorder.run()))
        if self._parts.observer is not None:
            background.append(asyncio.create_task(self._parts.observer.run()))
        serving = [asyncio.create_task(listener.serve(self._on_started)) for listener in self._listeners]
        await self._wait_for_stop(serving)
        await self._drain()
        await asyncio.gather(*serving)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._close()

    def _on_started(self) -> None:
        self._started += 1
        if self._started == len(self._listeners) and not self._stop.is_set():
            self._state.phase = "ready"
            _log.info("ready")

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _on_hurry(self) -> None:
        self._hurry.set()
        self._stop.set()

    async def _beat(self) -> None:
        while True:
            self._state.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def _wait_for_stop(self, serving: "list[asyncio.Task[None]]") -> None:
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopped, *serving], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    async def _drain(self) -> None:
        self._state.phase = "draining"
        _log.info("draining for %g s", self._config.drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._config.drain_seconds)
        await asyncio.gather(*(listener.drain() for listener in self._listeners))

    async def _close(self) -> None:
        if self._parts.recorder is not None:
            await self._parts.recorder.flush(FLUSH_SECONDS)
        if self._parts.observer is not None:
            await self._parts.observer.close()
        if self._parts.monitor is not None:
            await self._parts.monitor.close()
        self._parts.plane.close()
        _log.info("stopped")


def serve(
    loaded: Loaded,
    config: ServerConfig,
    state: State,
    telemetry: Telemetry,
    threads: int,
    http: socket.socket,
    grpc_port: int,
    signals: Iterable[signal.Signals] = STOP_SIGNALS,
) -> None:
    """Serve a loaded model in this process until a signal; `http` listens already."""
    parts = wire(loaded, config, state, telemetry, threads)
    listeners: list[Listener] = [
        HttpListener(http, http_config(config, parts)),
    ]
    if config.grpc:
        listeners.append(GrpcListener(parts.plane, state, grpc_port, observer=parts.observer))
    Process(config, state, parts, listeners, signals).run()


def http_config(config: ServerConfig, parts: Parts) -> uvicorn.Config:
    """Return how uvicorn serves the parts."""
    return uvicorn.Config(
        parts.app,
        http=InferenceConnection.of(parts.wiring),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(config.request_timeout_seconds) + 1,
    )
