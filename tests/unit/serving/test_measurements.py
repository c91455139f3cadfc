"""When a candidate is looked at, and what a look waits for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.serving.make import (
    ANALYSIS,
    NOW,
    TWO,
    candidate,
    measured,
    measurement,
    snapshot,
    stable,
    stats,
)

from tidemill.serving.policy import measurements
from tidemill.serving.policy.measurements import Look
from tidemill.serving.state import State

RATIO = {**ANALYSIS, "checks": [{"metric": "ErrorRatio", "maxRatioToStable": 2}]}


def look(step: dict[str, Any], analysis: dict[str, Any] | None, began: float, **record: Any) -> Look | None:
    """A look at a candidate that got 100 requests in its step, and the stable version none; seconds ago it began."""
    rollout = {"strategy": "Canary", "steps": [step], **({"analysis": analysis} if analysis else {})}
    status = {"stable": stable(1), "candidate": candidate(2, step=0, step_started=began, **record)}
    counted = measurement(stable=(1, stats(0)), candidate=(2, stats(100)), seconds=began)
    found = snapshot({"rollout": rollout}, status, measurement=counted, **TWO)
    return measurements.look(found, State.of(found.status))


@pytest.mark.parametrize(("weight", "verdict"), [(98, "Inconclusive"), (99, "Inconclusive"), (100, "Successful")])
def test_only_a_step_in_which_the_stable_version_gets_no_requests_waits_for_no_comparison(
    weight: int, verdict: str
) -> None:
    found = look({"weight": weight, "durationSeconds": 60}, RATIO, 30)
    assert found is not None and found.state.candidate is not None
    last = found.state.candidate.last_analysis
    assert last is not None
    assert last.verdict == verdict
    assert ("waits for no comparison" in last.message) == (weight == 100)


SHORT, BY_HAND = {"weight": 10, "durationSeconds": 60}, {"weight": 10}


@pytest.mark.parametrize(
    ("step", "analysis", "began", "looked", "due"),
    [
        (SHORT, None, 60, 5, True),
        (SHORT, None, 59, 5, False),
        (SHORT, None, 63, 5, True),
        (SHORT, None, 66, 6, False),
        (SHORT, None, 66, 15, True),
        (SHORT, RATIO, 60, 5, False),
        (BY_HAND, None, 60, 5, False),
        (BY_HAND, None, 60, 15, True),
    ],
    ids=[
        "the step ends now",
        "the step goes on",
        "it has ended since",
        "it was looked at when it ended",
        "an interval is over",
        "the step waits for its analysis",
        "a step without an end",
        "a step without an end, an interval is over",
    ],
)
def test_there_is_a_look_each_interval_and_one_at_the_end_of_a_step_that_waits_for_none(
    step: dict[str, Any], analysis: dict[str, Any] | None, began: float, looked: float, due: bool
) -> None:
    last = measured("Successful", time=looked, since=began)
    found = look(step, analysis, began, last_analysis=last)
    assert (found is not None) == due


def test_requests_are_compared_from_the_beginning_of_the_first_step_on() -> None:
    rollout = {"strategy": "Canary", "steps": [SHORT], "analysis": RATIO}
    status = {"stable": stable(1), "candidate": candidate(2)}
    found = snapshot({"rollout": rollout}, status, **TWO)
    state = State.of(found.status)
    assert state.candidate is not None
    fields = measurements.begun(found, state, state.candidate)
    assert fields["comparison"] is not None
    assert fields["comparison"].time == NOW
