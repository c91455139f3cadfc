"""What happens next: a chain of small policies, each of which may change the state once, with an event that says why.

The order is the meaning: requests of people and monitors first, then what the target says, then the candidate's health,
its analysis, and at last its progress. Every policy is a pure function (snapshot, state, target) -> Transition | None.
Time only passes between two snapshots, so a chain that is run again on its own result comes to an end.

    no candidate ──start──▶ step -1 (pods start) ──ready──▶ step 0 … n ──▶ stable
                               │                               │
                               └────── taken back, remembered ◀┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from tidemill.api.v1alpha1.model_deployment import AnalysisStatus, CandidateStatus, FailedVersion
from tidemill.core import labels as keys
from tidemill.core.plan import Event
from tidemill.core.request_annotations import new_value
from tidemill.serving import canary, readiness, router_stats, state
from tidemill.serving.policy import analysis, pickles, rollback_marks
from tidemill.serving.snapshot import RollbackRequest, Snapshot, version_child
from tidemill.serving.state import State, Target, Transition, is_version

Policy = Callable[[Snapshot, State, Target], Transition | None]
_MAX_TRANSITIONS = 8


def decide(snapshot: Snapshot, now: State, target: Target) -> Transition:
    """Runs the chain until nothing changes any more; returns the new state and all events."""
    events: list[Event] = []
    for _ in range(_MAX_TRANSITIONS):
        found = next(filter(None, (policy(snapshot, now, target) for policy in CHAIN)), None)
        if found is None:
            break
        now = found.state
        events.extend(found.events)
    return Transition(now, tuple(events))


def forget_failures(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """A spec that rolls out something else, or the annotation tidemill.io/retry, gives failed versions a chance.

    So does a person who lifts the mark on the version itself. A follower still passes over marked versions.
    Scaling and suspending are no reason: `kubectl scale` must not send a bad version to clients again.
    """
    del target
    asked = new_value(snapshot.annotations, keys.RETRY, now.retry)
    present = snapshot.spec_digest if now.failed else ""
    kept = tuple(f for f in now.failed if f.spec == present and not rollback_marks.is_lifted(snapshot, f))
    if asked is not None:
        event = Event(
            "Normal", "RetryRequested", f"tidemill.io/retry={asked}: failed versions may be tried again", "Retry"
        )
        return Transition(replace(now, failed=(), retry=asked), (event,))
    return Transition(replace(now, failed=kept)) if len(kept) != len(now.failed) else None


def serve_rollback_request(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """A ModelMonitor wants the version before back. Each request counts once, and only against the version it names."""
    del target
    request = _newest_request(snapshot, now)
    if request is None or now.stable is None:
        return None
    handled = replace(now, rollback=request.id)
    previous = now.previous
    if previous is None or now.has_failed(previous.version, previous.digest):
        return _impossible(handled, request, "there is no previous version")
    found = snapshot.version(previous.version, previous.digest)
    if found is None:
        return _impossible(
            handled, request, f"the previous version, ModelVersion {previous.version}, does not exist any more"
        )
    if snapshot.name in found.taken_back:
        return _impossible(
            handled, request, f"the previous version {previous.version} was rolled back by this deployment itself"
        )
    if found.rejected:
        return _impossible(handled, request, f"the previous version {previous.version} was rejected ({found.note})")
    if pickles.is_refused(snapshot, found):
        return _impossible(handled, request, pickles.refusal(found))
    handled = _failed(snapshot, handled, rollback_marks.MONITOR_REQUESTED, request.message)
    message = f"rolling back from {now.stable.version} to {previous.version}: {request.message}"
    event = Event("Warning", "RollbackRequested", message, "RollBack")
    candidate = CandidateStatus(version=previous.version, digest=previous.digest, started_at=snapshot.now)
    return Transition(replace(handled, candidate=candidate), (event,))


def _failed(snapshot: Snapshot, now: State, reason: str, message: str) -> State:
    """The stable version is remembered as failed; it serves until another one does."""
    assert now.stable is not None  # noqa: S101  callers checked
    record = FailedVersion(
        version=now.stable.version,
        digest=now.stable.digest,
        reason=reason,
        message=message[:1024],
        time=snapshot.now,
        spec=snapshot.spec_digest,
    )
    return replace(now, failed=state.remember(now.failed, record))


def _impossible(handled: State, request: RollbackRequest, why: str) -> Transition:
    message = f"request {request.id}: {why} ({request.message})"
    return Transition(handled, (Event("Warning", "RollbackImpossible", message, "RollBack"),))


def _newest_request(snapshot: Snapshot, now: State) -> RollbackRequest | None:
    if now.stable is None or not snapshot.rollback_requests:
        return None
    newest = max(snapshot.rollback_requests, key=lambda r: (r.time, r.id))
    stale = now.stable.since is not None and newest.time < now.stable.since
    if newest.id == now.rollback or newest.version != now.stable.version or stale:
        return None
    return newest


def abort(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """The annotation tidemill.io/abort takes the candidate back; without one it is noted and does nothing later."""
    del target
    asked = new_value(snapshot.annotations, keys.ABORT, now.abort)
    if asked is None:
        return None
    noted = replace(now, abort=asked)
    if now.candidate is None or now.stable is None:
        return Transition(noted)
    message = f"{now.candidate.version} was aborted by the annotation tidemill.io/abort={asked}"
    return _taken_back(snapshot, noted, rollback_marks.ABORTED, message)


def take_back_rejected(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """A version that a person has rejected goes: a candidate at once, the stable one where an older one is wanted."""
    stable, candidate = now.stable, now.candidate
    if now.returns:
        return None
    found = snapshot.version(candidate.version, candidate.digest) if candidate else None
    if found is not None and found.rejected:
        return _taken_back(snapshot, now, rollback_marks.REJECTED, found.note)
    if stable is None:
        return None
    served, wanted = snapshot.version(stable.version, stable.digest), target.version
    if served is None or not served.rejected or now.has_failed(*served.key):
        return None
    if wanted is None or wanted.number >= served.number or now.has_failed(*wanted.key):
        return None
    message = f"rolling back from {served.name} to {wanted.name}: {served.note}"
    event = Event("Warning", "RolledBack", message, "RollBack")
    return Transition(_failed(snapshot, now, rollback_marks.REJECTED, served.note), (event,))


def follow_target(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """Starts, replaces or gives up the candidate, so that it is the wanted version."""
    wanted = target.version
    if wanted is None or now.returns:
        return None
    if is_version(now.stable, wanted):
        return _given_up(snapshot, now, now.candidate) if now.candidate is not None else None
    if is_version(now.candidate, wanted) or now.has_failed(wanted.name, wanted.digest):
        return None
    before = f", instead of candidate {now.candidate.version}, from the first step" if now.candidate else ""
    source = f" to replace {now.stable.version}" if now.stable else ""
    message = f"starting {wanted.name} ({wanted.digest[:19]}){source}{before}"
    return Transition(state.start(now, wanted, snapshot.now), (Event("Normal", "RolloutStarted", message, "RollOut"),))


def _given_up(snapshot: Snapshot, now: State, candidate: CandidateStatus) -> Transition:
    """Only the stable version is wanted. A mark is written before the status: a pass may have ended in between."""
    mark = rollback_marks.own_mark(snapshot, candidate)
    if mark is not None:
        return _taken_back(snapshot, now, *mark)
    serves = f"; {now.stable.version} keeps serving" if now.stable else ""
    message = f"{candidate.version} is no longer wanted{serves}"
    return Transition(replace(now, candidate=None), (Event("Normal", "RolloutCancelled", message, "RollOut"),))


def take_back_broken(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """A candidate whose pods do not become, or stay, ready goes, as long as another version serves."""
    del target
    if now.candidate is None or now.stable is None:
        return None
    found = readiness.problem(snapshot, now.candidate)
    if found is None:
        return None
    if now.returns:
        return None  # the version that it would go back to has failed itself; the status tells
    return _taken_back(snapshot, now, found.reason, found.message)


def analyse(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """Judges the candidate once an interval; too many failures in one step take it back."""
    del target
    candidate, wanted, measurement = now.candidate, snapshot.spec.rollout.analysis, snapshot.measurement
    if candidate is None or candidate.step < 0 or wanted is None or measurement is None:
        return None
    last = candidate.last_analysis
    looked = last.time if last else candidate.step_started_at or measurement.start
    if snapshot.now - max(looked, measurement.start) < timedelta(seconds=wanted.interval_seconds):
        return None
    workload = readiness.workload_of(snapshot, candidate)
    stable = readiness.workload_of(snapshot, now.stable)
    if workload is None:
        return None
    result = analysis.judge(
        wanted,
        measurement,
        version_child(snapshot.name, stable.version) if stable else None,
        version_child(snapshot.name, workload.version),
        snapshot.now,
    )
    failures = candidate.failures + (result.verdict == "Failed")
    successes = candidate.successes + (result.verdict == "Successful")
    begins_anew = result.verdict in ("Successful", "Failed")
    judged = candidate.model_copy(
        update={
            "last_analysis": result,
            "failures": failures,
            "successes": successes,
            "baseline": router_stats.encode(
                measurement.after if begins_anew else measurement.before, _clusters(snapshot, now)
            ),
        }
    )
    after = replace(now, candidate=judged)
    if result.verdict == "Error" and (last is None or last.verdict != "Error"):
        message = f"measurement of {candidate.version}: {result.message}"
        return Transition(after, (Event("Warning", "AnalysisError", message, "Analyse"),))
    if result.verdict != "Failed":
        return Transition(after)
    message = f"measurement {failures} of {wanted.failure_limit} failed for {candidate.version}: {result.message}"
    event = Event("Warning", "AnalysisFailed", message, "Analyse")
    if failures < wanted.failure_limit:
        return Transition(after, (event,))
    return _taken_back(snapshot, after, rollback_marks.ANALYSIS_FAILED, result.message)


def promote_by_hand(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """The annotation tidemill.io/promote passes a step that waits for it, else skips to the end."""
    del target
    asked = new_value(snapshot.annotations, keys.PROMOTE, now.promote)
    if asked is None:
        return None
    noted = replace(now, promote=asked)
    candidate = now.candidate
    if candidate is None:
        return Transition(noted)
    if candidate.step < 0:
        return None  # kept until its pods are ready
    step = canary.current(snapshot, candidate)
    if step is not None and step.duration_seconds is None:
        return _next_step(snapshot, noted, f"by the annotation tidemill.io/promote={asked}")
    return _promoted(snapshot, noted, f"by the annotation tidemill.io/promote={asked}")


def begin(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """Pods are ready: the first version, a return and strategy Immediate take all requests; others their first step."""
    del target
    candidate = now.candidate
    if candidate is None or candidate.step >= 0 or not readiness.is_ready(snapshot, now, candidate):
        return None
    if now.stable is None:
        return _promoted(snapshot, now, "as the first version")
    if not readiness.is_visible(snapshot, now, candidate):
        return None
    if now.returns:
        return _promoted(snapshot, now, "as the previous version")
    if snapshot.spec.rollout.strategy == "Immediate":
        return _promoted(snapshot, now, "at once (strategy Immediate)")
    return _next_step(snapshot, now, "its pods are ready")


def advance(snapshot: Snapshot, now: State, target: Target) -> Transition | None:
    """Goes on when the step's time is over and its analysis agrees."""
    del target
    candidate = now.candidate
    if candidate is None or candidate.step < 0:
        return None
    if snapshot.spec.rollout.strategy == "Immediate":
        return _promoted(snapshot, now, "at once (strategy Immediate)")
    ends = canary.end(snapshot, candidate)
    step = canary.current(snapshot, candidate)
    if step is not None and (ends is None or snapshot.now < ends):
        return None
    if not _analysis_agrees(snapshot, candidate) or not readiness.is_ready(snapshot, now, candidate):
        return None
    return _next_step(snapshot, now, "the step before is complete")


