"""Several worker processes on one port: the parent loads the model, forks, watches, and serves no request itself.

Every worker has a listening socket of its own and the parent holds all of them open, so that what the kernel
has queued for a worker that died waits for the one that takes its place. Nothing is loaded after a fork:
the pages of the model are shared for as long as nobody writes them. What a worker does is `lifecycle`'s.
"""

import gc
import logging
import math
import os
import random
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tidemill_contracts.counts import counted
from tidemill_contracts.inference import ServerConfig
from tidemill_runtime import termination
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.server.host.state import PHASES, State
from tidemill_runtime.server.http import lazy_app
from tidemill_runtime.server.process import lifecycle
from tidemill_runtime.server.process.admin_server import AdminServer
from tidemill_runtime.server.process.lifecycle import HURRY_SIGNAL
from tidemill_runtime.server.telemetry import shared_counters
from tidemill_runtime.server.telemetry.metrics import Telemetry
from tidemill_runtime.server.telemetry.shared_counters import SharedCounters

_log = logging.getLogger(__name__)
MAX_DEATHS = 5  # in DEATHS_SECONDS; one more and another container is the better try
DEATHS_SECONDS = 60.0
END_SECONDS = 9.0  # what ending may take beside the drain and one request that came in at its end
_BACK_OFF_SECONDS = (0.0, 0.1, 0.5, 1.0, 2.0)  # before the replacement, by the deaths of the last minute
_TURN_SECONDS = 0.25
_STARTING_TURN_SECONDS = 0.005  # while readiness waits for workers
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_HELD_BACK = {*_STOP_SIGNALS, HURRY_SIGNAL, signal.SIGCHLD}


@dataclass
class _Worker:
    index: int
    process: int = 0  # its id; 0: none now
    start_at: float = 0.0


