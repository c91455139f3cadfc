"""Drift of the columns of one window: scores beside thresholds, then what of it is more than chance. Pure.

A column's score is the textbook figure, without correction, so that thresholds people know apply: it says how much
changed. A column drifts when the score reaches the threshold and the difference is significant among all columns of
the window (Benjamini-Hochberg), at a level that keeps the stated number of false alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tidemill_contracts import drift_tests
from tidemill_contracts.drift_tests import DriftTest
from tidemill_contracts.monitoring import ColumnScore, DriftConfig, TestConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile
from tidemill_runtime.monitor.baselines import windows_of_alarm
from tidemill_runtime.monitor.binning import Counts
from tidemill_runtime.monitor.stattests.false_alarms import benjamini_hochberg, window_level
from tidemill_runtime.monitor.stattests.formulas import FORMULAS
from tidemill_runtime.monitor.stattests.sample import NO_POSITIONS, Bins
from tidemill_runtime.monitor.stattests.sensitivity import smallest_shift
from tidemill_runtime.monitor.stattests.significance import p_value
from tidemill_runtime.monitor.tally import ColumnTally


@dataclass(frozen=True)
class Scored:
    """A column's score, and what it is of."""

    score: ColumnScore
    profile: Profile
    tally: ColumnTally
    base: ColumnTally | None = None  # what it is compared with; None: the reference profile's counts

    @property
    def present(self) -> int:
        """Values that it is compared with."""
        return self.profile.present if self.base is None else int(self.base.bins.sum())


@dataclass(frozen=True)
class Verdict:
    """The columns in the order in which they were given, and what this window could show at all."""

    columns: tuple[ColumnScore, ...]
    level: float | None = None
    smallest_shift: float | None = None


def score(
    profile: Profile, tally: ColumnTally, config: TestConfig, notes: list[str], base: ColumnTally | None = None
) -> dict[str, Any]:
    """Return test, threshold and score of a column; reasons for the unexpected go to `notes`."""
    reference, current, bins = samples(profile, tally, base)
    test, threshold = _test(profile, reference, config)
    if config.test not in (test.name, drift_tests.AUTO):
        needs = drift_tests.BY_NAME[config.test].columns
        notes.append(f"{config.test} needs a {needs} column; judged by {test.name} instead")
    found: dict[str, Any] = {"test": test.name, "threshold": threshold}
    if not reference.sum() or not current.sum():
        notes.append(
            "no values to compare"
            if reference.sum()
            else f"the {'reference' if base is None else 'baseline'} has no values"
        )
        return found
    value = FORMULAS[test.name](reference, current, bins)
    if not math.isfinite(value):
        notes.append(f"{test.name} is not defined: the reference has no spread")
        return found
    return found | {"score": value}


def judge(
    config: DriftConfig, columns: Sequence[Scored], *, window_seconds: int, rows: int, shared: bool = True
) -> Verdict:
    """Return which columns of a window drifted: beyond their threshold and significant together.

    Args:
        config: thresholds, and how many false alarms are accepted.
        columns: all that are compared, features and predictions.
        window_seconds: length of the window.
        rows: of the window.
        shared: whether all windows are compared with the same rows, as with those of training.
    """
    judged = [column for column in columns if column.score.score is not None]
    if not judged:
        return Verdict(tuple(column.score for column in columns))
    level = _level(config, judged, window_seconds, shared=shared)
    # a column below its threshold cannot drift: 1 stands for its p-value, which makes others no more significant
    p_values = [_p_value(column, level / len(judged)) for column in judged]
    significant = benjamini_hochberg([1.0 if p is None else p for p in p_values], level)
    found = {
        id(column): _with_verdict(column, p, significant=is_significant)
        for column, p, is_significant in zip(judged, p_values, significant, strict=True)
    }
    return Verdict(
        tuple(found.get(id(column), column.score) for column in columns),
        level,
        _smallest_shift(config, judged, level / len(judged), rows),
    )


def _level(config: DriftConfig, judged: Sequence[Scored], window_seconds: int, *, shared: bool) -> float:
    sizes = [(column.present, int(column.tally.bins.sum())) for column in judged]
    n_reference, n_current = max(sizes, key=lambda size: size[1] / size[0])
    return window_level(
        config.false_alarms_per_month,
        seconds=window_seconds,
        needed=config.consecutive_windows,
        out_of=windows_of_alarm(config),
        n_reference=n_reference,
        n_current=n_current if shared else 0,  # each window has a baseline of its own: nothing is common to them
    )


