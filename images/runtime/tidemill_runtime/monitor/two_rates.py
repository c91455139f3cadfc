"""Two rates compared: the score test of a difference or a ratio, and the interval of what it does not reject.

Miettinen and Nurminen, Comparative analysis of two rates (Statistics in Medicine, 1985): the distance from the
hypothesis divided by the standard error that it has under the hypothesis, at the rates that are most likely under it.
Unlike the usual Wald statistic it is right for small samples and rates near 0 or 1. Pure.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from tidemill_runtime.monitor.intervals import Z

_STEPS: Final = 60  # of bisection: far below the digits that are shown
_LARGEST_LOG: Final = 14.0  # of a ratio that is looked for: about a million


class Rate(NamedTuple):
    """`hits` of `rows`."""

    hits: float
    rows: float

    @property
    def value(self) -> float | None:
        """The rate; None without any row."""
        return self.hits / self.rows if self.rows else None


def difference_score(one: Rate, other: Rate, difference: float) -> float:
    """Return the standard normal score of rate `one` - rate `other` against a difference from -1 to 1, not included.

    Below 0 where the rates' own difference is smaller. Both need rows.
    """
    base = _base_of_difference(one, other, difference)
    return _score(one, other, base + difference, base, one.hits / one.rows - other.hits / other.rows - difference, 1.0)


def ratio_score(one: Rate, other: Rate, ratio: float) -> float:
    """Return the standard normal score of rate `one` / rate `other` against a ratio above 0. Both need rows."""
    total, hits = one.rows + other.rows, one.hits + other.hits
    a = total * ratio
    b = one.rows * ratio + one.hits + other.rows + other.hits * ratio
    base = (b - math.sqrt(max(b * b - 4 * a * hits, 0.0))) / (2 * a)
    distance = one.hits / one.rows - ratio * other.hits / other.rows
    return _score(one, other, ratio * base, base, distance, ratio)


def difference_interval(one: Rate, other: Rate) -> tuple[float, float] | None:
    """Return the 95 % interval of rate `one` - rate `other`; None where one has no rows."""
    if not one.rows or not other.rows:
        return None
    value = one.hits / one.rows - other.hits / other.rows

    def score(difference: float) -> float:
        return difference_score(one, other, difference)

    edge = 1 - 1e-12
    return _root(score, -edge, value, Z, rises=False), _root(score, value, edge, -Z, rises=False)


def ratio_interval(one: Rate, other: Rate) -> tuple[float, float] | None:
    """Return the 95 % interval of rate `one` / rate `other`; None where the second rate is 0 or one has no rows."""
    if not one.rows or not other.rows or not other.hits:
        return None

    def score(logarithm: float) -> float:
        return ratio_score(one, other, math.exp(logarithm))

    value = math.log(one.hits / one.rows / (other.hits / other.rows)) if one.hits else -_LARGEST_LOG
    low = math.exp(_root(score, -_LARGEST_LOG, value, Z, rises=False)) if one.hits else 0.0
    return low, math.exp(_root(score, value, _LARGEST_LOG, -Z, rises=False))


def _score(one: Rate, other: Rate, first: float, second: float, distance: float, ratio: float) -> float:
    """`first` and `second`: the most likely rates under the hypothesis."""
    first, second = (min(max(rate, 0.0), 1.0) for rate in (first, second))
    total = one.rows + other.rows
    variance = first * (1 - first) / one.rows + ratio * ratio * second * (1 - second) / other.rows
    variance *= total / (total - 1)
    if variance <= 0:
        return 0.0 if abs(distance) < 1e-12 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _base_of_difference(one: Rate, other: Rate, difference: float) -> float:
    """Return the most likely second rate where the first is greater by `difference`: a root of a cubic."""
    total = one.rows + other.rows
    hits = one.hits + other.hits
    l2 = (one.rows + 2 * other.rows) * difference - total - hits
    l1 = (other.rows * difference - total - 2 * other.hits) * difference + hits
    l0 = other.hits * difference * (1 - difference)
    third = l2 / (3 * total)
    q = third**3 - l1 * l2 / (6 * total * total) + l0 / (2 * total)
    p = math.copysign(math.sqrt(max(third**2 - l1 / (3 * total), 0.0)), q)
    if p == 0:
        return -third
    angle = (math.pi + math.acos(min(max(q / p**3, -1.0), 1.0))) / 3
    return min(max(2 * p * math.cos(angle) - third, max(0.0, -difference)), min(1.0, 1 - difference))


def _root(score: Callable[[float], float], low: float, high: float, wanted: float, *, rises: bool) -> float:
    """Return where a monotone score has a value, by bisection; an end where it has it nowhere."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if (score(middle) < wanted) == rises:
            low = middle
        else:
            high = middle
    return (low + high) / 2
