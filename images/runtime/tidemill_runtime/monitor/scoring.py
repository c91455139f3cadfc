"""The verdict on one window: scores of columns, quality against limits, drift of the window. Pure.

A column's score is the textbook figure, without correction, so that thresholds people know apply. It counts as drift
only when it also exceeds the noise floor, the score that samples of this size reach without any change.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from tidemill_contracts import drift_tests
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
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.monitor import latency, quality
from tidemill_runtime.monitor.binning import PREDICTION, ColumnBins, Counts, Layout
from tidemill_runtime.monitor.queries import StoredWindow, WindowCounts
from tidemill_runtime.monitor.stattests.formulas import FORMULAS
from tidemill_runtime.monitor.stattests.sample import NO_POSITIONS, Bins

GRACE_SECONDS: Final = 5.0  # servers send at most once a second; a window closes when its records had time to come


@dataclass(frozen=True)
class ColumnTally:
    """One column of one window, taken apart."""

    rows: int
    bins: Counts  # of values that are present
    missing: int
    mistyped: int
    below: int
    above: int

    @classmethod
    def of(cls, column: ColumnBins, counts: Counts) -> "ColumnTally":
        """Take a column's counters apart."""
        bins = counts[: column.bins]
        missing, mistyped, below, above = (int(n) for n in counts[column.bins :])
        return cls(int(bins.sum()) + missing + mistyped, bins, missing, mistyped, below, above)


def window_report(
    config: MonitorConfig, layout: Layout, window: StoredWindow, counts: WindowCounts, now: float
) -> WindowReport:
    """Return the report of one window as of `now`."""
    end = window.start + window.seconds
    judged = window.rows >= config.min_rows
    features = tuple(
        column_score(name, column, layout.column(key, counts.columns), _test_of(config.drift, name))
        for key, column in layout.columns.items()
        if key != PREDICTION
        for name in (column.profile.name,)
    )
    problems = quality.problems(config, _tallies(layout, counts.columns)) if judged else ()
    prediction = _prediction_score(config.drift, layout, counts.columns)
    broken = frozenset(p.feature for p in problems if p.kind in quality.BROKEN)
    features = tuple(_set_aside(f, "its values are a finding of quality") if f.name in broken else f for f in features)
    if broken and prediction is not None:
        prediction = _set_aside(prediction, "they come from values that are a finding of quality")
    if not judged:  # scores are shown, verdicts are not given
        features = tuple(f.model_copy(update={"drifted": False}) for f in features)
        prediction = prediction and prediction.model_copy(update={"drifted": False})
    tested, without = _without_score(layout, features, broken)
    comparable = len(without) <= MAX_SHARE_WITHOUT_SCORE * tested
    scored = [f for f in features if f.score is not None and f.name not in without] if judged and comparable else []
    share = sum(f.drifted for f in scored) / len(scored) if scored else None
    return WindowReport(
        start=window.start,
        end=end,
        closed=is_closed(window, now),
        rows=window.rows,
        judged=judged,
        features=features,
        prediction=prediction,
        drifted_share=share,
        drift=judged and comparable and _drift(config.drift, share, prediction),
        tested=tested,
        without_score=without,
        comparable=comparable,
        quality_problems=tuple(problem.text for problem in problems),
        errors=window.errors,
        latency_p50_seconds=latency.quantile(counts.latencies, 0.5),
        latency_p99_seconds=latency.quantile(counts.latencies, 0.99),
    )


def _tallies(layout: Layout, counts: Counts) -> list[quality.Tally]:
    found = []
    for key, column in layout.columns.items():
        if key != PREDICTION:
            tally = ColumnTally.of(column, layout.column(key, counts))
            unseen = int(tally.bins[-1]) if isinstance(column.profile, CategoricalProfile) else 0
            bad = (tally.missing, tally.mistyped, unseen, tally.below + tally.above)
            found.append(quality.Tally(column.profile.name, column.profile, tally.rows, *bad))
    return found


def _set_aside(column: ColumnScore, why: str) -> ColumnScore:
    """Return a column whose score is shown and says nothing about drift."""
    if column.score is None:
        return column
    note = "; ".join(part for part in (column.note, f"not judged for drift: {why}") if part)
    return column.model_copy(update={"drifted": False, "note": note})


