"""The router's counters at the start of a measurement, as a candidate's status keeps them.

Status has them twice until 0.3: as a typed list, and as the JSON string that an operator of 0.1 reads and writes. The
string counts only where the list is missing: in a status that such an operator wrote.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.router_counters import RouterCounters
from tidemill.serving.router_stats import ClusterStats, Scrape

MAX_ENTRIES = 32
"""Router pods times versions: a router has two pods, one more while they are replaced, and compares two versions."""

_INFINITY = float("inf")


def of(candidate: CandidateStatus) -> dict[str, Scrape]:
    """The recorded counters by router pod; none when nothing that can be read is recorded."""
    if candidate.baseline_counters is not None:
        return from_counters(candidate.baseline_counters)
    return decode(candidate.baseline or "{}")


def fields(scrapes: Mapping[str, Scrape], clusters: Collection[str]) -> dict[str, Any]:
    """The fields of a CandidateStatus that record these clusters' counters: the list and the string."""
    return {"baseline_counters": to_counters(scrapes, clusters), "baseline": encode(scrapes, clusters)}


NOTHING: Mapping[str, Any] = {"baseline_counters": None, "baseline": None}
"""The same fields where nothing is measured."""


def to_counters(scrapes: Mapping[str, Scrape], clusters: Collection[str]) -> list[RouterCounters]:
    """One entry for each pod and cluster, also without requests: the pod was there, and counts from zero."""
    none = ClusterStats()
    found = [
        _counters(pod, name, scrape.clusters.get(name, none))
        for pod, scrape in sorted(scrapes.items())
        for name in sorted(clusters)
    ]
    return found[:MAX_ENTRIES]


def _counters(pod: str, cluster: str, stats: ClusterStats) -> RouterCounters:
    steps = list(_steps(stats.buckets))
    return RouterCounters(
        pod=pod,
        service=cluster,
        requests=int(stats.requests),
        errors=int(stats.errors),
        client_errors=None if stats.client_errors is None else int(stats.client_errors),
        latency_bounds=[bound for bound, _ in steps if bound != _INFINITY],
        latency_counts=[int(count) for _, count in steps],
    )


def from_counters(counters: Iterable[RouterCounters]) -> dict[str, Scrape]:
    """What `to_counters` recorded, by router pod."""
    pods: dict[str, dict[str, ClusterStats]] = {}
    for entry in counters:
        buckets = dict(zip([*entry.latency_bounds, _INFINITY], map(float, entry.latency_counts), strict=False))
        pods.setdefault(entry.pod, {})[entry.service] = ClusterStats(
            entry.requests, entry.errors, buckets, entry.client_errors
        )
    return {pod: Scrape(clusters, {}) for pod, clusters in pods.items()}


def encode(scrapes: Mapping[str, Scrape], clusters: Iterable[str]) -> str:
    """Counters by router pod as JSON in short: of these clusters, and only what `router_stats.total` subtracts."""
    pods = {
        pod: {
            name: [f.requests, f.errors, {f"{bound:g}": count for bound, count in _steps(f.buckets)}]
            for name in sorted(clusters)
            if (f := scrape.clusters.get(name)) is not None and f.requests
        }
        for pod, scrape in sorted(scrapes.items())
    }
    return json.dumps(pods, separators=(",", ":"))


def _steps(buckets: Mapping[float, float]) -> Iterable[tuple[float, float]]:
    """The bounds at which a cumulative count grows."""
    before = 0.0
    for bound, count in sorted(buckets.items()):
        if count > before:
            yield bound, count
        before = count


def decode(text: str) -> dict[str, Scrape]:
    """The counters that `encode` wrote; none when the text is of another making."""
    try:
        return {
            pod: Scrape({name: _decoded(*stats) for name, stats in clusters.items()}, {})
            for pod, clusters in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def _decoded(requests: float, errors: float, buckets: Mapping[str, float]) -> ClusterStats:
    return ClusterStats(requests, errors, {float(le): count for le, count in buckets.items()}, client_errors=None)
