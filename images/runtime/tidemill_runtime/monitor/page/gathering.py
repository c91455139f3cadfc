"""From counters to what the page shows: distributions of one window, performance of each window. Reads only."""

import sqlite3
from itertools import pairwise

from tidemill_contracts.monitoring import ColumnScore, MonitorConfig, VersionReport, WindowReport
from tidemill_contracts.reference import NumericProfile
from tidemill_runtime.monitor import detector, estimate, intervals, performance, queries
from tidemill_runtime.monitor.baselines import Baselines
from tidemill_runtime.monitor.binning import OUTPUTS, PREDICTION, ColumnBins, Counts, Layout
from tidemill_runtime.monitor.page.content import Bin, Distribution, Limits, PageContent, PerformancePoint
from tidemill_runtime.monitor.queries import StoredVersion, StoredWindow
from tidemill_runtime.monitor.tally import ColumnTally

MAX_VERSIONS = 50


def empty(config: MonitorConfig, now: float, versions: tuple[tuple[str, str], ...] = ()) -> PageContent:
    """Return the content where nothing is known about the version that was asked for."""
    return PageContent(
        namespace=config.namespace,
        monitor=config.monitor,
        deployment=config.deployment,
        now=now,
        versions=versions[:MAX_VERSIONS],
    )


def gather(
    connection: sqlite3.Connection,
    config: MonitorConfig,
    version: StoredVersion,
    layout: Layout,
    report: VersionReport,
    start: PageContent,
) -> PageContent:
    """Return `start` with all that is known about one version. `report` is of the same reading of the database."""
    shown = newest_judged(report)
    windows = queries.newest_windows(connection, version.key, config.window_seconds)
    stored = None if shown is None else next((w for w in windows if w.start == shown.start), None)
    limits = Limits()
    if config.performance is not None:
        limits = Limits(min=config.performance.min, max=config.performance.max)
    return start.model_copy(
        update={
            "version": version.name,
            "digest": version.digest,
            "rows": version.rows,
            "windows": tuple(_without_columns(window) for window in report.windows),
            "shown": shown and _without_columns(shown),
            "distributions": (
                _distributions(connection, config, version, layout, report, shown, stored) if shown and stored else ()
            ),
            "performance": report.performance,
            "fairness": report.fairness,
            "limits": limits,
            "points": _points(connection, config, version, layout, windows, start.now),
        }
    )


def newest_judged(report: VersionReport) -> WindowReport | None:
    """Return the newest closed window with enough rows; the newest with rows where there is none."""
    judged = [window for window in report.windows if window.closed and window.judged]
    return next(iter([*judged[-1:], *[w for w in report.windows if w.rows][-1:]]), None)


def _without_columns(window: WindowReport) -> WindowReport:
    """Return a window without the columns that its distributions have."""
    return window.model_copy(update={"features": ()})


def _distributions(
    connection: sqlite3.Connection,
    config: MonitorConfig,
    version: StoredVersion,
    layout: Layout,
    report: VersionReport,
    shown: WindowReport,
    stored: StoredWindow,
) -> tuple[Distribution, ...]:
    counts = queries.window_counts(connection, stored.key, layout).columns
    baselines = Baselines(config, connection, version)
    base = baselines.baseline(baselines.chosen(stored), layout).counts
    verdicts = _by_key(shown, layout)
    over_time = [_by_key(window, layout) for window in report.windows]
    found = []
    for key, column in layout.columns.items():
        if key not in verdicts:
            continue
        scores = tuple(one[key].score if key in one else None for one in over_time)
        of = None if base is None else layout.column(key, base)
        found.append(distribution(key, column, layout.column(key, counts), of, verdicts[key], scores))
    return tuple(sorted(found, key=_worst_first))


def _by_key(window: WindowReport, layout: Layout) -> dict[str, ColumnScore]:
    """Return the columns of a window by their key in the layout: a feature may be called as an output is."""
    outputs = dict(zip(OUTPUTS, (window.prediction, window.probability), strict=True))
    features = {column.name: column for column in window.features}
    found = {
        key: outputs[key] if key in outputs else features.get(column.profile.name)
        for key, column in layout.columns.items()
    }
    return {key: column for key, column in found.items() if column is not None}


def _worst_first(one: Distribution) -> tuple[bool, bool, float, float, str]:
    of = one.verdict
    beyond = (of.score or 0.0) / of.threshold if of.threshold else 0.0
    return one.kind == "feature", not of.drifted, -(of.importance or 0.0), -beyond, one.name


def distribution(
    key: str,
    column: ColumnBins,
    counts: Counts,
    base: Counts | None,
    verdict: ColumnScore,
    scores: tuple[float | None, ...] = (),
) -> Distribution:
    """Return one column beside its reference. `base`: counters to compare with; None: the reference profile's own."""
    tally = ColumnTally.of(column, counts)
    against = None if base is None else ColumnTally.of(column, base)
    profile = column.profile
    reference = list(profile.counts) if against is None else [int(n) for n in against.bins]
    present, now = sum(reference), int(tally.bins.sum())
    missing = profile.missing_share if against is None else against.missing / max(against.rows, 1)
    return Distribution(
        name=profile.name,
        kind="feature" if key not in OUTPUTS else "prediction" if key == PREDICTION else "probability",
        bins=tuple(
            Bin(label=label, reference=before / max(present, 1), current=int(after) / max(now, 1))
            for label, before, after in zip(_labels(column), reference, tally.bins, strict=True)
        ),
        reference_rows=present,
        rows=now,
        reference_missing_ratio=missing,
        verdict=verdict,
        scores=scores,
    )


def _labels(column: ColumnBins) -> list[str]:
    profile = column.profile
    if not isinstance(profile, NumericProfile):
        return [*profile.categories, "(other)"]
    edges = [f"{edge:.6g}" for edge in profile.edges]
    if not edges:
        return ["any number"]
    return [f"below {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges)), f"{edges[-1]} or more"]


def _points(
    connection: sqlite3.Connection,
    config: MonitorConfig,
    version: StoredVersion,
    layout: Layout,
    windows: list[StoredWindow],
    now: float,
) -> tuple[PerformancePoint, ...]:
    of = config.performance
    if of is None:
        return ()
    outputs = detector.outputs(layout)
    found = []
    for window in windows:
        end = window.start + window.seconds
        sums = queries.window_sums(connection, window.key)
        value, _ = performance.metric(of.metric, sums, outputs.profile, outputs.classes)
        between = None if value is None else intervals.interval(of.metric, sums, outputs, value)
        guess = None
        if of.estimate:
            counts = queries.calibration_counts(
                connection, version.key, window.seconds, window.start, window.start, layout
            )
            guess = None if counts is None else estimate.report(of, layout, counts, start=window.start, end=end)
        trusted = guess if guess is not None and guess.trusted else None
        found.append(
            PerformancePoint(
                start=window.start,
                end=end,
                labels=window.labels,
                due=end <= now - of.label_delay_seconds,
                value=value,
                low=between[0] if between else None,
                high=between[1] if between else None,
                estimated=trusted.value if trusted else None,
                estimated_low=trusted.low if trusted else None,
                estimated_high=trusted.high if trusted else None,
            )
        )
    return tuple(found)
