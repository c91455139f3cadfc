"""Predicting, without any transport: admission, where the work runs, deadline, ids, log and counts.

REST adapters call it today and other transports can: decode to a frame, `admit`, `predict`, `release`.
It knows no HTTP beyond the status that errors carry.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tidemill_contracts.counts import does
from tidemill_contracts.inference import Batching, ServerConfig
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model.errors import OutOfTimeError, ServingError, UnavailableError
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog.prediction_ids import PredictionIds
from tidemill_runtime.predictionlog.recorder import Recorder
from tidemill_runtime.server.dataplane.batcher import Batcher, Outcome
from tidemill_runtime.server.dataplane.turn_batcher import TurnBatcher
from tidemill_runtime.server.telemetry.metrics import Telemetry
from tidemill_runtime.server.telemetry.shared_counters import IN_FLIGHT

_log = logging.getLogger(__name__)
INLINE_SECONDS = 0.001  # a hop to a thread and back costs about a tenth of this
ROW_SHARE = 0.25  # of a call's cost: where a row costs more than this, calls are worth little less than rows
T = TypeVar("T")


class DataPlane:
    """Answers frames with one warm model. All methods but `answer` belong to the event loop."""

    def __init__(
        self, warm: WarmModel, config: ServerConfig, telemetry: Telemetry, recorder: Recorder | None, threads: int
    ) -> None:
        self.warm = warm
        self.config = config
        self.schema = warm.schema
        self.output_names = tuple(o.name for o in warm.manifest.signature.outputs)
        self.new_id = PredictionIds(config.digest).new
        self._predict = warm.model.predict
        self._telemetry = telemetry
        self._recorder = recorder
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="predict")
        self._inline_rows = _inline_rows(warm)
        self._limit = config.max_in_flight
        self._decoding = threading.Lock()
        self.in_flight = 0
        self._cells = telemetry.cells
        self._closing: list[Callable[[], None]] = []
        self._batcher = self._new_batcher(config.batching or Batching())
        self.turn_batcher = None if self._batcher is None else self._new_turn_batcher(self._batcher.max_rows)
        """What collects quick requests; None where a call costs little more than its rows or batching is off."""

    def _new_batcher(self, batching: Batching) -> Batcher | None:
        """Return what collects requests, None where a call costs little more than its rows or batching is off."""
        warm = self.warm
        if not batching.enabled or not warm.batching or warm.seconds_per_row > ROW_SHARE * warm.seconds_per_call:
            return None
        return Batcher(
            self.answer,
            self._pool,
            batching,
            cost=warm.seconds_per_call,
            timeout=self.config.request_timeout_seconds,
            hold=self._hold,
            release=self.release,
            count=self._telemetry.batched,
        )

    def _new_turn_batcher(self, max_rows: int) -> TurnBatcher:
        rows = min(max_rows, max(1, self._inline_rows))
        # Who waits holds a place; as many stay free, so that nobody is refused for it.
        return TurnBatcher(self.answer, self._telemetry.batched, rows, max(1, self._limit // 2))

    def _hold(self) -> None:
        """Keep a place for a thread that nobody waits for any more."""
        self.in_flight += 1
        self._cells[IN_FLIGHT] = self.in_flight

    def admit(self) -> None:
        """Take a place among the requests in flight; give it back with `release`.

        Raises:
            UnavailableError: all places are taken.
        """
        if self.in_flight >= self._limit:
            raise UnavailableError(f"overloaded: {does(self._limit, 'request', 'is', 'are')} in flight")
        self.in_flight += 1
        self._cells[IN_FLIGHT] = self.in_flight

    def release(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._cells[IN_FLIGHT] = self.in_flight

    def is_quick(self, rows: int) -> bool:
        """Return whether this many rows are best predicted on the event loop."""
        return rows <= self._inline_rows

    def answer(self, frame: Frame) -> Prediction:
        """Predict, here and now; safe from any thread.

        Raises:
            ServingError: 400 for rows that the model refuses, 500 for a fault of the model.
        """
        try:
            return self._predict(frame)
        except ServingError:
            raise
        except Exception as error:
            _log.exception("the model failed on %d rows", frame.rows)
            raise ServingError("the model failed; the server's log says why") from error

    async def predict(self, frame: Frame) -> Prediction:
        """Predict where that is best, together with others where that helps.

        Raises:
            ServingError: as `answer` does; OutOfTimeError: no answer in `request_timeout_seconds`.
        """
        if frame.rows <= self._inline_rows:
            return (
                self.answer(frame) if self.turn_batcher is None else await _answered_in_turn(self.turn_batcher, frame)
            )
        if self._batcher is not None and frame.rows <= self._batcher.max_rows:
            return await self._batcher.predict(frame)
        return await self.in_thread(lambda: self.answer(frame))

    async def decoded(self, work: Callable[[], T]) -> T:
        """Decode a large body beside the event loop, one at a time: 16 MiB may become 400 MiB, and time is not lost.

        Raises:
            OutOfTimeError: as `in_thread`.
        """
        return await self.in_thread(lambda: self._alone(work))

    def _alone(self, work: Callable[[], T]) -> T:
        with self._decoding:
            try:
                return work()
            except ServingError as error:
                raise error.with_traceback(None) from None  # which holds what was decoded until somebody answers

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work beside the event loop, at most `request_timeout_seconds`.

        A thread cannot be stopped: its place among the requests in flight stays taken until it ends.

        Raises:
            OutOfTimeError: no answer in that time.
        """
        running = self._pool.submit(work)
        waiting = asyncio.wrap_future(running)
        try:
            async with asyncio.timeout(self.config.request_timeout_seconds):
                return await asyncio.shield(waiting)
        except (TimeoutError, asyncio.CancelledError) as error:
            waiting.add_done_callback(_forget)  # or the loop complains of an error that nobody has seen
            if not running.cancel():
                self._hold()
                loop = asyncio.get_running_loop()
                running.add_done_callback(lambda _: loop.call_soon_threadsafe(self.release))
            if isinstance(error, asyncio.CancelledError):  # the client went away, where a transport tells
                raise
            seconds = self.config.request_timeout_seconds
            raise OutOfTimeError(f"no answer within {seconds:g} s") from None
        finally:
            del running, waiting  # or an error, whose traceback holds the request, would hold itself by them

    def succeeded(
        self, request_id: str, frame: Frame, answer: Prediction, started: float, client: str | None = None
    ) -> None:
        """Count and log one answered request; `started`: when it was whole; `client`: who asked, as a keyed hash."""
        seconds = monotonic() - started
        self._telemetry.succeeded(frame.rows, seconds)
        if self._recorder is not None:
            self._recorder.record(request_id, frame, answer, seconds, client)

    def failed(self, status: int, seconds: float) -> None:
        """Count one refused request; the monitor hears of those that are not the client's fault."""
        self._telemetry.failed(status, seconds)
        if self._recorder is not None and status >= 500:
            self._recorder.record_error()

    def on_close(self, end: Callable[[], None]) -> None:
        """Have something that works with this model end with it."""
        self._closing.append(end)

    def close(self) -> None:
        """Let threads end; what still runs is not waited for."""
        for end in self._closing:
            end()
        if self._batcher is not None:
            self._batcher.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answered_in_turn(turn_batcher: TurnBatcher, frame: Frame) -> "asyncio.Future[Prediction]":
    future = asyncio.get_running_loop().create_future()

    def done(outcome: Outcome) -> None:
        if future.done():  # its client went away
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    turn_batcher.add(frame, done)
    return future


def _forget(outcome: "asyncio.Future[Any]") -> None:
    if not outcome.cancelled():
        outcome.exception()


def monotonic() -> float:
    """Return the clock that latencies are measured with, in seconds."""
    return time.perf_counter()


def _inline_rows(warm: WarmModel) -> int:
    if warm.seconds(1) > INLINE_SECONDS:
        return 0
    spare = INLINE_SECONDS - warm.seconds_per_call
    return max(1, min(10_000, int(spare / max(warm.seconds_per_row, 1e-9))))
