"""Whether this process may be sent requests: one object that every adapter reads.

Written by `lifecycle` (and by `prefork` in the parent of worker processes) only. Reads are plain attribute
reads, so they are safe from the admin thread. A worker's state is in the shared counters as well,
where the parent reads it.
"""

import time
from collections.abc import Callable
from typing import Literal

from tidemill_runtime.server.telemetry import shared_counters
from tidemill_runtime.server.telemetry.shared_counters import Cells

Phase = Literal["loading", "ready", "draining"]
PHASES: tuple[Phase, ...] = ("loading", "ready", "draining")  # the shared counters hold the place in this list


class State:
    """Phase of the process, and when its event loop last moved."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, cells: "Cells | None" = None) -> None:
        self._phase: Phase = "loading"
        self._clock = clock
        self._beat: float | None = None
        self._cells = cells

    @property
    def phase(self) -> Phase:
        """What the process does."""
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase
        if self._cells is not None:
            self._cells[shared_counters.PHASE] = PHASES.index(phase)

    @property
    def is_ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self._phase == "ready"

    @property
    def is_draining(self) -> bool:
        """Whether answers should close their connections."""
        return self._phase == "draining"

    def beat(self) -> None:
        """Note that the event loop runs."""
        self._beat = self._clock()
        if self._cells is not None:
            self._cells[shared_counters.HEARTBEAT] = self._beat

    def is_stuck(self, limit_seconds: float) -> bool:
        """Return whether the event loop ran once and has not moved for longer than the limit."""
        return self._beat is not None and self._clock() - self._beat > limit_seconds
