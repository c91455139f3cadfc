"""Scores and noise floors of the drift tests by name.

What else there is to know of a test is in `tidemill_contracts.drift_tests`. Each function takes reference counts,
current counts (neither sample empty) and the bins' positions; r and c are the shares of the two samples per bin, n is
their effective size. A noise floor is the 99.9 % quantile of the score without drift.

Sources: Siddiqi, Credit Risk Scorecards (2006), and Yurdakul and Naranjo (2020), for PSI; Endres and Schindelin (2003)
for Jensen-Shannon; Cramér, Mathematical Methods of Statistics (1946), for V.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from tidemill_runtime.monitor.stattests.sample import (
    Bins,
    Counts,
    Shares,
    chi_squared_quantile,
    effective_size,
    kolmogorov_quantile,
    normal_quantile_two_sided,
    quantile_of_sum,
    shares,
)

_FILL: Final = 1e-4


@dataclass(frozen=True)
class Formula:
    """`score` returns NaN where it is not defined; `noise_floor` is NaN there, too."""

    score: Callable[[Counts, Counts, Bins], float]
    noise_floor: Callable[[Counts, Counts, Bins], float]


def _psi(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the population stability index: the sum over bins of (r - c) ln(r / c).

    An empty bin would make it infinite, so a zero share is replaced as Evidently does it: by 0.0001, or by a millionth
    of the smallest share of that sample when that is 0.0001 or less; shares are not normalised again.
    """
    return float(np.sum(_psi_terms(reference, current)(shares(reference), shares(current))))


def _psi_terms(reference: Counts, current: Counts) -> Callable[[Shares, Shares], Shares]:
    r_fill, c_fill = _fill(shares(reference)), _fill(shares(current))

    def terms(r: Shares, c: Shares) -> Shares:
        used = (r > 0) | (c > 0)  # a bin empty in both adds nothing
        r, c = np.where(r > 0, r, r_fill), np.where(c > 0, c, c_fill)
        return np.where(used, (r - c) * np.log(r / c), 0.0)

    return terms


def _fill(values: Shares) -> float:
    """Return what stands for a share of 0 in a sample of these shares."""
    smallest = float(values[values > 0].min())
    return _FILL if smallest > _FILL else smallest / 1e6


def _psi_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """PSI × n is chi-squared with k - 1 degrees of freedom: its mean is (k - 1)(1/n_reference + 1/n_current)."""
    return quantile_of_sum(_psi_terms(reference, current), 1.0, reference, current)


def _jensen_shannon(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the square root of the divergence: finite with empty bins, between 0 and sqrt(ln 2) = 0.8326."""
    return math.sqrt(max(0.0, float(np.sum(_divergences(shares(reference), shares(current))))))


def _divergences(r: Shares, c: Shares) -> Shares:
    middle = (r + c) / 2
    return (_relative_entropies(r, middle) + _relative_entropies(c, middle)) / 2


def _relative_entropies(p: Shares, q: Shares) -> Shares:
    used = np.broadcast_to(p > 0, q.shape)
    return np.where(used, p * np.log(np.where(used, p, 1.0) / np.where(used, q, 1.0)), 0.0)


def _jensen_shannon_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """8 n × divergence is chi-squared with k - 1 degrees of freedom."""
    return math.sqrt(quantile_of_sum(_divergences, 8.0, reference, current))


def _kolmogorov_smirnov(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the largest distance of the two cumulative distributions at an edge of bins.

    The statistic of the raw samples is the largest distance anywhere, so this is a lower bound; with ten bins of equal
    reference mass it misses at most a tenth.
    """
    return float(np.max(np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))))


def _kolmogorov_smirnov_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """The quantile of the raw samples' statistic: an upper bound for the one on bins."""
    return kolmogorov_quantile() / math.sqrt(effective_size(reference, current))


