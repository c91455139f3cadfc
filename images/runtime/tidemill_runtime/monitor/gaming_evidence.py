"""Evidence against clients as e-values: numbers that are 1 at most in expectation for an honest client.

A product of e-values, each chosen before its labels were seen, is beyond 1 / a with a probability of a at most, however
often it is looked at (Ville 1939). Pure functions on counts; logarithms throughout.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LEAST: Final = 0.02
"""No rate is bet to be closer to 0 or 1: one label that says otherwise would cost all evidence."""
_GRID: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
_STEPS: Final = 40


def guess(successes: ArrayLike, trials: ArrayLike, prior: ArrayLike = 0.5, weight: float = 2.0) -> Floats:
    """Return rates estimated from what was seen before, drawn to `prior` as by `weight` trials, away from 0 and 1."""
    found = (np.asarray(successes, float) + weight * np.asarray(prior, float)) / (np.asarray(trials, float) + weight)
    return np.clip(found, _LEAST, 1 - _LEAST)


def difference(
    own: tuple[ArrayLike, ArrayLike],
    others: tuple[ArrayLike, ArrayLike],
    bets: tuple[ArrayLike, ArrayLike],
    limit: float,
) -> Floats:
    """Return log e-values against "the two rates differ by at most `limit`", elementwise.

    `own`, `others`: (successes, trials) of a block; `bets`: rates guessed from earlier blocks alone. The hypothesis is
    closest to the bets, in Kullback–Leibler divergence weighted by trials, at (x, x - s * limit); the ratio of the
    two likelihoods there is an e-value as the hypothesis is convex (Turner and Grünwald 2023, theorem 1). Bets within
    the limit, and blocks without trials on one side, give 0.
    """
    k_a, n_a, k_b, n_b, a, b = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (*own, *others, *bets)))
    sign = np.where(a > b, 1.0, -1.0)
    plays = (np.abs(a - b) > limit) & (n_a > 0) & (n_b > 0)
    null_a = _closest(n_a, n_b, a, b, sign * limit)
    null_b = null_a - sign * limit
    found = k_a * np.log(a / null_a) + (n_a - k_a) * np.log((1 - a) / (1 - null_a))
    found += k_b * np.log(b / null_b) + (n_b - k_b) * np.log((1 - b) / (1 - null_b))
    return np.where(plays, found, 0.0)


def _closest(n_a: Floats, n_b: Floats, a: Floats, b: Floats, shift: Floats) -> Floats:
    """Return x that minimises n_a KL(a, x) + n_b KL(b, x - shift), by bisection on the derivative."""
    tiny = 1e-9
    low = np.maximum(0.0, shift) + tiny
    high = np.minimum(1.0, 1.0 + shift) - tiny
    for _ in range(_STEPS):
        x = (low + high) / 2
        y = x - shift
        slope = n_a * (x - a) / (x * (1 - x)) + n_b * (y - b) / (y * (1 - y))
        low, high = np.where(slope < 0, x, low), np.where(slope < 0, high, x)
    return (low + high) / 2


def excess(successes: ArrayLike, trials: ArrayLike, limit: float) -> Floats:
    """Return log e-values against "the share is at most `limit`", from all trials so far.

    The mean of likelihood ratios of six shares above the limit: each is an e-value against every share up to the limit,
    so their mean is. A limit of 1 cannot be exceeded, and any success exceeds one of 0.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if limit >= 1.0:
        return np.zeros_like(k)
    at = min(max(limit, 1e-9), 1 - 1e-9)
    shares = at + (1 - at) * _GRID
    ratios = k[..., None] * np.log(shares / at) + (n - k)[..., None] * np.log((1 - shares) / (1 - at))
    top = ratios.max(axis=-1)
    mean: Floats = top + np.log(np.exp(ratios - top[..., None]).mean(axis=-1))
    return mean


def threshold(false_alarms: float, tests: int) -> float:
    """Return the log e-value from which a client is suspected: so many false alarms are expected of all tests."""
    return float(np.log(max(tests, 1) / false_alarms)) if false_alarms < tests else 0.0
