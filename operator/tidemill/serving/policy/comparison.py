"""Which limits of an analysis are tested on all requests of a rollout, what was counted for each, and what that shows.

Everything is in the candidate's status: counters of the router when it was last looked at, and the evidence. So each
request is counted once, whoever is the leader. A router pod that was there before but not seen counts from now on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tidemill.api.v1alpha1.rollout_analysis import Analysis, Comparison, LimitEvidence
from tidemill.serving import baseline, router_stats
from tidemill.serving.policy import eprocess
from tidemill.serving.router_stats import LATENCY_BUCKETS, ClusterStats, Scrape
from tidemill_contracts.evidence import POINTS

CLIENT_ERRORS = "ClientErrorRatio"
CLIENT_ERRORS_RATIO = 2.0
"""Ratio to the stable version's share of refused requests that every rollout in steps must keep."""
QUANTILES: Mapping[str, float] = {
    "LatencyP50Milliseconds": 0.5,
    "LatencyP95Milliseconds": 0.95,
    "LatencyP99Milliseconds": 0.99,
}
LATENCY_FLOOR_MILLISECONDS = 1.0
"""Below one millisecond a ratio to the stable version compares noise."""
MOST_OF_ONE_LOOK = 2 / 3
"""Share of the evidence needed for a verdict that one look may add: a single burst of errors stops no candidate, and a
burst of the stable version proves nothing of it."""

_BOUNDS = tuple(map(float, LATENCY_BUCKETS))


@dataclass(frozen=True, slots=True)
class Limit:
    """What a candidate must keep: exactly one of `ratio`, to the stable version's value, and `most` is set."""

    metric: str
    ratio: float | None = None
    most: float | None = None
    implied: bool = False
    """In force without being written into a spec: it may stop a rollout, and no rollout waits for it."""


class Clusters(NamedTuple):
    """The router's names of the two versions; an empty one for a version without pods."""

    stable: str
    candidate: str

    @property
    def known(self) -> list[str]:
        """The names that the router knows."""
        return [name for name in self if name]


@dataclass(frozen=True, slots=True)
class Scrapes:
    """The statistics of all router pods at one time."""

    time: datetime
    by_pod: Mapping[str, Scrape]
    created: Mapping[str, datetime] = field(default_factory=dict)
    """When the pods were created, of those of which that is known."""


class Shown(NamedTuple):
    """What the evidence about a limit shows at the analysis' confidence."""

    exceeded: bool
    kept: bool
    confidence: float
    """Confidence, from 0 to 1, with which "within the limit" is excluded."""


def limits(analysis: Analysis) -> tuple[Limit, ...]:
    """The limits that are tested on all requests: every ratio, and with requireProof the absolute ones as well."""
    found = [Limit(c.metric, c.max_ratio_to_stable) for c in analysis.checks if c.max_ratio_to_stable is not None]
    if analysis.client_errors == "Compare" and all(limit.metric != CLIENT_ERRORS for limit in found):
        found.append(Limit(CLIENT_ERRORS, CLIENT_ERRORS_RATIO, implied=True))
    if analysis.require_proof:
        found += [Limit(c.metric, most=c.max) for c in analysis.checks if c.max is not None]
    return tuple(dict.fromkeys(found))


def counted(
    known: Comparison | None, analysis: Analysis, scrapes: Scrapes, clusters: Clusters, stretch: ClusterStats
) -> Comparison:
    """The comparison after the requests since `known`, which begins now where it is None.

    `stretch`: what the stable version did in the measured interval; its quantiles are the next edges of latencies.
    """
    entries = {limit: evidence(known, limit) for limit in limits(analysis)}
    if known is not None:
        before = _before(scrapes, known, clusters)
        for limit, entry in entries.items():
            seen = _interval(limit, entry, before, scrapes.by_pod, clusters)
            entries[limit] = entry if seen is None else added(entry, limit, seen, analysis, len(entries))
    entries = {limit: _with_edges(entry, limit, stretch, analysis.min_requests) for limit, entry in entries.items()}
    edges = {e for entry in entries.values() for e in (entry.edge_milliseconds, entry.stable_edge_milliseconds) if e}
    kept = {pod: _only(scrape, clusters.known, edges) for pod, scrape in scrapes.by_pod.items()}
    return Comparison(
        time=scrapes.time, counters=baseline.to_counters(kept, clusters.known), limits=[*entries.values()]
    )


