"""The status of a ModelDeployment: what is served, and the conditions that say how far that is from the spec.

Ready speaks of the spec: True only when the wanted version answers all requests. Available speaks of the clients: True
as long as some version answers. After a rollback a deployment that follows a pipeline is Ready again, since a version
that was rolled back is not wanted any more; RolledBack=True says so. One that pins that version, or whose candidate
did not get ready, is Stalled with reason RolledBack: nothing will happen until somebody acts. One whose candidate the
cluster refuses is Stalled with reason PodsRefused, and goes on by itself when the cause is gone.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.objectives import ObjectivesStatus
from tidemill.api.v1alpha1.rollback import FailedVersion
from tidemill.core import pod_settings
from tidemill.core.conditions import Condition, format_time, merge, of, trio
from tidemill.serving import convergence, readiness, runtime_status
from tidemill.serving.convergence import Observed, Unsettled
from tidemill.serving.hints import hint
from tidemill.serving.policy import promotion, proposals, signature, slo, strategies
from tidemill.serving.readiness import AVAILABLE
from tidemill.serving.snapshot import Snapshot, Version, Workload
from tidemill.serving.state import State, Target, is_version
from tidemill_contracts.counts import are, counted

PROGRESSING = "Progressing"
ROLLED_BACK = "RolledBack"

REASONS = frozenset(
    {
        "Serving", "ScaledToZero", "RollingOut", "Starting", "Updating", "Suspended", "RolledBack", "NoReadyPod",
        "NoReadyRouter", "NotYetServed", "CanaryStep", "WaitingForMeasurement", "WaitingForPromotion",
        "ProgressDeadlineExceeded", "SignatureChanged", "SignatureUnknown",
        "NoReachablePod",
        "VersionNotFound", "VersionNotApproved", "PipelineNotFound", "WaitingForApproval", "WaitingForVersion",
        "VersionRejected", "FormatNotServable", "PickleNotAllowed", "CodeNotAllowed", "InvalidSpec", "PodsRefused",
        "PodsFailing",
        # of a version that was rolled back
        "AnalysisFailed", "CandidateUnavailable", "Aborted", "MonitorRequested", "Rejected",
    }
) | slo.REASONS  # fmt: skip
"""Every reason that this module or the policies set; a server's own (DigestMismatch, …) come beside them."""


def build(
    snapshot: Snapshot, state: State, target: Target, *, effective_weight: int, selector: str | None, observed: Observed
) -> dict[str, Any]:
    """The whole status.

    `effective_weight`: what the router gives the candidate; 0 while it has no ready pod.
    """
    unsettled = convergence.unsettled(snapshot, state, _available(snapshot, state), observed)
    stable, candidate = state.stable, state.candidate
    workload = readiness.workload_of(snapshot, stable)
    if candidate is not None:
        candidate = candidate.model_copy(
            update={"weight": effective_weight, **runtime_status.fields(snapshot, candidate)}
        )
    if stable is not None:
        stable = stable.model_copy(update={"weight": 100 - effective_weight, **runtime_status.fields(snapshot, stable)})
    objectives = slo.measured(snapshot)
    found = {
        "observedGeneration": snapshot.generation,
        "url": f"http://{snapshot.name}.{snapshot.namespace}.svc",
        "replicas": workload.ready if workload else 0,
        "selector": selector,
        "stable": stable.to_json() if stable else None,
        "previous": state.previous.to_json() if state.previous else None,
        "rollbackVersions": None if state.earlier is None else [v.to_json() for v in state.earlier],
        "candidate": candidate.to_json() if candidate else None,
        "slo": objectives.to_json() if objectives else None,
        "keptPickles": _kept_pickles(snapshot, state),
        "failedVersions": [f.to_json() for f in state.failed] or None,
        "lastHandledPromote": state.promote,
        "lastHandledAbort": state.abort,
        "lastHandledRetry": state.retry,
        "lastHandledRollback": state.rollback,
        "unsettledSince": format_time(unsettled.since) if unsettled else None,
        "conditions": conditions(snapshot, state, target, unsettled, observed.pods, objectives),
    }
    return {name: value for name, value in found.items() if value is not None}


