"""Ready of a monitor: the pod of the newest template answers; what keeps it from that is said, and not for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.monitoring.make import SPEC, ago, report, served, snapshot, window

from tidemill.core import conditions
from tidemill.core.last_applied import fingerprint
from tidemill.core.plan import Plan
from tidemill.core.podfailure import PodFailure
from tidemill.monitoring import observe, plan, readiness, requeue
from tidemill.monitoring.snapshot import Reading, Served, Snapshot

READ = report(window(1))


def seen(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **fields: Any) -> Snapshot:
    return snapshot(spec, {"observedGeneration": 1, **(status or {})}, read=READ, **fields)


def live(found: Snapshot) -> dict[tuple[str, str], str]:
    return {(m["kind"], m["metadata"]["name"]): fingerprint(m) for m in plan.plan(found).apply}


def summary(found: Plan) -> tuple[str, str, str | None]:
    assert found.status is not None
    by_type = {c["type"]: c for c in found.status["conditions"]}
    beside = next((k for k in (conditions.RECONCILING, conditions.STALLED) if k in by_type), None)
    return by_type["Ready"]["status"], by_type["Ready"]["reason"], beside


@pytest.mark.parametrize(
    "change",
    [
        {"window": {"seconds": 120, "minRows": 50}},
        {"resources": {"limits": {"memory": "2Gi"}}},
        {"drift": {"features": {"test": "PSI", "threshold": 0.3}}},
    ],
    ids=["window", "memory", "threshold"],
)
def test_the_first_status_of_a_changed_spec_is_never_ready(change: dict[str, Any]) -> None:
    before = seen()
    assert summary(plan.plan(replace(before, applied=live(before)))) == ("True", "Watching", None)
    found = plan.plan(replace(seen({**SPEC, **change}, generation=2), applied=live(before)))
    assert summary(found) == ("False", "MonitorNotReady", "Reconciling")
    assert found.requeue_after == plan.SOON_SECONDS


def test_a_claim_that_cannot_change_any_more_is_not_waited_for() -> None:
    before = seen()
    other = seen({**SPEC, "storage": {"storageClassName": "fast"}}, generation=2)
    assert summary(plan.plan(replace(other, applied=live(before)))) == ("True", "Watching", None)


def test_a_pod_that_does_not_know_the_size_of_its_claim_is_replaced() -> None:
    before = seen()
    larger = seen({**SPEC, "storage": {"size": "9Gi"}}, generation=2)
    assert summary(plan.plan(replace(larger, applied=live(before)))) == ("False", "MonitorNotReady", "Reconciling")


def test_the_pod_of_the_template_before_is_not_the_monitor_that_is_wanted() -> None:
    found = seen(settled=False)
    assert summary(plan.plan(replace(found, applied=live(found)))) == ("False", "MonitorNotReady", "Reconciling")


@pytest.mark.parametrize(
    ("status", "want"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 1}, True),
        ({"observedGeneration": 1, "updatedReplicas": 1}, False),
        ({"observedGeneration": 2}, False),
    ],
)
def test_settled(status: dict[str, int], want: bool) -> None:
    assert observe.is_settled({"metadata": {"generation": 2}, "status": status}) is want
    assert not observe.is_settled(None)


BROKEN: dict[str, dict[str, Any]] = {
    "MonitorNotReady": {"pod_ready": False, "pod_problem": "CrashLoopBackOff: database or disk is full"},
    "MonitorUnreachable": {"reading": Reading(error="the monitor does not answer: timeout")},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_it_says_why_and_is_stalled_after_the_deadline(reason: str) -> None:
    for age, beside in ((readiness.DEADLINE_SECONDS - 1, "Reconciling"), (readiness.DEADLINE_SECONDS, "Stalled")):
        since = ago(age).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = plan.plan(seen(None, {"unsettledSince": since}, **BROKEN[reason]))
        assert summary(found) == ("False", reason, beside)
        assert found.status is not None and found.status["unsettledSince"] == since
        (said,) = [c["message"] for c in found.status["conditions"] if c["type"] == beside]
        assert "disk is full" in said or "timeout" in said
        assert found.requeue_after is not None
        assert found.requeue_after <= (2 if beside == "Reconciling" else 61)


def test_a_monitor_without_anything_to_watch_is_never_overdue() -> None:
    for service in (None, served(version=None)):
        found = plan.plan(seen(None, {"unsettledSince": "2026-11-01T00:00:00Z"}, served=service, pod_ready=False))
        assert summary(found)[2] == "Reconciling"
        assert found.status is not None and "unsettledSince" not in found.status


def test_the_clock_starts_anew_with_a_changed_spec_and_ends_with_the_trouble() -> None:
    old = {"unsettledSince": "2026-11-01T00:00:00Z"}
    changed = plan.plan(seen(None, old, generation=2, pod_ready=False))
    assert changed.status is not None and changed.status["unsettledSince"] == "2026-11-23T12:00:00Z"
    well = plan.plan(seen(None, old))
    assert well.status is not None and "unsettledSince" not in well.status


def test_why_there_is_no_pod_is_reported() -> None:
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: team"}
    refused = observe.failure(None, {"status": {"conditions": [quota]}})
    assert observe.problem(refused, None) == "FailedCreate: exceeded quota: team"
    assert observe.problem(None, None) == "its pod does not exist yet"


@pytest.mark.parametrize(("age", "want"), [(599, pytest.approx(1.1)), (600, None), (700, None)])
def test_at_the_deadline_nothing_is_left_to_wait_for(age: float, want: float | None) -> None:
    since = ago(age).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert requeue.deadline(seen(), {"unsettledSince": since}) == want
    assert requeue.deadline(seen(), {}) is None


def test_a_cause_that_comes_later_is_written_at_once_although_the_reason_is_the_same() -> None:
    before = plan.plan(seen(None, {"lastEvaluationTime": "2026-11-23T11:59:55Z"}, pod_ready=False))
    assert before.status is not None
    text = "FailedCreate: exceeded quota: team"
    after = plan.plan(seen(None, before.status, pod_ready=False, pod_problem=text))
    assert after.status is not None
    assert [c["reason"] for c in after.status["conditions"]] == [c["reason"] for c in before.status["conditions"]]
    assert text in after.status["conditions"][0]["message"]


@pytest.mark.parametrize(("nothing", "reason"), [(None, "DeploymentNotFound"), ({}, "DeploymentNotServing")])
def test_a_monitor_that_waits_for_its_deployment_says_what_its_own_pod_lacks(nothing: Any, reason: str) -> None:
    served = None if nothing is None else Served()
    quota = PodFailure("FailedCreate", "exceeded quota: team")
    found = plan.plan(replace(seen(None, pod_ready=False, pod_failure=quota), served=served))
    assert summary(found) == ("False", reason, "Reconciling")
    assert found.status is not None
    assert found.status["conditions"][0]["message"].endswith("; its own pod: FailedCreate: exceeded quota: team")
