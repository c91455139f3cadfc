"""Jensen-Shannon distance: the square root of the divergence, natural logarithm, as scipy.spatial.distance has it.

Symmetric, finite with empty bins, between 0 and sqrt(ln 2) = 0.8326 (Endres and Schindelin, 2003).
"""

import math

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Bins, Counts, Shares, chi_squared_quantile, effective_size, shares


def score(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the distance."""
    del bins  # the distance does not depend on where bins lie
    r, c = shares(reference), shares(current)
    middle = (r + c) / 2
    divergence = (_relative_entropy(r, middle) + _relative_entropy(c, middle)) / 2
    return math.sqrt(max(0.0, divergence))


def noise_floor(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the 99.9 % quantile without drift: 8 n × divergence is chi-squared with k - 1 degrees of freedom."""
    del bins
    return math.sqrt(chi_squared_quantile(reference, current) / (8.0 * effective_size(reference, current)))


def _relative_entropy(p: Shares, q: Shares) -> float:
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))
