"""Normed Wasserstein distance: how far mass has to move, in standard deviations of the reference.

Each bin's mass, of both samples, is placed at the mean of the reference values in that bin. Movement inside a bin is
invisible, so the error is at most one bin width; mass beyond the last edge moves no further than the last bin's mean.
"""

import math

import numpy as np

from tidemill_runtime.monitor.stattests.sample import (
    Bins,
    Counts,
    effective_size,
    normal_quantile_two_sided,
    shares,
)


def score(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the distance, 0 or more; NaN when the reference has no spread."""
    if not bins.std > 0:
        return math.nan
    gaps = np.diff(bins.positions)
    distance = np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))[:-1]
    return float(np.sum(distance * gaps)) / bins.std


def noise_floor(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return a bound without drift: at every edge the distance stays below 3.3 of its standard errors."""
    if not bins.std > 0:
        return math.nan
    below = np.cumsum(shares(reference + current))[:-1]
    error = np.sqrt(np.clip(below * (1 - below), 0, None) / effective_size(reference, current))
    return normal_quantile_two_sided() * float(np.sum(error * np.diff(bins.positions))) / bins.std
