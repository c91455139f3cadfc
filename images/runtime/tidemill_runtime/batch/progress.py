"""How far a long run is: a bar on a terminal, a line of the log every ten seconds elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

_log = logging.getLogger(__name__)
INTERVAL_SECONDS = 10.0


class Progress:
    """Rows done, and the share of all work; the share goes by bytes, since a file's rows are known when it is open."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._started = self._logged_at = clock()
        self.rows = 0
        self._bar = None
        if self._stream.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
            self._bar = tqdm(total=1.0, file=self._stream, bar_format=layout, dynamic_ncols=True)

    def advance(self, rows: int, share: float) -> None:
        """Say that so many rows more are done, and which share of the whole is done by now, 0 to 1."""
        self.rows += rows
        now = self._clock()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self.rows:,} rows, {self.rate(now):,.0f} rows/s", refresh=False)
            self._bar.update(min(share, 1.0) - self._bar.n)
        elif now - self._logged_at >= INTERVAL_SECONDS:
            self._logged_at = now
            left = (now - self._started) * (1 - share) / share if share > 0 else 0.0
            _log.info("%d rows, %.0f rows/s, %.0f %%, about %.0f s left", self.rows, self.rate(now), 100 * share, left)

    def rate(self, now: float | None = None) -> float:
        """Return rows a second since the start."""
        seconds = (self._clock() if now is None else now) - self._started
        return self.rows / seconds if seconds > 0 else 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def close(self) -> None:
        """Leave the terminal as it is after the last line."""
        if self._bar is not None:
            self._bar.close()
