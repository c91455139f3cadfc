"""The steps of a canary as spec has them now: pure look-ups that policies, plan and status share."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, Step
from tidemill.serving.snapshot import Snapshot


def end(snapshot: Snapshot, candidate: CandidateStatus) -> datetime | None:
    """When the time of the present step is over; None while it waits for the annotation."""
    step = current(snapshot, candidate)
    if step is None or step.duration_seconds is None or candidate.step_started_at is None:
        return None
    return candidate.step_started_at + timedelta(seconds=step.duration_seconds)


def weight(snapshot: Snapshot, candidate: CandidateStatus) -> int:
    """Percentage of requests of the present step, as spec has it now; 0 while the pods start."""
    step = current(snapshot, candidate)
    if step is not None:
        return step.weight
    steps = snapshot.spec.rollout.steps
    return steps[-1].weight if candidate.step >= 0 and steps else 0


def waits_for_promotion(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    """Whether only the annotation tidemill.io/promote ends the present step."""
    step = current(snapshot, candidate)
    return step is not None and step.duration_seconds is None


def current(snapshot: Snapshot, candidate: CandidateStatus) -> Step | None:
    """The present step; None when spec has fewer steps by now."""
    steps = snapshot.spec.rollout.steps
    return steps[candidate.step] if 0 <= candidate.step < len(steps) else None
