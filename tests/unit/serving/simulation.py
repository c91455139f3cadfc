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
from datetime import UTC, datetime, timedelta
from statistics import NormalDist

from tidemill.api.v1alpha1.rollout_analysis import Analysis, LimitEvidence
from tidemill.serving.policy import comparison
from tidemill.serving.policy.comparison import Limit
from tidemill.serving.policy.eprocess import Interval
from tidemill.serving.router_stats import LATENCY_BUCKETS, ClusterStats, Scrape

SECONDS = 15
"""Between two looks, as spec.rollout.analysis.intervalSeconds is by default."""
START = datetime(2026, 11, 30, tzinfo=UTC)
WEIGHTS = (0.05, 0.10, 0.25, 0.50)
STEP_SECONDS = 300
ROLLOUTS = 200
ANALYSIS = Analysis(
    client_errors="Ignore",
    checks=[{"metric": "ErrorRatio", "max_ratio_to_stable": 2}],
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


@dataclass(frozen=True)
class Latencies:
    """What is true of the response times in a rollout: log-normal, median 10 ms, and a 95th percentile of 37 ms."""

    rate: float
    slower: float
    """How many times as long the candidate takes."""
    pauses: bool = False
    """Whether each version stands still for a second about once a minute, and all requests of that second wait."""


LATENCY_LIMIT = Limit("LatencyP95Milliseconds", 1.5)
LATENCY_ANALYSIS = Analysis(
    client_errors="Ignore",
    checks=[{"metric": "LatencyP95Milliseconds", "max_ratio_to_stable": 1.5}],
)
LATENCY_ROLLOUTS = 100
_BOUNDS = (*map(float, LATENCY_BUCKETS), math.inf)
_NAMES = comparison.Clusters("stable", "candidate")


def simulated_latencies(world: Latencies, rollouts: int = LATENCY_ROLLOUTS) -> tuple[float, float | None]:
    """Share of rollouts that were stopped, and the median time until then."""
    rng = random.Random(repr(world))
    times = [found for _ in range(rollouts) if (found := _stopped_for_latency(rng, world)) is not None]
    return len(times) / rollouts, statistics.median(times) if times else None


def _stopped_for_latency(rng: random.Random, world: Latencies) -> float | None:
    totals, known, second = [ClusterStats(), ClusterStats()], None, 0
    for weight in WEIGHTS:
        for _ in range(STEP_SECONDS // SECONDS):
            shares = ((1 - weight, 1.0), (weight, world.slower))
            new = [_histogram(rng, world.rate * SECONDS * share, slower, world.pauses) for share, slower in shares]
            totals = [total.plus(more) for total, more in zip(totals, new, strict=True)]
            second += SECONDS
            by_pod = {"router": Scrape(dict(zip(_NAMES, totals, strict=True)), {})}
            scrapes = comparison.Scrapes(START + timedelta(seconds=second), by_pod)
            known = comparison.counted(known, LATENCY_ANALYSIS, scrapes, _NAMES, new[0])
            entry = comparison.evidence(known, LATENCY_LIMIT)
            if comparison.shown(entry, LATENCY_LIMIT, LATENCY_ANALYSIS).exceeded:
                return second
    return None


def _histogram(rng: random.Random, requests: float, slower: float, pauses: bool) -> ClusterStats:
    """The router's histogram of so many requests."""
    waiting = poisson(rng, requests / SECONDS) if pauses and rng.random() < SECONDS / 60 else 0
    total, below, counts = 0, 0.0, {}
    for bound in _BOUNDS:
        share = NormalDist().cdf(math.log(bound / (10 * slower)) / 0.8) if bound < math.inf else 1.0
        total += poisson(rng, requests * (share - below)) + (waiting if bound == 1000 else 0)
        below, counts[bound] = share, float(total)
    return ClusterStats(total, 0, counts)


def latency_table() -> Iterator[str]:
    """The table of latencies, line by line."""
    columns = ("candidate's latency", "pauses of 1 s", "requests/s", "stopped", "median time")
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for world in LATENCIES:
        stopped, seconds = simulated_latencies(world)
        when = "" if seconds is None else f"{seconds:.0f} s"
        pauses = "once a minute" if world.pauses else "none"
        yield f"| {world.slower:g} × | {pauses} | {world.rate:g} | {stopped:.0%} | {when} |"


LATENCIES = [Latencies(20, slower, pauses) for pauses in (False, True) for slower in (1, 1.5, 2, 3)]
INDEPENDENT = [
    World(rate, share, times)
    for times in (1, 2, 3, 10, 100)
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
    for lines in (table(INDEPENDENT), table(BURSTS), latency_table()):
        print("\n".join(lines), end="\n\n")  # noqa: T201
