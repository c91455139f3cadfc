"""Whether two samples differ by more than chance: Pearson's chi-squared test of homogeneity on the reference's bins.

Both samples vary, the training sample too, so this is a test of two samples. Pure numpy and `math`, since the monitor's
image holds no scipy. Which form of the test is used depends on how many values the bins expect:

- Bins are merged until each expects at least 5 values in both samples (Cochran, 1954): neighbours in a numeric column,
  the rarest in a categorical one. Merging looks at the sum of both samples only, so it does not bias the test.
- Two bins: Fisher's exact test (1935).
- Three to 50 merged bins of which one expects fewer than 50 values: Monte Carlo with fixed margins, because the limit
  distribution understates far tails there. Fewer than three merged bins: the same on the bins as they are.
- Otherwise a gamma distribution with the statistic's exact mean and variance for fixed margins (Haldane, 1940), which
  is chi-squared itself for large counts.
"""

import math
import zlib
from typing import Final

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Counts

_EXPECTED: Final = 5.0  # values that a merged bin expects in each sample
_MANY_EXPECTED: Final = 50.0  # from which on the tails of the limit distribution are right within a factor of two
_SIMULATED_BINS: Final = 50
_EXCEEDANCES: Final = 20
_FEWEST_DRAWS, _MOST_DRAWS = 1_000, 10_000
_LARGEST_URN: Final = 10**9 - 1  # of numpy's hypergeometric draws
_TIES: Final = 1e-9  # relative: tables as probable or as extreme as the observed one, but for rounding


def p_value(reference: Counts, current: Counts, *, ordered: bool, level: float) -> float:
    """Return the probability of a difference at least this large when both samples are of one distribution.

    Args:
        reference: counts int64[k], at least one value.
        current: the same for the window.
        ordered: whether bins are neighbours of each other (a numeric column).
        level: about the smallest value that a decision needs to tell apart; decides the number of random draws.

    Returns:
        1 when all values lie in one bin. Deterministic: draws are seeded by the counts.
    """
    table = np.array([reference, current], dtype=np.int64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] <= 2:
        return two_bins(table)
    merged = merge(table, ordered=ordered)
    if merged.shape[1] == 2 and _least_expected(merged) >= _MANY_EXPECTED:
        return two_bins(merged)
    if merged.shape[1] < 3:
        return _simulated(_largest_bins(table), level)
    asymptotic = _asymptotic(merged)
    if merged.shape[1] > _SIMULATED_BINS or _least_expected(merged) >= _MANY_EXPECTED:
        return asymptotic
    return _simulated(merged, level)


def merge(table: Counts, *, ordered: bool) -> Counts:
    """Return the table int64[2, k] with bins merged until each expects 5 values in both samples; at least one is left.

    Neighbours are merged where bins are ordered, else the rarest bins.
    """
    totals = table.sum(axis=0)
    wanted = _EXPECTED * float(totals.sum()) / float(table.sum(axis=1).min())
    if not ordered:
        order = np.argsort(-totals, kind="stable")
        table, totals = table[:, order], totals[order]
    starts, held = [0], 0.0
    for number, total in enumerate(totals.tolist()):
        if held >= wanted:
            starts.append(number)
            held = 0.0
        held += total
    if held < wanted and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(table, starts, axis=1)


def statistic(table: Counts) -> float:
    """Return Pearson's chi-squared of a table int64[2, k] without empty columns (as `scipy.stats.chi2_contingency`)."""
    sizes, totals = table.sum(axis=1, dtype=np.float64), table.sum(axis=0, dtype=np.float64)
    expected = sizes[:, None] * totals[None, :] / sizes.sum()
    return float(np.sum((table - expected) ** 2 / expected))


def two_bins(table: Counts) -> float:
    """Return the two-sided p-value of a table int64[2, 2]; Fisher's exact one unless the smallest cell expects many.

    As `scipy.stats.fisher_exact`: the probability of all tables that are no more probable than this one.
    """
    if table.shape[1] < 2:
        return 1.0
    if _least_expected(table) >= 10 * _MANY_EXPECTED:
        return _asymptotic(table)
    row, column = int(np.argmin(table.sum(axis=1))), int(np.argmin(table.sum(axis=0)))
    size, total, everything = int(table[row].sum()), int(table[:, column].sum()), int(table.sum())
    observed = int(table[row, column])
    expected = size * total / everything
    least = max(0, size + total - everything)
    most = min(size, total, max(observed, math.ceil(expected + 40 * math.sqrt(expected) + 100)))
    counts = np.arange(least, most, dtype=np.float64)
    ratios = (total - counts) * (size - counts) / ((counts + 1) * (everything - total - size + counts + 1))
    logarithms = np.concatenate(([0.0], np.cumsum(np.log(ratios))))
    probabilities = np.exp(logarithms - logarithms.max())
    limit = probabilities[observed - least] * (1 + _TIES)
    return float(min(1.0, probabilities[probabilities <= limit].sum() / probabilities.sum()))


