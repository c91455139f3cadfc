"""When to look again: at the moment itself nothing is left to wait for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.serving.make import ANALYSIS, CANARY, ago, candidate, measured, snapshot, stable, version, workload

from tidemill.serving import requeue
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.state import State

ONE_STEP = {"strategy": "Canary", "steps": [{"weight": 10, "durationSeconds": 60}]}
UNMEASURED = {**ONE_STEP, "analysis": {"clientErrors": "Ignore"}}
ANALYSED = {**ONE_STEP, "analysis": ANALYSIS}


def look(rollout: dict[str, Any], **fields: Any) -> float | None:
    """Seconds until the next look at a candidate beside version 1."""
    ready = fields.pop("ready", 0 if fields["step"] < 0 else 1)
    versions, pods = (version(1), version(2)), (workload(1), workload(2, ready=ready))
    status = {"stable": stable(1), "candidate": candidate(2, **fields)}
    found: Snapshot = snapshot({"rollout": rollout}, status, versions=versions, workloads=pods)
    return min(requeue._candidate(found, State.of(found.status), found.status.candidate), default=None)  # type: ignore[arg-type]


CASES = {
    "pods that start, a second before their deadline": (look(CANARY, step=-1, started=599), pytest.approx(1.1)),
    "a second attempt waits": (
        look(ONE_STEP, step=-1, started=20, attempt=2, attempt_reason="errors", ready=1),
        40.0,
    ),
    "a second attempt may begin": (
        look(ONE_STEP, step=-1, started=60, attempt=2, attempt_reason="errors", ready=1),
        requeue.VISIBLE_SECONDS,
    ),
    "pods that start, at their deadline": (look(CANARY, step=-1, started=600), None),
    "a step that ends in five seconds": (look(UNMEASURED, step=0, step_started=55), 5.0),
    "a step that has just ended": (look(UNMEASURED, step=0, step_started=60), requeue.HEALTH_SECONDS),
    "a step without an analysis is measured, too": (look(ONE_STEP, step=0, step_started=2), 13.0),
    "a measurement in three seconds": (
        look(ANALYSED, step=0, step_started=30, last_analysis=measured("Successful", time=12)),
        3.0,
    ),
    "a measurement that is due now": (
        look(ANALYSED, step=0, step_started=30, last_analysis=measured("Successful", time=15)),
        1.0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_look_at_a_candidate(name: str) -> None:
    found, want = CASES[name]
    assert found == want


@pytest.mark.parametrize(("age", "want"), [(599, pytest.approx(1.1)), (600, None), (700, None)])
def test_the_next_look_at_what_is_unsettled(age: float, want: float | None) -> None:
    since = ago(age).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert requeue.deadline(snapshot(), {"unsettledSince": since}) == want
    assert requeue.deadline(snapshot(), {}) is None
