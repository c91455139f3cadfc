"""Is the candidate good? Judges the router's statistics of one stretch of time against the checks of spec.

Four outcomes: Successful, Failed, Inconclusive (too few requests; the stretch is carried on), Error (a router pod did
not show its statistics; retried). Errors are what clients saw as 5xx after the router's retries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from tidemill.api.v1alpha1.model_deployment import Analysis, AnalysisStatus, Check, CheckResult
from tidemill.serving import router_stats
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import Measurement
from tidemill_contracts.counts import counted

Verdict = Literal["Successful", "Failed", "Inconclusive", "Error"]

# Below one millisecond, and below one error, a ratio to the stable version compares noise.
LATENCY_FLOOR_MILLISECONDS = 1.0

_VALUE: dict[str, Callable[[ClusterStats], float | None]] = {
    "ErrorRatio": lambda f: f.error_ratio,
    "LatencyP50Milliseconds": lambda f: f.quantile(0.5),
    "LatencyP95Milliseconds": lambda f: f.quantile(0.95),
    "LatencyP99Milliseconds": lambda f: f.quantile(0.99),
}


def judge(
    analysis: Analysis, measurement: Measurement, stable_cluster: str | None, candidate_cluster: str, now: datetime
) -> AnalysisStatus:
    """The verdict on the candidate for the stretch of `measurement`, which ends now."""

    def verdict(
        kind: Verdict, message: str, requests: int = 0, checks: list[CheckResult] | None = None
    ) -> AnalysisStatus:
        return AnalysisStatus(
            time=now, since=measurement.start, verdict=kind, requests=requests, message=message, checks=checks or []
        )

    if measurement.missing or not measurement.after:
        why = "; ".join(measurement.missing) or "no router pod is ready"
        return verdict("Error", f"the router's statistics could not be read: {why}"[:1024])
    candidate = router_stats.total(measurement.before, measurement.after, candidate_cluster)
    stable = (
        router_stats.total(measurement.before, measurement.after, stable_cluster) if stable_cluster else ClusterStats()
    )
    requests = round(candidate.requests)
    seconds = round((now - measurement.start).total_seconds())
    if requests < analysis.min_requests:
        message = f"{counted(requests, 'request')} in {seconds} s, {analysis.min_requests} are needed (minRequests)"
        return verdict("Inconclusive", message, requests)
    results = [check(c, candidate, stable, analysis.min_requests) for c in analysis.checks]
    outcome = _worst(results)
    bad = [r for r in results if r.verdict != "Successful"]
    message = "; ".join(_sentence(r) for r in (bad or results)) + f" ({counted(requests, 'request')} in {seconds} s)"
    return verdict(outcome, message, requests, results)


def check(wanted: Check, candidate: ClusterStats, stable: ClusterStats, min_requests: int) -> CheckResult:
    """The outcome of one check; a ratio to a stable version with too few requests is Inconclusive."""
    value = _VALUE[wanted.metric](candidate)
    stable_value = _VALUE[wanted.metric](stable) if wanted.max_ratio_to_stable is not None else None

    def result(verdict: Verdict, limit: float | None) -> CheckResult:
        return CheckResult(
            metric=wanted.metric,
            verdict=verdict,
            value=_round(value),
            stable_value=_round(stable_value),
            limit=_round(limit),
        )

    if value is None:
        return result("Inconclusive", wanted.max)
    if wanted.max is not None and value > wanted.max:
        return result("Failed", wanted.max)
    if wanted.max_ratio_to_stable is None:
        return result("Successful", wanted.max)
    if stable_value is None or stable.requests < min_requests:
        return result("Inconclusive", wanted.max)
    floor = 1 / stable.requests if wanted.metric == "ErrorRatio" else LATENCY_FLOOR_MILLISECONDS
    limit = wanted.max_ratio_to_stable * max(stable_value, floor)
    if value > limit:
        return result("Failed", limit)
    return result("Successful", limit if wanted.max is None else min(limit, wanted.max))


def _worst(results: list[CheckResult]) -> Verdict:
    seen = {r.verdict for r in results}
    order: tuple[Verdict, ...] = ("Failed", "Error", "Inconclusive")
    return next((v for v in order if v in seen), "Successful")


def _sentence(result: CheckResult) -> str:
    if result.value is None:
        return f"{result.metric} has no value"
    if result.verdict == "Inconclusive":
        return f"{result.metric} cannot be compared: too few requests to the stable version"
    relation = "is above" if result.verdict == "Failed" else "is within"
    beside = f" (stable version: {result.stable_value:g})" if result.stable_value is not None else ""
    return f"{result.metric} {result.value:g} {relation} {result.limit:g}{beside}"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
