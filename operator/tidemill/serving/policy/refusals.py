"""A candidate whose pods the cluster refuses: quota, image, node, volume, a store that does not answer.

That says nothing of the version, so it is not remembered as failed. Kubernetes goes on trying to run its pods, and the
rollout begins when they are ready: nobody has to ask for it. Until then the version before answers all requests.
"""

from __future__ import annotations

from dataclasses import replace

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.core.plan import Event
from tidemill.serving import readiness
from tidemill.serving.policy import measurements
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State, Target, Transition


def note(snapshot: Snapshot, state: State, target: Target) -> Transition | None:
    """Records since when a starting candidate is refused; its time to become ready begins when it no longer is."""
    del target
    candidate = state.candidate
    if candidate is None or candidate.step >= 0:
        return None
    refusal = readiness.refusal(snapshot, candidate)
    if (refusal is None) == (candidate.refused_since is None):
        return None
    if refusal is None:
        free = candidate.model_copy(update={"started_at": snapshot.now, "refused_since": None})
        return Transition(replace(state, candidate=free))
    refused = candidate.model_copy(update={"refused_since": snapshot.now})
    stays = f"; {state.stable.version} keeps serving" if state.stable else ""
    message = f"{candidate.version} waits, its pods cannot start: {refusal}{stays}"
    event = Event("Warning", readiness.PODS_REFUSED, message, "RollOut")
    return Transition(replace(state, candidate=refused), (event,))


def hold(snapshot: Snapshot, state: State, candidate: CandidateStatus, found: readiness.Problem) -> Transition | None:
    """Instead of a rollback: a candidate that lost its pods to the cluster gets no more requests and begins anew."""
    if candidate.step < 0:
        return None
    anew = measurements.restarted(candidate, snapshot.now, refused_since=snapshot.now)
    message = f"{found.message}; it gets no requests until its pods are ready, and then begins with the first step"
    event = Event("Warning", readiness.PODS_REFUSED, message, "ShiftTraffic")
    return Transition(replace(state, candidate=anew), (event,))
