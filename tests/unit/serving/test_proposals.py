"""Who says that a rollback which a monitor requests is carried out."""

from typing import Any

import pytest
from tests.unit.serving.make import TWO, ago, brief, decide, snapshot, stable

from tidemill.serving import plan
from tidemill.serving.snapshot import RollbackRequest, Snapshot

REQUEST = RollbackRequest("r1", "churn-2", "accuracy 0.6 is below 0.8", ago(10))
SERVING_2 = {"stable": stable(2), "previous": stable(1)}


def asked(allowed: str | None, accepted: str | None = None, **status: Any) -> Snapshot:
    spec = {"rollout": {"monitorRollback": allowed}} if allowed else {"rollout": {"monitorRollback": "Propose"}}
    annotations = {} if accepted is None else {"tidemill.io/accept-rollback": accepted}
    return snapshot(spec, {**SERVING_2, **status}, annotations=annotations, rollback_requests=(REQUEST,), **TWO)


@pytest.mark.parametrize(
    ("found", "returns"),
    [
        (asked("Act"), True),
        (asked("Propose"), False),
        (asked("Propose", "r1"), True),
        (asked("Propose", "r0"), False),
        (asked("Never"), False),
        (asked("Never", "r1"), False),
        (asked("Act", last_handled_rollback="r1"), False),
    ],
    ids=["act", "propose", "accepted", "another one accepted", "never", "accepted against the spec", "handled"],
)
def test_who_says_that_it_is_carried_out(found: Snapshot, returns: bool) -> None:
    state, reasons = decide(found)
    assert brief(state)[0] == (1 if returns else 2)
    assert ("RollbackRequested" in reasons) is returns


def proposals(found: Snapshot) -> list[dict[str, Any]]:
    status = plan.plan(found).status
    assert status is not None
    return [c for c in status["conditions"] if c["type"] == "RollbackProposed"]


def test_a_proposal_is_a_condition_that_says_how_to_carry_it_out_and_an_event_once() -> None:
    found = asked("Propose")
    (condition,) = proposals(found)
    assert (condition["status"], condition["reason"]) == ("True", "MonitorRequested")
    assert "churn-2 should be rolled back to churn-1: accuracy 0.6 is below 0.8" in condition["message"]
    assert "tidemill.io/accept-rollback=r1" in condition["message"]
    first = plan.plan(found)
    assert [e.reason for e in first.events if e.reason == "RollbackProposed"] == ["RollbackProposed"]
    found.object["status"] = first.status
    assert "RollbackProposed" not in [e.reason for e in plan.plan(found).events]


@pytest.mark.parametrize(
    "found", [asked("Act"), asked("Never"), asked("Propose", "r1"), asked("Propose", last_handled_rollback="r1")]
)
def test_no_proposal_is_left_where_nobody_has_to_decide(found: Snapshot) -> None:
    assert proposals(found) == []


def test_who_decides_about_a_rollback_is_no_change_of_what_is_rolled_out() -> None:
    """Or a version that was rolled back would be tried again when somebody sets it."""
    digests = {
        snapshot({} if allowed is None else {"rollout": {"monitorRollback": allowed}}).spec_digest
        for allowed in (None, "Never", "Propose", "Act")
    }
    assert len(digests) == 1
