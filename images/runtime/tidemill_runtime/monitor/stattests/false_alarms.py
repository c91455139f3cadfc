"""From false alarms a month to a level for each window, and from that to the columns that differ by more than chance.

What is kept: the expected number of times that the alarm starts within 30 days, if all rows were drawn like those of
training. It is an expectation over monitors, because all windows of one monitor are compared with one training sample:
where that is a poor one, many windows differ from it, else hardly any.
"""

import functools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

MONTH_SECONDS: Final = 30 * 86_400
LARGEST_LEVEL: Final = 0.05
_GRID: Final = np.linspace(-8.0, 8.0, 641)
_WEIGHTS: Final = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()


def window_level(
    per_month: float, *, seconds: int, needed: int, out_of: int, n_reference: int, n_current: int
) -> float:
    """Return the probability with which a window may differ by chance.

    Args:
        per_month: false alarms that are expected within 30 days, over all monitors.
        seconds: length of a window.
        needed: windows that must have drifted for an alarm.
        out_of: among so many of the newest windows.
        n_reference: values of the training sample, of the column where it has the fewest beside the window.
        n_current: values of the window.

    Returns:
        A level above 0, at most 0.05. It does not depend on the share of columns that must have drifted: columns may
        be copies of one another, and then a share is no harder to reach than one column.
    """
    share = n_current / (n_current + n_reference) if n_current + n_reference else 0.0
    return _level(per_month, MONTH_SECONDS / seconds, needed, out_of, min(0.99, math.ceil(share * 50) / 50))


@functools.lru_cache(maxsize=512)
def _level(per_month: float, windows: float, needed: int, out_of: int, common: float) -> float:
    low, high = math.log(1e-12), math.log(LARGEST_LEVEL)
    if expected_alarms(LARGEST_LEVEL, windows=windows, needed=needed, out_of=out_of, common=common) <= per_month:
        return LARGEST_LEVEL
    for _ in range(40):
        middle = (low + high) / 2
        expected = expected_alarms(math.exp(middle), windows=windows, needed=needed, out_of=out_of, common=common)
        low, high = (middle, high) if expected <= per_month else (low, middle)
    return math.exp(low)


def expected_alarms(level: float, *, windows: float, needed: int, out_of: int, common: float) -> float:
    """Return how often an alarm starts in a month whose windows differ by chance with probability `level` each.

    All windows share the training sample. `common` is the part of a difference's variance that comes from it, n_window
    / (n_window + n_training). Given the training sample windows are independent, each with probability p; then an
    alarm of N of M windows starts in a window with probability C(M-1, N-1) p^N (1-p)^(M-N+1) (this window is the Nth
    among the last M, and the one before these was none), and once at the beginning when N of the first M windows
    differ. Both are averaged over training samples. For p a difference in one direction stands, to which the training
    sample adds more than to a sum over many directions or columns: that is the cautious side.
    """
    p = _by_training_sample(level, common)
    starts = math.comb(out_of - 1, needed - 1) * p**needed * (1 - p) ** (out_of - needed + 1)
    first = sum(math.comb(out_of, k) * p**k * (1 - p) ** (out_of - k) for k in range(needed, out_of + 1))
    return float(np.sum(_WEIGHTS * (windows * starts + first)))


def _by_training_sample(level: float, common: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the probability that a window differs, for each of the training samples on the grid."""
    limit = _two_sided_quantile(level)
    own = math.sqrt(1 - common)
    ups = (math.sqrt(common) * _GRID - limit) / own
    downs = (-math.sqrt(common) * _GRID - limit) / own
    return np.array([_normal(up) + _normal(down) for up, down in zip(ups.tolist(), downs.tolist(), strict=True)])


def _normal(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def _two_sided_quantile(level: float) -> float:
    """Return z with P(|Z| > z) = level, by bisection, good for the smallest levels."""
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / math.sqrt(2)) > level else (low, middle)
    return low


def benjamini_hochberg(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which p-values are significant together (Benjamini and Hochberg, 1995).

    As `scipy.stats.false_discovery_control(p_values) <= level`.

    If no column drifted, the probability that any is significant is at most `level`, for independent columns and for
    those that go up and down together (Benjamini and Yekutieli, 2001).
    """
    ordered = sorted(p_values)
    limit = max((p for rank, p in enumerate(ordered, start=1) if p <= level * rank / len(ordered)), default=-1.0)
    return [p <= limit for p in p_values]
