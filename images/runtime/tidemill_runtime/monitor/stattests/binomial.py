"""Exact statements on shares: the binomial test, the bounds of Clopper and Pearson (1934), and one of Fisher's test.

The first two are probabilities of the binomial distribution, which the regularised incomplete beta function gives:
P(X >= k) of n rows at p is I_p(k, n - k + 1). It is computed by Lentz's continued fraction (Press et al., Numerical
Recipes, 6.4): the monitor's image holds no scipy.
"""

import math
from functools import lru_cache
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-13
_STEPS: Final = 200_000  # the fraction needs about the square root of the number of rows
_HALVINGS: Final = 60


def is_above(hits: int, rows: int, limit: float, error: float) -> bool:
    """Return whether more than `limit` of all rows would be hits, wrongly with at most that probability.

    Args:
        hits: how many of the rows, at least one, are hits.
        rows: how many there are.
        limit: the share up to which the answer is no; from 1 on it always is.
        error: the largest probability of a yes when the true share is at the limit.
    """
    share = hits / rows
    if share <= limit:
        return False
    if limit <= 0:
        return True
    # Chernoff's bound is not below the tail: what it decides needs no fraction.
    return rows * _divergence(share, limit) >= -math.log(error) or tail(hits, rows, limit) <= error


def _divergence(share: float, limit: float) -> float:
    rest = (1 - share) * math.log((1 - share) / (1 - limit)) if share < 1 else 0.0
    return share * math.log(share / limit) + rest


def tail(hits: int, rows: int, share: float) -> float:
    """Return the probability of at least that many hits among rows that are hits with probability `share`."""
    if hits <= 0:
        return 1.0
    return _beta(hits, rows - hits + 1, share) if hits <= rows else 0.0


def chance_of_none(rows: int, hits: int, others: int) -> float:
    """Return the probability that some rows have no hit, when they are drawn like `others`, which have that many hits.

    Of Fisher's exact test (1922): each way in which the hits fall on all rows together is as likely.
    """
    terms = (others + 1, -(others - hits + 1), -(others + rows + 1), others + rows - hits + 1)
    return math.exp(min(0.0, sum(math.copysign(math.lgamma(abs(term)), term) for term in terms)))


@lru_cache(maxsize=65_536)
def upper_bound(hits: int, rows: int, error: float) -> float:
    """Return the share that the true one exceeds with at most probability `error`; 1 of no rows."""
    if hits >= rows:
        return 1.0
    if hits == 0:
        return -math.expm1(math.log(error) / rows)
    low, high = hits / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta(rows - hits, hits + 1, 1.0 - middle) > error:  # P(X <= hits)
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=65_536)
def lower_bound(hits: int, rows: int, error: float) -> float:
    """Return the share that the true one is below with at most probability `error`; 0 of no hits."""
    return 1.0 - upper_bound(rows - hits, rows, error) if hits > 0 else 0.0


def _beta(a: float, b: float, x: float) -> float:
    """Return I_x(a, b) for a, b > 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(front) * _fraction(a, b, x) / a
    return 1.0 - math.exp(front) * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _not_zero(1.0 + term * d)
            c = _not_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