def _p_value(column: Scored, level: float) -> float | None:
    score, threshold = column.score.score, column.score.threshold
    if score is None or threshold is None or score < threshold:
        return None
    reference, current, _ = samples(column.profile, column.tally, column.base)
    return p_value(reference, current, ordered=isinstance(column.profile, NumericProfile), level=level)


def _with_verdict(column: Scored, p: float | None, *, significant: bool) -> ColumnScore:
    """Return the score with its p-value; what changed where it drifted, else why it did not."""
    if p is None:
        return column.score
    if significant:
        changes: dict[str, Any] = {"p_value": p, "drifted": True} | change(column.profile, column.tally, column.base)
        return column.score.model_copy(update=changes)
    note = f"not significant: such a difference has probability {p:.2g} without any change"
    notes = "; ".join(part for part in (column.score.note, note) if part)
    return column.score.model_copy(update={"p_value": p, "note": notes})


def _test(profile: Profile, reference: Counts, config: TestConfig) -> tuple[DriftTest, float]:
    """Return the test of a column and its threshold."""
    if config.test == drift_tests.AUTO:
        test = drift_tests.auto(profile.kind, int(np.count_nonzero(reference)))
        return test, test.threshold
    test = drift_tests.BY_NAME[config.test]
    if test.suits(profile.kind):
        return test, config.threshold
    return drift_tests.FALLBACK, drift_tests.FALLBACK.threshold


def _smallest_shift(config: DriftConfig, judged: Sequence[Scored], level: float, rows: int) -> float | None:
    """Return it for a numeric feature with the common test and as many rows as training and window have."""
    if config.features is None:
        return None
    test = drift_tests.BY_NAME.get(config.features.test, drift_tests.AUTO_NUMERIC)
    threshold = test.threshold if config.features.test == drift_tests.AUTO else config.features.threshold
    n_reference = max(column.present for column in judged)
    return smallest_shift(test.name, threshold, level=level, n_reference=n_reference, n_current=rows)


def samples(profile: Profile, tally: ColumnTally, base: ColumnTally | None = None) -> tuple[Counts, Counts, Bins]:
    """Return the counts that are compared with and the current ones on the same bins, and where these lie.

    A constant reference has one value and so one bin, in which nothing could drift; it is compared on three:
    below, equal, above.
    """
    reference = np.array(profile.counts, dtype=np.int64) if base is None else base.bins
    if not isinstance(profile, NumericProfile):
        return reference, tally.bins, NO_POSITIONS
    if profile.minimum is not None and profile.minimum == profile.maximum:
        usual = np.array([0, reference.sum(), 0]) if base is None else _around(base)
        return usual, _around(tally), NO_POSITIONS
    return reference, tally.bins, Bins(bin_positions(profile), profile.std if profile.std is not None else math.nan)


def _around(tally: ColumnTally) -> Counts:
    """Return how many values are below, equal to and above the one value of the reference."""
    return np.array([tally.below, int(tally.bins.sum()) - tally.below - tally.above, tally.above])


def bin_positions(profile: NumericProfile) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return one ascending position a bin: the mean of the reference values in it, else the middle of its edges."""
    edges = profile.edges
    low = profile.minimum if profile.minimum is not None else (edges[0] if edges else 0.0)
    high = profile.maximum if profile.maximum is not None else (edges[-1] if edges else 0.0)
    bounds = (min(low, *edges[:1]), *edges, max(high, *edges[-1:])) if edges else (low, high)
    middles = [(a + b) / 2 for a, b in pairwise(bounds)]
    means = profile.bin_means or (None,) * len(middles)
    return np.array([middle if mean is None else mean for mean, middle in zip(means, middles, strict=True)])


def change(profile: Profile, tally: ColumnTally, base: ColumnTally | None = None) -> dict[str, Any]:
    """Return what changed in a column, as fields of its score.

    Of a numeric column both means, as far as bins tell (each value counts as the reference's mean in its bin, so values
    beyond the reference's range make the true mean lie further out), and the shares beyond that range. Of a categorical
    one the category whose share changed most; `other` is all that the reference does not name.
    """
    n, counts = int(tally.bins.sum()), np.array(profile.counts) if base is None else base.bins
    if not isinstance(profile, CategoricalProfile):
        positions = bin_positions(profile)
        return {
            "reference_mean": float(counts @ positions / counts.sum()),
            "mean": float(tally.bins @ positions / n),
            "below_ratio": tally.below / n,
            "above_ratio": tally.above / n,
        }
    before, now = counts / counts.sum(), tally.bins / n
    most = int(np.argmax(np.abs(before - now)))
    return {
        "category": (*profile.categories, "other")[most],
        "reference_share": float(before[most]),
        "share": float(now[most]),
    }
