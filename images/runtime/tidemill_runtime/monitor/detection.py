"""Gives labels to the detectors, each exactly once, and keeps what they know. Runs inside the writer's transaction.

A window is taken once, when it is old enough; labels that join a window that was taken go to `waiting`, and are looked
at together with what is taken next. All of it is in one transaction with the detector's state, so that neither a kill
nor a repeated look counts anything twice.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tidemill_contracts.evidence import POINTS
from tidemill_contracts.monitoring import MonitorConfig, PerformanceConfig
from tidemill_runtime.monitor import detector, performance, queries
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.detector import Side, State

LABELS: Final = "labels"
"""The number of labels among the waiting sums; no sum of `performance.addition` has this name."""
MAX_SUMS: Final = 10_000  # of one version that wait, as of one window
_WINDOWS_A_STEP: Final = 200
_WINDOWS_BACK: Final = 500  # that are looked through for the beginning of what was found
_Key = tuple[int, int]  # version, seconds of a window


def detect(connection: sqlite3.Connection, config: MonitorConfig, layouts: Mapping[str, Layout], now: float) -> bool:
    """Look at the labels that are due and were not looked at; return whether more of them are left."""
    if config.performance is None:
        return False
    more = False
    for version in queries.versions(connection):
        layout = layouts.get(version.digest)
        if layout is not None:
            more |= _Detection(connection, config, config.performance, version.key, layout).step(now)
    return more


def add_late(connection: sqlite3.Connection, key: _Key, sums: Mapping[str, float]) -> None:
    """Keep what a label adds whose window was taken already."""
    (rows,) = connection.execute("SELECT count(*) FROM waiting WHERE version = ? AND seconds = ?", key).fetchone()
    full = rows >= MAX_SUMS
    values = {performance.without_label(name) if full else name: value for name, value in sums.items()}
    _add_waiting(connection, key, {**values, LABELS: 1.0})


def _add_waiting(connection: sqlite3.Connection, key: _Key, sums: Mapping[str, float]) -> None:
    connection.executemany(
        "INSERT INTO waiting (version, seconds, name, value) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(*key, name, value) for name, value in sums.items()],
    )


class _Detection:
    """One version's detector for one step."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        config: MonitorConfig,
        limits: PerformanceConfig,
        version: int,
        layout: Layout,
    ) -> None:
        self._connection = connection
        self._config = limits
        self._seconds = config.window_seconds
        self._key: _Key = (version, config.window_seconds)
        self._outputs = detector.outputs(layout)

    def step(self, now: float) -> bool:
        """Take windows and look at them; return whether there are more."""
        state = self._state()
        due = self._due(now)
        waiting = self._waiting()
        if not due and waiting.get(LABELS, 0.0) < detector.labels_of_a_look(self._config):
            return False
        kept = dict(waiting)
        for window, start, labels in due:
            _add(kept, {**queries.window_sums(self._connection, window), LABELS: float(labels)})
            newest = max(state.newest, float(start + self._seconds))
            state = replace(state, waited=state.waited + self._seconds, newest=newest)
            self._connection.execute("UPDATE window SET taken = 1 WHERE id = ?", (window,))
            state, kept = self._look(state, kept)
        state, kept = self._look(state, kept)
        self._keep(self._end(state), kept)
        return len(due) == _WINDOWS_A_STEP

    def _state(self) -> State:
        """Return the stored state; where the limits are others than those that it is about, all begins anew."""
        wanted = detector.target(self._config)
        state = queries.detector_state(self._connection, *self._key)
        if state is None:
            return State(wanted)
        if state.target == wanted:
            return state
        self._connection.execute(
            "UPDATE window SET taken = 0 WHERE version = ? AND seconds = ? AND taken = 1", self._key
        )
        self._connection.execute("DELETE FROM waiting WHERE version = ? AND seconds = ?", self._key)
        state = State(wanted)
        self._keep(state, {})
        return state

    def _due(self, now: float) -> list[tuple[int, int, int]]:
        """Return (id, start, labels) of windows that are old enough, have labels enough and were not taken.

        Where labels need a key, a window in which one has come without is never taken.
        """
        return self._connection.execute(
            "SELECT id, start, labels FROM window WHERE version = ? AND seconds = ? AND taken = 0 AND labels > 0 "
            "AND start <= ? AND labels >= rows * ? AND (unauthenticated = 0 OR NOT ?) ORDER BY start LIMIT ?",
            (
                *self._key,
                now - self._config.label_delay_seconds - self._seconds,
                self._config.min_labels_ratio or 0.0,
                self._config.authenticated,
                _WINDOWS_A_STEP,
            ),
        ).fetchall()

    def _waiting(self) -> dict[str, float]:
        return dict(
            self._connection.execute("SELECT name, value FROM waiting WHERE version = ? AND seconds = ?", self._key)
        )

    def _look(self, state: State, sums: dict[str, float]) -> tuple[State, dict[str, float]]:
        """Look at what waits if that is enough; return what waits then."""
        if not detector.is_enough(self._config, sums, sums.get(LABELS, 0.0)):
            return state, sums
        since = state.restarted
        state, side = detector.looked(state, self._config, sums, self._outputs)
        if side is not None:
            proof = (self._began(side, since, state.newest), state.newest)
            first = state.since if state.side == side else proof[0]
            state = replace(state, side=side, since=first, proof=proof)
        return state, {}

    def _end(self, state: State) -> State:
        """End what was found once the labels since then show it."""
        if state.side is None or state.proof is None:
            return state
        sums = queries.performance_sums(
            self._connection, *self._key, int(state.proof[1]), int(state.newest) - self._seconds
        )
        if not detector.has_recovered(self._config, state.side, sums, self._outputs):
            return state
        return replace(state, side=None, since=0.0, proof=None)

    def _began(self, side: Side, since: float, until: float) -> float:
        """Return the start of the windows that speak most against the limit: where the change most probably was."""
        limit = self._config.min if side == "min" else self._config.max
        windows = queries.taken_windows(self._connection, *self._key, since, until, _WINDOWS_BACK)
        best, began, total = float("-inf"), until - self._seconds, [0.0] * POINTS
        sums: dict[str, float] = {}
        for window, start, labels in windows:
            _add(sums, {**queries.window_sums(self._connection, window), LABELS: float(labels)})
            if not detector.is_enough(self._config, sums, sums[LABELS]):
                continue
            grown = detector.growth(self._config.metric, side, limit or 0.0, sums, self._outputs)
            sums = {}
            total = [a + b for a, b in zip(total, grown, strict=True)] if grown else total
            if max(total) > best:
                best, began = max(total), float(start)
        return began

    def _keep(self, state: State, waiting: Mapping[str, float]) -> None:
        self._connection.execute(
            "INSERT INTO detector (version, seconds, state) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET state = excluded.state",
            (*self._key, state.to_json()),
        )
        self._connection.execute("DELETE FROM waiting WHERE version = ? AND seconds = ?", self._key)
        _add_waiting(self._connection, self._key, waiting)


def _add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Add sums; labels that no class has are not told apart beyond a bound."""
    for name, value in more.items():
        kept = name if name in sums or len(sums) < MAX_SUMS else performance.without_label(name)
        sums[kept] = sums.get(kept, 0.0) + value
