"""Evidence that may be looked at at any time: e-values on a grid of alternatives, as logarithms. Pure arithmetic.

An e-value is a figure that is 0 or more and has a mean of at most 1 while what it speaks against is true. The rollout
multiplies those of its intervals (`tidemill.serving.policy.eprocess`); the monitor adds them up in a detector.

The detector (`detected`) is the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo, E-detectors: a nonparametric
framework for sequential change detection (2022), with time as its clock. After each look, for each alternative k

    M(k) = (M(k) + seconds since the last look) * e-value(k)

While nothing is wrong, M minus the time so far is a supermartingale, and so is the mean over k. By optional stopping
the mean time until the mean of M first reaches a number of seconds is at least that number, at whatever times it is
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

POINTS: Final = 20
FACTORS: Final = tuple(NormalDist().inv_cdf(0.5 + (i + 0.5) / (2 * POINTS)) for i in range(POINTS))
"""Natural logarithms of r: the middles of equally likely parts of a half-normal distribution, r = 1.03 to 9.41."""
BETS: Final = tuple(0.005 * (0.95 / 0.005) ** (i / (POINTS - 1)) for i in range(POINTS))
"""Shares that are bet, from 0.005 to 0.95, each 1.32 times the one before."""
NOTHING: Final = (-math.inf,) * POINTS
"""The logarithms of a detector that has seen nothing."""


def share_growth(odds: float, events: float, others: float, *, fewer: bool = False) -> tuple[float, ...]:
    """Logarithms of the likelihood ratios of a share of events, one for each of FACTORS.

    They speak against "of any event the probability is at most p", or with `fewer` "at least p"; `odds` is
    log(p / (1 - p)). For a factor r the alternative has odds that are r times those, or r times smaller.
    """
    own, other = log_share(odds), log_share(-odds)
    out = []
    for factor in FACTORS:
        shifted = odds - factor if fewer else odds + factor
        out.append(events * (log_share(shifted) - own) + others * (log_share(-shifted) - other))
    return tuple(out)


def bet_growth(gains: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """Logarithms of the product of 1 + bet * gain, one for each of BETS.

    They speak against "the mean gain is at most 0". `gains`: pairs of a gain, -1 or more, and how often it came.
    Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024), with constant bets.
    """
    return tuple(sum(count * math.log1p(bet * gain) for gain, count in gains) for bet in BETS)


def sum_growth(total: float, squares: float) -> tuple[float, ...]:
    """At most `bet_growth` of any gains with this sum and this sum of squares, each -1 or more.

    1 + b g >= exp(b g + (log(1 - b) + b) g^2): Fan, Grama and Liu, Exponential inequalities for martingales with
    applications (2015), lemma 4.1.
    """
    return tuple(bet * total + (math.log1p(-bet) + bet) * squares for bet in BETS)


def normal_growth(distance: float, error: float, unit: float = 1.0) -> tuple[float, ...]:
    """Logarithms of likelihood ratios of one estimate that is about normally distributed, one for each of BETS.

    They speak against "the true value is not beyond the limit". `distance`: of the estimate beyond the limit, `error`:
    its standard error, more than 0, `unit`: the distance that a bet of 1 stands for. Asymptotic: right as far as the
    estimate is normal and its error known.
    """
    steps = ((bet * unit) / error for bet in BETS)
    return tuple(step * distance / error - step * step / 2 for step in steps)


def detected(before: Sequence[float], growth: Sequence[float], seconds: float) -> tuple[float, ...]:
    """The logarithms of M of a detector after a look; `seconds` since the last one, 0 or more."""
    waited = math.log(seconds) if seconds > 0 else -math.inf
    return tuple(log_sum(old, waited) + grown for old, grown in zip(before, growth, strict=True))


def log_share(odds: float) -> float:
    """log(1 / (1 + exp(-odds))), without overflow."""
    return min(odds, 0.0) - math.log1p(math.exp(-abs(odds)))


def log_sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other)); each may be minus infinity."""
    largest = max(one, other)
    if largest == -math.inf:
        return largest
    return largest + math.log(math.exp(one - largest) + math.exp(other - largest))


def log_mean(logarithms: Sequence[float]) -> float:
    """The logarithm of the mean of what these are the logarithms of."""
    largest = max(logarithms)
    if largest == -math.inf:
        return largest
    return largest + math.log(sum(math.exp(x - largest) for x in logarithms) / len(logarithms))