class Workers:
    """The parent of the worker processes; `run` is its life."""

    def __init__(
        self,
        sockets: list[socket.socket],
        state: State,
        shared: SharedCounters,
        admin: AdminServer,
        work: Callable[[int], None],
        stuck_seconds: float,
        end_seconds: float,
    ) -> None:
        """Take what the workers share; `work(index)` serves in a worker until it is drained.

        A worker that stands still for `stuck_seconds`, or takes `end_seconds` to end, is killed.
        """
        self._sockets = sockets
        self._state = state
        self._counters = shared
        self._admin = admin
        self._work = work
        self._stuck_seconds = stuck_seconds
        self._end_seconds = end_seconds
        self._end_by = math.inf
        self._workers = [_Worker(index) for index in range(len(sockets))]
        self.deaths = 0  # of workers that nobody had stopped
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS + 1)
        self._signals = 0  # that asked to stop, and how many of them the workers know
        self._passed_on = 0
        self._was_ready = False
        self._failure: StartError | None = None
        self._broken_drains = 0

    @property
    def ids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [worker.process for worker in self._workers if worker.process]

    def run(self) -> None:
        """Serve until a signal, then until drained.

        Raises:
            StartError: WorkersFailed; they die again and again, or one did not end well. Another start may help.
        """
        gc.collect()
        gc.freeze()  # a collection would write into every object, and so copy each page of the model
        gc.enable()
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            self._supervise(woken)
        finally:
            signal.set_wakeup_fd(-1)
        if self._failure is not None:
            raise self._failure
        if self._broken_drains:
            raise StartError(
                "WorkersFailed", f"{counted(self._broken_drains, 'worker')} died while draining", retryable=True
            )

    def _on_signal(self, number: int, frame: object) -> None:
        del number, frame
        self._signals += 1

    def _supervise(self, woken: socket.socket) -> None:
        while True:
            self._state.beat()
            self._reap()
            if self._signals > self._passed_on or self._failure is not None:
                self._pass_on()
            self._start_missing()  # while draining, too: what waits for a worker that died is its successor's
            if not self._passed_on:
                self._kill_stuck()
                self._judge_readiness()
            elif not self.ids:
                return
            elif time.monotonic() > self._end_by:
                self._kill(self.ids, signal.SIGKILL)
            is_waiting = not self._passed_on and not self._is_complete()
            if select.select([woken], [], [], _STARTING_TURN_SECONDS if is_waiting else _TURN_SECONDS)[0]:
                woken.recv(1024)

    def _reap(self) -> None:
        while self.ids:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            for worker in self._workers:
                if worker.process == process:
                    worker.process = 0
                    self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        self._counters.reset_gauges(worker.index)
        if self._passed_on:
            self._broken_drains += code != 0
            is_over = code == 0 or self._broken_drains > MAX_DEATHS or time.monotonic() > self._end_by
            worker.start_at = math.inf if is_over else 0.0
            return
        now = time.monotonic()
        recent = sum(at > now - DEATHS_SECONDS for at in self._deaths)
        self._deaths.append(now)
        self.deaths += 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if recent >= MAX_DEATHS:
            text = f"workers died {recent + 1} times within {DEATHS_SECONDS:g} s; the last one {how}"
            self._failure = StartError("WorkersFailed", text, retryable=True)
            worker.start_at = math.inf
            return
        worker.start_at = now + _BACK_OFF_SECONDS[min(recent, len(_BACK_OFF_SECONDS) - 1)]
        _log.error("worker %d %s; another takes its place", worker.index, how)

    def _pass_on(self) -> None:
        """Have every worker drain, and then hurry: by another signal, since two of a kind may arrive as one."""
        if not self._passed_on:
            self._state.phase = "draining"
            self._end_by = time.monotonic() + self._end_seconds
            self._kill(self.ids, signal.SIGTERM)
        if self._signals > 1:
            self._kill(self.ids, HURRY_SIGNAL)
        self._passed_on = max(self._signals, 1)

    def _kill(self, processes: list[int], number: signal.Signals) -> None:
        for process in processes:  # none of them was waited for, so that each id is still its own
            os.kill(process, number)

    def _start_missing(self) -> None:
        now = time.monotonic()
        missing = [worker for worker in self._workers if not worker.process and worker.start_at <= now]
        if missing:
            with self._admin.paused(), _held_back():
                for worker in missing:
                    self._fork(worker)
            if self._passed_on:  # they drain as soon as they serve
                self._kill(
                    [w.process for w in missing if w.process], HURRY_SIGNAL if self._signals > 1 else signal.SIGTERM
                )

    def _fork(self, worker: _Worker) -> None:
        self._counters.reset_gauges(worker.index)
        self._counters.row(worker.index)[shared_counters.HEARTBEAT] = time.monotonic()  # a start can be stuck, too
        parent = os.getpid()
        sys.stdout.flush()  # or both would write what waits in its buffer
        try:
            process = os.fork()
        except OSError as error:  # the limit of processes, say: those that serve go on, and another try is made
            _log.error("worker %d cannot be started: %s", worker.index, error)
            self._ended(worker, 1)
            return
        if process == 0:
            self._be_worker(worker.index, parent)
        worker.process = process

    def _be_worker(self, index: int, parent: int) -> NoReturn:
        code = 1
        try:
            termination.die_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGINT})
            self._admin.forget()
            for other, listener in enumerate(self._sockets):
                if other != index:
                    listener.close()
            random.seed()
            self._work(index)
            code = 0
        except BaseException:
            _log.exception("worker %d failed", index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # nothing of the parent's is cleaned up here

    def _kill_stuck(self) -> None:
        latest = time.monotonic() - self._stuck_seconds
        for worker, beat in zip(self._workers, self._counters.values(shared_counters.HEARTBEAT), strict=True):
            if worker.process and beat < latest:
                _log.error("worker %d has not moved for %g s and is killed", worker.index, self._stuck_seconds)
                self._kill([worker.process], signal.SIGKILL)
                self._counters.row(worker.index)[shared_counters.HEARTBEAT] = math.inf  # once

    def _judge_readiness(self) -> None:
        """Ready when all workers were once; after that, while one is."""
        ready = self._ready()
        self._was_ready = self._was_ready or ready == len(self._workers)
        phase = "ready" if ready and self._was_ready else "loading"
        if phase != self._state.phase:
            _log.info("%s: %d of %d workers", phase, ready, len(self._workers))
            self._state.phase = "ready" if phase == "ready" else "loading"

    def _ready(self) -> int:
        return self._counters.values(shared_counters.PHASE).count(PHASES.index("ready"))

    def _is_complete(self) -> bool:
        return self._ready() == len(self._workers)


def serve(
    loaded: lifecycle.Loaded,
    config: ServerConfig,
    state: State,
    telemetry: Telemetry,
    threads: int,
    sockets: list[socket.socket],
    grpc_port: int,
    admin: AdminServer,
    stuck_seconds: float,
) -> None:
    """Serve a loaded model with one worker for each socket until a signal; `threads` are those of each.

    Raises:
        StartError: as `Workers.run`.
    """
    own_config = share(config)
    lazy_app.import_all()

    def work(index: int) -> None:
        counted = Telemetry(config, telemetry.counters, index)
        own = State(cells=counted.cells)
        lifecycle.serve(loaded, own_config, own, counted, threads, sockets[index], grpc_port, (signal.SIGTERM,))

    end_seconds = config.drain_seconds + config.request_timeout_seconds + END_SECONDS
    parent = Workers(sockets, state, telemetry.counters, admin, work, stuck_seconds, end_seconds)
    telemetry.worker_ids = lambda: parent.ids
    telemetry.worker_deaths = lambda: parent.deaths
    parent.run()


def share(config: ServerConfig) -> ServerConfig:
    """Return the configuration of one worker: its part of the requests in flight and of the rows in the queue."""
    count = config.workers
    log = config.log
    if log is not None:
        log = log.model_copy(update={"max_queue_rows": -(-log.max_queue_rows // count)})
    return config.model_copy(update={"max_in_flight": -(-config.max_in_flight // count), "log": log})


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold signals back; a process forked meanwhile starts with them held back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
