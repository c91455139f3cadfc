"""Rollouts whose truth is known, through the product's own arithmetic: how often is a candidate stopped, and how soon?

Run as a module, it prints the tables of docs/rollout-analysis.md: `python -m tests.unit.serving.simulation`.
Each row has a seed of its own, so that it is the same on every machine.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidemill.api.v1alpha1.rollout_analysis import Analysis, LimitEvidence
from tidemill.serving.policy import comparison
from tidemill.serving.policy.comparison import Limit
from tidemill.serving.policy.eprocess import Interval

SECONDS = 15
"""Between two looks, as spec.rollout.analysis.intervalSeconds is by default."""
WEIGHTS = (0.05, 0.10, 0.25, 0.50)
STEP_SECONDS = 300
ROLLOUTS = 200
ANALYSIS = Analysis(
    client_errors="Ignore",
    checks=[{"metric": "ErrorRatio", "max_ratio_to_stable": 2}],  # type: ignore[list-item]
)
LIMIT = Limit("ErrorRatio", 2)


@dataclass(frozen=True)
class World:
    """What is true of a rollout."""

    rate: float
    """Requests a second to both versions together."""
    share: float
    """The stable version's share of errors."""
    times: float
    """How many times as many the candidate has."""
    burst: float = 1
    """Mean number of errors that come together, in one version and between two looks (geometric)."""


@dataclass(frozen=True)
class Found:
    """What became of many rollouts of a world."""

    stopped: float
    """Share of rollouts that were stopped."""
    seconds: float | None
    """Median time until then."""
    by_factor: float
    """Share that a fixed factor of 2 (with 50 requests or more) would have stopped, at its second failure in a step."""


def simulated(world: World, analysis: Analysis = ANALYSIS, limit: Limit = LIMIT, rollouts: int = ROLLOUTS) -> Found:
    """Many rollouts of one world."""
    rng = random.Random(repr((world, limit)))
    times, by_factor = [], 0
    for _ in range(rollouts):
        stopped, old = _rollout(rng, world, analysis, limit)
        by_factor += old
        if stopped is not None:
            times.append(stopped)
    return Found(len(times) / rollouts, statistics.median(times) if times else None, by_factor / rollouts)


def _rollout(rng: random.Random, world: World, analysis: Analysis, limit: Limit) -> tuple[float | None, bool]:
    """Seconds until the candidate is stopped, if it is; and whether the fixed factor would have stopped it."""
    entry = LimitEvidence(metric=limit.metric, max_ratio_to_stable=limit.ratio)
    number = len(comparison.limits(analysis))
    stopped, old = None, False
    for weight in WEIGHTS:
        failures, stretch = 0, (0.0, 0.0, 0.0, 0.0)
        for second in range(SECONDS, STEP_SECONDS + 1, SECONDS):
            seen = interval(rng, world, weight)
            entry = comparison.added(entry, limit, seen, analysis, number)
            if stopped is None and comparison.shown(entry, limit, analysis).exceeded:
                stopped = WEIGHTS.index(weight) * STEP_SECONDS + second
            stretch = tuple(a + b for a, b in zip(stretch, seen, strict=True))  # type: ignore[assignment]
            if stretch[0] >= 50:
                failures += _fails(*stretch)
                stretch = (0.0, 0.0, 0.0, 0.0)
            old = old or failures >= 2
        if stopped is not None and old:
            break
    return stopped, old


def _fails(requests: float, errors: float, stable_requests: float, stable_errors: float) -> bool:
    """The rule of 0.1: more than twice the stable version's ratio, of which at least one error is assumed."""
    return stable_requests >= 50 and errors / requests > 2 * max(stable_errors, 1) / stable_requests


def interval(rng: random.Random, world: World, weight: float) -> Interval:
    """What both versions do between two looks at this weight."""
    own, other = (poisson(rng, world.rate * SECONDS * share) for share in (weight, 1 - weight))
    return Interval(
        own,
        min(own, events(rng, own * min(1.0, world.share * world.times), world.burst)),
        other,
        min(other, events(rng, other * world.share, world.burst)),
    )


def events(rng: random.Random, mean: float, burst: float) -> int:
    """A number of events with this mean: independent ones, or in bursts of a geometric size."""
    if burst == 1:
        return poisson(rng, mean)
    return sum(_geometric(rng, burst) for _ in range(poisson(rng, mean / burst)))


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson number; above 50 a rounded normal one."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count = 0
    while mean > 0:
        part = min(mean, 30.0)
        mean -= part
        product, limit = rng.random(), math.exp(-part)
        while product > limit:
            count += 1
            product *= rng.random()
    return count


def _geometric(rng: random.Random, mean: float) -> int:
    """1, 2, … with this mean."""
    return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean))


INDEPENDENT = [
    World(rate, share, times)
    for times in (1, 2, 3, 10)
    for rate, share in ((2, 0.01), (20, 0.01), (200, 0.01), (20, 0.001))
]
BURSTS = [World(20, 0.01, times, burst) for burst in (3, 10) for times in (1, 2, 3, 10, 100)]


COLUMNS = (
    "candidate's errors",
    "errors come",
    "requests/s",
    "stable version's errors",
    "stopped",
    "median time",
    "fixed factor",
)


def table(worlds: Iterable[World]) -> Iterator[str]:
    """A table of the docs, line by line."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    for world in worlds:
        found = simulated(world)
        come = "alone" if world.burst == 1 else f"{world.burst:g} at a time"
        when = "" if found.seconds is None else f"{found.seconds:.0f} s"
        share = min(world.times, 1 / world.share)
        yield (
            f"| {share:g} × | {come} | {world.rate:g} | {world.share:.1%} | {found.stopped:.1%} | {when} "
            f"| {found.by_factor:.0%} |"
        )


if __name__ == "__main__":
    for lines in (table(INDEPENDENT), table(BURSTS)):
        print("\n".join(lines), end="\n\n")  # noqa: T201
