"""Ready means that what is live is what is wanted; what is not says why, and after a while that a person must act."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import ago, candidate, router, scrape, snapshot, stable, version, workload
from tests.unit.serving.test_plan import condition, settled, summary

from tidemill.core.last_applied import fingerprint
from tidemill.core.podfailure import PodFailure
from tidemill.serving import plan
from tidemill.serving.snapshot import RouterWorkload, Snapshot

SPEC: dict[str, Any] = {"replicas": 2}
PODS = workload(1, ready=2, replicas=2)
CRASH = PodFailure("CrashLoopBackOff", "no space left on device", 1)


def serving(
    spec: dict[str, Any] | None = None, *, pods: Any = PODS, since: float | None = None, **fields: Any
) -> Snapshot:
    status: dict[str, Any] = {"stable": stable(1), "observed_generation": 1}
    if since is not None:
        status["unsettled_since"] = ago(since)
    return settled(snapshot(spec or SPEC, status, versions=(version(1),), workloads=(pods,), **fields))


def live(found: Snapshot) -> dict[tuple[str, str], str]:
    """The children as a plan for `found` has applied them."""
    return {(m["kind"], m["metadata"]["name"]): fingerprint(m) for m in plan.plan(found).apply}


CHANGES = {
    "memory": {"server": {"resources": {"limits": {"memory": "2Gi"}}}},
    "runtime": {"server": {"runtime": "Native"}},
    "workers": {"server": {"workers": 2}},
    "fewer pods": {"replicas": 1},
    "more pods": {"replicas": 3},
    "sampling": {"logging": {"sampleRatio": 0.5}},
    "deadline": {"rollout": {"progressDeadlineSeconds": 60}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_first_status_of_a_changed_spec_is_never_ready(name: str) -> None:
    before = serving()
    assert summary(plan.plan(replace(before, applied=live(before)))) == ("True", "Serving", None)
    after = serving({**SPEC, **CHANGES[name]}, generation=2)
    found = plan.plan(replace(after, applied=live(before)))
    assert summary(found) == ("Unknown", "Updating", "Reconciling")
    assert found.status["observedGeneration"] == 2
    if name != "more pods":  # that is a patch, whose echo wakes
        assert found.requeue_after == plan.SOON_SECONDS, "nobody wakes a writer for its own applies"


def test_a_child_that_somebody_changed_or_deleted_is_no_ready_one_either() -> None:
    found = serving()
    for gone in live(found):
        if gone[0] in plan.COMPARED:
            left = {k: v for k, v in live(found).items() if k != gone}
            assert summary(plan.plan(replace(found, applied=left))) == ("Unknown", "Updating", "Reconciling"), gone


def test_once_the_manifests_are_live_the_pods_decide() -> None:
    found = serving(pods=replace(PODS, settled=False))
    assert summary(plan.plan(replace(found, applied=live(found)))) == ("Unknown", "Updating", "Reconciling")


UNSETTLED: dict[str, tuple[Snapshot, str, tuple[str, ...]]] = {
    "a new template that crashes": (
        serving(pods=replace(PODS, settled=False, ready=2, failure=CRASH), since=0),
        "PodsFailing", ("2 of 2 pods of churn-1 are ready", "CrashLoopBackOff: no space left on device"),
    ),
    "one pod of two": (
        serving(pods=replace(PODS, ready=1, failure=PodFailure("Evicted", "low on ephemeral-storage")), since=0),
        "PodsFailing", ("1 of 2 pods of churn-1 is ready", "Evicted: low on ephemeral-storage"),
    ),
    "a crash loop of one pod of two": (
        serving(pods=replace(PODS, ready=1, failure=CRASH), since=0),
        "PodsFailing", ("1 of 2 pods of churn-1 is ready", "CrashLoopBackOff: no space left on device"),
    ),
    "quota": (
        serving(pods=replace(PODS, settled=False, failure=PodFailure("FailedCreate", "exceeded quota")), since=0),
        "PodsRefused", ("FailedCreate: exceeded quota",),
    ),
    "no node for one pod of two": (
        serving(pods=replace(PODS, ready=1, failure=PodFailure("Unschedulable", "0/3 nodes")), since=0),
        "PodsRefused", ("1 of 2 pods of churn-1 is ready", "Unschedulable: 0/3 nodes"),
    ),
    "slow, and nobody says why": (
        serving(pods=replace(PODS, ready=1), since=0),
        "Updating", ("being replaced or scaled: 1 of 2 pods is ready",),
    ),
    "no pod at all": (
        serving(pods=replace(PODS, ready=0, failure=CRASH), since=0), "NoReadyPod", ("CrashLoopBackOff: no space",),
    ),
    "quota for what an autoscaler wants": (
        serving(
            {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}}, since=0,
            pods=replace(PODS, replicas=4, settled=False, failure=PodFailure("FailedCreate", "exceeded quota")),
        ),
        "PodsRefused", ("2 of 4 pods of churn-1 are ready", "FailedCreate: exceeded quota"),
    ),
    "a crash loop among what an autoscaler wants": (
        serving(
            {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}}, pods=replace(PODS, ready=1, failure=CRASH), since=0,
        ),
        "PodsFailing", ("1 of 2 pods of churn-1 is ready", "CrashLoopBackOff: no space"),
    ),
}  # fmt: skip


def aged(found: Snapshot, seconds: float) -> Snapshot:
    return replace(found, status=found.status.model_copy(update={"unsettled_since": ago(seconds)}))


@pytest.mark.parametrize("name", UNSETTLED)
def test_it_says_why_and_is_stalled_after_the_deadline(name: str) -> None:
    found, reason, words = UNSETTLED[name]
    early = plan.plan(aged(found, 599))
    assert (summary(early)[1], summary(early)[2]) == (reason, "Reconciling")
    assert early.requeue_after is not None and early.requeue_after <= 1.2
    late = plan.plan(aged(found, 600))
    assert (summary(late)[0], summary(late)[2]) == ("False", "Stalled")
    for said in (condition(early, "Ready")["message"], condition(late, "Stalled")["message"]):
        assert all(word in said for word in words), said
    assert "more than 600 s (progressDeadlineSeconds)" in condition(late, "Stalled")["message"]
    assert late.status["unsettledSince"] == aged(found, 600).status.unsettled_since.strftime("%Y-%m-%dT%H:%M:%SZ")


def broken_router(**changes: Any) -> Snapshot:
    found = serving(since=0)
    return replace(
        found,
        router=replace(
            found.router, workload=RouterWorkload(**{"replicas": 2, "ready": 2, "settled": True, **changes})
        ),
    )


def test_the_routers_pods_count_too() -> None:
    assert summary(plan.plan(broken_router())) == ("True", "Serving", None)
    bad = broken_router(settled=False, ready=1, failure=PodFailure("ImagePullBackOff", "no such image"))
    early = plan.plan(aged(bad, 10))
    assert summary(early) == ("Unknown", "PodsRefused", "Reconciling")
    assert (
        "1 of 2 pods of the router is ready" in condition(early, "Ready")["message"]
        and "ImagePullBackOff: no such image" in condition(early, "Ready")["message"]
    )
    assert summary(plan.plan(aged(bad, 601))) == ("False", "PodsRefused", "Stalled")
    slow = broken_router(settled=False, ready=1)
    assert summary(plan.plan(aged(slow, 10))) == ("Unknown", "Updating", "Reconciling")
    assert summary(plan.plan(aged(slow, 601))) == ("False", "ProgressDeadlineExceeded", "Stalled")


def test_no_router_pod_says_why() -> None:
    crash = RouterWorkload(replicas=2, ready=0, settled=True, failure=CRASH)
    found = serving(since=0)
    found = replace(found, router=replace(router(scrape(), ready=False), workload=crash))
    assert summary(plan.plan(aged(found, 10)))[1:] == ("NoReadyRouter", "Reconciling")
    late = plan.plan(aged(found, 601))
    assert (
        summary(late)[1:] == ("NoReadyRouter", "Stalled") and "no space left" in condition(late, "Stalled")["message"]
    )


def test_the_clock_starts_with_the_trouble_and_anew_with_a_changed_spec() -> None:
    bad = replace(PODS, ready=1, failure=CRASH)
    first = plan.plan(serving(pods=bad))
    assert first.status["unsettledSince"] == "2026-11-23T12:00:00Z"
    changed = plan.plan(
        serving({"replicas": 2, "rollout": {"progressDeadlineSeconds": 60}}, pods=bad, since=9999, generation=2)
    )
    assert changed.status["unsettledSince"] == "2026-11-23T12:00:00Z" and summary(changed)[2] == "Reconciling"
    assert "unsettledSince" not in plan.plan(serving(since=9999)).status


def test_the_cause_is_in_every_sentence_on_what_is_served() -> None:
    partly = "by 1 of 2 pods; CrashLoopBackOff: no space left on device"
    bad = replace(PODS, ready=1, failure=CRASH)
    assert partly in condition(plan.plan(serving(pods=bad, since=0)), "Available")["message"]
    held = snapshot({**SPEC, "suspend": True}, {"stable": stable(1)}, versions=(version(1),), workloads=(bad,))
    assert partly in condition(plan.plan(held), "Ready")["message"]
    rolling = snapshot(
        {**SPEC, "rollout": {"strategy": "Canary", "steps": [{"weight": 10, "durationSeconds": 60}]}},
        {"stable": stable(1), "candidate": candidate(2)},
        versions=(version(1), version(2)),
        workloads=(bad, workload(2, ready=1, replicas=2)),
    )
    assert f"churn-1 keeps serving, {partly}" in condition(plan.plan(rolling), "Ready")["message"]
    pods = replace(workload(2, ready=1, replicas=2), failure=CRASH)
    moving = replace(
        rolling,
        status=rolling.status.model_copy(update={"candidate": candidate(2, 0, step_started=5)}),
        workloads=(PODS, pods),
    )
    assert "step 1 of 1); CrashLoopBackOff: no space" in condition(plan.plan(moving), "Ready")["message"]
    assert condition(plan.plan(serving()), "Available")["message"] == "churn-1 is served"
