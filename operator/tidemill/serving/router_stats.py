"""The router's statistics: reads Envoy's Prometheus text, subtracts two readings, computes error ratio and quantiles.

Pure. Counters of one router pod only grow, except when the pod is new or was restarted: then the later reading is the
whole difference (as Prometheus' `increase` has it).
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentSpec

CLIENT_ERRORS = (400, 415, 422)
"""Statuses of requests that a version does not understand, while another version may."""
QUERY = (
    f"filter=upstream_rq_.xx|{'|'.join(f'upstream_rq_{code}' for code in CLIENT_ERRORS)}"
    "|upstream_rq_time|_grpc.grpc.|membership_healthy|version_text&text_readouts"
)
"""Query of /stats/prometheus that returns what `parse` reads and little else."""

GRPC_SUFFIX = "_grpc"
"""A version's cluster for gRPC is called like its other one and this; no name in Kubernetes has an underscore."""
GRPC_FAULTS = {2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS"}
"""Statuses that REST answers with 5xx: errors of the server, not of the client."""
GRPC_CLIENT_ERRORS = {3: "INVALID_ARGUMENT", 9: "FAILED_PRECONDITION", 11: "OUT_OF_RANGE"}
"""Statuses that REST answers with 400."""

LATENCY_BUCKETS = (
    0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 125, 150, 175,
    200, 250, 300, 400, 500, 600, 700, 800, 900, 1000, 1250, 1500, 2000, 2500, 3000, 4000, 5000, 7500, 10000, 15000,
    20000, 30000, 60000,
)  # fmt: skip
"""Upper bounds in milliseconds of the router's latency histogram: fine where model servers live, so that a p99 of 3 ms
is told from one of 5 ms."""

_BOUNDS = frozenset({*map(float, LATENCY_BUCKETS), math.inf})
_CLASSES = frozenset("12345")
_CODES = frozenset(map(str, CLIENT_ERRORS))
_LARGEST = 2.0**53  # counters beyond are no whole numbers any more
_VERSION_TEXT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GRPC_STATUS = re.compile(r"^envoy_cluster_grpc_(1?[0-9])$")
_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_CLUSTER = "envoy_cluster_name"


def edge_of(milliseconds: int) -> float:
    """The bound of the router's histogram up to which requests took less than so many milliseconds.

    Envoy keeps whole milliseconds in bins of two digits, and counts the whole bin that a bound lies in as below it.
    """
    return max(milliseconds - 1, 0.5)


def own_edge(spec: ModelDeploymentSpec) -> float | None:
    """The bound that the router's histogram has for an objective of latency alone; None: it has it anyway."""
    if spec.slo is None or spec.slo.latency is None:
        return None
    edge = edge_of(spec.slo.latency.milliseconds)
    return None if edge in LATENCY_BUCKETS else edge


class StatsError(ValueError):
    """A text that no Envoy with our configuration writes. The message is a fixed sentence without any of it."""


@dataclass(frozen=True, slots=True)
class ClusterStats:
    """Cumulative statistics of one cluster; `buckets` maps an upper bound in milliseconds to a cumulative count.

    Bounds at which the count does not grow may be left out.
    """

    requests: float = 0
    errors: float = 0
    buckets: Mapping[float, float] = field(default_factory=dict)
    client_errors: float | None = 0
    """None: not known, because an operator that did not count them recorded the start."""

    def since(self, before: ClusterStats | None) -> ClusterStats:
        """What was added since `before`; all of it when a counter went back."""
        if before is None or self.requests < before.requests or self.errors < before.errors:
            return self
        if any(self.buckets.get(le, 0) < count for le, count in before.buckets.items()):
            return self
        refused = _difference(self.client_errors, before.client_errors)
        if refused is not None and refused < 0:
            return self
        known = sorted(before.buckets.items())
        buckets = {le: count - count_at(known, le) for le, count in self.buckets.items()}
        return ClusterStats(self.requests - before.requests, self.errors - before.errors, buckets, refused)

    def plus(self, other: ClusterStats) -> ClusterStats:
        """The sum over two pods."""
        bounds = self.buckets.keys() | other.buckets.keys()
        buckets = {le: self.buckets.get(le, 0) + other.buckets.get(le, 0) for le in bounds}
        unknown = self.client_errors is None or other.client_errors is None
        refused = None if unknown else (self.client_errors or 0) + (other.client_errors or 0)
        return ClusterStats(self.requests + other.requests, self.errors + other.errors, buckets, refused)

    @property
    def error_ratio(self) -> float | None:
        """Share of requests that the client saw answered with 5xx; None without requests."""
        return self.errors / self.requests if self.requests else None

    @property
    def client_error_ratio(self) -> float | None:
        """Share of requests that the version refused; None without requests, or where it is not known."""
        return None if self.client_errors is None or not self.requests else self.client_errors / self.requests

    def quantile(self, q: float) -> float | None:
        """The q-quantile of the latency in milliseconds, interpolated within its bucket as `histogram_quantile` does.

        None without observations; the largest finite bound when the quantile lies above it.
        """
        bounds = sorted(self.buckets)
        total = self.buckets[bounds[-1]] if bounds else 0
        if not total:
            return None
        rank, lower, below = q * total, 0.0, 0.0
        for bound in bounds:
            count = self.buckets[bound]
            if count >= rank and count > below:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (rank - below) / (count - below)
            if bound != float("inf"):
                lower, below = bound, count
        return lower


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def count_at(buckets: Sequence[tuple[float, float]], bound: float) -> float:
    """The cumulative count at a bound: that of the largest known bound up to it."""
    index = bisect.bisect_right(buckets, bound, key=lambda bucket: bucket[0])
    return buckets[index - 1][1] if index else 0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of one router pod."""

    clusters: Mapping[str, ClusterStats]
    members: Mapping[str, int]
    """Endpoints by cluster that the router would send requests to."""
    routes_version: str | None = None
    clusters_version: str | None = None


def parse(text: str, known: Iterable[str], edge: float | None = None) -> Scrape:
    """Reads the Prometheus text of an Envoy: of the `known` clusters, and what a router never says is refused.

    Calls of gRPC are an HTTP 200 whatever became of them: they count by their own status, among those of their version.
    `edge`: a bound of the latency histogram, in milliseconds, beside LATENCY_BUCKETS.
    Raises StatsError for a count, a bucket or a class of codes that cannot be.
    """
    names = frozenset(known)
    codes: dict[str, dict[str, float]] = {}
    buckets: dict[str, dict[float, float]] = {}
    members: dict[str, int] = {}
    versions: dict[str, str] = {}
    for name, labels, value in _samples(text.splitlines()):
        cluster = labels.get(_CLUSTER, "")
        if name.endswith("_version_text"):
            versions[name] = _version_text(labels.get("text_value", ""))
        elif cluster.removesuffix(GRPC_SUFFIX) not in names:
            continue
        elif name == "envoy_cluster_upstream_rq_xx":
            codes.setdefault(cluster, {})[_class(labels.get("envoy_response_code_class", ""))] = _count(value)
        elif name == "envoy_cluster_upstream_rq" and (code := labels.get("envoy_response_code", "")) in _CODES:
            codes.setdefault(cluster, {})[code] = _count(value)
        elif status := _GRPC_STATUS.match(name):
            codes.setdefault(cluster, {})[f"grpc {status[1]}"] = _count(value)
        elif name == "envoy_cluster_upstream_rq_time_bucket":
            buckets.setdefault(cluster, {})[_bound(labels.get("le", ""), edge)] = _count(value)
        elif name == "envoy_cluster_membership_healthy":
            members[cluster] = int(_count(value))
    clusters: dict[str, ClusterStats] = {}
    for cluster in codes.keys() | buckets.keys() | members.keys():
        version = cluster.removesuffix(GRPC_SUFFIX)
        count = _http_stats if version == cluster else _grpc_stats
        found = count(codes.get(cluster, {}), buckets.get(cluster, {}))
        clusters[version] = clusters.get(version, ClusterStats()).plus(found)
    http = {cluster: count for cluster, count in members.items() if not cluster.endswith(GRPC_SUFFIX)}
    return Scrape(clusters, http, _first(versions, "rds"), _first(versions, "cds"))


def _count(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LARGEST:
        raise StatsError("a statistic in its answer is not a count")
    return value


def _bound(text: str, edge: float | None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value not in _BOUNDS and value != edge:
        raise StatsError("its answer has a latency bucket that is not in its configuration")
    return value


def _class(text: str) -> str:
    if text not in _CLASSES:
        raise StatsError("its answer has a class of status codes that is not in HTTP")
    return text


def _version_text(text: str) -> str:
    if text and not _VERSION_TEXT.fullmatch(text):
        raise StatsError("its answer names an unknown version of its configuration")
    return text


def _http_stats(codes: Mapping[str, float], buckets: Mapping[float, float]) -> ClusterStats:
    requests = sum(count for code, count in codes.items() if code in _CLASSES)
    return ClusterStats(requests, codes.get("5", 0), buckets, sum(codes.get(code, 0) for code in _CODES))


def _grpc_stats(codes: Mapping[str, float], buckets: Mapping[float, float]) -> ClusterStats:
    calls = {code: count for code, count in codes.items() if code.startswith("grpc ")}
    faults, refused = (
        sum(calls.get(f"grpc {status}", 0) for status in statuses) for statuses in (GRPC_FAULTS, GRPC_CLIENT_ERRORS)
    )
    return ClusterStats(sum(calls.values()), faults, buckets, refused)


def _samples(lines: Iterable[str]) -> Iterable[tuple[str, dict[str, str], str]]:
    for line in lines:
        match = _LINE.match(line)
        if match and match[1].startswith("envoy_"):
            yield match[1], dict(_LABEL.findall(match[2])), match[3]


def _first(versions: Mapping[str, str], part: str) -> str | None:
    return next((text for name, text in versions.items() if f"_{part}_" in name), None) or None


def total(before: Mapping[str, Scrape], after: Mapping[str, Scrape], cluster: str) -> ClusterStats:
    """What a cluster answered between two readings, over all router pods."""
    out = ClusterStats()
    for pod, scrape in after.items():
        now = scrape.clusters.get(cluster)
        if now is not None:
            earlier = before[pod].clusters.get(cluster) if pod in before else None
            out = out.plus(now.since(earlier))
    return out
