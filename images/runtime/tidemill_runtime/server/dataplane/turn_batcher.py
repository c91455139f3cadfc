"""What the event loop reads in one turn, answered by one call of a model that is quick.

No request waits: a turn ends when nothing is left to read. A request alone pays for one callback of the loop; several
share a call, whose fixed part is most of what a quick model costs. No tasks, futures or timers: those would cost a
single request more than sharing saves.
"""

import asyncio
import logging
from collections.abc import Callable

from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.dataplane.batcher import Outcome, answers

Done = Callable[[Outcome], None]
_log = logging.getLogger(__name__)


class TurnBatcher:
    """Calls `answer` on the event loop it belongs to, at the end of each turn that had requests.

    Sooner when `max_rows` or `max_requests` wait. `count` gets the rows of each call for several requests.
    """

    def __init__(
        self, answer: Callable[[Frame], Prediction], count: Callable[[int], None], max_rows: int, max_requests: int
    ) -> None:
        self._answer = answer
        self._count = count
        self._max_rows = max_rows
        self._max_requests = max_requests
        self._frames: list[Frame] = []
        self._waiting: list[Done] = []
        self._rows = 0
        self._is_due = False

    def add(self, frame: Frame, done: Done) -> None:
        """Have `done` called with the answer to a frame, or with its error, in this turn of the loop."""
        if self._rows + frame.rows > self._max_rows:
            self.flush()
        self._frames.append(frame)
        self._waiting.append(done)
        self._rows += frame.rows
        if len(self._waiting) >= self._max_requests:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn_is_over)

    def _turn_is_over(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        """Answer all that wait."""
        frames, waiting, rows = self._frames, self._waiting, self._rows
        if not waiting:
            return
        self._frames, self._waiting, self._rows = [], [], 0
        if len(waiting) > 1:
            self._count(rows)
        for done, outcome in zip(waiting, answers(self._answer, frames), strict=True):
            try:
                done(outcome)
            except Exception:  # a fault with one connection is none of the others
                _log.exception("an answer could not be given")
