"""What an evaluation reads about groups: their sums, over the newest windows that have enough of each group."""

import json
import sqlite3
from typing import Final

from tidemill_contracts.fairness import FairnessConfig, FairnessReport
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_runtime.monitor import detector, fairness, queries, scoring
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.fairness import Rates
from tidemill_runtime.monitor.groups import group_of
from tidemill_runtime.monitor.performance import Outputs, Sums
from tidemill_runtime.monitor.queries import StoredVersion

MOST_WINDOWS: Final = 500
"""That are looked back on."""
_FIRST_WINDOWS: Final = 24
_Windows = list[tuple[int, int, int]]  # start, rows and labels, newest first
_BySums = dict[tuple[str, str], Sums]


def report(
    config: MonitorConfig, connection: sqlite3.Connection, version: StoredVersion, layout: Layout, now: float
) -> FairnessReport | None:
    """Return how groups were treated; None where nothing was asked for. `now` ends the windows that are looked at."""
    wanted = config.fairness
    if wanted is None:
        return None
    of = detector.outputs(layout)
    if layout.groups is None:
        return FairnessReport(note=fairness.NOT_CLASSES)
    selected = fairness.positive(wanted, of)
    if selected is None:
        return FairnessReport(note="which class counts as selected is not known: state it as positive")
    look = _Look(config, wanted, connection, version, of, selected)
    answers, span = look.newest(now - scoring.GRACE_SECONDS, labels=False)
    labels: _BySums = {}
    due: tuple[float, float] | None = None
    if config.performance is not None:
        labels, due = look.newest(now - config.performance.label_delay_seconds, labels=True)
    groups, level = fairness.reports(wanted, look.rates(answers, labels), config.window_seconds)
    return FairnessReport(
        positive=selected,
        groups=groups,
        start=span[0] if span else None,
        end=span[1] if span else None,
        labels_start=due[0] if due else None,
        labels_end=due[1] if due else None,
        level=level,
    )


class _Look:
    """One look at the groups of a version."""

    def __init__(
        self,
        config: MonitorConfig,
        wanted: FairnessConfig,
        connection: sqlite3.Connection,
        version: StoredVersion,
        of: Outputs,
        selected: str,
    ) -> None:
        self._connection, self._version = connection, version.key
        self._seconds = config.window_seconds
        self._config, self._of, self._selected = wanted, of, selected
        stated = {c.column: {c.privileged, *c.values} if c.values else None for c in wanted.groups}
        self._names: dict[int, tuple[str, str]] = {}
        for text, number in queries.segments(connection, version.key).items():
            group = group_of(json.loads(text))
            if group is not None and group[0] in stated and _is_shown(group[1], stated[group[0]]):
                self._names[number] = group

    def newest(self, until: float, *, labels: bool) -> tuple[_BySums, tuple[float, float] | None]:
        """Return sums by group of the newest windows that ended by a time, and from when to when they are.

        So many windows that each group has enough rows, or as far as is looked back.
        """
        windows = queries.labelled_windows(self._connection, self._version, self._seconds, 0, until, MOST_WINDOWS)
        if not windows or not self._names:
            return {}, None
        number = _FIRST_WINDOWS
        while True:
            chosen = windows[:number]
            found = self._sums(chosen)
            sizes = self.rates({} if labels else found, found if labels else {})
            if number >= len(windows) or fairness.is_enough(self._config, sizes, labels=labels):
                return found, (chosen[-1][0], chosen[0][0] + self._seconds)
            number *= 2

    def rates(self, answers: _BySums, labels: _BySums) -> dict[tuple[str, str], Rates]:
        """Return the rates of each group that has rows."""
        return {
            key: fairness.rates(answers.get(key, {}), labels.get(key, {}), self._of, self._selected)
            for key in answers.keys() | labels.keys()
        }

    def _sums(self, windows: _Windows) -> _BySums:
        added = queries.segment_sums(
            self._connection, self._version, self._seconds, windows[-1][0], windows[0][0], self._names
        )
        return {self._names[number]: sums for number, sums in added.items()}


def _is_shown(group: str, stated: set[str] | None) -> bool:
    return stated is None or group in stated or not fairness.is_compared(group)
