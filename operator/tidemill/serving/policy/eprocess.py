"""An always-valid test of a ratio: however often it is looked at, it errs no more often than stated. Pure arithmetic.

Events (errors, refused or slow requests) come in intervals. If the candidate's share of events is at most `ratio` times
the stable version's, whatever that share is at the time, then for every factor r > 1 and every first interval j

    E(r, j) = product over the intervals from j on of (p(r) / p(1)) ** c * ((1 - p(r)) / (1 - p(1))) ** s,
    p(r) = r * ratio * n / (r * ratio * n + m)

with c events in n requests of the candidate and s events in m requests of the stable version, is a supermartingale that
starts at 1: p(1) is the largest probability with which an event is the candidate's, and 1 + x <= exp(x) covers requests
that are events often. So is any mean of them, and by Ville's inequality it ever reaches 1 / alpha with a probability of
at most alpha. Here it is the mean over a grid of r, and over j with the weights 1 / (j * (j + 1)): a candidate that was
good for days and becomes bad is seen as well. With r < 1 the same holds for "at least `ratio` times". Intervals may
have any weights and any length. After Lindon and Malek, Anytime-valid inference for multinomial count data (2022).

Events that come in bursts are not independent. The logarithm of E is therefore divided by their dispersion, and one
interval adds only so much. docs/rollout-analysis.md has what that was measured to do, by tests/unit/serving/simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tidemill_contracts.evidence import FACTORS, POINTS, log_mean, log_sum, share_growth

_DIGITS = 6  # of the logarithms that are kept: a million intervals add up to less than one of error
_BISECTIONS = 40


class Interval(NamedTuple):
    """What both versions did in the same time."""

    requests: float
    events: float
    stable_requests: float
    stable_events: float


def added(
    before: Sequence[float],
    number: int,
    seen: Interval,
    ratio: float,
    *,
    kept: bool = False,
    most: float = math.inf,
) -> tuple[float, ...]:
    """The evidence after one more interval: that a limit is exceeded, or that it is `kept`.

    For each r the logarithm of the sum over j of weight(j) * E(r, j). `before`: the evidence of the `number` intervals
    before, empty for none. Both versions had requests. `most`: no logarithm of E grows by more.
    """
    odds = math.log(ratio) + math.log(seen.requests) - math.log(seen.stable_requests)
    weight = -math.log((number + 1) * (number + 2))
    growth = share_growth(odds, seen.events, seen.stable_events, fewer=kept)
    return tuple(
        round(log_sum(logarithm, weight) + min(grown, most), _DIGITS)
        for logarithm, grown in zip(before or [-math.inf] * POINTS, growth, strict=True)
    )


def log_e(evidence: Sequence[float], number: int) -> float:
    """Natural logarithm of E after so many intervals; 0 without any."""
    if not evidence:
        return 0.0
    return log_sum(log_mean(evidence), -math.log(number + 1))


def log_e_below(requests: float, events: float, share: float) -> float:
    """The same for "at least this share of the requests are events": large when there are clearly fewer."""
    return log_mean([requests * share * (1 - math.exp(-factor)) - events * factor for factor in FACTORS])


def dispersion(looks: int, requests: float, events: float, squares: float) -> float:
    """How much more the events of `looks` intervals vary than independent ones; 1 or more.

    The Fano factor (variance / mean) of the counts, given the requests n of each interval: with e events,
    sum((e - n * share) ** 2 / (n * share)) / (looks - 1). `squares` is the sum of e ** 2 / n.
    """
    if looks < 2 or events <= 0 or requests <= 0:
        return 1.0
    return max(1.0, (squares * requests / events - events) / (looks - 1))


def smallest_visible_share(seen: Interval, ratio: float, level: float) -> float | None:
    """The candidate's share of events with which an average rollout of these requests would have reached `level`.

    The stable version's share is as seen; where it had no events, half a one is assumed. None: not even if all the
    candidate's requests were events.
    """
    if seen.requests <= 0 or seen.stable_requests <= 0:
        return None
    stable = stable_share(seen)

    def reaches(share: float) -> bool:
        average = Interval(seen.requests, share * seen.requests, seen.stable_requests, stable * seen.stable_requests)
        return log_e(added((), 0, average, ratio), 1) >= level

    if not reaches(1.0):
        return None
    low, high = min(ratio * stable, 1.0), 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def stable_share(seen: Interval) -> float:
    """The stable version's share of events; half an event where it had none."""
    return max(seen.stable_events, 0.5) / max(seen.stable_requests, 1.0)
