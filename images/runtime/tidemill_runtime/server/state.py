"""Whether this process may be sent requests: one object that every adapter reads.

Written by `lifecycle` only. Reads are plain attribute reads, so they are safe from the admin thread.
"""

import time
from collections.abc import Callable
from typing import Literal

Phase = Literal["loading", "ready", "draining"]


class State:
    """Phase of the process, and when its event loop last moved."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase: Phase = "loading"
        self._clock = clock
        self._beat: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self.phase == "ready"

    @property
    def is_draining(self) -> bool:
        """Whether answers should close their connections."""
        return self.phase == "draining"

    def beat(self) -> None:
        """Note that the event loop runs."""
        self._beat = self._clock()

    def is_stuck(self, limit_seconds: float) -> bool:
        """Return whether the event loop ran once and has not moved for longer than the limit."""
        return self._beat is not None and self._clock() - self._beat > limit_seconds
