"""Is the candidate good? Judges the router's statistics of one stretch of time, and of all steps, against the checks.

Four outcomes: Successful, Failed, Inconclusive (too few requests; the stretch is carried on), Error (a router pod did
not show its statistics; retried). Errors are what clients saw as 5xx after the router's retries. An absolute limit is
held against the stretch, a ratio to the stable version is tested on all requests since the rollout began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tidemill.api.v1alpha1.rollout_analysis import (
    Analysis,
    AnalysisStatus,
    CheckResult,
    Comparison,
    LimitEvidence,
    Outcome,
)
from tidemill.serving.policy import comparison
from tidemill.serving.policy.comparison import Limit
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import Measurement
from tidemill_contracts.counts import counted
from tidemill_contracts.rounding import exact, rounded

_DIGITS = 6
_SMALL = 0.01

_VALUE: Mapping[str, Callable[[ClusterStats], float | None]] = {
    "ErrorRatio": lambda f: f.error_ratio,
    "ClientErrorRatio": lambda f: f.client_error_ratio,
    "LatencyP50Milliseconds": lambda f: f.quantile(0.5),
    "LatencyP95Milliseconds": lambda f: f.quantile(0.95),
    "LatencyP99Milliseconds": lambda f: f.quantile(0.99),
}


def judge(
    analysis: Analysis,
    measurement: Measurement,
    stable: ClusterStats,
    candidate: ClusterStats,
    compared: Comparison,
    now: datetime,
    *,
    is_shared: bool = True,
) -> AnalysisStatus:
    """The verdict on the candidate: on what both versions did in the stretch of `measurement`, which ends now, and on
    what was `compared` since the rollout began.

    `is_shared`: the stable version gets requests as well. Where it gets none, no more can be compared than was already,
    and waiting for it would never end.
    """
    requests = round(candidate.requests)
    sample = f"{counted(requests, 'request')} in {round((now - measurement.start).total_seconds())} s"
    enough = requests >= analysis.min_requests
    found = [_compared(limit, analysis, compared, stable, candidate) for limit in _ratios(analysis)]
    if enough:
        found = [*_absolute(analysis, compared, candidate), *found]
    results = [result for result, _ in found]
    too_late = [r for r, counts in found if counts and is_comparison(r) and r.verdict == "Inconclusive"]
    waits = [(r, counts and (is_shared or r not in too_late)) for r, counts in found]
    verdict = _worst([result for result, counts in waits if counts or result.verdict == "Failed"])
    if not enough and verdict != "Failed":
        message = f"{sample}, {analysis.min_requests} are needed (minRequests)"
        return _status(measurement, now, "Inconclusive", message, requests, results)
    bad = [r for r, counts in waits if r.verdict == "Failed" or (counts and r.verdict != "Successful")]
    told = bad or [r for r, counts in found if counts or r.verdict == "Successful"]
    words = "; ".join(_sentence(r, analysis, compared) for r in told)
    if not bad and too_late:
        words += "; this step waits for no comparison, because the stable version gets no requests in it"
    message = f"{words} ({sample})" if words else sample
    return _status(measurement, now, verdict, message, requests, results)


def unreadable(measurement: Measurement, now: datetime) -> AnalysisStatus | None:
    """The verdict Error where a router pod did not show its statistics; None when all did."""
    if measurement.after and not measurement.missing:
        return None
    why = "; ".join(measurement.missing) or "no router pod is ready"
    return _status(measurement, now, "Error", f"the router's statistics could not be read: {why}"[:1024])


def is_comparison(result: CheckResult) -> bool:
    """Whether a result is that of a ratio to the stable version."""
    return result.max_ratio_to_stable is not None


def _status(
    measurement: Measurement,
    now: datetime,
    verdict: Outcome,
    message: str,
    requests: int = 0,
    checks: Sequence[CheckResult] = (),
) -> AnalysisStatus:
    return AnalysisStatus(
        time=now, since=measurement.start, verdict=verdict, requests=requests, message=message, checks=[*checks]
    )


def _ratios(analysis: Analysis) -> list[Limit]:
    return [limit for limit in comparison.limits(analysis) if limit.ratio is not None]


def _absolute(analysis: Analysis, compared: Comparison, candidate: ClusterStats) -> list[tuple[CheckResult, bool]]:
    """The results of checks with an absolute limit; all of them count."""
    return [
        (_within(check.metric, check.max, analysis, compared, candidate), True)
        for check in analysis.checks
        if check.max is not None
    ]


def _within(metric: str, most: float, analysis: Analysis, compared: Comparison, candidate: ClusterStats) -> CheckResult:
    value = _VALUE[metric](candidate)
    verdict: Outcome = "Successful"
    if value is None:
        verdict = "Inconclusive"
    elif value > most:
        verdict = "Failed"
    elif analysis.require_proof:
        limit = Limit(metric, most=most)
        proof = comparison.shown(comparison.evidence(compared, limit), limit, analysis)
        verdict = "Successful" if proof.kept else "Inconclusive"
    return CheckResult(metric=metric, verdict=verdict, value=_round(value, most), limit=most)


def _compared(
    limit: Limit, analysis: Analysis, compared: Comparison, stable: ClusterStats, candidate: ClusterStats
) -> tuple[CheckResult, bool]:
    """The result of a comparison, and whether the rollout waits for it."""
    entry = comparison.evidence(compared, limit)
    found = comparison.shown(entry, limit, analysis)
    is_latency = limit.metric in comparison.QUANTILES
    own = entry.events / entry.requests if entry.requests else None
    other = entry.stable_events / entry.stable_requests if entry.stable_requests else None
    enough = min(entry.requests, entry.stable_requests) >= analysis.min_requests
    proven = found.kept or limit.implied or not analysis.require_proof
    verdict: Outcome = "Failed" if found.exceeded else "Successful" if enough and proven else "Inconclusive"
    result = CheckResult(
        metric=limit.metric,
        verdict=verdict,
        value=_round(_VALUE[limit.metric](candidate) if is_latency else own),
        stable_value=_round(_VALUE[limit.metric](stable) if is_latency else other),
        max_ratio_to_stable=limit.ratio,
        confidence=_round(found.confidence, analysis.confidence),
        visible_ratio=_round(_visible_ratio(limit, analysis, entry, stable)),
    )
    return result, not limit.implied


def _visible_ratio(limit: Limit, analysis: Analysis, entry: LimitEvidence, stable: ClusterStats) -> float | None:
    """How many times the stable version's value would have been seen; None: nothing would."""
    share = comparison.visible_share(entry, limit, analysis)
    if share is None or limit.ratio is None:
        return None
    if limit.metric not in comparison.QUANTILES:
        return max(limit.ratio, share / comparison.stable_share(entry))
    usual = stable.quantile(1 - share)
    return max(limit.ratio, entry.edge_milliseconds / usual) if usual and entry.edge_milliseconds else None


