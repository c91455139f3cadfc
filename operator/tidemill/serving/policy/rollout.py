"""What happens next: a chain of small policies, each of which may change the state once, with an event that says why.

The order is the meaning: requests of people and monitors first, then what the target says, then the candidate's health,
its analysis, and at last its progress. Every policy is a pure function (snapshot, state, target) -> Transition | None.
Time only passes between two snapshots, so a chain that is run again on its own result comes to an end.

    no candidate ──start──▶ step -1 (pods start) ──ready──▶ step 0 … n ──▶ stable
                               │                               │
                               └────── rolled back, remembered ◀┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.api.v1alpha1.rollback import FailedVersion
from tidemill.core import labels as keys
from tidemill.core.conditions import format_time
from tidemill.core.plan import Event
from tidemill.core.request_annotations import new_value
from tidemill.serving import readiness
from tidemill.serving import state as states
from tidemill.serving.policy import (
    measurements,
    pickles,
    promotion,
    proposals,
    refusals,
    rollback_marks,
    rollback_window,
    signature,
    strategies,
)
from tidemill.serving.snapshot import RollbackRequest, Snapshot
from tidemill.serving.state import State, Target, Transition, is_version

Policy = Callable[[Snapshot, State, Target], Transition | None]
_MAX_TRANSITIONS = 8


def decide(snapshot: Snapshot, state: State, target: Target) -> Transition:
    """Runs the chain until nothing changes any more; returns the new state and all events."""
    events: list[Event] = []
    for _ in range(_MAX_TRANSITIONS):
        found = next(filter(None, (policy(snapshot, state, target) for policy in CHAIN)), None)
        if found is None:
            break
        state = found.state
        events.extend(found.events)
    return Transition(state, tuple(events))


def forget_failures(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A spec that rolls out something else, or the annotation tidemill.io/retry, gives failed versions a chance.

    So does a person who lifts the mark on the version itself. A follower still passes over marked versions.
    Scaling and suspending are no reason: `kubectl scale` must not send a bad version to clients again.
    """
    del target
    requested = new_value(snapshot.annotations, keys.RETRY, state.retry)
    present = snapshot.spec_digest if state.failed else ""
    kept = tuple(f for f in state.failed if f.spec == present and not rollback_marks.is_lifted(snapshot, f))
    if requested is not None:
        event = Event(
            "Normal", "RetryRequested", f"tidemill.io/retry={requested}: failed versions may be tried again", "Retry"
        )
        return Transition(replace(state, failed=(), retry=requested), (event,))
    return Transition(replace(state, failed=kept)) if len(kept) != len(state.failed) else None


