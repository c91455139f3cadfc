"""Whether values are missing, mistyped or unseen more often than in training, beyond what chance explains. Pure.

A share is above its limit when a binomial test says so, which also knows how few rows training had: a small window
does not alarm by chance. Broken values say nothing about drift, so what is a finding here is none there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from tidemill_contracts.counts import counted
from tidemill_contracts.monitoring import MAX_MISSING_INCREASE, MAX_UNSEEN_RATIO, MonitorConfig, QualityConfig
from tidemill_contracts.reference import CategoricalProfile, Profile
from tidemill_contracts.rounding import exact, rounded
from tidemill_runtime.monitor.stattests import binomial

FALSE_WINDOWS_PER_MONTH: Final = 0.1
"""How many windows of 30 days are expected to have a finding by chance, when every share lies exactly at its limit."""
_MONTH: Final = 30 * 86_400.0
_MOST: Final = 0.001  # the largest error of one window, however long windows are

Kind = Literal["missing", "unseen", "out_of_range"]
BROKEN: Final[frozenset[Kind]] = frozenset({"missing", "unseen"})
"""Findings after which a column says nothing about drift. A range that is left is what drift looks like."""


@dataclass(frozen=True)
class Tally:
    """Bad values of one feature in one window, as counts; `out_of_range` without those of a wrong type."""

    name: str
    profile: Profile
    rows: int
    missing: int
    mistyped: int
    unseen: int
    out_of_range: int


@dataclass(frozen=True)
class Problem:
    """A share above its limit: `text` names the feature, the share and the limit."""

    feature: str
    kind: Kind
    text: str


@dataclass(frozen=True)
class _Limits:
    increase: float | None
    missing: float | None
    unseen: float
    out_of_range: float | None

    @classmethod
    def of(cls, config: MonitorConfig, feature: str) -> "_Limits":
        quality = config.quality or QualityConfig()
        column = config.columns.get(feature)
        increase = column.max_missing_increase if column is not None else None
        if increase is None:
            increase = quality.max_missing_increase
        if increase is None and quality.max_missing_ratio is None:
            increase = MAX_MISSING_INCREASE
        unseen = MAX_UNSEEN_RATIO if quality.max_unseen_ratio is None else quality.max_unseen_ratio
        return cls(increase, quality.max_missing_ratio, unseen, quality.max_out_of_range_ratio)


def problems(config: MonitorConfig, features: Sequence[Tally]) -> tuple[Problem, ...]:
    """Return what is beyond a limit, in the order of the features; nothing where quality is not watched.

    It is watched where drift or quality is asked for. For one window, the probability that anything is found although
    no share is above its limit is at most `window_error`.
    """
    if config.quality is None and config.drift is None:
        return ()
    checks = 4 * max(len(features), 1)
    error = window_error(config.window_seconds) / checks
    found = []
    for tally in features:
        if tally.rows:
            limits = _Limits.of(config, tally.name)
            each = (_missing(tally, limits, error), _unseen(tally, limits, error), _out_of_range(tally, limits, error))
            found += [problem for problem in each if problem is not None]
    return tuple(found)


def window_error(seconds: float) -> float:
    """Return the probability of a finding by chance in a window of that length."""
    return min(_MOST, FALSE_WINDOWS_PER_MONTH * seconds / _MONTH)


def _missing(tally: Tally, limits: _Limits, error: float) -> Problem | None:
    """Return the finding on values that are not there, or are no numbers in a column of numbers."""
    absent, rows = tally.missing + tally.mistyped, tally.rows
    reference, total = tally.profile.missing, _rows(tally.profile)
    trained = reference / total if total else 1.0
    allowed = limits.increase
    is_off = allowed is not None and allowed >= 1
    if absent == rows and not is_off and binomial.chance_of_none(rows, total - reference, total) <= error:
        text = f"{tally.name}: no value in {counted(rows, 'row')} (missing in training: {trained:.3g})"
        return Problem(tally.name, "missing", text)
    if limits.missing is not None and binomial.is_above(absent, rows, limits.missing, error):
        return Problem(tally.name, "missing", f"{_absent(tally, limits.missing)} > {exact(limits.missing)}")
    if allowed is None or not total or absent / rows <= trained + allowed:
        return None
    limit = binomial.upper_bound(reference, total, error / 2) + allowed
    if not binomial.is_above(absent, rows, limit, error / 2):
        return None
    most = trained + allowed
    what = f"{_absent(tally, most)} > {rounded(most, 3, absent / rows)}"
    text = f"{what} (training {trained:.3g} + maxMissingIncrease {exact(allowed)})"
    return Problem(tally.name, "missing", text)


def _absent(tally: Tally, limit: float) -> str:
    """Return the shares of values that are not there, with enough digits to see that their sum is above the limit."""
    missing = rounded(tally.missing / tally.rows, 3, limit)
    mistyped = f" and mistyped_ratio {rounded(tally.mistyped / tally.rows, 3, limit)}" if tally.mistyped else ""
    return f"{tally.name}: missing_ratio {missing}{mistyped}"


def _unseen(tally: Tally, limits: _Limits, error: float) -> Problem | None:
    profile, limit = tally.profile, limits.unseen
    if not isinstance(profile, CategoricalProfile) or not _rows(profile) or limit >= 1:
        return None
    excess = tally.unseen / tally.rows - profile.counts[-1] / _rows(profile)
    if excess <= limit or not sum(profile.counts):
        return None
    chosen_apart = profile.distinct is not None
    bound = _unseen_bound(profile.counts, profile.missing, error / 2, chosen_apart=chosen_apart)
    none_allowed = limit == 0 and not profile.counts[-1]  # stated as it is: a single one is a finding
    if not none_allowed and not binomial.is_above(tally.unseen, tally.rows, bound + limit, error / 2):
        return None
    return Problem(tally.name, "unseen", f"{tally.name}: unseen_ratio {rounded(excess, 3, limit)} > {exact(limit)}")


@lru_cache(maxsize=4096)
def _unseen_bound(counts: tuple[int, ...], missing: int, error: float, *, chosen_apart: bool) -> float:
    """Return a bound on the share of rows that the reference would not name, had nothing changed.

    Where it names every category that training had, new ones come at the rate of those that training had once: Good
    and Turing's estimate, N1 / n, whose variance is (N1 + 2 N2) / n² (Good 1953, Esty 1983). Where it names the most
    frequent ones only, `other` has counted the rest: as it is, if they were chosen on other rows than those that are
    counted; if not, they were frequent by chance, too, and each one counts by the lower bound of its share.
    """
    rows, named = sum(counts) + missing, counts[:-1]
    if counts[-1] and chosen_apart:
        return binomial.upper_bound(counts[-1], rows, error)
    if counts[-1]:
        each = error / rows
        return max(0.0, 1.0 - sum(binomial.lower_bound(count, rows, each) for count in named))
    once, twice = named.count(1), named.count(2)
    stretch = math.sqrt(1.0 + 2.0 * twice / max(once, 1))
    estimate = once / rows
    return min(1.0, estimate + stretch * (binomial.upper_bound(once, rows, error) - estimate))


def _out_of_range(tally: Tally, limits: _Limits, error: float) -> Problem | None:
    outside, limit = tally.out_of_range + tally.mistyped, limits.out_of_range
    if limit is None or not binomial.is_above(outside, tally.rows, limit, error):
        return None
    text = f"{tally.name}: out_of_range_ratio {rounded(outside / tally.rows, 3, limit)} > {exact(limit)}"
    return Problem(tally.name, "out_of_range", text)


def _rows(profile: Profile) -> int:
    return sum(profile.counts) + profile.missing
