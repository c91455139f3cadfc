"""One pass as a whole: children, routes, removal, status, and when to look again."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.serving.make import (
    ANALYSIS,
    CANARY,
    NOW,
    UID,
    ago,
    candidate,
    failed,
    measured,
    router,
    scrape,
    snapshot,
    stable,
    version,
    workload,
)

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentStatus
from tidemill.core import conditions
from tidemill.core.conditions import format_time
from tidemill.core.plan import ObjectRef, Plan
from tidemill.serving import plan, status
from tidemill.serving.builders import router as router_builder
from tidemill.serving.snapshot import PodFailure, Snapshot

V1, V2 = workload(1).name, workload(2).name
UNMEASURED = {**CANARY, "analysis": {"clientErrors": "Ignore"}}
TWO = {"versions": (version(1), version(2)), "workloads": (workload(1), workload(2))}


def child(found: Plan, kind: str, name: str) -> dict[str, Any]:
    return next(m for m in found.apply if (m["kind"], m["metadata"]["name"]) == (kind, name))


def has(found: Plan, kind: str, name: str) -> bool:
    return any((m["kind"], m["metadata"]["name"]) == (kind, name) for m in found.apply)


def weights(found: Plan) -> dict[str, int]:
    routes = json.loads(child(found, "ConfigMap", "churn-router")["data"]["routes.json"])
    action = routes["resources"][0]["virtual_hosts"][0]["routes"][-1].get("route")
    return {c["name"]: c["weight"] for c in action["weighted_clusters"]["clusters"]} if action else {}


def clusters(found: Plan) -> set[str]:
    text = child(found, "ConfigMap", "churn-router")["data"]["clusters.json"]
    names = {c["name"] for c in json.loads(text)["resources"]}
    http = {name for name in names if not name.endswith("_grpc")}
    assert names - http == {f"{name}_grpc" for name in http}
    return http


def condition(found: Plan, kind: str) -> dict[str, Any] | None:
    assert found.status is not None
    return next((c for c in found.status["conditions"] if c["type"] == kind), None)


def summary(found: Plan) -> tuple[str, str, str | None]:
    """Ready's status and reason, and which of Reconciling and Stalled stands beside it."""
    ready = condition(found, "Ready")
    assert ready is not None
    beside = [k for k in ("Reconciling", "Stalled") if condition(found, k)]
    assert len(beside) <= 1
    return ready["status"], ready["reason"], beside[0] if beside else None


def settled(found: Snapshot) -> Snapshot:
    """The snapshot with the router's ConfigMap as the plan for it has it, in force for long."""
    made = child(plan.plan(found), "ConfigMap", "churn-router")
    routes = made["metadata"]["annotations"][router_builder.ROUTES_VERSION]
    scraped = scrape(routes, {1: 1, 2: 1, 3: 1})
    return replace(found, router=router(scraped, routes=routes, since=300))


SERVING = settled(snapshot({}, {"stable": stable(1)}, versions=(version(1),), workloads=(workload(1),)))


def test_every_status_is_what_the_schema_knows() -> None:
    for found in (SERVING, canary_in_step(0), snapshot()):
        ModelDeploymentStatus.model_validate(plan.plan(found).status)


def canary_in_step(step: int, **fields: Any) -> Snapshot:
    status_ = {"stable": stable(1), "candidate": candidate(2, step, step_started=5)}
    return snapshot({"rollout": CANARY}, status_, **{**TWO, **fields})


def test_a_settled_deployment_is_not_looked_at_by_the_clock() -> None:
    found = plan.plan(SERVING)
    assert found.requeue_after is None and not found.events and not found.delete
    assert summary(found) == ("True", "Serving", None)
    assert weights(found) == {V1: 100}
    assert found.status is not None
    assert found.status["url"] == "http://churn.team.svc"
    assert found.status["selector"].startswith("app.kubernetes.io/component=server,tidemill.io/deployment=churn")
    assert found.status["stable"]["runtime"] == "ONNX"


def test_the_same_snapshot_gives_the_same_children() -> None:
    assert plan.plan(SERVING).apply == plan.plan(replace(SERVING, now=ago(-60))).apply


def test_the_first_version_has_pods_before_it_has_requests() -> None:
    found = plan.plan(snapshot(versions=(version(1),)))
    assert has(found, "Deployment", V1) and has(found, "Service", V1)
    assert weights(found) == {} and clusters(found) == {V1}
    assert summary(found) == ("False", "Starting", "Reconciling")
    kinds = [m["kind"] for m in found.apply]
    assert kinds.index("Deployment") < kinds.index("ConfigMap")


