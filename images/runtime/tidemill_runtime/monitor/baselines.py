"""What a window is compared with: training, or counters of other windows of the same version on the same bins.

Whatever the baseline is, the bins are those of the version's reference profile, and so are the positions of bins and
the standard deviation by which a distance is divided.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_contracts.baselines import BaselineConfig, BaselineReport
from tidemill_contracts.monitoring import DriftConfig, MonitorConfig
from tidemill_runtime.monitor import queries
from tidemill_runtime.monitor.binning import Counts, Layout
from tidemill_runtime.monitor.queries import StoredVersion, StoredWindow

Signature = tuple[tuple[int, int], ...]  # (window, changes)


@dataclass(frozen=True)
class Baseline:
    """What one window is compared with."""

    report: BaselineReport | None = None  # None: training, as asked for
    counts: Counts | None = None  # the layout's vector; None: the reference profile's own
    shared: bool = True  # whether the windows of an alarm are all compared with the same rows


TRAINING: Final = Baseline()


def windows_of_alarm(config: DriftConfig | None) -> int:
    """Return how many windows an alarm looks at."""
    return max(config.consecutive_windows, config.out_of or 0) if config else 1


class Baselines:
    """The baselines of the windows of one version, as far as one reading of the database goes."""

    def __init__(self, config: MonitorConfig, connection: sqlite3.Connection, version: StoredVersion) -> None:
        """Nothing is read yet."""
        self._config = config
        self._baseline = config.baseline or BaselineConfig()
        self._connection = connection
        self._version = version.key
        self._span: list[StoredWindow] | None = None

    def chosen(self, window: StoredWindow) -> tuple[StoredWindow, ...]:
        """Return the windows that are the baseline of a window, oldest first; none where that is training."""
        of, seconds = self._baseline, window.seconds
        if of.type == "Window" and of.start is not None and of.end is not None and window.start >= of.end:
            if self._span is None:
                self._span = queries.windows_of_span(self._connection, self._version, seconds, of.start, of.end)
            return tuple(self._span)
        if of.type == "Previous":
            number = windows_of_alarm(self._config.drift)
            least = max(self._config.min_rows, 1)
            return tuple(
                queries.judged_window_before(self._connection, self._version, seconds, window.start, least, number)
            )
        if of.type == "Seasonal" and of.period_seconds is not None and of.count is not None:
            starts = [window.start - number * of.period_seconds for number in range(1, of.count + 1)]
            return tuple(queries.windows_at(self._connection, self._version, seconds, starts))
        return ()

    def baseline(self, chosen: Sequence[StoredWindow], layout: Layout) -> Baseline:
        """Return the baseline that these windows make; training where they have fewer rows than a window needs."""
        if self._baseline.type == "Training":
            return TRAINING
        rows = sum(window.rows for window in chosen)
        if rows < max(self._config.min_rows, 1):
            return Baseline(BaselineReport(type="Training", rows=rows, windows=len(chosen)))
        report = BaselineReport(
            type=self._baseline.type,
            rows=rows,
            windows=len(chosen),
            start=min(window.start for window in chosen),
            end=max(window.start + window.seconds for window in chosen),
        )
        counts = queries.summed_columns(self._connection, [window.key for window in chosen], layout)
        return Baseline(report, counts, shared=self._is_shared())

    def _is_shared(self) -> bool:
        """Return whether windows of one alarm are compared with rows that others of them are compared with or are.

        The window of Previous is as far back as an alarm looks, so each window of an alarm has its own.
        """
        of = self._baseline
        if of.type == "Seasonal" and of.period_seconds is not None:
            return windows_of_alarm(self._config.drift) * self._config.window_seconds > of.period_seconds
        return of.type == "Window"


def signature(windows: Sequence[StoredWindow]) -> Signature:
    """Return what changes when windows, or their counters, do."""
    return tuple((window.key, window.changes) for window in windows)