def serve_rollback_request(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A ModelMonitor requests a rollback. Each request counts once, and only against the version that it names.

    What spec lets monitors only propose waits for a person, who names the request or changes spec.
    """
    del target
    request = proposals.open_request(snapshot, state)
    if request is None or state.stable is None or not proposals.is_granted(snapshot, request):
        return None
    handled = replace(state, rollback=request.id)
    found = next(rollback_window.usable(snapshot, state), None)
    if found is None:
        return _impossible(handled, request, rollback_window.refusal(snapshot, state))
    handled = _failed(snapshot, handled, rollback_marks.MONITOR_REQUESTED, request.message)
    message = f"rolling back from {state.stable.version} to {found.name}: {request.message}"
    event = Event("Warning", "RollbackRequested", message, "RollBack")
    return Transition(states.start(handled, found, snapshot.now), (event,))


def _failed(snapshot: Snapshot, state: State, reason: str, message: str) -> State:
    """The stable version is remembered as failed; it serves until another one does."""
    assert state.stable is not None  # noqa: S101  callers checked
    record = FailedVersion(
        version=state.stable.version,
        digest=state.stable.digest,
        reason=reason,
        message=message[:1024],
        time=snapshot.now,
        spec=snapshot.spec_digest,
    )
    return replace(state, failed=states.remember(state.failed, record))


def _impossible(handled: State, request: RollbackRequest, why: str) -> Transition:
    message = f"request {request.id}: {why} ({request.message})"
    return Transition(handled, (Event("Warning", "RollbackImpossible", message, "RollBack"),))


def abort(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """The annotation tidemill.io/abort rolls the candidate back; without one it is recorded and does nothing later."""
    del target
    requested = new_value(snapshot.annotations, keys.ABORT, state.abort)
    if requested is None:
        return None
    recorded = replace(state, abort=requested)
    if state.candidate is None or state.stable is None:
        return Transition(recorded)
    message = f"{state.candidate.version} was aborted by the annotation tidemill.io/abort={requested}"
    return _rolled_back(snapshot, recorded, rollback_marks.ABORTED, message)


def roll_back_rejected(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A version that a person has rejected goes: a candidate at once, the stable one where an older one is wanted."""
    stable, candidate = state.stable, state.candidate
    if state.is_rolling_back:
        return None
    found = snapshot.version(candidate.version, candidate.digest) if candidate else None
    if found is not None and found.rejected:
        return _rolled_back(snapshot, state, rollback_marks.REJECTED, found.note)
    if stable is None:
        return None
    served, wanted = snapshot.version(stable.version, stable.digest), target.version
    if served is None or not served.rejected or state.has_failed(*served.key):
        return None
    if wanted is None or wanted.number >= served.number or state.has_failed(*wanted.key):
        return None
    after = _failed(snapshot, state, rollback_marks.REJECTED, served.note)
    proven = {v.key: v for v in rollback_window.usable(snapshot, after) if v in snapshot.versions}
    first = wanted if wanted.key in proven or not proven else next(iter(proven.values()))
    if first is not wanted:  # it has not served here yet: its rollout must not keep the rejected version in service
        after = states.start(after, first, snapshot.now)
    message = f"rolling back from {served.name} to {first.name}: {served.note}"
    return Transition(after, (Event("Warning", "RolledBack", message, "RollBack"),))


def follow_target(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Starts, replaces or gives up the candidate, so that it is the wanted version."""
    wanted = target.version
    if wanted is None or state.is_rolling_back:
        return None
    if is_version(state.stable, wanted):
        return _cancelled(snapshot, state, state.candidate) if state.candidate is not None else None
    if is_version(state.candidate, wanted) or state.has_failed(wanted.name, wanted.digest):
        return None
    before = f", instead of candidate {state.candidate.version}, from the first step" if state.candidate else ""
    source = f" to replace {state.stable.version}" if state.stable else ""
    message = f"starting {wanted.name} ({wanted.digest[:19]}){source}{before}"
    return Transition(
        states.start(state, wanted, snapshot.now), (Event("Normal", "RolloutStarted", message, "RollOut"),)
    )


def _cancelled(snapshot: Snapshot, state: State, candidate: CandidateStatus) -> Transition:
    """Only the stable version is wanted. A mark is written before the status: a pass may have ended in between."""
    mark = rollback_marks.own_mark(snapshot, candidate)
    if mark is not None:
        return _rolled_back(snapshot, state, *mark)
    serves = f"; {state.stable.version} keeps serving" if state.stable else ""
    message = f"{candidate.version} is no longer wanted{serves}"
    return Transition(replace(state, candidate=None), (Event("Normal", "RolloutCancelled", message, "RollOut"),))


def roll_back_broken(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A candidate whose pods do not become, or stay, ready goes, as long as another version serves."""
    if state.candidate is None or state.stable is None:
        return None
    found = readiness.problem(snapshot, state.candidate)
    if found is None:
        return None
    if state.is_rolling_back and not _is_another(state, target):
        return None  # the version that it would go back to has failed itself; the status tells
    if found.is_refusal:
        return refusals.hold(snapshot, state, state.candidate, found)
    return _rolled_back(snapshot, state, found.reason, found.message)


def _is_another(state: State, target: Target) -> bool:
    """Whether a version is wanted that is neither stable nor candidate and has not failed."""
    wanted = target.version
    known = (is_version(record, wanted) for record in (state.stable, state.candidate))
    return wanted is not None and not any(known) and state.has_failed(*wanted.key) is None


def go_back(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """A way back has no steps, and nothing is measured: its pods are ready and can be reached, so it takes over."""
    del target
    candidate = state.candidate
    if candidate is None or not rollback_window.skips_steps(snapshot, state):
        return None
    if not readiness.is_ready(snapshot, state, candidate) or not readiness.is_visible(snapshot, state, candidate):
        return None
    return _promoted(snapshot, state, "as an earlier version, without steps")


def analyse(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Judges the candidate once an interval; what a comparison shows, or too many failures in one step, stop it."""
    del target
    look = measurements.look(snapshot, state)
    if look is None or look.stop is None:
        return None if look is None else Transition(look.state, look.events)
    candidate, why = look.state.candidate, look.stop
    assert candidate is not None  # noqa: S101  it was looked at
    if look.by_comparison and candidate.attempt == 1:
        return _tried_again(snapshot, look.state, candidate, why)
    before = f"; the attempt before: {candidate.attempt_reason}" if candidate.attempt_reason else ""
    return _rolled_back(snapshot, look.state, rollback_marks.ANALYSIS_FAILED, f"{why}{before}")


def _tried_again(snapshot: Snapshot, state: State, candidate: CandidateStatus, why: str) -> Transition:
    """Chance stops a good version now and then: it begins once more, with nothing counted, before it counts as bad."""
    second = measurements.restarted(candidate, snapshot.now, attempt=candidate.attempt + 1, attempt_reason=why[:1024])
    stays = f"; {state.stable.version} gets all requests" if state.stable else ""
    begins = format_time(strategies.begins_at(snapshot, second))
    message = f"{candidate.version} was stopped and is tried once more after a pause, at {begins} ({why}){stays}"
    event = Event("Warning", "RolloutRetried", message, "ShiftTraffic")
    return Transition(replace(state, candidate=second), (event,))


def promote_by_hand(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """The annotation tidemill.io/promote passes a step that waits for it, else skips to the end."""
    del target
    candidate = state.candidate
    if candidate is None or candidate.step < 0 or candidate.promote_requested is None:
        return None  # it waits until the pods are ready
    served = replace(state, candidate=candidate.model_copy(update={"promote_requested": None}))
    why = f"by the annotation tidemill.io/promote={candidate.promote_requested}"
    if strategies.waits_for_promotion(snapshot, candidate):
        return _next_step(snapshot, served, why)
    return _promoted(snapshot, served, why)


def begin(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Pods are ready: the first version gets all requests; others take the first step, unless they are held."""
    del target
    candidate = state.candidate
    if candidate is None or candidate.step >= 0 or not readiness.is_ready(snapshot, state, candidate):
        return None
    if snapshot.now < strategies.begins_at(snapshot, candidate):
        return None
    if state.stable is None:
        return _promoted(snapshot, state, "as the first version")
    if not readiness.is_visible(snapshot, state, candidate):
        return None
    if signature.why(snapshot, state) is None:
        return _next_step(snapshot, state, "its pods are ready")
    if not signature.is_accepted(candidate):
        return None
    why = f"its signature is accepted by the annotation tidemill.io/promote={candidate.version}"
    return _next_step(snapshot, signature.accepted(state), why)


def advance(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Goes on when the strategy says that the step is complete."""
    del target
    candidate = state.candidate
    if candidate is None or candidate.step < 0:
        return None
    if not strategies.of(snapshot).is_complete(snapshot, state, candidate):
        return None
    return _next_step(snapshot, state, "the step before is complete")


CHAIN: tuple[Policy, ...] = (
    promotion.forget,
    forget_failures,
    serve_rollback_request,
    abort,
    pickles.refuse,
    roll_back_rejected,
    follow_target,
    promotion.take,
    refusals.note,
    roll_back_broken,
    go_back,
    analyse,
    promote_by_hand,
    signature.hold,
    begin,
    advance,
)


def _next_step(snapshot: Snapshot, state: State, why: str) -> Transition:
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  callers checked
    planned = strategies.steps(snapshot)
    index = candidate.step + 1
    if not planned:
        return _promoted(snapshot, state, f"at once (strategy {snapshot.spec.rollout.strategy})")
    if index >= len(planned):
        return _promoted(snapshot, state, why)
    weight = planned[index].weight
    moved = candidate.model_copy(
        update={
            "step": index,
            "weight": weight,
            "step_started_at": snapshot.now,
            "held_since": None,
            **measurements.begun(snapshot, state, candidate),
        }
    )
    message = f"{candidate.version} gets {weight} % of the requests (step {index + 1} of {len(planned)}): {why}"
    return Transition(replace(state, candidate=moved), (Event("Normal", "CanaryStep", message, "ShiftTraffic"),))


def _promoted(snapshot: Snapshot, state: State, why: str) -> Transition:
    candidate = state.candidate
    assert candidate is not None  # noqa: S101  callers checked
    replaced = f" in place of {state.stable.version}" if state.stable else ""
    message = f"{candidate.version} gets all requests{replaced}, {why}"
    return Transition(states.promote(state, snapshot.now), (Event("Normal", "Promoted", message, "ShiftTraffic"),))


def _rolled_back(snapshot: Snapshot, state: State, reason: str, message: str) -> Transition:
    after = states.roll_back(state, reason, message, snapshot.spec_digest, snapshot.now)
    what = state.candidate.version if state.candidate else "the candidate"
    stays = f"; {state.stable.version} gets all requests" if state.stable else ""
    event = Event("Warning", "RolledBack", f"{what} was rolled back ({reason}: {message}){stays}", "ShiftTraffic")
    return Transition(after, (event,))