@pytest.mark.parametrize(("ready", "used"), [(1, {V1, V2}), (0, {V1})])
def test_routes_lead_to_the_services_of_versions_that_get_requests(ready: int, used: set[str]) -> None:
    found = plan.plan(canary_in_step(1, workloads=(workload(1), workload(2, ready=ready))))
    assert found.leads_to == {("ConfigMap", "churn-router"): {("Service", name) for name in used}}


def test_weights_follow_the_step() -> None:
    found = plan.plan(canary_in_step(0))
    assert weights(found) == {V1: 90, V2: 10}
    assert found.status is not None
    assert (found.status["stable"]["weight"], found.status["candidate"]["weight"]) == (90, 10)
    assert summary(found) == ("Unknown", "RollingOut", "Reconciling")
    assert condition(found, "Available")["status"] == "True"
    assert condition(found, "Progressing")["reason"] == "CanaryStep"


def test_an_unready_candidate_gets_no_request_and_its_step_is_kept() -> None:
    found = plan.plan(canary_in_step(1, workloads=(workload(1), workload(2, ready=0))))
    assert weights(found) == {V1: 100}
    assert found.status["candidate"]["weight"] == 0 and found.status["candidate"]["step"] == 1
    again = plan.plan(
        snapshot(
            {"rollout": CANARY},
            {"stable": stable(1), "candidate": candidate(2, 1, step_started=5, weight=0)},
            **TWO,
        )
    )
    assert weights(again) == {V1: 50, V2: 50}


def test_the_old_version_stays_for_a_while_without_requests() -> None:
    after = {"stable": stable(2, since=5), "previous": stable(1)}
    found = settled(snapshot({}, after, **TWO))
    young = replace(found, router=replace(found.router, routes_since=ago(29)))
    early = plan.plan(young)
    assert clusters(early) == {V1, V2} and weights(early) == {V2: 100} and not early.delete
    assert early.requeue_after == pytest.approx(2.0)
    assert not has(early, "Deployment", V1)  # left as it is


def children(*names: str) -> tuple[ObjectRef, ...]:
    return tuple(
        ObjectRef("apps/v1" if kind == "Deployment" else "v1", kind, "team", name, "u")
        for name in names
        for kind in ("Deployment", "Service")
        if (kind, name) != ("Service", "churn-router")
    )


def test_the_old_version_goes_when_its_routes_are_gone_everywhere() -> None:
    after = {"stable": stable(2, since=40), "previous": stable(1)}
    found = replace(settled(snapshot({}, after, **TWO)), children=children(V1, V2, "churn-router"))
    done = plan.plan(replace(found, router=replace(found.router, routes_since=ago(31))))
    assert {(r.kind, r.name) for r in done.delete} == {("Deployment", V1), ("Service", V1)}
    assert all(r.uid == "u" for r in done.delete)
    assert clusters(done) == {V2}


@pytest.mark.parametrize(("age", "gone"), [(31, False), (121, True)])
def test_a_router_that_does_not_answer_delays_the_removal(age: float, gone: bool) -> None:
    after = {"stable": stable(2, since=40), "previous": stable(1)}
    found = replace(settled(snapshot({}, after, **TWO)), children=children(V1, V2))
    silent = router(None, routes=found.router.routes_version, since=age)
    assert bool(plan.plan(replace(found, router=silent)).delete) == gone


def test_a_router_that_follows_old_routes_delays_the_removal() -> None:
    after = {"stable": stable(2, since=40), "previous": stable(1)}
    found = replace(settled(snapshot({}, after, **TWO)), children=children(V1, V2))
    old = router(scrape("old"), routes=found.router.routes_version, since=31)
    assert not plan.plan(replace(found, router=old)).delete


def test_router_pods_are_refreshed_once_for_new_files_and_again_when_they_missed_them() -> None:
    (patch,) = plan.plan(SERVING).patches
    value = patch.body["metadata"]["annotations"]["tidemill.io/refreshed-at"]
    pod = replace(SERVING.router.pods[0], refreshed=value)
    quiet = replace(SERVING, router=replace(SERVING.router, pods=(pod,)))
    assert plan.plan(quiet).patches == ()
    missed = replace(pod, scrape=scrape("old"))
    late = replace(SERVING, router=replace(SERVING.router, pods=(missed,), routes_since=ago(5)))
    (again,) = plan.plan(late).patches
    assert again.body["metadata"]["annotations"]["tidemill.io/refreshed-at"] == f"{value}.2"
    assert plan.plan(late).requeue_after == 0.5