def _kept_pickles(snapshot: Snapshot, state: State) -> list[str]:
    """The exception from spec.server.allowPickle, for as long as its versions have a part; a list even when empty."""
    return sorted(snapshot.kept_pickles & {r.digest for r in (state.stable, state.previous) if r is not None})


def conditions(
    snapshot: Snapshot,
    state: State,
    target: Target,
    unsettled: Unsettled | None,
    pods: Condition | None,
    objectives: ObjectivesStatus | None,
) -> list[dict[str, Any]]:
    """All conditions, merged with those of the live status."""
    available = _available(snapshot, state)
    found = [*_summary(snapshot, state, target, available, unsettled), available]
    found += _progressing(snapshot, state)
    found += _rolled_back(snapshot, state, target)
    more = (proposals.condition(snapshot, state), pods, slo.condition(snapshot, objectives))
    found += [condition for condition in more if condition is not None]
    router = snapshot.spec.router
    sections = {"spec.server.pod": snapshot.spec.server.pod, "spec.router.pod": router.pod if router else None}
    found += pod_settings.conditions(sections)
    return merge(of(snapshot.object), found, snapshot.generation, snapshot.now)


def _summary(
    snapshot: Snapshot, state: State, target: Target, available: Condition, unsettled: Unsettled | None
) -> list[Condition]:
    """Ready with Reconciling or Stalled; the first that applies, from what blocks most to what is well."""
    if snapshot.spec.suspend:
        ready = available.status == "True" and state.candidate is None
        return trio(ready=ready, reason="Suspended", message=f"spec.suspend is true; {available.message}")
    if target.version is None:
        why = (target.reason, target.message)
        if target.stalled:
            return trio(ready=False, reason=why[0], message=why[1], stalled=why)
        return trio(ready=False, reason=why[0], message=why[1], reconciling=why)
    if state.candidate is not None:
        return _under_way(snapshot, state)
    failed = state.has_failed(target.version.name, target.version.digest)
    if failed is not None:
        serving = f"; {_keeps_serving(snapshot, state)}" if state.stable else ""
        why = ("RolledBack", f"{failed.version} was rolled back ({failed.reason}: {failed.message}){serving}")
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)
    if target.version.recorded and not target.version.approved:
        return _unapproved(snapshot, target.version, available)
    if unsettled is not None:
        return unsettled.conditions(snapshot.spec.rollout.progress_deadline_seconds)
    if available.status != "True" and available.reason != "ScaledToZero":
        why = (available.reason, available.message)
        return trio(ready=False, reason=why[0], message=why[1], reconciling=why)
    reason = "ScaledToZero" if available.reason == "ScaledToZero" else "Serving"
    message = available.message + _passed_over(snapshot, state, target) + hint(snapshot)
    return trio(ready=True, reason=reason, message=message)


def _unapproved(snapshot: Snapshot, served: Version, available: Condition) -> list[Condition]:
    """What is served stays because there is no approved version; the spec asks for one."""
    note = served.note or "no decision yet"
    nor = f"nor is any other version of {snapshot.series}"
    message = f"{available.message}; {served.name} is not approved ({note}), {nor}"
    if served.rejected:
        return trio(ready=False, reason="VersionRejected", message=message, stalled=("VersionRejected", message))
    why = ("WaitingForApproval", message)
    return trio(ready=False, reason=why[0], message=why[1], reconciling=why)


def _under_way(snapshot: Snapshot, state: State) -> list[Condition]:
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  the caller checked
    found = readiness.problem(snapshot, candidate)
    if found is not None and (state.stable is None or state.is_rolling_back or found.is_refusal):
        serving = f"; {_keeps_serving(snapshot, state)}" if state.stable else ""
        why = (found.reason, found.message + serving)
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)
    is_refused = candidate.step < 0 and readiness.refusal(snapshot, candidate) is not None
    if state.stable is None:
        why = (readiness.PODS_REFUSED if is_refused else "Starting", _starting(snapshot, state))
        return trio(ready=False, reason=why[0], message=why[1], reconciling=why)
    held = signature.current(snapshot, state)
    if held is None:
        why = (readiness.PODS_REFUSED if is_refused else "RollingOut", _progress(snapshot, state))
        return trio(ready=None, reason=why[0], message=why[1], reconciling=why)
    why = (held.reason, held.message)
    if held.is_final:
        return trio(ready=False, reason=why[0], message=why[1], stalled=why)
    return trio(ready=None, reason=why[0], message=why[1], reconciling=why)