def evidence(known: Comparison | None, limit: Limit) -> LimitEvidence:
    """What was counted for a limit; of one that spec has only now, nothing."""
    for entry in known.limits if known is not None else ():
        if (entry.metric, entry.max_ratio_to_stable, entry.max) == (limit.metric, limit.ratio, limit.most):
            return entry
    return LimitEvidence(metric=limit.metric, max_ratio_to_stable=limit.ratio, max=limit.most)


def shown(entry: LimitEvidence, limit: Limit, analysis: Analysis) -> Shown:
    """What the evidence about one of the analysis' limits shows."""
    number = len(limits(analysis))
    level, spread = _level(analysis, number), _dispersion(entry)
    if limit.ratio is None:
        proof = eprocess.log_e_below(entry.requests, entry.events, _share(limit))
        return Shown(exceeded=False, kept=proof / spread >= level, confidence=0.0)
    against = eprocess.log_e(entry.exceeded, entry.looks) / spread
    return Shown(
        exceeded=against >= level,
        kept=eprocess.log_e(entry.kept, entry.looks) / spread >= level,
        confidence=max(0.0, 1 - number * math.exp(-max(against, 0.0))),
    )


def visible_share(entry: LimitEvidence, limit: Limit, analysis: Analysis) -> float | None:
    """The share of events with which a candidate would have been seen to exceed a ratio; None: with none."""
    level = _level(analysis, len(limits(analysis))) * _dispersion(entry)
    return eprocess.smallest_visible_share(_total(entry), _tested_ratio(limit), level)


def stable_share(entry: LimitEvidence) -> float:
    """The stable version's share of events, above 0."""
    return eprocess.stable_share(_total(entry))


def added(
    entry: LimitEvidence, limit: Limit, seen: eprocess.Interval, analysis: Analysis, number: int
) -> LimitEvidence:
    """The evidence about one of `number` limits after one more interval.

    Where one version had no requests, the other's say nothing of a ratio and are not counted for one.
    """
    if limit.ratio is not None and not (seen.requests > 0 and seen.stable_requests > 0):
        return entry
    found: dict[str, Any] = {
        "requests": entry.requests + round(seen.requests),
        "events": entry.events + round(seen.events),
        "stable_requests": entry.stable_requests + round(seen.stable_requests),
        "stable_events": entry.stable_events + round(seen.stable_events),
        "looks": entry.looks + 1,
    }
    if seen.stable_requests > 0:
        found["stable_squares"] = round(entry.stable_squares + seen.stable_events**2 / seen.stable_requests, 6)
    if limit.ratio is not None:
        ratio, most = _tested_ratio(limit), MOST_OF_ONE_LOOK * _level(analysis, number) * _dispersion(entry)
        found["exceeded"] = [*eprocess.added(_points(entry.exceeded), entry.looks, seen, ratio, most=most)]
        if analysis.require_proof and not limit.implied:
            found["kept"] = [*eprocess.added(_points(entry.kept), entry.looks, seen, ratio, kept=True, most=most)]
    return entry.model_copy(update=found)


def _total(entry: LimitEvidence) -> eprocess.Interval:
    return eprocess.Interval(entry.requests, entry.events, entry.stable_requests, entry.stable_events)


def _level(analysis: Analysis, number: int) -> float:
    """The logarithm that the evidence about one of `number` limits must reach."""
    return math.log(number / (1 - analysis.confidence))


def _points(recorded: list[float]) -> tuple[float, ...]:
    """The recorded evidence; none where there is none yet, or where it is that of another grid."""
    return tuple(recorded) if len(recorded) == POINTS else ()


def _dispersion(entry: LimitEvidence) -> float:
    return eprocess.dispersion(entry.looks, entry.stable_requests, entry.stable_events, entry.stable_squares)


def _tested_ratio(limit: Limit) -> float:
    """The ratio of shares that is tested: for a latency the ratio is in the edges."""
    return 1.0 if limit.metric in QUANTILES else limit.ratio or 1.0


def _share(limit: Limit) -> float:
    """The share of events that an absolute limit allows."""
    return 1 - QUANTILES[limit.metric] if limit.metric in QUANTILES else limit.most or 0.0


