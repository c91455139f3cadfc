"""One look at a candidate that gets requests: when it is due, what it counts, and what the status records of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.rollout_analysis import Analysis, AnalysisStatus, Comparison
from tidemill.core.plan import Event
from tidemill.serving import baseline, readiness, router_stats
from tidemill.serving.policy import analysis, comparison, strategies
from tidemill.serving.policy.comparison import Clusters
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import Measurement, Snapshot
from tidemill.serving.state import State

NOTHING: Mapping[str, Any] = {
    **baseline.NOTHING, "comparison": None, "last_analysis": None, "failures": 0, "successes": 0
}  # fmt: skip
"""The fields of a candidate of which nothing was measured."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one measurement changes."""

    state: State
    events: tuple[Event, ...] = ()
    stop: str | None = None
    """Why the candidate must not go on."""
    by_comparison: bool = False
    """Nothing but a comparison with the stable version stops it."""


def look(snapshot: Snapshot, state: State) -> Look | None:
    """Judges the candidate once an interval; None where nothing is measured, or not yet."""
    candidate, wanted, measurement = state.candidate, strategies.analysis(snapshot), snapshot.measurement
    if candidate is None or candidate.step < 0 or wanted is None or measurement is None:
        return None
    names = _clusters(snapshot, state)
    if names is None or not _is_due(snapshot, candidate, wanted, measurement):
        return None
    last = candidate.last_analysis
    result = analysis.unreadable(measurement, snapshot.now)
    compared = candidate.comparison
    if result is None:
        compared = _counted(snapshot, candidate, wanted, names)
        stable, own = (router_stats.total(measurement.before, measurement.after, name) for name in names)
        is_shared = strategies.weight(snapshot, candidate) < 100
        result = analysis.judge(wanted, measurement, stable, own, compared, snapshot.now, is_shared=is_shared)
    judged = candidate.model_copy(
        update={
            "last_analysis": result,
            "failures": candidate.failures + (result.verdict == "Failed"),
            "successes": candidate.successes + (result.verdict == "Successful"),
            "comparison": compared,
            **_baseline(measurement, result, names),
        }
    )
    return _concluded(replace(state, candidate=judged), judged, wanted, result, last)


def restarted(candidate: CandidateStatus, now: datetime, **changes: Any) -> CandidateStatus:
    """The candidate before its first step, without requests, and with nothing measured."""
    fresh = {"step": -1, "weight": 0, "started_at": now, "step_started_at": None}
    return candidate.model_copy(update={**fresh, **NOTHING, **changes})


def _is_due(snapshot: Snapshot, candidate: CandidateStatus, wanted: Analysis, measurement: Measurement) -> bool:
    """Whether an interval is over; where no step waits for a measurement, there is also one before a step ends."""
    last = candidate.last_analysis
    looked = max(last.time if last else candidate.step_started_at or measurement.start, measurement.start)
    if snapshot.now - looked >= timedelta(seconds=wanted.interval_seconds):
        return True
    ends = strategies.end(snapshot, candidate)
    return not strategies.waits_for_analysis(snapshot) and ends is not None and looked < ends <= snapshot.now


def begun(snapshot: Snapshot, state: State, candidate: CandidateStatus) -> dict[str, Any]:
    """Fields of a candidate whose next step begins: the counters that are measured from, and what is known so far."""
    wanted, names = strategies.analysis(snapshot), _clusters(snapshot, state)
    if wanted is None or names is None:
        return {**NOTHING}
    return {
        **NOTHING,
        **baseline.fields(snapshot.router.scrapes, names.known),
        "comparison": _counted(snapshot, candidate, wanted, names),
    }


def _counted(snapshot: Snapshot, candidate: CandidateStatus, wanted: Analysis, names: Clusters) -> Comparison:
    """What is known of the candidate with the requests until now.

    Where a router pod does not answer, its requests are counted at the next look, with those of the others.
    """
    known, router, measurement = candidate.comparison, snapshot.router, snapshot.measurement
    if known is not None and any(pod.ready and pod.scrape is None for pod in router.pods):
        return known
    created = {pod.name: pod.created for pod in router.pods if pod.created is not None}
    if measurement is None:
        scrapes = comparison.Scrapes(snapshot.now, router.scrapes, created)
        return comparison.counted(known, wanted, scrapes, names, ClusterStats())
    scrapes = comparison.Scrapes(snapshot.now, measurement.after, created)
    stretch = router_stats.total(measurement.before, measurement.after, names.stable)
    return comparison.counted(known, wanted, scrapes, names, stretch)


def _concluded(
    after: State, judged: CandidateStatus, wanted: Analysis, result: AnalysisStatus, last: AnalysisStatus | None
) -> Look:
    if result.verdict == "Error" and (last is None or last.verdict != "Error"):
        message = f"measurement of {judged.version}: {result.message}"
        return Look(after, (Event("Warning", "AnalysisError", message, "Analyse"),))
    if result.verdict != "Failed":
        return Look(after)
    at_limit = judged.failures >= wanted.failure_limit
    failed = [check for check in result.checks if check.verdict == "Failed"]
    excluded = any(map(analysis.is_comparison, failed))
    if excluded or at_limit:
        alone = excluded and (not at_limit or all(map(analysis.is_comparison, failed)))
        return Look(after, stop=result.message, by_comparison=alone)
    count = f"{judged.failures} of {wanted.failure_limit}"
    message = f"measurement {count} failed for {judged.version}: {result.message}"
    return Look(after, (Event("Warning", "AnalysisFailed", message, "Analyse"),))


def _baseline(measurement: Measurement, result: AnalysisStatus, names: Clusters) -> dict[str, Any]:
    """The counters that the next measurement begins with: those of now, once this one counts."""
    counts = result.verdict in ("Successful", "Failed")
    return baseline.fields(measurement.after if counts else measurement.before, names.known)


def _clusters(snapshot: Snapshot, state: State) -> Clusters | None:
    """The router's names of the two versions; None while the candidate has no pods."""
    own = readiness.workload_of(snapshot, state.candidate)
    if own is None:
        return None
    stable = snapshot.version(state.stable.version, state.stable.digest) if state.stable else None
    return Clusters(snapshot.child_of(stable) if stable else "", snapshot.child_of(own.version))
