"""The steps of a candidate at their edges: weights, ends, pauses, and what a step waits for."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.serving.make import ANALYSIS, CANARY, NOW, TWO, ago, candidate, measured, snapshot, stable, workload

from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.serving import status
from tidemill.serving.policy import strategies, target
from tidemill.serving.policy.strategies import Step
from tidemill.serving.snapshot import PodFailure, Snapshot
from tidemill.serving.state import State

PAUSED = {"strategy": "Canary", "steps": [{"weight": 10}, {"weight": 50, "durationSeconds": 60}]}
IMMEDIATE = {"strategy": "Immediate"}


def at(rollout: dict[str, Any] | None = None, **fields: Any) -> Snapshot:
    return snapshot({"rollout": rollout or CANARY}, **{**TWO, **fields})


def in_step(step: int, seconds: float = 10, **changes: Any) -> CandidateStatus:
    found: CandidateStatus = candidate(2, step, step_started=seconds, **changes)
    return found


@pytest.mark.parametrize(
    ("step", "now", "weight"),
    [(-1, None, 0), (0, Step(10, 60), 10), (1, Step(50, 60), 50), (2, None, 50), (9, None, 50)],
)
def test_a_step_that_spec_does_not_have_any_more_keeps_the_last_weight(
    step: int, now: Step | None, weight: int
) -> None:
    """Somebody took steps away in the middle of a rollout: its share must not fall to nothing."""
    assert strategies.current(at(), in_step(step)) == now
    assert strategies.weight(at(), in_step(step)) == weight
    assert strategies.weight(at(IMMEDIATE), in_step(step)) == 0


def test_when_the_time_of_a_step_is_over() -> None:
    assert strategies.end(at(), in_step(0, 10)) == NOW + timedelta(seconds=50)
    assert strategies.end(at(), in_step(2)) is None
    assert strategies.end(at(PAUSED), in_step(0)) is None
    assert strategies.end(at(), candidate(2, 0)) is None


@pytest.mark.parametrize(("step", "waits"), [(-1, False), (0, True), (1, False), (2, False)])
def test_only_a_step_without_duration_waits_for_a_person(step: int, waits: bool) -> None:
    assert strategies.waits_for_promotion(at(PAUSED), in_step(step)) is waits


def test_while_it_waits_for_a_person_it_says_what_is_wrong_with_the_pods() -> None:
    broken = workload(2, ready=0, failure=PodFailure("OOMKilled", "out of memory"), strangers=("by-hand",))
    found = at(PAUSED, workloads=(workload(1), broken))
    state = State(stable=stable(1), candidate=in_step(0))
    shown = status.conditions(found, state, target.choose(found, state), None, None, None)
    message = next(c["message"] for c in shown if c["type"] == "Progressing")
    command = "kubectl -n team annotate modeldeployment churn --overwrite tidemill.io/promote=churn-2/$(date +%s)"
    assert f"until the annotation tidemill.io/promote is set: {command}; OOMKilled" in message
    assert "pod by-hand has the labels of its servers but no ReplicaSet" in message


@pytest.mark.parametrize(
    ("attempt", "deadline", "pause"), [(1, 600, 0), (2, 600, 60), (3, 600, 60), (2, 120, 60), (2, 100, 50), (2, 10, 5)]
)
def test_a_second_attempt_begins_after_a_pause_within_its_deadline(attempt: int, deadline: int, pause: float) -> None:
    found = at({**CANARY, "progressDeadlineSeconds": deadline})
    begins = strategies.begins_at(found, candidate(2, started=100, attempt=attempt))
    assert begins == ago(100) + timedelta(seconds=pause)


IGNORED = {**ANALYSIS, "checks": [], "clientErrors": "Ignore"}


@pytest.mark.parametrize(
    ("rollout", "is_measured", "waits"),
    [
        (CANARY, True, False),
        ({**CANARY, "analysis": ANALYSIS}, True, True),
        ({**CANARY, "analysis": {**ANALYSIS, "checks": []}}, True, True),
        ({**CANARY, "analysis": {**ANALYSIS, "clientErrors": "Ignore"}}, True, True),
        ({**CANARY, "analysis": IGNORED}, False, False),
        (IMMEDIATE, False, False),
    ],
    ids=["nothing asked for", "a check", "no check", "a check, refused ignored", "nothing at all", "Immediate"],
)
def test_refused_requests_are_compared_unless_ignored_and_hold_no_step(
    rollout: dict[str, Any], is_measured: bool, waits: bool
) -> None:
    found = at(rollout)
    assert (strategies.analysis(found) is not None) is is_measured
    assert strategies.waits_for_analysis(found) is waits
    assert strategies.analysis_agrees(found, in_step(0)) is not waits, "nothing was measured yet"


@pytest.mark.parametrize(
    ("verdict", "successes", "waits", "proceeds"),
    [
        ("Successful", 1, True, True),
        ("Inconclusive", 0, False, True),
        ("Inconclusive", 1, True, True),
        ("Failed", 2, False, False),
        ("Error", 2, False, False),
    ],
)
def test_what_a_measurement_allows_with_and_without_traffic(
    verdict: str, successes: int, waits: bool, proceeds: bool
) -> None:
    judged = in_step(0, successes=successes, last_analysis=measured(verdict))
    for traffic, want in (("Wait", waits), ("Proceed", proceeds)):
        found = at({**CANARY, "analysis": {**ANALYSIS, "noTraffic": traffic}})
        assert strategies.analysis_agrees(found, judged) is want


@pytest.mark.parametrize(
    ("step", "seconds", "ready", "is_over"),
    [(0, 59, 1, False), (0, 60, 1, True), (0, 60, 0, False), (2, 0, 1, True), (2, 0, 0, False)],
)
def test_a_step_is_over_with_its_time_while_all_pods_are_ready(
    step: int, seconds: float, ready: int, is_over: bool
) -> None:
    found = at(workloads=(workload(1), workload(2, ready=ready)))
    now = in_step(step, seconds)
    assert strategies.step_is_over(found, State(stable=stable(1), candidate=now), now) is is_over
    paused = at(PAUSED)
    assert not strategies.step_is_over(paused, State(stable=stable(1), candidate=in_step(0, 900)), in_step(0, 900))