def _progressing(snapshot: Snapshot, state: State) -> list[Condition]:
    """Present only while a candidate is on its way."""
    candidate = state.candidate
    if candidate is None:
        return []
    held = signature.current(snapshot, state)
    if held is not None:
        return [Condition(PROGRESSING, "True", held.reason, held.message)]
    if candidate.step < 0:
        message = _starting(snapshot, state) + _attempt(snapshot, candidate)
        return [Condition(PROGRESSING, "True", "Starting", message)]
    waits = strategies.waits_for_promotion(snapshot, candidate)
    unjudged = "WaitingForMeasurement" if _waits_for_measurement(snapshot, candidate) else "CanaryStep"
    reason = "WaitingForPromotion" if waits else unjudged
    return [Condition(PROGRESSING, "True", reason, _progress(snapshot, state))]


def _waits_for_measurement(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    """Whether the time of the step is over, and nothing but a measurement keeps the candidate from the next one."""
    end = strategies.end(snapshot, candidate)
    return end is not None and snapshot.now >= end and not strategies.analysis_agrees(snapshot, candidate)


def _rolled_back(snapshot: Snapshot, state: State, target: Target) -> list[Condition]:
    """Present only while the wanted version, or a newer one than the followed one, is one that was rolled back here."""
    failed = _failed_target(snapshot, state, target)
    if failed is None or is_version(state.candidate, target.version):
        return []
    return [Condition(ROLLED_BACK, "True", failed.reason, f"{failed.version}: {failed.message}")]


def _failed_target(snapshot: Snapshot, state: State, target: Target) -> FailedVersion | None:
    """The version that this deployment would serve, had it not rolled it back."""
    wanted = target.version
    if wanted is None:
        return None
    own = state.has_failed(wanted.name, wanted.digest)
    if own is not None or not snapshot.follows:
        return own
    known = ((snapshot.version(f.version, f.digest), f) for f in state.failed)
    newer = [(v.number, f) for v, f in known if v is not None and v.number > wanted.number]
    return max(newer, key=lambda found: found[0])[1] if newer else None


def _passed_over(snapshot: Snapshot, state: State, target: Target) -> str:
    """Which newer version is not followed and why, beginning with `; `; empty when there is none."""
    failed, wanted = _failed_target(snapshot, state, target), target.version
    if failed is not None:
        return f"; {failed.version} was rolled back ({failed.reason}: {failed.message})"
    if wanted is None or not snapshot.follows:
        return ""
    newer = [v for v in snapshot.versions if v.approved and v.rolled_back and v.number > wanted.number]
    if not newer:
        return ""
    version = max(newer, key=lambda v: v.number)
    where, why = next(iter(sorted(version.rolled_back.items())))
    return f"; {version.name} is not deployed: ModelDeployment {where} rolled it back ({why})"


def _available(snapshot: Snapshot, state: State) -> Condition:
    """Whether requests are answered, by whatever version."""
    stable = state.stable
    if stable is None:
        return Condition(AVAILABLE, "False", "NotYetServed", "no version has been ready yet")
    workload = readiness.workload_of(snapshot, stable)
    if snapshot.spec.replicas == 0:
        return Condition(AVAILABLE, "False", "ScaledToZero", f"{stable.version} has no pods: spec.replicas is 0")
    if workload is None or workload.ready == 0:
        because = f": {workload.failure}" if workload and workload.failure else ""
        return Condition(AVAILABLE, "False", "NoReadyPod", f"no pod of {stable.version} is ready{because}")
    if snapshot.router.ready == 0:
        failure = snapshot.router.workload.failure if snapshot.router.workload else None
        return Condition(
            AVAILABLE, "False", "NoReadyRouter", f"no pod of the router is ready{convergence.because(failure)}"
        )
    if readiness.is_unreachable(snapshot, state):
        message = (
            f"no pod of the router knows an address of a pod of {stable.version}, although {_some_ready(workload)}"
        )
        return Condition(AVAILABLE, "False", readiness.UNREACHABLE, message)
    return Condition(
        AVAILABLE,
        "True",
        "Serving",
        f"{stable.version} is served{_by_some(snapshot, state)}{convergence.strangers(workload)}"
        f"{convergence.strangers(snapshot.router.workload)}",
    )


def _some_ready(workload: Workload) -> str:
    return f"{counted(workload.ready, 'pod')} of it {'is' if workload.ready == 1 else 'are'} ready"


def _by_some(snapshot: Snapshot, state: State) -> str:
    """How many pods serve the stable version and why the others do not, beginning with `, `; empty when all do."""
    workload, wanted = readiness.workload_of(snapshot, state.stable), readiness.wanted_replicas(snapshot, state)
    failure = convergence.failing(workload, wanted)
    if workload is None or failure is None:
        return ""
    return f", by {workload.ready} of {counted(wanted, 'pod')}{convergence.because(failure)}"


def _keeps_serving(snapshot: Snapshot, state: State) -> str:
    assert state.stable is not None  # noqa: S101  the callers checked
    return f"{state.stable.version} keeps serving{_by_some(snapshot, state)}"


def _starting(snapshot: Snapshot, state: State) -> str:
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  the caller checked
    workload = readiness.workload_of(snapshot, candidate)
    ready, wanted = workload.ready if workload else 0, readiness.wanted_replicas(snapshot, state)
    failure = workload.failure if workload else None
    return f"{are(ready, wanted, 'pod', f'of {candidate.version}')} ready{convergence.because(failure)}"


def _progress(snapshot: Snapshot, state: State) -> str:
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  the caller checked
    if candidate.step < 0:
        return f"{_starting(snapshot, state)}; {_keeps_serving(snapshot, state)}{_attempt(snapshot, candidate)}"
    share, count = strategies.weight(snapshot, candidate), len(strategies.steps(snapshot))
    text = f"{candidate.version} gets {share} % of the requests (step {candidate.step + 1} of {count})"
    last = candidate.last_analysis
    if strategies.waits_for_promotion(snapshot, candidate):
        text += f", until the annotation tidemill.io/promote is set: {promotion.command(snapshot, candidate.version)}"
    elif last is not None and (last.verdict != "Inconclusive" or strategies.waits_for_analysis(snapshot)):
        text += f"; last measurement {last.verdict}: {last.message}"
    text += _wait_for_requests(snapshot, candidate)
    workload, wanted = readiness.workload_of(snapshot, candidate), readiness.wanted_replicas(snapshot, state)
    failure = convergence.failing(workload, wanted)
    return text + _attempt(snapshot, candidate) + convergence.because(failure) + convergence.strangers(workload)


def _wait_for_requests(snapshot: Snapshot, candidate: CandidateStatus) -> str:
    """What ends a step that has too few requests to be judged, beginning with `; `; empty when that is not why."""
    last = candidate.last_analysis
    if not _waits_for_measurement(snapshot, candidate) or (last is not None and last.verdict != "Inconclusive"):
        return ""
    wanted = snapshot.spec.rollout.analysis
    proceed = "" if wanted is None or wanted.require_proof else "set spec.rollout.analysis.noTraffic to Proceed, "
    ways = f"send more requests, {proceed}or give it all of them: {promotion.command(snapshot, candidate.version)}"
    return f"; the time of the step is over, and it waits for requests: {ways}"


def _attempt(snapshot: Snapshot, candidate: CandidateStatus) -> str:
    """Which attempt it is, why, and when it gets requests, beginning with `; `; empty in the first."""
    if candidate.attempt <= 1:
        return ""
    begins = strategies.begins_at(snapshot, candidate)
    waits = f", which gets requests at {format_time(begins)}" if candidate.step < 0 and snapshot.now < begins else ""
    return f"; attempt {candidate.attempt}{waits}, because {candidate.attempt_reason}"
