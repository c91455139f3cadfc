"""What all drift tests share: shares of counts, effective sample size, quantiles of the null distribution.

Pure numpy and `math`; the monitor's image holds no scipy. Quantiles are approximations, good to a few per cent,
which is what a noise floor needs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

_Z = 3.0902323  # standard normal quantile at 0.999


@dataclass(frozen=True)
class Bins:
    """Where the bins of a numeric column lie: one position a bin, ascending, and the reference's deviation.

    Categorical columns have no positions and no spread.
    """

    positions: Shares
    std: float


NO_POSITIONS = Bins(np.zeros(0), math.nan)


def shares(counts: Counts) -> Shares:
    """Return counts divided by their sum; the sum must not be zero."""
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def effective_size(reference: Counts, current: Counts) -> float:
    """Return n with 1/n = 1/n_reference + 1/n_current, the size at which the reference's own noise is included."""
    return 1.0 / (1.0 / float(reference.sum()) + 1.0 / float(current.sum()))


def chi_squared_quantile(reference: Counts, current: Counts) -> float:
    """Return the 99.9 % quantile of chi-squared, bins in use - 1 degrees of freedom (Wilson and Hilferty, 1931)."""
    freedom = int(np.count_nonzero(reference + current)) - 1
    if freedom < 1:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return freedom * (1.0 - spread + _Z * math.sqrt(spread)) ** 3


def kolmogorov_quantile() -> float:
    """Return the 99.9 % quantile of Kolmogorov's distribution, from its leading term 2 exp(-2 x²)."""
    return math.sqrt(math.log(2.0 / 0.001) / 2.0)


def normal_quantile_two_sided() -> float:
    """Return the 99.95 % quantile of the standard normal: |z| exceeds it once in a thousand."""
    return 3.2905267