@pytest.mark.parametrize(
    ("scraped", "since", "want"),
    [
        (scrape("old", {1: 1}), 300, "Updating"),  # follows other routes
        (scrape(None, {1: 1}), 1, "Updating"),  # did not say, and they are new
        (None, 1, "Updating"),
        (None, 5, "Serving"),  # cannot be asked: time must do
    ],
)
def test_ready_waits_for_the_router(scraped: Any, since: float, want: str) -> None:
    live = router(scraped, routes=SERVING.router.routes_version, since=since)
    found = plan.plan(replace(SERVING, router=live))
    assert summary(found)[1] == want
    assert (found.requeue_after == 0.5) == (want == "Updating")


def test_ready_waits_until_the_router_knows_an_address() -> None:
    routes = SERVING.router.routes_version
    served = conditions.Condition("Available", "True", "Serving", "", 1, NOW).to_json()
    object_ = {**SERVING.object, "status": {**SERVING.object["status"], "conditions": [served]}}
    for since, want in (
        (5, ("Unknown", "Updating", "Reconciling")),
        (10, ("False", "NoReachablePod", "Reconciling")),
    ):
        live = router(scrape(routes, {1: 0}), routes=routes, since=since)
        found = plan.plan(replace(SERVING, object=object_, router=live))
        assert summary(found) == want and found.requeue_after == 0.5


def test_routes_since_moves_only_with_the_routes() -> None:
    notes = child(plan.plan(SERVING), "ConfigMap", "churn-router")["metadata"]["annotations"]
    assert notes[router_builder.ROUTES_SINCE] == "2026-11-23T11:55:00Z"
    changed = replace(SERVING, router=replace(SERVING.router, routes_version="other"))
    notes = child(plan.plan(changed), "ConfigMap", "churn-router")["metadata"]["annotations"]
    assert notes[router_builder.ROUTES_SINCE] == "2026-11-23T12:00:00Z"


def scales(found: Plan) -> dict[str, int]:
    return {p.ref.name: p.body["spec"]["replicas"] for p in found.patches if p.ref.kind == "Deployment"}


def test_replicas_are_patched_and_never_applied() -> None:
    found = plan.plan(
        snapshot({"replicas": 3}, {"stable": stable(1)}, versions=(version(1),), workloads=(workload(1),))
    )
    assert scales(found) == {V1: 3}
    assert "replicas" not in child(found, "Deployment", V1)["spec"]
    assert has(found, "PodDisruptionBudget", V1) and has(found, "PodDisruptionBudget", "churn-router")
    assert child(found, "Deployment", "churn-router")["spec"]["replicas"] == 2
    assert summary(found) == ("Unknown", "Updating", "Reconciling")


def test_a_candidate_starts_with_all_its_pods() -> None:
    pods = workload(1, replicas=3, ready=3)
    found = plan.plan(
        snapshot({"replicas": 3}, {"stable": stable(1)}, versions=(version(1), version(2)), workloads=(pods,))
    )
    assert scales(found) == {V2: 3}


AUTOSCALING = {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}


def test_with_autoscaling_only_the_autoscaler_writes_replicas() -> None:
    pods = workload(1, replicas=6, ready=6)
    found = plan.plan(settled(snapshot(AUTOSCALING, {"stable": stable(1)}, versions=(version(1),), workloads=(pods,))))
    assert scales(found) == {}
    assert child(found, "HorizontalPodAutoscaler", V1)["spec"]["minReplicas"] == 2
    assert summary(found) == ("True", "Serving", None)


def test_with_autoscaling_a_candidate_is_as_large_as_the_stable_version() -> None:
    pods = workload(1, replicas=6, ready=6)
    found = plan.plan(
        snapshot(AUTOSCALING, {"stable": stable(1)}, versions=(version(1), version(2)), workloads=(pods,))
    )
    assert scales(found) == {V2: 6}
    assert child(found, "HorizontalPodAutoscaler", V2)["spec"]["minReplicas"] == 6


def test_extras_that_spec_no_longer_asks_for_go() -> None:
    refs = (
        ObjectRef("policy/v1", "PodDisruptionBudget", "team", V1, "u"),
        ObjectRef("policy/v1", "PodDisruptionBudget", "team", "churn-router", "u"),
        ObjectRef("autoscaling/v2", "HorizontalPodAutoscaler", "team", V1, "u"),
        ObjectRef("v1", "Service", "team", "churn", "u"),
        ObjectRef("v1", "Service", "team", V1, "u"),
    )
    gone = plan.plan(replace(SERVING, children=refs)).delete
    assert [(r.kind, r.name) for r in gone] == [(r.kind, r.name) for r in refs[:3]]