CHAIN: tuple[Policy, ...] = (
    forget_failures,
    serve_rollback_request,
    abort,
    pickles.refuse,
    take_back_rejected,
    follow_target,
    take_back_broken,
    analyse,
    promote_by_hand,
    begin,
    advance,
)


def _clusters(snapshot: Snapshot, now: State) -> list[str]:
    """The router's names of the two versions that an analysis compares."""
    workloads = (readiness.workload_of(snapshot, record) for record in (now.stable, now.candidate))
    return [version_child(snapshot.name, workload.version) for workload in workloads if workload is not None]


def _analysis_agrees(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    wanted = snapshot.spec.rollout.analysis
    if wanted is None:
        return True
    last: AnalysisStatus | None = candidate.last_analysis
    if last is None or last.verdict in ("Failed", "Error"):
        return False
    return candidate.successes > 0 or wanted.no_traffic == "Proceed"


def _next_step(snapshot: Snapshot, now: State, why: str) -> Transition:
    candidate = now.candidate
    assert candidate is not None  # noqa: S101  callers checked
    planned = snapshot.spec.rollout.steps
    index = candidate.step + 1
    if index >= len(planned):
        return _promoted(snapshot, now, why)
    weight = planned[index].weight
    moved = candidate.model_copy(
        update={
            "step": index,
            "weight": weight,
            "step_started_at": snapshot.now,
            "failures": 0,
            "successes": 0,
            "last_analysis": None,
            "baseline": router_stats.encode(snapshot.router.scrapes, _clusters(snapshot, now))
            if snapshot.spec.rollout.analysis
            else None,
        }
    )
    message = f"{candidate.version} gets {weight} % of the requests (step {index + 1} of {len(planned)}): {why}"
    return Transition(replace(now, candidate=moved), (Event("Normal", "CanaryStep", message, "ShiftTraffic"),))


def _promoted(snapshot: Snapshot, now: State, why: str) -> Transition:
    candidate = now.candidate
    assert candidate is not None  # noqa: S101  callers checked
    replaced = f" in place of {now.stable.version}" if now.stable else ""
    message = f"{candidate.version} gets all requests{replaced}, {why}"
    return Transition(state.promote(now, snapshot.now), (Event("Normal", "Promoted", message, "ShiftTraffic"),))


def _taken_back(snapshot: Snapshot, now: State, reason: str, message: str) -> Transition:
    after = state.take_back(now, reason, message, snapshot.spec_digest, snapshot.now)
    what = now.candidate.version if now.candidate else "the candidate"
    stays = f"; {now.stable.version} gets all requests" if now.stable else ""
    event = Event("Warning", "RolledBack", f"{what} was rolled back ({reason}: {message}){stays}", "ShiftTraffic")
    return Transition(after, (event,))