def _wasserstein(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return how far mass has to move, in standard deviations of the reference; NaN when it has no spread.

    Each bin's mass, of both samples, is placed at the mean of the reference values in that bin. Movement inside a bin
    is invisible, so the error is at most one bin width; mass beyond the last edge moves no further than that mean.
    """
    if not bins.std > 0:
        return math.nan
    distance = np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))[:-1]
    return float(np.sum(distance * np.diff(bins.positions))) / bins.std


def _wasserstein_noise(reference: Counts, current: Counts, bins: Bins) -> float:
    """A bound: at no edge does the distance of the cumulative shares exceed its own quantile."""
    if not bins.std > 0:
        return math.nan
    counts = np.cumsum(reference + current)
    below = counts[:-1] / counts[-1]
    widest = _share_quantiles(below, effective_size(reference, current), normal_quantile_two_sided())
    widest[(below == 0) | (below == 1)] = 0  # beyond all values
    return float(np.sum(widest * np.diff(bins.positions))) / bins.std


def _chi_squared(reference: Counts, current: Counts, _: Bins) -> float:
    """Return Cramér's V of the table sample × bin in which both samples weigh the same, between 0 and 1.

    Weighing them alike makes it independent of how many rows reference and window have.
    """
    used = (reference + current) > 0
    r, c = shares(reference)[used], shares(current)[used]
    return math.sqrt(float(np.sum((r - c) ** 2 / (r + c))) / 2)


def _chi_squared_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """4 n V² is chi-squared with k - 1 degrees of freedom."""
    return math.sqrt(chi_squared_quantile(reference, current) / (4.0 * effective_size(reference, current)))


def _l_infinity(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the largest difference of the two shares of one bin, between 0 and 1."""
    return float(np.max(np.abs(shares(reference) - shares(current))))


def _l_infinity_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """A bound on the 99.9 % quantile: no bin's difference exceeds its own quantile at 0.001 / k (Bonferroni).

    k is the number of bins that vary as much as the widest would have to be for the same sum of variances: a few
    frequent categories do not pay for many rare ones.
    """
    p = shares(reference + current)
    n = effective_size(reference, current)
    variances = p * (1 - p) / n
    if not variances.max() > 0:  # one bin has all values
        return 0.0
    z = NormalDist().inv_cdf(1 - 0.0005 / float(variances.sum() / variances.max()))
    return float(np.max(_share_quantiles(p, n, z)))


def _share_quantiles(p: Shares, n: float, z: float) -> Shares:
    """Return how far shares with these probabilities may differ without drift, at the standard normal quantile z.

    A share is a binomial's; the second term is its skewness (Cornish and Fisher, 1938), without which a bin that
    expects less than one value would have hardly any noise.
    """
    deviations: Shares = np.sqrt(p * (1 - p) / n)
    return z * deviations + (z**2 - 1) / 6 * np.abs(1 - 2 * p) / n


def _hellinger(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the Hellinger distance, between 0 (equal shares) and 1 (no bin in common)."""
    return math.sqrt(float(np.sum(_hellinger_terms(shares(reference), shares(current)))))


def _hellinger_terms(r: Shares, c: Shares) -> Shares:
    difference: Shares = np.sqrt(r) - np.sqrt(c)
    return difference**2 / 2


def _hellinger_noise(reference: Counts, current: Counts, _: Bins) -> float:
    """8 n × the square is chi-squared with k - 1 degrees of freedom (Freeman and Tukey, 1950)."""
    return math.sqrt(quantile_of_sum(_hellinger_terms, 8.0, reference, current))


FORMULAS: Final[Mapping[str, Formula]] = {
    "PSI": Formula(_psi, _psi_noise),
    "JensenShannon": Formula(_jensen_shannon, _jensen_shannon_noise),
    "KolmogorovSmirnov": Formula(_kolmogorov_smirnov, _kolmogorov_smirnov_noise),
    "Wasserstein": Formula(_wasserstein, _wasserstein_noise),
    "ChiSquared": Formula(_chi_squared, _chi_squared_noise),
    "LInfinity": Formula(_l_infinity, _l_infinity_noise),
    "Hellinger": Formula(_hellinger, _hellinger_noise),
}
