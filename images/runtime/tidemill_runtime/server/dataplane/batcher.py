"""Adaptive batching: requests that wait for a model at the same time are answered by one call of it.

Nothing waits at one user: an idle model is called at once. While a call runs, requests queue, and the next call
takes them together. It waits for more only while that pays, which `batch_window` learns. Results are split by rows; a
call that fails is repeated in halves, so that an error stays with the request that caused it. What a batch is of and
who may send it is decided elsewhere: this module knows frames and answers, no protocol and no model.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from time import perf_counter
from typing import Any

import numpy as np

from tidemill_contracts.inference import Batching
from tidemill_runtime.model.errors import OutOfTimeError, ServingError, UnavailableError
from tidemill_runtime.model.frame import EXACT, Array, Frame, array_of_rows
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.dataplane.batch_window import BatchWindow

Outcome = Prediction | Exception


class _Entry:
    """One request that waits."""

    __slots__ = ("arrived", "frame", "future")

    def __init__(self, frame: Frame, future: "asyncio.Future[Prediction]", arrived: float) -> None:
        self.frame = frame
        self.future = future
        self.arrived = arrived


class Batcher:
    """Calls `answer` in `pool`, one batch at a time; belongs to one event loop.

    `hold` and `release` are called for each request that ran out of time, or lost its client, while the model worked
    on it: a thread cannot be stopped, so its place stays taken until the call ends. `count` gets the rows of each
    call for several requests.
    """

    def __init__(
        self,
        answer: Callable[[Frame], Prediction],
        pool: Executor,
        batching: Batching,
        *,
        cost: float,
        timeout: float,
        hold: Callable[[], None],
        release: Callable[[], None],
        count: Callable[[int], None],
        clock: Callable[[], float] = perf_counter,  # an event loop's own may count in milliseconds
    ) -> None:
        self._answer = answer
        self._pool = pool
        self.max_rows = batching.max_rows
        self._timeout = timeout
        self._hold = hold
        self._release = release
        self._count = count
        self._clock = clock
        self._window = BatchWindow(cost, batching.max_delay_milliseconds / 1000)
        self._queue: deque[_Entry] = deque()
        self._rows = 0  # in the queue
        self._running: list[_Entry] = []
        self._held = 0
        self._cost = cost
        self._last_size = 0  # requests in the last call
        self._since = clock()  # when the model became free, or something came while it was
        self._waking: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def predict(self, frame: Frame) -> Prediction:
        """Return the answer to a frame, worked out together with others.

        Raises:
            ServingError: as `answer` does for this frame; UnavailableError: out of time, or the server stops.
        """
        if self._is_closed:
            raise _stopping()
        loop = asyncio.get_running_loop()
        now = self._clock()
        # Those who were answered together come back together; one user's own last answer is no sign of anybody.
        is_back = self._last_size > 1 and now - self._since < self._cost
        self._window.arrived(now, others=is_back or bool(self._queue or self._running))
        if not self._queue and not self._running:
            self._since = now
        entry = _Entry(frame, loop.create_future(), now)
        self._queue.append(entry)
        self._rows += frame.rows
        if self._deadline is None:
            self._deadline = loop.call_later(self._interval, self._expire, loop)
        self._consider(loop, now)
        try:
            return await entry.future
        except asyncio.CancelledError:
            if entry in self._queue:  # nobody waits for it
                self._queue.remove(entry)
                self._rows -= frame.rows
            elif entry in self._running:
                self._keep_place()
            raise

    @property
    def _interval(self) -> float:
        return min(1.0, self._timeout / 4)

    def _consider(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Call the model now or later, if there is anything to call it for."""
        if self._running or not self._queue:
            return
        if self._rows < self.max_rows:
            until = self._window.wait_until(len(self._queue), self._since)
            if until > now:
                if self._waking is None:  # a loop that rounds short delays down just comes back here
                    self._waking = loop.call_later(until - now, self._wake, loop)
                return
        self._start(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waking = None
        self._consider(loop, self._clock())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        batch, rows = self._take()
        if not batch:
            return
        if len(batch) > 1:
            self._count(rows)
        try:
            job = self._pool.submit(answers, self._answer, [entry.frame for entry in batch])
        except RuntimeError:  # the pool was shut down
            self._queue.extend(batch)
            self.close()
            return
        self._running = batch

        def finished(job: "Future[list[Outcome]]") -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(self._finish, loop, job)

        job.add_done_callback(finished)

    def _take(self) -> tuple[list[_Entry], int]:
        batch: list[_Entry] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].frame.rows <= self.max_rows):
            entry = self._queue.popleft()
            self._rows -= entry.frame.rows
            if not entry.future.done():  # else its request was given up a moment ago
                batch.append(entry)
                rows += entry.frame.rows
        return batch, rows

    def _finish(self, loop: asyncio.AbstractEventLoop, job: "Future[list[Outcome]]") -> None:
        batch, self._running = self._running, []
        self._settle(batch, _outcomes(job, len(batch)))
        self._consider(loop, self._since)

    def _settle(self, batch: list[_Entry], outcomes: list[Outcome]) -> None:
        """Give everybody of a batch what is theirs."""
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, Exception):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)
        while self._held:
            self._held -= 1
            self._release()
        self._last_size = len(batch)
        self._since = self._clock()
        self._window.answered(self._since)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse those that are out of time; one timer looks at all of them."""
        before = self._clock() - self._timeout
        while self._queue and self._queue[0].arrived <= before:
            entry = self._queue.popleft()
            self._rows -= entry.frame.rows
            if not entry.future.done():
                entry.future.set_exception(self._out_of_time())
        for entry in self._running:
            if entry.arrived <= before and not entry.future.done():
                entry.future.set_exception(self._out_of_time())
                self._keep_place()
        busy = self._queue or self._running
        self._deadline = loop.call_later(self._interval, self._expire, loop) if busy else None

    def _keep_place(self) -> None:
        self._held += 1
        self._hold()

    def _out_of_time(self) -> OutOfTimeError:
        return OutOfTimeError(f"no answer within {self._timeout:g} s")

    def close(self) -> None:
        """Refuse what waits; what the model works on is not waited for either."""
        self._is_closed = True
        for timer in (self._waking, self._deadline):
            if timer is not None:
                timer.cancel()
        self._waking = self._deadline = None
        for entry in (*self._queue, *self._running):
            if not entry.future.done():
                entry.future.set_exception(_stopping())
        self._queue.clear()
        self._rows = 0


def _stopping() -> UnavailableError:
    return UnavailableError("the server is stopping")


def _outcomes(job: "Future[list[Outcome]]", requests: int) -> list[Outcome]:
    if job.cancelled():
        return [_stopping()] * requests
    if job.exception() is not None:  # no fault of a model: those are outcomes
        return [ServingError("the model failed; the server's log says why")] * requests
    return job.result()


def answers(answer: Callable[[Frame], Prediction], frames: list[Frame]) -> list[Outcome]:
    """Return for each frame its answer or its own error: a batch that fails is tried again in halves."""
    try:
        if len(frames) == 1:
            return [answer(frames[0])]
        joined = concatenated(frames)
        if joined is not None:
            together = answer(joined)
            ends = np.cumsum([frame.rows for frame in frames]).tolist()
            return [together.part(end - frame.rows, end) for frame, end in zip(frames, ends, strict=True)]
    except Exception as error:  # whatever it is, it belongs to one who waits
        if len(frames) == 1:
            return [error]
    half = len(frames) // 2
    return answers(answer, frames[:half]) + answers(answer, frames[half:])


def concatenated(frames: Sequence[Frame]) -> Frame | None:
    """Return the rows of several frames as one, None where that would change a value of one of them."""
    first = frames[0]
    rows = sum(frame.rows for frame in frames)
    is_complete = all(frame.is_complete for frame in frames)
    matrices = [frame.matrix for frame in frames if frame.matrix is not None]
    if len(matrices) == len(frames):
        return Frame(first.schema, rows, matrix=np.concatenate(matrices), is_complete=is_complete)
    one_each = [frame.row for frame in frames if frame.row is not None]
    if len(one_each) == len(frames):
        columns = [array_of_rows(values) for values in zip(*one_each, strict=True)]
        return Frame(first.schema, rows, arrays=columns, is_complete=is_complete)
    arrays: list[Array] = []
    for index in range(first.schema.width):
        parts = [frame.column(index) for frame in frames]
        kinds = {part.dtype.kind for part in parts}
        if len(kinds) > 1 and not all(_is_exact(part) for part in parts):
            return None
        arrays.append(np.concatenate(parts))
    return Frame(first.schema, rows, arrays=arrays, is_complete=is_complete)


def _is_exact(values: Array) -> bool:
    """Return whether values, as floats, are still the same."""
    kind: Any = values.dtype.kind
    return kind in "fb" or (kind in "iu" and bool(((values <= EXACT) & (values >= -EXACT)).all()))
