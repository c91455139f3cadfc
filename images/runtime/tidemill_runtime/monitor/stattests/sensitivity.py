"""The smallest shift that traffic of some size can show: what an alarm of a monitor can see at all.

A shift has to pass both: the test's threshold, which does not depend on traffic, and significance, which does.
"""

import functools
import math
from itertools import pairwise
from statistics import NormalDist
from typing import Final

import numpy as np

from tidemill_runtime.monitor.stattests.formulas import FORMULAS
from tidemill_runtime.monitor.stattests.sample import Bins
from tidemill_runtime.monitor.stattests.significance import chi_squared_tail

POWER: Final = 0.8
_NORMAL: Final = NormalDist()
_BINS: Final = 10
_EDGES: Final = tuple(_NORMAL.inv_cdf(i / _BINS) for i in range(1, _BINS))
_MANY: Final = 10**9  # rows by which shares become counts
_LARGEST: Final = 20.0


def smallest_shift(test: str, threshold: float, *, level: float, n_reference: int, n_current: int) -> float | None:
    """Return the smallest shift of the mean, in standard deviations, that makes one column drift in 4 of 5 windows.

    It is that of a normal column in ten bins of equal mass.

    Args:
        test: name of the drift test.
        threshold: of its score.
        level: at which the column must be significant.
        n_reference: values of the training sample.
        n_current: values of the window.

    Returns:
        Rounded to two digits; None when no shift is large enough.
    """
    if n_reference < 1 or n_current < 1:
        return None
    return _smallest(test, threshold, float(f"{level:.2g}"), n_reference, int(float(f"{n_current:.2g}")))


@functools.lru_cache(maxsize=512)
def _smallest(test: str, threshold: float, level: float, n_reference: int, n_current: int) -> float | None:
    critical = _critical(_BINS - 1, level)

    def shows(shift: float) -> bool:
        return _score(test, shift) >= threshold and _is_seen(shift, critical, n_reference, n_current)

    if not shows(_LARGEST):
        return None
    low, high = 0.0, _LARGEST
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return float(f"{high:.2g}")


def _shares(shift: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    below = [0.0, *(_NORMAL.cdf(edge - shift) for edge in _EDGES), 1.0]
    return np.diff(below)


def _score(test: str, shift: float) -> float:
    reference, current = (np.rint(_shares(s) * _MANY).astype(np.int64) for s in (0.0, shift))
    bounds = [-math.inf, *_EDGES, math.inf]
    means = [_BINS * (_NORMAL.pdf(a) - _NORMAL.pdf(b)) for a, b in pairwise(bounds)]
    return FORMULAS[test](reference, current, Bins(np.array(means), 1.0))


def _is_seen(shift: float, critical: float, n_reference: int, n_current: int) -> bool:
    """Whether Pearson's statistic, non-central chi-squared with mean d + λ and variance 2 (d + 2 λ), exceeds the
    critical value in 4 of 5 windows (normal approximation)."""
    r, c = _shares(0.0), _shares(shift)
    n = 1 / (1 / n_reference + 1 / n_current)
    pooled = (n_reference * r + n_current * c) / (n_reference + n_current)
    extra = n * float(np.sum((r - c) ** 2 / pooled))
    freedom = _BINS - 1
    return freedom + extra - _NORMAL.inv_cdf(POWER) * math.sqrt(2 * (freedom + 2 * extra)) >= critical


def _critical(freedom: int, level: float) -> float:
    low, high = 0.0, 10_000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chi_squared_tail(freedom, middle) > level else (low, middle)
    return high