def _without_score(
    layout: Layout, features: tuple[ColumnScore, ...], broken: frozenset[str]
) -> tuple[int, tuple[str, ...]]:
    """Return how many features drift would be judged by, and those of them that it cannot be judged by.

    Identifiers, and columns of which training had no value, are no part of it: nothing is ever known of those.
    """
    columns = {column.profile.name: column for key, column in layout.columns.items() if key != PREDICTION}
    tested = [f for f in features if f.test and columns[f.name].judged and columns[f.name].profile.present]
    return len(tested), tuple(f.name for f in tested if f.score is None or f.name in broken)


def is_closed(window: StoredWindow, now: float) -> bool:
    """Return whether the window has ended and its last records had time to come. Later ones still count."""
    return now >= window.start + window.seconds + GRACE_SECONDS


def _drift(config: DriftConfig | None, share: float | None, prediction: ColumnScore | None) -> bool:
    if config is None:
        return False
    features = share is not None and share > 0 and share >= config.drifted_share
    return features or (prediction is not None and prediction.drifted)


def _test_of(config: DriftConfig | None, feature: str) -> TestConfig | None:
    return config.overrides.get(feature, config.features) if config is not None else None


def _prediction_score(config: DriftConfig | None, layout: Layout, counts: Counts) -> ColumnScore | None:
    column = layout.columns.get(PREDICTION)
    if column is None:
        return None
    test = config.predictions if config is not None else None
    return column_score(column.profile.name, column, layout.column(PREDICTION, counts), test)


def column_score(name: str, column: ColumnBins, counts: Counts, test: TestConfig | None) -> ColumnScore:
    """Return the verdict on one column from its counters; without a test only its quality."""
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
        score = score.model_copy(update=_judge(column.profile, tally, test, notes))
    return score.model_copy(update={"note": "; ".join(notes)})


def _judge(profile: Profile, tally: ColumnTally, config: TestConfig, notes: list[str]) -> dict[str, object]:
    """Return test, threshold, score and drifted; reasons for the unexpected go to `notes`."""
    test, threshold = drift_tests.BY_NAME[config.test], config.threshold
    if not test.suits(profile.kind):
        notes.append(f"{test.name} needs a {test.columns} column; judged by {drift_tests.FALLBACK.name} instead")
        test = drift_tests.FALLBACK
        threshold = test.threshold
    verdict: dict[str, object] = {"test": test.name, "threshold": threshold}
    reference, current, bins = _samples(profile, tally)
    if not reference.sum() or not current.sum():
        notes.append("no values to compare" if reference.sum() else "the reference has no values")
        return verdict
    formula = FORMULAS[test.name]
    score = formula.score(reference, current, bins)
    if not math.isfinite(score):
        notes.append(f"{test.name} is not defined: the reference has no spread")
        return verdict
    if score < threshold:
        return verdict | {"score": score, "drifted": False}
    noise = formula.noise_floor(reference, current, bins)
    if score <= noise:
        reach = does(int(current.sum()), "value", "reaches", "reach")
        notes.append(f"not beyond noise: {reach} {noise:.3g} without any change")
    return verdict | {"score": score, "drifted": score > noise}


def _samples(profile: Profile, tally: ColumnTally) -> tuple[Counts, Counts, Bins]:
    """Return reference and current counts on the same bins, and where these lie.

    A constant reference has one value and so one bin, in which nothing could drift; it is compared on three:
    below, equal, above.
    """
    reference = np.array(profile.counts, dtype=np.int64)
    if not isinstance(profile, NumericProfile):
        return reference, tally.bins, NO_POSITIONS
    if profile.minimum is not None and profile.minimum == profile.maximum:
        equal = int(tally.bins.sum()) - tally.below - tally.above
        return np.array([0, reference.sum(), 0]), np.array([tally.below, equal, tally.above]), NO_POSITIONS
    return reference, tally.bins, Bins(bin_positions(profile), profile.std if profile.std is not None else math.nan)


def bin_positions(profile: NumericProfile) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return one ascending position a bin: the mean of the reference values in it, else the middle of its edges."""
    edges = profile.edges
    low = profile.minimum if profile.minimum is not None else (edges[0] if edges else 0.0)
    high = profile.maximum if profile.maximum is not None else (edges[-1] if edges else 0.0)
    bounds = (min(low, *edges[:1]), *edges, max(high, *edges[-1:])) if edges else (low, high)
    middles = [(a + b) / 2 for a, b in pairwise(bounds)]
    means = profile.bin_means or (None,) * len(middles)
    return np.array([middle if mean is None else mean for mean, middle in zip(means, middles, strict=True)])


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
