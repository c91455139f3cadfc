"""Kolmogorov-Smirnov statistic on bins: the largest distance of the two cumulative distributions at the bin edges.

The statistic of the raw samples is the largest distance anywhere, so the one on bins is a lower bound; with ten
bins of equal reference mass it misses at most a tenth. It is the distance (0 to 1), not the p-value.
"""

import math

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Bins, Counts, effective_size, kolmogorov_quantile, shares


def score(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the largest distance at an edge."""
    del bins  # only the order of bins matters
    return float(np.max(np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))))


def noise_floor(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the 99.9 % quantile without drift of the raw samples' statistic, an upper bound for the binned one."""
    del bins
    return kolmogorov_quantile() / math.sqrt(effective_size(reference, current))