def _worst(results: list[CheckResult]) -> Outcome:
    seen = {r.verdict for r in results}
    order: tuple[Outcome, ...] = ("Failed", "Error", "Inconclusive")
    return next((v for v in order if v in seen), "Successful")


def _sentence(result: CheckResult, analysis: Analysis, compared: Comparison) -> str:
    if is_comparison(result):
        return _comparison_sentence(result, analysis, compared)
    if result.value is None:
        return f"{result.metric} has no value"
    value, limit = rounded(result.value, _DIGITS, result.limit), exact(result.limit or 0)
    if result.verdict == "Inconclusive":
        return f"{result.metric} {value} is not shown to be within {limit} (requireProof)"
    relation = "is above" if result.verdict == "Failed" else "is within"
    return f"{result.metric} {value} {relation} {limit}"


def _comparison_sentence(result: CheckResult, analysis: Analysis, compared: Comparison) -> str:
    limit = Limit(result.metric, result.max_ratio_to_stable)
    entry = comparison.evidence(compared, limit)
    times = f"{exact(result.max_ratio_to_stable or 0)} × the stable version's"
    if result.verdict == "Inconclusive":
        few = min(entry.requests, entry.stable_requests)
        if few < analysis.min_requests:
            which = "the stable version" if entry.stable_requests == few else "the candidate"
            return (
                f"{result.metric} cannot be compared: {counted(few, 'request')} to {which} since the rollout began, "
                f"{analysis.min_requests} are needed (minRequests)"
            )
        return f"{result.metric} is not shown to be at most {times} (requireProof){_counts(entry)}"
    if result.verdict == "Failed":
        return f"{result.metric} is more than {times}, confidence {exact(analysis.confidence)}{_counts(entry)}"
    seen = "no ratio" if result.visible_ratio is None else f"a ratio of {result.visible_ratio:.3g}"
    return f"{result.metric} is not shown to be more than {times}; {seen} would have been seen{_counts(entry)}"


def _counts(entry: LimitEvidence) -> str:
    """What was counted for a comparison, in brackets."""
    slow = other = ""
    if entry.edge_milliseconds is not None and entry.stable_edge_milliseconds is not None:
        slow, other = (
            f" above {rounded(edge, _DIGITS)} ms" for edge in (entry.edge_milliseconds, entry.stable_edge_milliseconds)
        )
    candidate = f"{entry.events} of {counted(entry.requests, 'request')}{slow}"
    return f" ({candidate}, stable version {entry.stable_events} of {entry.stable_requests}{other})"


def _round(value: float | None, limit: float | None = None) -> float | None:
    """Four decimals, of small shares three digits, and more where it would else be at, or beyond, another limit."""
    if value is None:
        return None
    found = round(value, 4) if abs(value) >= _SMALL else float(f"{value:.3g}")
    is_told_apart = limit is None or (found > limit, found < limit) == (value > limit, value < limit)
    return found if is_told_apart else float(rounded(value, 4, limit))
