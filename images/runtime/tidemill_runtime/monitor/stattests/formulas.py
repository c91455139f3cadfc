"""Scores of the drift tests by name.

What else there is to know of a test is in `tidemill_contracts.drift_tests`. Each function takes reference counts,
current counts (neither sample empty) and the bins' positions, and returns NaN where the score is not defined; r and c
are the shares of the two samples per bin. Whether a score is more than chance is said by `significance`.

Sources: Siddiqi, Credit Risk Scorecards (2006), and Yurdakul and Naranjo (2020), for PSI; Endres and Schindelin (2003)
for Jensen-Shannon; Cramér, Mathematical Methods of Statistics (1946), for V.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Bins, Counts, Shares, shares

_FILL: Final = 1e-4


def _psi(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the population stability index: the sum over bins of (r - c) ln(r / c).

    An empty bin would make it infinite, so a zero share is replaced as Evidently does it: by 0.0001, or by a millionth
    of the smallest share of that sample when that is 0.0001 or less; shares are not normalised again.
    """
    r, c = shares(reference), shares(current)
    used = (r > 0) | (c > 0)  # a bin empty in both adds nothing
    r, c = np.where(r > 0, r, _fill(r)), np.where(c > 0, c, _fill(c))
    return float(np.sum(np.where(used, (r - c) * np.log(r / c), 0.0)))


def _fill(values: Shares) -> float:
    """Return what stands for a share of 0 in a sample of these shares."""
    smallest = float(values[values > 0].min())
    return _FILL if smallest > _FILL else smallest / 1e6


def _jensen_shannon(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the square root of the divergence: finite with empty bins, between 0 and sqrt(ln 2) = 0.8326."""
    return math.sqrt(max(0.0, float(np.sum(_divergences(shares(reference), shares(current))))))


def _divergences(r: Shares, c: Shares) -> Shares:
    middle = (r + c) / 2
    return (_relative_entropies(r, middle) + _relative_entropies(c, middle)) / 2


def _relative_entropies(p: Shares, q: Shares) -> Shares:
    used = np.broadcast_to(p > 0, q.shape)
    return np.where(used, p * np.log(np.where(used, p, 1.0) / np.where(used, q, 1.0)), 0.0)


def _kolmogorov_smirnov(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the largest distance of the two cumulative distributions at an edge of bins.

    The statistic of the raw samples is the largest distance anywhere, so this is a lower bound; with ten bins of equal
    reference mass it misses at most a tenth.
    """
    return float(np.max(np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))))


def _wasserstein(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return how far mass has to move, in standard deviations of the reference; NaN when it has no spread.

    Each bin's mass, of both samples, is placed at the mean of the reference values in that bin. Movement inside a bin
    is invisible, so the error is at most one bin width; mass beyond the last edge moves no further than that mean.
    """
    if not bins.std > 0:
        return math.nan
    distance = np.abs(np.cumsum(shares(reference)) - np.cumsum(shares(current)))[:-1]
    return float(np.sum(distance * np.diff(bins.positions))) / bins.std


def _chi_squared(reference: Counts, current: Counts, _: Bins) -> float:
    """Return Cramér's V of the table sample × bin in which both samples weigh the same, between 0 and 1.

    Weighing them alike makes it independent of how many rows reference and window have.
    """
    used = (reference + current) > 0
    r, c = shares(reference)[used], shares(current)[used]
    return math.sqrt(float(np.sum((r - c) ** 2 / (r + c))) / 2)


def _l_infinity(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the largest difference of the two shares of one bin, between 0 and 1."""
    return float(np.max(np.abs(shares(reference) - shares(current))))


def _hellinger(reference: Counts, current: Counts, _: Bins) -> float:
    """Return the Hellinger distance, between 0 (equal shares) and 1 (no bin in common)."""
    return math.sqrt(float(np.sum(_hellinger_terms(shares(reference), shares(current)))))


def _hellinger_terms(r: Shares, c: Shares) -> Shares:
    difference: Shares = np.sqrt(r) - np.sqrt(c)
    return difference**2 / 2


FORMULAS: Final[Mapping[str, Callable[[Counts, Counts, Bins], float]]] = {
    "PSI": _psi,
    "JensenShannon": _jensen_shannon,
    "KolmogorovSmirnov": _kolmogorov_smirnov,
    "Wasserstein": _wasserstein,
    "ChiSquared": _chi_squared,
    "LInfinity": _l_infinity,
    "Hellinger": _hellinger,
}
