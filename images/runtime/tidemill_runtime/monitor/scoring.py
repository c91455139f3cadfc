"""The verdict on one window: scores of columns, quality against limits, drift of the window. Pure.

How columns are compared with their reference is in `drift`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tidemill_contracts.counts import does
from tidemill_contracts.monitoring import (
    FINDINGS,
    MAX_SHARE_WITHOUT_SCORE,
    ColumnScore,
    DriftConfig,
    MonitorConfig,
    TestConfig,
    WindowReport,
)
from tidemill_contracts.reference import CategoricalProfile, Profile
from tidemill_runtime.monitor import drift, latency, quality
from tidemill_runtime.monitor.baselines import TRAINING, Baseline
from tidemill_runtime.monitor.binning import OUTPUTS, PREDICTION, SCORE, ColumnBins, Counts, Layout
from tidemill_runtime.monitor.drift import Scored, Verdict
from tidemill_runtime.monitor.queries import StoredWindow, WindowCounts
from tidemill_runtime.monitor.tally import ColumnTally

GRACE_SECONDS: Final = 5.0  # servers send at most once a second; a window closes when its records had time to come


def window_report(
    config: MonitorConfig,
    layout: Layout,
    window: StoredWindow,
    counts: WindowCounts,
    now: float,
    baseline: Baseline = TRAINING,
) -> WindowReport:
    """Return the report of one window as of `now`, compared with `baseline`."""
    judged = window.rows >= config.min_rows
    scored = {key: _scored(config.drift, layout, key, counts.columns, baseline) for key in layout.columns}
    problems = quality.problems(config, _tallies(layout, counts.columns)) if judged else ()
    broken = frozenset(p.feature for p in problems if p.kind in quality.BROKEN)
    scores, verdict = _verdicts(config, scored, broken, window, shared=baseline.shared)
    prediction, probability = scores.pop(PREDICTION, None), scores.pop(SCORE, None)
    importance = layout.importance
    features = tuple(f.model_copy(update={"importance": importance.get(f.name)}) for f in scores.values())
    tested, without = _without_score(layout, features, broken, scored)
    comparable = len(without) <= MAX_SHARE_WITHOUT_SCORE * tested
    counted = [f for f in features if f.score is not None and f.name not in without] if judged and comparable else []
    share = sum(f.drifted for f in counted) / len(counted) if counted else None
    outputs = [column for column in (prediction, probability) if column is not None]
    return WindowReport(
        start=window.start,
        end=window.start + window.seconds,
        closed=is_closed(window, now),
        rows=window.rows,
        judged=judged,
        features=features,
        prediction=prediction,
        probability=probability,
        baseline=baseline.report,
        level=verdict.level,
        smallest_shift=verdict.smallest_shift,
        drifted_share=share,
        drift=judged and comparable and _drift(config, share, features, outputs),
        tested=tested,
        without_score=without,
        comparable=comparable,
        quality_problems=tuple(problem.text for problem in problems),
        errors=window.errors,
        latency_p50_seconds=latency.quantile(counts.latencies, 0.5),
        latency_p99_seconds=latency.quantile(counts.latencies, 0.99),
    )


def _scored(config: DriftConfig | None, layout: Layout, key: str, counts: Counts, baseline: Baseline) -> Scored:
    """Return a column with its score, and what that is of."""
    column, name = layout.columns[key], layout.columns[key].profile.name
    found = layout.column(key, counts)
    base = None if baseline.counts is None else ColumnTally.of(column, layout.column(key, baseline.counts))
    score = column_score(name, column, found, _test_of(config, key, name), base)
    return Scored(score, column.profile, ColumnTally.of(column, found), base)


def _tallies(layout: Layout, counts: Counts) -> list[quality.Tally]:
    found = []
    for key, column in layout.columns.items():
        if key not in OUTPUTS:
            tally = ColumnTally.of(column, layout.column(key, counts))
            unseen = int(tally.bins[-1]) if isinstance(column.profile, CategoricalProfile) else 0
            bad = (tally.missing, tally.mistyped, unseen, tally.below + tally.above)
            found.append(quality.Tally(column.profile.name, column.profile, tally.rows, *bad))
    return found


def _verdicts(
    config: MonitorConfig, scored: Mapping[str, Scored], broken: frozenset[str], window: StoredWindow, *, shared: bool
) -> tuple[dict[str, ColumnScore], Verdict]:
    """Return the scores of all columns with their verdicts; without any where the window has too few rows."""
    scores = {key: column.score for key, column in scored.items()}
    if window.rows < config.min_rows or config.drift is None:  # scores are shown, verdicts are not given
        return scores, Verdict(())
    aside = {key: "its values are a finding of quality" for key, score in scores.items() if score.name in broken}
    for key in OUTPUTS:
        aside.pop(key, None)
        if broken and key in scores:
            aside[key] = "they come from values that are a finding of quality"
    compared = {key: column for key, column in scored.items() if key not in aside}
    columns = list(compared.values())
    verdict = drift.judge(config.drift, columns, window_seconds=window.seconds, rows=window.rows, shared=shared)
    scores |= dict(zip(compared, verdict.columns, strict=True))
    return scores | {key: _set_aside(scores[key], why) for key, why in aside.items()}, verdict


def _set_aside(column: ColumnScore, why: str) -> ColumnScore:
    """Return a column whose score is shown and says nothing about drift."""
    if column.score is None:
        return column
    note = "; ".join(part for part in (column.note, f"not judged for drift: {why}") if part)
    return column.model_copy(update={"drifted": False, "note": note})


def _without_score(
    layout: Layout, features: tuple[ColumnScore, ...], broken: frozenset[str], scored: Mapping[str, Scored]
) -> tuple[int, tuple[str, ...]]:
    """Return how many features drift would be judged by, and those of them that it cannot be judged by.

    Identifiers, and columns of which the baseline had no value, are no part of it: nothing is known of those.
    """
    known = {
        column.profile.name
        for key, column in layout.columns.items()
        if key not in OUTPUTS and column.judged and scored[key].present
    }
    tested = [f for f in features if f.test and f.name in known]
    return len(tested), tuple(f.name for f in tested if f.score is None or f.name in broken)


def is_closed(window: StoredWindow, now: float) -> bool:
    """Return whether the window has ended and its last records had time to come. Later ones still count."""
    return now >= window.start + window.seconds + GRACE_SECONDS


def _drift(
    config: MonitorConfig, share: float | None, features: Sequence[ColumnScore], outputs: Sequence[ColumnScore]
) -> bool:
    """Return whether enough features drifted, or a decisive one, or an output of the model."""
    if config.drift is None:
        return False
    enough = share is not None and share > 0 and share >= config.drift.drifted_share
    decisive = {name for name, column in config.columns.items() if column.decisive}
    columns = (*(feature for feature in features if feature.name in decisive), *outputs)
    return enough or any(column.drifted for column in columns)


def _test_of(config: DriftConfig | None, key: str, name: str) -> TestConfig | None:
    """Return the test of a column of the layout; None: it is not compared."""
    if config is None:
        return None
    if key in OUTPUTS:
        return config.predictions
    return config.overrides.get(name, config.features)


def column_score(
    name: str, column: ColumnBins, counts: Counts, test: TestConfig | None, base: ColumnTally | None = None
) -> ColumnScore:
    """Return score and quality of one column from its counters; without a test only its quality.

    `base`: counters that the score compares with; None: those of the reference profile.
    """
    tally = ColumnTally.of(column, counts)
    notes = [FINDINGS[column.finding]] if column.finding is not None else []
    if tally.mistyped:
        notes.append(does(tally.mistyped, "value", "is not a number", "are not numbers"))
    score = ColumnScore(
        name=name,
        missing_ratio=_ratio(tally.missing, tally.rows),
        mistyped_ratio=_ratio(tally.mistyped, tally.rows),
        unseen_ratio=_unseen(column.profile, tally),
        out_of_range_ratio=_ratio(tally.below + tally.above + tally.mistyped, tally.rows),
    )
    if test is not None and column.judged:
        score = score.model_copy(update=drift.score(column.profile, tally, test, notes, base))
    return score.model_copy(update={"note": "; ".join(notes)})


def _ratio(count: int, rows: int) -> float:
    return count / rows if rows else 0.0


def _unseen(profile: Profile, tally: ColumnTally) -> float:
    """Share of categories that training never saw.

    Where the reference keeps rare categories under `other`, only the excess over its share there is unseen.
    """
    if not isinstance(profile, CategoricalProfile) or not tally.rows:
        return 0.0
    rows = sum(profile.counts) + profile.missing
    return max(0.0, int(tally.bins[-1]) / tally.rows - _ratio(profile.counts[-1], rows))
