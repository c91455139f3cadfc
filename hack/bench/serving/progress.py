"""What is going on, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import TextIO

_EVERY_SECONDS = 15.0  # where lines cannot be written over


class Progress:
    """Counts steps and guesses how long the rest takes."""

    def __init__(self, steps: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._steps, self._done = steps, 0
        self._began = self._told = time.monotonic()
        self._is_terminal = self._stream.isatty()

    def step(self, text: str) -> None:
        """Begin a step."""
        now = time.monotonic()
        share = self._done / self._steps if self._steps else 0.0
        self._done += 1
        left = f", about {(now - self._began) * (1 - share) / share / 60:.0f} min left" if share > 0.02 else ""
        line = f"[{share:4.0%}{left}] {text}"
        if self._is_terminal:
            self._stream.write(f"\r\033[K{line[:150]}")
        elif now - self._told >= _EVERY_SECONDS:
            self._told = now
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Leave a line that stays."""
        self._stream.write(f"\r\033[K{text}\n" if self._is_terminal else f"{text}\n")
        self._stream.flush()