def test_suspend_changes_nothing() -> None:
    status_ = {"stable": stable(1), "candidate": candidate(2, 0, step_started=500, weight=10)}
    found = plan.plan(snapshot({"suspend": True, "rollout": CANARY}, status_, generation=2, **TWO))
    assert not found.apply and not found.patches and not found.delete and not found.events
    assert found.requeue_after is None
    assert found.status["candidate"]["weight"] == 10 and found.status["candidate"]["step"] == 0
    assert condition(found, "Ready")["reason"] == "Suspended"


@pytest.mark.parametrize(("rollout", "is_told"), [(CANARY, False), ({**CANARY, "analysis": ANALYSIS}, True)])
def test_too_few_requests_are_told_where_a_step_waits_for_them(rollout: dict[str, Any], is_told: bool) -> None:
    few = candidate(2, 0, step_started=20, last_analysis=measured("Inconclusive", time=5))
    found = plan.plan(snapshot({"rollout": rollout}, {"stable": stable(1), "candidate": few}, **TWO))
    assert ("last measurement" in condition(found, "Progressing")["message"]) == is_told


@pytest.mark.parametrize(
    ("since", "last", "reason"),
    [
        (59, "Inconclusive", "CanaryStep"),
        (61, "Inconclusive", "WaitingForMeasurement"),
        (61, None, "WaitingForMeasurement"),
        (61, "Error", "WaitingForMeasurement"),
        (61, "Successful", "CanaryStep"),
    ],
)
def test_a_candidate_whose_step_is_over_and_that_nobody_could_judge_has_a_reason_of_its_own(
    since: float, last: str | None, reason: str
) -> None:
    """The alert TidemillCandidateUnjudged follows it."""
    successes = 1 if last == "Successful" else 0
    seen = measured(last, time=5) if last else None
    started = candidate(2, 0, step_started=since, last_analysis=seen, successes=successes, weight=10)
    rollout = {**CANARY, "analysis": ANALYSIS}
    found = plan.plan(snapshot({"rollout": rollout}, {"stable": stable(1), "candidate": started}, **TWO))
    assert condition(found, "Progressing")["reason"] == reason
    assert found.status is not None and found.status["candidate"]["step"] == (1 if last == "Successful" else 0)


@pytest.mark.parametrize(
    ("since", "last", "more", "is_told"),
    [
        (59, "Inconclusive", {}, False),
        (61, "Inconclusive", {}, True),
        (61, None, {}, True),
        (61, "Error", {}, False),
        (61, "Inconclusive", {"requireProof": True, "checks": []}, True),
    ],
)
def test_a_step_that_waits_for_requests_says_how_it_ends(
    since: float, last: str | None, more: dict[str, Any], is_told: bool
) -> None:
    seen = measured(last, time=5) if last else None
    started = candidate(2, 0, step_started=since, last_analysis=seen, weight=10)
    rollout = {**CANARY, "analysis": {**ANALYSIS, **more}}
    found = plan.plan(snapshot({"rollout": rollout}, {"stable": stable(1), "candidate": started}, **TWO))
    proceed = "" if more else "set spec.rollout.analysis.noTraffic to Proceed, "
    command = "kubectl -n team annotate modeldeployment churn --overwrite tidemill.io/promote=churn-2/$(date +%s)"
    says = f"it waits for requests: send more requests, {proceed}or give it all of them: {command}"
    for name in ("Ready", "Progressing"):
        assert (says in condition(found, name)["message"]) == is_told


@pytest.mark.parametrize("step", [-1, 0])
def test_a_second_attempt_says_why(step: int) -> None:
    second = candidate(2, step, started=5, step_started=None if step < 0 else 5, attempt=2, attempt_reason="it erred")
    found = plan.plan(snapshot({"rollout": CANARY}, {"stable": stable(1), "candidate": second}, **TWO))
    waits = f", which gets requests at {format_time(NOW + timedelta(seconds=55))}" if step < 0 else ""
    for kind in ("Progressing", "Ready"):
        assert condition(found, kind)["message"].endswith(f"; attempt 2{waits}, because it erred")
    assert weights(found) == ({V1: 100} if step < 0 else {V1: 90, V2: 10})
    assert found.status["candidate"]["attempt"] == 2


def test_a_version_that_was_rolled_back_needs_a_human() -> None:
    pin = {"model": {"pipeline": "churn", "number": 2}}
    found = plan.plan(settled(snapshot(pin, {"stable": stable(1), "failed_versions": [failed(2, pin)]}, **TWO)))
    assert summary(found) == ("False", "RolledBack", "Stalled")
    assert condition(found, "RolledBack")["reason"] == "AnalysisFailed"
    assert condition(found, "Available")["status"] == "True"
    assert weights(found) == {V1: 100}


