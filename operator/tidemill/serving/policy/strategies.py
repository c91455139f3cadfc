"""How requests move to a candidate whose pods are ready: one table, one row for each spec.rollout.strategy.

A row says which steps a candidate takes, what is measured meanwhile, and when a step is complete. After the last step
the candidate becomes the stable version; without any step it does so as soon as every router pod can reach it.
Policies, plan, status and requeue ask here, so that no other module knows a strategy by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from tidemill.api.v1alpha1.model_deployment import CandidateStatus, Rollout
from tidemill.api.v1alpha1.rollout_analysis import Analysis
from tidemill.serving import readiness
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State

PAUSE_SECONDS = 60.0
"""How long a version that a comparison stopped gets no requests before its second attempt: bursts of errors end."""

IMPLIED = Analysis(no_traffic="Proceed")
"""What is measured in steps where spec asks for nothing: no step waits for it."""


class Step(NamedTuple):
    """One step of a candidate; the API's own step must have a weight of 1 or more, a strategy's need not."""

    weight: int
    """Percentage of requests that the candidate receives, 0 to 100."""
    duration_seconds: float | None
    """None: the step lasts until the annotation tidemill.io/promote gets a new value."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """What one strategy does between the moment when the candidate's pods are ready and its promotion."""

    steps: Callable[[Rollout], Sequence[Step]]
    """The steps in order, as spec has them now; none: the candidate gets all requests at once."""
    analysis: Callable[[Rollout], Analysis | None]
    """The measurements that may roll the candidate back; None: only its pods are watched."""
    is_complete: Callable[[Snapshot, State, CandidateStatus], bool]
    """Whether the present step has done its part, so that the next one begins or the candidate becomes stable."""


def step_is_over(snapshot: Snapshot, state: State, candidate: CandidateStatus) -> bool:
    """The time of the step is over, its analysis agrees and all pods are ready."""
    ends, step = end(snapshot, candidate), current(snapshot, candidate)
    if step is not None and (ends is None or snapshot.now < ends):
        return False
    return analysis_agrees(snapshot, candidate) and readiness.is_ready(snapshot, state, candidate)


def measured(rollout: Rollout) -> Analysis | None:
    """The analysis of a rollout in steps; None where it has no check and ignores refused requests."""
    wanted = rollout.analysis or IMPLIED
    return wanted if wanted.checks or wanted.client_errors == "Compare" else None


STRATEGIES: Mapping[str, Strategy] = {
    "Canary": Strategy(
        steps=lambda rollout: [Step(s.weight, s.duration_seconds) for s in rollout.steps],
        analysis=measured,
        is_complete=step_is_over,
    ),
    "Immediate": Strategy(
        steps=lambda _: (),
        analysis=lambda _: None,
        is_complete=lambda *_: True,
    ),
}
"""By the name that spec.rollout.strategy has; tests/architecture compares it with the API and the docs."""


def of(snapshot: Snapshot) -> Strategy:
    """The strategy that spec asks for now: a change counts at once, also in the middle of a rollout."""
    return STRATEGIES[snapshot.spec.rollout.strategy]


def steps(snapshot: Snapshot) -> Sequence[Step]:
    """The steps of a candidate, as spec has them now."""
    return of(snapshot).steps(snapshot.spec.rollout)


def analysis(snapshot: Snapshot) -> Analysis | None:
    """What is measured during a step; None: nothing."""
    return of(snapshot).analysis(snapshot.spec.rollout)


def current(snapshot: Snapshot, candidate: CandidateStatus) -> Step | None:
    """The present step; None when spec has fewer steps by now."""
    planned = steps(snapshot)
    return planned[candidate.step] if 0 <= candidate.step < len(planned) else None


def end(snapshot: Snapshot, candidate: CandidateStatus) -> datetime | None:
    """When the time of the present step is over; None while it waits for the annotation."""
    step = current(snapshot, candidate)
    if step is None or step.duration_seconds is None or candidate.step_started_at is None:
        return None
    return candidate.step_started_at + timedelta(seconds=step.duration_seconds)


def weight(snapshot: Snapshot, candidate: CandidateStatus) -> int:
    """Percentage of requests of the present step, or of the last where spec has fewer by now; 0 while pods start."""
    planned = steps(snapshot)
    if candidate.step < 0 or not planned:
        return 0
    return planned[min(candidate.step, len(planned) - 1)].weight


def waits_for_promotion(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    """Whether only the annotation tidemill.io/promote ends the present step."""
    step = current(snapshot, candidate)
    return step is not None and step.duration_seconds is None


def begins_at(snapshot: Snapshot, candidate: CandidateStatus) -> datetime:
    """When a candidate whose pods are ready may get requests: a second attempt after a pause, the first at once."""
    if candidate.attempt == 1:
        return candidate.started_at
    pause = min(PAUSE_SECONDS, snapshot.spec.rollout.progress_deadline_seconds / 2)
    return candidate.started_at + timedelta(seconds=pause)


def waits_for_analysis(snapshot: Snapshot) -> bool:
    """Whether a step may wait for a measurement: not where spec asks for none."""
    return snapshot.spec.rollout.analysis is not None and analysis(snapshot) is not None


def analysis_agrees(snapshot: Snapshot, candidate: CandidateStatus) -> bool:
    """Whether the measurements of the present step allow the next one; true where nothing is measured."""
    wanted = analysis(snapshot)
    if wanted is None or not waits_for_analysis(snapshot):
        return True
    last = candidate.last_analysis
    if last is None or last.verdict in ("Failed", "Error"):
        return False
    return candidate.successes > 0 or wanted.no_traffic == "Proceed"