def _before(scrapes: Scrapes, known: Comparison, clusters: Clusters) -> dict[str, Scrape]:
    """The counters to subtract from: where none were kept, those of now, so that nothing old is counted as new.

    A pod that is younger than the last count has none, and all that it counts is new.
    """
    before = baseline.from_counters(known.counters)
    for pod, scrape in scrapes.by_pod.items():
        created = scrapes.created.get(pod)
        if pod in before:
            kept = before[pod].clusters
            before[pod] = Scrape({name: kept.get(name) or _of(scrape, name) for name in clusters.known}, {})
        elif created is None or created < known.time:
            before[pod] = scrape
    return before


def _of(scrape: Scrape, cluster: str) -> ClusterStats:
    return scrape.clusters.get(cluster) or ClusterStats()


def _interval(
    limit: Limit, entry: LimitEvidence, before: Mapping[str, Scrape], after: Mapping[str, Scrape], clusters: Clusters
) -> eprocess.Interval | None:
    """What was added for a limit since `before`; None while a latency has no edge yet, or nothing was answered."""
    if limit.metric not in QUANTILES:
        stable, candidate = (_shares(limit.metric, router_stats.total(before, after, name)) for name in clusters)
    elif entry.edge_milliseconds is None:
        return None
    else:
        stable = _slow(before, after, clusters.stable, entry.stable_edge_milliseconds or entry.edge_milliseconds)
        candidate = _slow(before, after, clusters.candidate, entry.edge_milliseconds)
    return eprocess.Interval(*candidate, *stable) if candidate[0] or stable[0] else None


def _shares(metric: str, stats: ClusterStats) -> tuple[float, float]:
    events = stats.errors if metric == "ErrorRatio" else stats.client_errors or 0
    return stats.requests, min(events, stats.requests)


def _slow(before: Mapping[str, Scrape], after: Mapping[str, Scrape], cluster: str, edge: float) -> tuple[float, float]:
    """Requests whose time is known, and those that took longer than the edge."""
    only = {pod: _only(scrape, (cluster,), (edge,)) for pod, scrape in after.items()}
    had = {pod: _only(scrape, (cluster,), (edge,)) for pod, scrape in before.items()}
    buckets = router_stats.total(had, only, cluster).buckets
    requests = buckets.get(math.inf, 0.0)
    return requests, requests - buckets.get(edge, 0.0)


def _only(scrape: Scrape, clusters: Iterable[str], edges: Iterable[float]) -> Scrape:
    """The counters of these clusters, with the counts at these latencies only."""
    kept = {}
    for name in clusters:
        stats = _of(scrape, name)
        known = sorted(stats.buckets.items())
        # All that is known of a latency beyond the last bound is that nothing was found to be above it.
        at = {edge: edge if edge <= _BOUNDS[-1] else math.inf for edge in (*edges, math.inf)}
        buckets = {edge: router_stats.count_at(known, bound) for edge, bound in at.items()}
        kept[name] = ClusterStats(stats.requests, stats.errors, buckets, stats.client_errors)
    return Scrape(kept, {})


def _with_edges(entry: LimitEvidence, limit: Limit, stretch: ClusterStats, min_requests: int) -> LimitEvidence:
    """The latencies above which a request is an event until the next look.

    Of the stable version those above its own quantile, of the candidate those above `ratio` times as much, rounded up
    to a bound of the histogram: as many are expected of both when the candidate is exactly so much slower. The edges
    are fixed before what they count is seen.
    """
    if limit.metric not in QUANTILES:
        return entry
    if limit.ratio is None:
        edge = max((bound for bound in _BOUNDS if bound <= (limit.most or 0.0)), default=0.0)
        return entry.model_copy(update={"edge_milliseconds": edge, "stable_edge_milliseconds": edge})
    value = stretch.quantile(QUANTILES[limit.metric])
    if value is None or stretch.buckets.get(math.inf, 0.0) < min_requests:
        return entry
    bounds = [bound for bound in _BOUNDS if bound >= LATENCY_FLOOR_MILLISECONDS]
    own = min(bounds, key=lambda bound: abs(math.log(bound / max(value, LATENCY_FLOOR_MILLISECONDS))))
    wanted = limit.ratio * own
    edge = min((bound for bound in bounds if bound >= wanted * (1 - 1e-9)), default=wanted)
    return entry.model_copy(update={"edge_milliseconds": edge, "stable_edge_milliseconds": own})
