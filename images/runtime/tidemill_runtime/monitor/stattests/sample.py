"""What all drift tests share: shares of counts, effective sample size, quantiles of the null distribution.

Pure numpy and `math`; the monitor's image holds no scipy. Quantiles are approximations, good to a few per cent,
which is what a noise floor needs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

_Z = 3.0902323  # standard normal quantile at 0.999
_MANY = 20  # expected values of a bin, from which on the limit theorems do
_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(9)
_WEIGHTS = _WEIGHTS / math.sqrt(math.pi)


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
    """Return the 99.9 % quantile of chi-squared, bins in use - 1 degrees of freedom."""
    return _chi_squared_quantile(float(np.count_nonzero(reference + current)) - 1)


def _chi_squared_quantile(freedom: float) -> float:
    """Wilson and Hilferty, 1931."""
    if not freedom > 0:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return freedom * max(0.0, 1.0 - spread + _Z * math.sqrt(spread)) ** 3


def quantile_of_sum(
    term: Callable[[Shares, Shares], Shares], scale: float, reference: Counts, current: Counts
) -> float:
    """Return the 99.9 % quantile without drift of a score that is a sum over bins.

    For bins with many values, scale × n × score is chi-squared with one degree of freedom less than there are bins. A
    bin that expects fewer than 20 values in a sample has another distribution (two shares of few values differ by much
    or by nothing), so mean and variance of its term are summed up over the counts that it may have, of Poisson's
    distribution. The sum of all is taken as a multiple of chi-squared with the same mean and variance.

    Args:
        term: the term of a bin by its shares (r, c), for arrays of pairs.
        scale: see above.
        reference: counts, at least one value.
        current: the same.
    """
    sizes = float(reference.sum()), float(current.sum())
    p = shares(reference + current)
    p = p[p > 0]
    rare = min(sizes) * p < _MANY
    unit = 1.0 / (scale * effective_size(reference, current))
    mean = float(np.sum(1 - p[~rare])) * unit
    variance = 2.0 * mean * unit
    for q in p[rare].tolist():
        (r, r_weights), (c, c_weights) = (_counts(size * q) for size in sizes)
        terms = term(r[:, None] / sizes[0], c[None, :] / sizes[1])
        weights = r_weights[:, None] * c_weights[None, :]
        first = float(np.sum(weights * terms))
        mean += first * (1 - q)
        variance += (float(np.sum(weights * terms**2)) - first**2) * (1 - q)
    if not mean > 0 or not variance > 0:  # all values in one bin
        return 0.0
    freedom = 2.0 * mean**2 / variance
    return mean / freedom * _chi_squared_quantile(freedom)


def _counts(expected: float) -> tuple[Shares, Shares]:
    """Return counts that a bin may have and their probabilities; of many, nine that stand for a normal distribution."""
    if expected > 1.5 * _MANY:
        return expected + math.sqrt(2 * expected) * _NODES, _WEIGHTS
    counts = np.arange(float(math.ceil(expected + 6 * math.sqrt(expected) + 8)))
    logarithms = counts * math.log(expected) - expected - np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
    return counts, np.exp(logarithms)


def kolmogorov_quantile() -> float:
    """Return the 99.9 % quantile of Kolmogorov's distribution, from its leading term 2 exp(-2 x²)."""
    return math.sqrt(math.log(2.0 / 0.001) / 2.0)


def normal_quantile_two_sided() -> float:
    """Return the 99.95 % quantile of the standard normal: |z| exceeds it once in a thousand."""
    return 3.2905267