def chi_squared_tail(freedom: float, value: float) -> float:
    """Return P(chi-squared > value), also for degrees of freedom that are no whole number."""
    return gamma_tail(freedom / 2, value / 2)


def gamma_tail(shape: float, value: float) -> float:
    """Return the regularised upper incomplete gamma function Q(shape, value).

    Series and continued fraction of Press et al., Numerical Recipes (2007), section 6.2.
    """
    if value <= 0:
        return 1.0
    log_factor = shape * math.log(value) - value - math.lgamma(shape)
    if value < shape + 1:
        term = total = 1 / shape
        divisor = shape
        while term > total * 1e-15:
            divisor += 1
            term *= value / divisor
            total += term
        return max(0.0, 1 - total * math.exp(log_factor))
    tiny = 1e-300
    b = value + 1 - shape
    c, d = 1 / tiny, 1 / b
    fraction, step, number = d, 0.0, 0
    while abs(step - 1) > 1e-15 and number < 100_000:
        number += 1
        a = number * (shape - number)
        b += 2
        d = 1 / _not_zero(a * d + b, tiny)
        c = _not_zero(b + a / c, tiny)
        step = c * d
        fraction *= step
    return min(1.0, math.exp(log_factor) * fraction)


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _least_expected(table: Counts) -> float:
    return float(table.sum(axis=0).min()) * float(table.sum(axis=1).min()) / float(table.sum())


def _asymptotic(table: Counts) -> float:
    """Return the tail of the gamma distribution that has the statistic's mean and variance for fixed margins."""
    mean, variance = moments(table)
    return gamma_tail(mean**2 / variance, statistic(table) * mean / variance)


def moments(table: Counts) -> tuple[float, float]:
    """Return mean and variance of the statistic when both margins are fixed (Haldane, 1940; Dawson, 1954)."""
    n, (rows, columns) = float(table.sum()), table.shape
    if n <= 3:
        return float(columns - 1), 2.0 * (columns - 1)
    by_row = (n * float(np.sum(1 / table.sum(axis=1))) - rows**2) / (n - 2)
    by_column = (n * float(np.sum(1 / table.sum(axis=0))) - columns**2) / (n - 2)
    of_rows = (n - rows) * (rows - 1) / (n - 1)
    of_columns = (n - columns) * (columns - 1) / (n - 1)
    mean = n * (columns - 1) * (rows - 1) / (n - 1)
    variance = 2 * n / (n - 3) * (of_rows - by_row) * (of_columns - by_column) + n**2 / (n - 1) * by_row * by_column
    return mean, max(variance, 1e-12)


def _largest_bins(table: Counts) -> Counts:
    """Return the table with all but the fullest bins in one, so that drawing is bounded."""
    if table.shape[1] <= _SIMULATED_BINS:
        return table
    table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    return np.add.reduceat(table, np.arange(_SIMULATED_BINS), axis=1)


def _simulated(table: Counts, level: float) -> float:
    """Return the share of random tables with the same margins that are at least as extreme.

    Drawing ends at 20 of these (Besag and Clifford, 1991). Where no draw is as extreme, the p-value is below what the
    draws resolve; then Bonferroni's bound over exact tests of each bin against the others counts, where it is smaller.
    """
    sample = int(np.argmin(table.sum(axis=1)))
    size, totals = int(table[sample].sum()), table.sum(axis=0)
    observed = float(np.sum(table[sample] ** 2 / totals)) * (1 - _TIES)
    random = np.random.default_rng(zlib.crc32(table.tobytes()))
    draws = min(_MOST_DRAWS, max(_FEWEST_DRAWS, math.ceil(5 / level)))
    done = exceeding = 0
    while done < draws:
        batch = min(250 if not done else 2_500, draws - done)
        found = np.flatnonzero(_extremes(random, totals, size, batch) >= observed)
        if exceeding + len(found) >= _EXCEEDANCES:
            return _EXCEEDANCES / (done + int(found[_EXCEEDANCES - exceeding - 1]) + 1)
        exceeding += len(found)
        done += batch
    resolved = (exceeding + 1) / (draws + 1)
    return resolved if exceeding else min(resolved, _bonferroni(table))


def _extremes(random: np.random.Generator, totals: Counts, size: int, draws: int) -> np.ndarray[tuple[int], np.dtype]:
    """Return what grows with the statistic, float64[draws], of random tables with these margins."""
    if int(totals.sum()) > _LARGEST_URN:  # nothing is taken out of so many that it would matter
        drawn = random.multinomial(size, totals / totals.sum(), size=draws)
    else:
        drawn = random.multivariate_hypergeometric(totals, size, size=draws, method="marginals")
    return np.asarray(np.sum(drawn.astype(np.float64) ** 2 / totals, axis=1))


def _bonferroni(table: Counts) -> float:
    """Return the smallest exact p-value of one bin against all others, times the number of bins."""
    rest = table.sum(axis=1)
    found = (two_bins(np.stack((bin_, rest - bin_), axis=1)) for bin_ in table.T)
    return min(1.0, float(table.shape[1]) * min(found))
