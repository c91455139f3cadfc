"""Where the bins of a numeric column lie. Pure.

A client may send a value as FP32, and a model by ONNX answers in FP32. So an edge never lies on a value, and never
between a value and its 32-bit rounding: what is equal or ordered after rounding stays on its side, and the rows that
the bins were made of always fall into the bins that counted them. Where there is a choice, an edge lies in the widest
gap near its quantile, which leaves room for the errors of sums.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10  # of equal counts; values that have a bin of their own, and what lies between them, can make it 21
FEW_ROWS: Final = 20  # a bin of fewer training rows says little about a share
_SLACK: Final = 8  # an edge may leave an eighth of a bin's rows on the other side of its quantile
_STEPS: Final = 2  # of 32-bit floats: a gap that is wider holds more than one rounding
_EPSILON: Final = float(np.finfo(np.float32).eps)  # a step is at most this share of the value
_TINY: Final = float(np.finfo(np.float32).smallest_subnormal)
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def edges(finite: Floats) -> Floats:
    """Return strictly increasing inner edges, at most 20, for finite numbers in any order.

    At most ten values: a bin for each. Else bins of about equal counts, and a value that holds as many rows as such a
    bin has one of its own.
    """
    values = np.sort(finite)
    single = as_single(values)
    starts = _starts(single)
    if len(starts) < 2:  # 32-bit floats do not tell the values apart
        starts = _starts(values)
    if len(starts) < 2:
        return np.empty(0)
    low, high = _gaps(values, single, starts[1:])
    sizes = np.diff(np.append(starts, len(values)))
    cuts = _cuts(sizes, _widths(low, high)) - 1  # gap i is before group i + 1
    return _inside(low[cuts], high[cuts])


def as_single(values: Floats) -> Floats:
    """Return the values as 32-bit floats hold them; beyond their range as they are."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32).astype(np.float64)
    return np.where(np.isfinite(single), single, values)


def _starts(ordered: Floats) -> Integers:
    """Return the first place of each run of equal numbers."""
    if not len(ordered):
        return np.empty(0, dtype=np.int64)
    return np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)


def _gaps(values: Floats, single: Floats, starts: Integers) -> tuple[Floats, Floats]:
    """Return where the gap before each start begins and ends: free of values, rounded or not, unless none is."""
    low, high = np.maximum(values, single)[starts - 1], np.minimum(values, single)[starts]
    free = low < high
    return np.where(free, low, values[starts - 1]), np.where(free, high, values[starts])


def _widths(low: Floats, high: Floats) -> Floats:
    """Return the order of the gaps: by width, but all that are wider than two steps of 32-bit floats before others."""
    step = np.maximum(np.maximum(np.abs(low), np.abs(high)) * _EPSILON, _TINY)
    width = high / 2 - low / 2  # the difference itself may be infinite
    wide = width > _STEPS / 2 * step
    share: Floats = width / max(float(width.max()), float(np.finfo(np.float64).tiny))
    return np.where(wide, 1 + share, share / 2)


def _inside(low: Floats, high: Floats) -> Floats:
    """Return an edge of each gap with low < edge <= high: its middle, where a number lies there."""
    middle = low / 2 + high / 2
    return np.where((low < middle) & (middle <= high), middle, high)


def _cuts(sizes: Integers, widths: Floats) -> Integers:
    """Return which groups begin a bin, the first one aside. `sizes`: rows of each group of equal values."""
    if len(sizes) <= BINS:
        return np.arange(1, len(sizes))
    alone, rows = _alone(sizes)
    found = {int(group) for one in np.flatnonzero(alone) for group in (one, one + 1)}
    ends = np.cumsum(sizes)
    bounds = np.flatnonzero(np.diff(np.concatenate(([True], alone, [True])).astype(np.int8)))
    for first, last in zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True):  # groups between those
        found.update(_quantile_cuts(ends, widths, first, last, rows))
    return np.array(sorted(found - {0, len(sizes)}), dtype=np.int64)


def _alone(sizes: Integers) -> tuple[NDArray[np.bool_], float]:
    """Return which groups have a bin of their own, and how many rows the bins of the others should have."""
    alone = np.zeros(len(sizes), dtype=np.bool_)
    least = min(FEW_ROWS, sizes.sum() / BINS)
    while True:
        bins = BINS - np.count_nonzero(alone)
        rows = max(sizes[~alone].sum() / bins if bins else 0.0, least)
        more = ~alone & (sizes >= rows)
        if not more.any():
            return alone, float(rows)
        alone |= more


def _quantile_cuts(ends: Integers, widths: Floats, first: int, last: int, rows: float) -> list[int]:
    """Return cuts of the groups from `first` up to `last`, exclusive, into bins of about `rows` rows."""
    before = int(ends[first - 1]) if first else 0
    total = int(ends[last - 1]) - before
    bins = max(1, round(total / rows))
    below = ends[first : last - 1] - before  # rows below a cut at group first + 1, first + 2, …
    found = []
    for target in np.arange(1, bins) * (total / bins) if len(below) else ():
        slack = total / bins / _SLACK
        start, end = np.searchsorted(below, [target - slack, target + slack])
        if start < end:
            found.append(
                first + 1 + int(start) + _widest(widths[first + start : first + end], below[start:end], target)
            )
            continue
        # a value holds more rows than that; on the side where the quantile is nearer
        place = min(int(start), len(below) - 1)
        place -= bool(place and target - below[place - 1] < below[place] - target)
        found.append(first + 1 + place)
    return found


def _widest(widths: Floats, below: Integers, target: float) -> int:
    """Return the place of the widest gap; of those that are equally wide, of the one nearest to the quantile."""
    widest = np.flatnonzero(widths >= widths.max() * (1 - 1e-6))
    return int(widest[np.abs(below[widest] - target).argmin()])
