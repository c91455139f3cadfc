"""The report: reads the database, scores windows, judges performance. Never writes, and decides nothing.

A window's scores are kept until its counters change, so a report costs what changed since the last one.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from tidemill_contracts import retention
from tidemill_contracts.counts import counted, does
from tidemill_contracts.monitoring import (
    NOTED_COLUMNS,
    LabelDelays,
    MonitorConfig,
    MonitorReport,
    PerformanceConfig,
    PerformanceReport,
    RetentionReport,
    SegmentReport,
    VersionReport,
    WindowReport,
)
from tidemill_runtime.monitor import (
    clients,
    delays,
    detector,
    estimate,
    group_counts,
    intervals,
    performance,
    powered,
    queries,
    scoring,
)
from tidemill_runtime.monitor.baselines import TRAINING, Baseline, Baselines, Signature, signature
from tidemill_runtime.monitor.binning import PREDICTION, Counts, Layout
from tidemill_runtime.monitor.detector import State
from tidemill_runtime.monitor.page import gathering
from tidemill_runtime.monitor.page.content import PageContent
from tidemill_runtime.monitor.queries import REPORTED_WINDOWS, StoredVersion, StoredWindow
from tidemill_runtime.monitor.retention import Retention, storage_bytes
from tidemill_runtime.monitor.segments import Name

_CACHED_WINDOWS: Final = 2_000
_WINDOWS_OF_DELAYS: Final = 500
_Labelled = tuple[int, int, int]  # start, rows and labels of a window


@dataclass(frozen=True)
class Evaluation:
    """A report, and the totals by digest that only metrics show."""

    report: MonitorReport
    labels: Mapping[str, int]


class Evaluator:
    """Evaluates on a read connection of its own; safe to call from several threads."""

    def __init__(
        self,
        config: MonitorConfig,
        connection: sqlite3.Connection,
        layouts: Mapping[str, Layout],
        clock: Callable[[], float],
    ) -> None:
        """`layouts` is shared with ingestion and may grow and shrink; `clock` returns seconds since the epoch."""
        self._config = config
        self._connection = connection
        self._layouts = layouts
        self._clock = clock
        self._started_at = clock()
        self._lock = threading.Lock()
        self._cache: dict[int, tuple[int, Signature, WindowReport]] = {}  # window -> (changes, baseline, report)
        self._last_baseline: tuple[Signature, Baseline] = ((), TRAINING)  # a fixed one is the same for all windows

    def evaluate(self, digest: str | None = None) -> Evaluation:
        """Return the state of all versions, or of one digest; an unknown digest gives no versions."""
        with self._lock:
            now = self._clock()
            self._connection.execute("BEGIN")  # one snapshot for all reads
            try:
                known = queries.versions(self._connection)
                wanted = [v for v in known if digest in (None, v.digest) and v.digest in self._layouts]
                reports = tuple(self._version(version, now) for version in wanted)
                kept = self._retention(known, now)
                gaming = clients.report(self._connection) if self._config.gaming is not None else None
            finally:
                self._connection.execute("COMMIT")
            while len(self._cache) > _CACHED_WINDOWS:
                self._cache.pop(next(iter(self._cache)))
        report = MonitorReport(
            monitor=self._config.monitor,
            now=now,
            started_at=self._started_at,
            versions=reports,
            retention=kept,
            gaming=gaming,
        )
        return Evaluation(report, {version.digest: version.labels for version in wanted})

    def page(self, digest: str | None = None) -> PageContent:
        """Return what people read of one version: of that digest, or the one that was heard of last."""
        with self._lock:
            now = self._clock()
            self._connection.execute("BEGIN")
            try:
                known = [v for v in queries.versions(self._connection) if v.digest in self._layouts]
                named = tuple((version.name, version.digest) for version in reversed(known))
                found = gathering.empty(self._config, now, named)
                if self._config.gaming is not None:
                    found = found.model_copy(update={"gaming": clients.report(self._connection)})
                wanted = [v for v in known if digest in (None, v.digest)]
                if not wanted:
                    return found
                chosen = max(wanted, key=lambda version: (version.last_record or 0.0, version.key))
                layout, report = self._layouts[chosen.digest], self._version(chosen, now)
                return gathering.gather(self._connection, self._config, chosen, layout, report, found)
            finally:
                self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _version(self, version: StoredVersion, now: float) -> VersionReport:
        layout = self._layouts[version.digest]
        seconds = self._config.window_seconds
        windows = queries.newest_windows(self._connection, version.key, seconds)
        baselines = Baselines(self._config, self._connection, version)
        reports = tuple(self._window(window, layout, baselines, now) for window in windows)
        performance, labelled = self._performance(version, layout, now)
        if performance is not None and self._config.performance is not None and self._config.performance.estimate:
            performance = performance.model_copy(update=self._estimates(version, layout, reports, labelled))
        return VersionReport(
            version=version.name,
            digest=version.digest,
            rows=version.rows,
            last_record_at=version.last_record,
            windows=reports,
            performance=performance,
            fairness=group_counts.report(self._config, self._connection, version, layout, now),
            labels_start=float(labelled[-1]) if labelled else None,
            labels_end=float(labelled[0] + seconds) if labelled else None,
            dropped=version.dropped,
            discarded=version.discarded,
            profile_version=layout.profile.schema_version,
            column_notes=tuple(islice(layout.findings(), NOTED_COLUMNS)),
        )

    def _retention(self, versions: Iterable[StoredVersion], now: float) -> RetentionReport:
        """Return what predictions of all versions need together: they share a table."""
        performance, seconds = self._config.performance, self._config.window_seconds
        delay = performance.label_delay_seconds if performance else retention.DEFAULT_LABEL_DELAY
        due = retention.due_seconds(delay, seconds)
        return RetentionReport(
            rows=queries.rows_within(self._connection, [version.key for version in versions], seconds, due, now),
            prediction_bytes=queries.prediction_bytes(self._connection),
            storage_bytes=storage_bytes(self._config),
            labels_unmatched=queries.total(self._connection, queries.LABELS_UNMATCHED),
        )

    def _window(self, window: StoredWindow, layout: Layout, baselines: Baselines, now: float) -> WindowReport:
        chosen = baselines.chosen(window)
        of = signature(chosen)
        changes, known, report = self._cache.get(window.key, (-1, (), None))
        if report is None or changes != window.changes or known != of:
            if not of or of != self._last_baseline[0]:
                self._last_baseline = (of, baselines.baseline(chosen, layout))
            counts = queries.window_counts(self._connection, window.key, layout)
            report = scoring.window_report(self._config, layout, window, counts, now, self._last_baseline[1])
            self._cache[window.key] = (window.changes, of, report)
        closed = scoring.is_closed(window, now)
        return report if report.closed == closed else report.model_copy(update={"closed": closed})

    def _performance(
        self, version: StoredVersion, layout: Layout, now: float
    ) -> tuple[PerformanceReport | None, list[int]]:
        """Return the report, and the starts of the windows whose labels it is of, newest first."""
        config = self._config.performance
        if config is None:
            return None, []
        seconds = self._config.window_seconds
        span = max(Retention.of(self._config).predictions, REPORTED_WINDOWS * seconds + config.label_delay_seconds)
        mature = queries.labelled_windows(
            self._connection, version.key, seconds, now - span, now - config.label_delay_seconds
        )
        windows, due = mature, True
        if sum(labels for _, _, labels in mature) < config.min_labels:
            windows = queries.labelled_windows(self._connection, version.key, seconds, now - span, now + seconds)
            due = False
        state = queries.detector_state(self._connection, version.key, seconds)
        if state is None or state.target != detector.target(config):
            state = State(detector.target(config))
        chosen, sums = self._newest_labels(version, layout, windows)
        proof = [window for window in windows if state.proof is not None and window[0] >= state.proof[0]]
        if due and len(proof) > len(chosen):
            chosen = proof
            sums = queries.performance_sums(self._connection, version.key, seconds, chosen[-1][0], chosen[0][0])
        rows = sum(rows for _, rows, _ in mature)
        report = performance_report(
            config,
            layout,
            sums,
            labels=sum(labels for _, _, labels in chosen),
            labels_ratio=sum(labels for _, _, labels in mature) / rows if rows else None,
            due=due,
            state=state,
        )
        report = report.model_copy(update={"label_delays": self._label_delays(version, mature)})
        expectations = powered.of(layout)
        if expectations is not None and due and chosen:
            counts = self._calibration(version, layout, chosen[-1][0], chosen[0][0])
            labels = detector.labels_in(sums, detector.outputs(layout))
            report = report.model_copy(update={"powered": expectations.report(config.metric, sums, counts, labels)})
        if layout.segments.names:
            report = report.model_copy(update={"segments": self._segments(version, layout, mature)})
        return report, [start for start, _, labels in chosen if labels]

    def _estimates(
        self, version: StoredVersion, layout: Layout, windows: tuple[WindowReport, ...], labelled: list[int]
    ) -> dict[str, Any]:
        """Return the estimate of the last judged window, and the one of those that the value from labels is of."""
        config, seconds = self._config.performance, self._config.window_seconds
        assert config is not None  # noqa: S101  the caller checked
        found: dict[str, Any] = {}
        judged = [window for window in windows if window.closed and window.judged]
        if judged:
            start, end = judged[-1].start, judged[-1].end
            counts = self._calibration(version, layout, int(start), int(start))
            found["estimate"] = estimate.report(config, layout, counts, start=start, end=end)
        if labelled:
            counts = self._calibration(version, layout, labelled[-1], labelled[0])
            there = estimate.report(config, layout, counts, start=labelled[-1], end=labelled[0] + seconds)
            found["estimated"] = there.value if there.trusted else None
        return found

    def _calibration(self, version: StoredVersion, layout: Layout, first: int, last: int) -> Counts:
        seconds = self._config.window_seconds
        found = queries.calibration_counts(self._connection, version.key, seconds, first, last, layout)
        return np.zeros(1, dtype=np.int64) if found is None else found

    def _label_delays(self, version: StoredVersion, mature: list[_Labelled]) -> LabelDelays | None:
        """Return how long labels took, of the newest windows that are due: of others only the fast ones are here."""
        windows = [start for start, _, labels in mature if labels][:_WINDOWS_OF_DELAYS]
        if not windows:
            return None
        seconds = self._config.window_seconds
        counts = queries.label_delays(self._connection, version.key, seconds, windows[-1], windows[0])
        found = [delays.quantile(counts, share) for share in (0.5, 0.9, 0.99)]
        return LabelDelays(p50=found[0], p90=found[1], p99=found[2], labels=sum(counts.values())) if counts else None

    def _segments(self, version: StoredVersion, layout: Layout, mature: list[_Labelled]) -> tuple[SegmentReport, ...]:
        """Return the metric by segment, on the newest windows that are due and have minLabels labels a segment."""
        config = self._config.performance
        assert config is not None  # noqa: S101  the caller checked
        chosen = newest_with_labels(mature, config.min_labels * layout.segments.most)
        if not chosen:
            return ()
        stored = queries.segments(self._connection, version.key).items()
        names = {number: tuple(json.loads(text)) for text, number in stored}
        names = {number: name for number, name in names.items() if name in layout.segments.names}
        added = queries.segment_sums(
            self._connection, version.key, self._config.window_seconds, chosen[-1][0], chosen[0][0], names
        )
        by_name = {names[number]: sums for number, sums in added.items()}
        of = detector.outputs(layout)
        return tuple(
            segment_report(config.metric, name, by_name[name], of) for name in layout.segments.names if name in by_name
        )

    def _newest_labels(
        self, version: StoredVersion, layout: Layout, windows: list[_Labelled]
    ) -> tuple[list[_Labelled], Mapping[str, float]]:
        """Return the newest windows that have the wanted number of labels that are recognized, and their sums."""
        assert self._config.performance is not None  # noqa: S101  the caller checked
        wanted = needed = self._config.performance.min_labels
        while True:
            chosen = newest_with_labels(windows, wanted)
            if not chosen:
                return [], {}
            first, last = chosen[-1][0], chosen[0][0]
            sums = queries.performance_sums(self._connection, version.key, self._config.window_seconds, first, last)
            useless = _unrecognized(layout, sums).labels
            labels = sum(labels for _, _, labels in chosen)
            if labels - useless >= needed or len(chosen) == len(windows):
                return chosen, sums
            wanted = 2 * labels


def newest_with_labels(windows: list[_Labelled], wanted: int) -> list[_Labelled]:
    """Return the newest of (start, rows, labels), newest first, that together have the wanted number of labels."""
    labels = 0
    for number, window in enumerate(windows, start=1):
        labels += window[2]
        if labels >= wanted:
            return windows[:number]
    return windows


def _unrecognized(layout: Layout, sums: Mapping[str, float]) -> performance.Unrecognized:
    column = layout.columns.get(PREDICTION)
    return performance.unrecognized(sums, column.profile if column else None, layout.profile.classes)


def segment_report(metric: str, name: Name, sums: Mapping[str, float], of: performance.Outputs) -> SegmentReport:
    """Return the metric of one segment with its interval."""
    value, _ = performance.metric(metric, sums, of.profile, of.classes)
    between = None if value is None else intervals.interval(metric, sums, of, value)
    return SegmentReport(
        column=name[0],
        segment=name[1],
        value=value,
        low=between[0] if between else None,
        high=between[1] if between else None,
        labels=int(detector.labels_in(sums, of)),
    )


def performance_report(
    config: PerformanceConfig,
    layout: Layout,
    sums: Mapping[str, float],
    *,
    labels: int,
    labels_ratio: float | None,
    due: bool,
    state: State,
) -> PerformanceReport:
    """Return the metric of added sums, how far it is known, and what the detector has found, where labels are due.

    `labels`: how many the sums are of, with those that are not recognized.
    """
    of = detector.outputs(layout)
    value, remark = performance.metric(config.metric, sums, of.profile, of.classes)
    useless = _unrecognized(layout, sums)
    notes = []
    if not due:
        few = counted(config.min_labels, "label")
        notes.append(f"not judged: fewer than {few} of predictions older than the label delay")
    if useless.examples:
        what = does(useless.labels, "label", "names no class of the model", "name no class of the model")
        notes.append(f"{what}: {', '.join(useless.examples)}")
    if remark:
        notes.append(remark)
    between = None if value is None else intervals.interval(config.metric, sums, of, value)
    proof = state.proof if due else None
    side = state.side if proof else None
    return PerformanceReport(
        metric=config.metric,
        value=value,
        labels=max(labels - useless.labels, 0),
        unrecognized=useless.labels,
        examples=useless.examples,
        due=due,
        labels_ratio=labels_ratio,
        low=between[0] if between else None,
        high=between[1] if between else None,
        labels_needed=None if value is None or proof else detector.undecided(config, state, sums, of, value),
        asymptotic=any(detector.is_asymptotic(config, s) for s, _ in detector.limits(config) if side in (None, s)),
        degraded=proof is not None,
        exceeded_since=state.since if proof else None,
        breach_start=proof[0] if proof else None,
        breach_end=proof[1] if proof else None,
        authenticated=config.authenticated,
        note="; ".join(notes),
    )