def test_the_first_version_that_cannot_start_is_stalled() -> None:
    broken = workload(1, ready=0, failure=PodFailure("DigestMismatch", "model.onnx has another digest", 42))
    found = plan.plan(snapshot({}, {"candidate": candidate(1)}, versions=(version(1),), workloads=(broken,)))
    assert summary(found) == ("False", "DigestMismatch", "Stalled")
    assert "another digest" in condition(found, "Stalled")["message"]


def test_waiting_says_for_what_and_keeps_serving() -> None:
    found = plan.plan(
        snapshot(
            {"model": {"pipeline": "churn", "number": 9}},
            {"stable": stable(1)},
            versions=(version(1),),
            workloads=(workload(1),),
        )
    )
    assert summary(found) == ("False", "VersionNotFound", "Reconciling")
    assert condition(found, "Available")["status"] == "True" and weights(found) == {V1: 100}


def test_without_any_version_the_address_is_there_already() -> None:
    found = plan.plan(snapshot(pipeline_exists=False))
    assert has(found, "Service", "churn") and weights(found) == {}
    assert summary(found) == ("False", "PipelineNotFound", "Reconciling")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"workloads": (workload(1, ready=0),)}, "NoReadyPod"),
        ({"router": router(ready=False)}, "NoReadyRouter"),
        ({"router": router(scrape(members={1: 0}), scrape(members={2: 1}))}, "NoReachablePod"),
    ],
)
def test_available_tells_what_is_missing(fields: dict[str, Any], reason: str) -> None:
    base = {"versions": (version(1),), "workloads": (workload(1),)}
    found = plan.plan(snapshot({}, {"stable": stable(1)}, **{**base, **fields}))
    assert condition(found, "Available")["reason"] == reason
    assert summary(found) == ("False", reason, "Reconciling")


def test_scaled_to_zero_is_what_was_requested() -> None:
    empty = workload(1, replicas=0, ready=0, settled=True)
    wanted = snapshot({"replicas": 0}, {"stable": stable(1)}, versions=(version(1),), workloads=(empty,))
    assert summary(plan.plan(settled(wanted))) == ("True", "ScaledToZero", None)


def test_reasons_are_documented_words() -> None:
    for found in (SERVING, canary_in_step(0), canary_in_step(-1), snapshot(), snapshot(pipeline_exists=False)):
        for c in plan.plan(found).status["conditions"]:
            assert c["reason"] in status.REASONS


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (
            snapshot(
                {"rollout": UNMEASURED}, {"stable": stable(1), "candidate": candidate(2, 0, step_started=5)}, **TWO
            ),
            15.0,
        ),
        (
            snapshot(
                {"rollout": UNMEASURED}, {"stable": stable(1), "candidate": candidate(2, 0, step_started=55)}, **TWO
            ),
            5.0,
        ),
        (
            snapshot(
                {"rollout": {**CANARY, "analysis": ANALYSIS}},
                {"stable": stable(1), "candidate": candidate(2, 0, step_started=6)},
                **TWO,
            ),
            9.0,
        ),
        (
            snapshot(
                {"rollout": {**CANARY, "progressDeadlineSeconds": 30}},
                {"stable": stable(1), "candidate": candidate(2, started=10)},
                versions=(version(1), version(2)),
                workloads=(workload(1), workload(2, ready=0)),
            ),
            20.1,
        ),
    ],
    ids=["health", "end of the step", "next measurement", "deadline"],
)
def test_next_look(found: Snapshot, want: float) -> None:
    routed = settled(found)
    assert plan.plan(routed).requeue_after == pytest.approx(want)


def test_children_belong_to_the_deployment_and_carry_no_user_labels() -> None:
    for manifest in plan.plan(canary_in_step(0)).apply:
        meta = manifest["metadata"]
        assert meta["namespace"] == "team"
        assert [o["uid"] for o in meta["ownerReferences"]] == [UID] and meta["ownerReferences"][0]["controller"]
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "tidemill"


def test_names_of_a_deployment_with_63_characters_fit() -> None:
    name = "a" * 63
    found = plan.plan(snapshot(name=name, versions=(version(1),)))
    for manifest in found.apply:
        assert len(manifest["metadata"]["name"]) <= 63
    assert len({(m["kind"], m["metadata"]["name"]) for m in found.apply}) == len(found.apply)


def test_time_of_the_snapshot_is_the_time_in_the_status() -> None:
    found = plan.plan(snapshot(versions=(version(1),)))
    assert found.status["candidate"]["startedAt"] == NOW.isoformat().replace("+00:00", "Z")
