"""Chi-squared as an effect size: Cramér's V of the table (sample × bin) in which both samples weigh the same.

V = sqrt(½ sum (r - c)² / (r + c)), between 0 (equal shares) and 1 (no bin in common). Weighing the samples alike
makes it independent of how many rows reference and window have. Cramér, Mathematical Methods of Statistics (1946).
"""

import math

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Bins, Counts, chi_squared_quantile, effective_size, shares


def score(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return V."""
    del bins  # V does not depend on where bins lie
    used = (reference + current) > 0
    r, c = shares(reference)[used], shares(current)[used]
    return math.sqrt(float(np.sum((r - c) ** 2 / (r + c))) / 2)


def noise_floor(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the 99.9 % quantile without drift: 4 n V² is chi-squared with k - 1 degrees of freedom."""
    del bins
    return math.sqrt(chi_squared_quantile(reference, current) / (4.0 * effective_size(reference, current)))
