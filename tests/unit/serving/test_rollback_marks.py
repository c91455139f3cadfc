"""A version that was rolled back: marked on itself, not followed any more, and given another chance by people only."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import (
    CANARY,
    NOW,
    TWO,
    ago,
    brief,
    candidate,
    decide,
    digest,
    failed,
    router,
    scrape,
    snapshot,
    stable,
    version,
    workload,
)
from tests.unit.serving.test_plan import condition, settled, summary

from tidemill.api.v1alpha1.rollback import FailedVersion
from tidemill.core.plan import Plan
from tidemill.serving import plan
from tidemill.serving.policy import rollback_marks
from tidemill.serving.snapshot import PodFailure, RollbackRequest, Snapshot
from tidemill.serving.state import State

MARK = {"churn": "AnalysisFailed: too slow"}
ELSEWHERE = {"shop": "Aborted: by hand"}
SERVING_1 = {"stable": stable(1)}
ABORT = {"annotations": {"tidemill.io/abort": "x"}}


def marked(found: Plan) -> dict[str, Any]:
    """What the plan writes into ModelVersions, by version."""
    mine = [p for p in found.patches if p.ref.kind == "ModelVersion"]
    assert all(p.subresource == "status" and p.ref.uid is None for p in mine)
    return {p.ref.name: p.body["status"]["takenBack"]["churn"] for p in mine}


def deployed(
    spec: dict[str, Any], status: dict[str, Any], second: dict[str, Any] | None = None, **fields: Any
) -> Snapshot:
    """Versions 1 and 2 exist; `second`: what is known of version 2."""
    versions = (version(1), version(2, **(second or {})))
    return snapshot(spec, status, **{"versions": versions, "workloads": (workload(1), workload(2)), **fields})


ROLLED_BACK = {
    "aborted": (
        deployed({"rollout": CANARY}, {**SERVING_1, "candidate": candidate(2, 0, step_started=5)}, **ABORT),
        "Aborted",
    ),
    "at a monitor's request": (
        deployed(
            {},
            {"stable": stable(2), "previous": stable(1)},
            rollback_requests=(RollbackRequest("r1", "churn-2", "accuracy 0.6 is below 0.8", ago(10)),),
        ),
        "MonitorRequested",
    ),
    "rejected as a candidate": (
        deployed(
            {"rollout": CANARY},
            {**SERVING_1, "candidate": candidate(2, 0, step_started=5)},
            {"approved": False, "rejected": True, "note": "rejected by Ann"},
        ),
        "Rejected",
    ),
    "rejected while it serves": (
        deployed({}, {"stable": stable(2)}, {"approved": False, "rejected": True, "note": "rejected by Ann"}),
        "Rejected",
    ),
    "known from before, and not marked yet": (
        deployed({}, {**SERVING_1, "failed_versions": [failed(2)]}),
        "AnalysisFailed",
    ),
}


@pytest.mark.parametrize("name", ROLLED_BACK)
def test_the_version_is_marked_in_the_same_pass(name: str) -> None:
    found, reason = ROLLED_BACK[name]
    (entry,) = marked(plan.plan(found)).values()
    assert (entry["digest"], entry["reason"]) == (digest(2), reason)
    assert entry["message"] and entry["time"]


FAILED = {
    "the deadline": workload(2, ready=0),
    "the server": workload(2, ready=0, failure=PodFailure("DigestMismatch", "model.onnx has another digest", 42)),
}


@pytest.mark.parametrize("name", FAILED)
def test_what_did_not_get_ready_is_not_marked(name: str) -> None:
    status = {**SERVING_1, "candidate": candidate(2, started=601)}
    found = plan.plan(deployed({"rollout": CANARY}, status, workloads=(workload(1), FAILED[name])))
    assert marked(found) == {}
    assert found.status["failedVersions"][0]["version"] == "churn-2"
    assert summary(found) == ("False", "RolledBack", "Stalled"), "it is still the wanted version"


def test_what_the_cluster_refused_is_neither_marked_nor_remembered() -> None:
    refused = workload(2, ready=0, failure=PodFailure("Unschedulable", "no node fits"))
    status = {**SERVING_1, "candidate": candidate(2, started=601)}
    found = plan.plan(deployed({"rollout": CANARY}, status, workloads=(workload(1), refused)))
    assert marked(found) == {}
    assert "failedVersions" not in found.status
    assert summary(found) == ("False", "PodsRefused", "Stalled"), "it is still the wanted version"


def test_a_pass_that_ended_between_mark_and_status_is_finished_by_the_next() -> None:
    status = {**SERVING_1, "candidate": candidate(2, 0, step_started=5)}
    found = deployed({"rollout": CANARY}, status, {"rolled_back": MARK}, router=router(scrape()))
    state, reasons = decide(found)
    assert brief(state) == (1, None, None) and reasons == ["RolledBack"]
    assert [(f.version, f.reason, f.message) for f in state.failed] == [("churn-2", "AnalysisFailed", "too slow")]
    written = plan.plan(found)
    assert condition(written, "RolledBack")["reason"] == "AnalysisFailed" and marked(written) == {}


def test_a_mark_is_written_once_and_not_beyond_a_bound() -> None:
    status = {**SERVING_1, "failed_versions": [failed(2)]}
    assert marked(plan.plan(deployed({}, status, {"rolled_back": MARK}))) == {}
    others = {f"other-{n}": "Aborted: x" for n in range(rollback_marks.MOST_MARKS)}
    assert marked(plan.plan(deployed({}, status, {"rolled_back": others}))) == {}
    assert list(marked(plan.plan(deployed({}, status, {"rolled_back": ELSEWHERE})))) == ["churn-2"]


def test_a_version_without_record_has_nothing_to_be_marked_on() -> None:
    gone = workload(2, version=version(2, recorded=False, approved=False))
    found = snapshot(
        {}, {**SERVING_1, "failed_versions": [failed(2)]}, versions=(version(1),), workloads=(workload(1), gone)
    )
    assert marked(plan.plan(found)) == {}


FOLLOWED = {
    "a new follower passes over it": ({}, {}, {"rolled_back": ELSEWHERE}, (None, 1, -1)),
    "a new follower has no other": ({}, {"versions": (version(2, rolled_back=ELSEWHERE),)}, None, (None, 2, -1)),
    "an older one that another deployment is on is not left for it": (
        {"stable": stable(1)},
        {},
        {"rolled_back": ELSEWHERE},
        (1, None, None),
    ),
    "another deployment's verdict does not replace what serves well here": (
        {"stable": stable(2)},
        {},
        {"rolled_back": ELSEWHERE},
        (2, None, None),
    ),
    "another deployment's verdict ends a canary here": (
        {"stable": stable(1), "candidate": candidate(2, 0, step_started=5)},
        {},
        {"rolled_back": ELSEWHERE},
        (1, None, None),
    ),
    "its own verdict holds although the spec has changed": (
        {"stable": stable(1), "failed_versions": [failed(2, {"server": {"runtime": "Native"}})]},
        {},
        {"rolled_back": MARK},
        (1, None, None),
    ),
    "nothing unmarked but the one without a record that serves": (
        {"stable": stable(1)},
        {
            "versions": (version(2, rolled_back=ELSEWHERE),),
            "workloads": (workload(1, version=version(1, recorded=False, approved=False)),),
        },
        None,
        (1, None, None),
    ),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_who_follows_a_marked_version(name: str) -> None:
    status, fields, second, want = FOLLOWED[name]
    found = deployed({"rollout": CANARY}, status, second, router=router(scrape()), **fields)
    if name.startswith("a new"):
        found = replace(found, workloads=())
    assert brief(decide(found)[0]) == want


def test_a_pin_is_obeyed() -> None:
    found = deployed(
        {"model": {"pipeline": "churn", "number": 2}}, SERVING_1, {"rolled_back": ELSEWHERE}, router=router(scrape())
    )
    assert brief(decide(found)[0]) == (1, 2, -1)


def test_a_return_is_finished_although_the_spec_changes_meanwhile() -> None:
    status = {"stable": stable(2), "previous": stable(1), "candidate": candidate(1)}
    found = deployed({"server": {"runtime": "Native"}}, status, {"rolled_back": MARK}, router=router(scrape()))
    assert brief(decide(found)[0]) == (2, 1, -1)


def test_after_a_rollback_a_follower_is_ready_and_says_what_was_rolled_back() -> None:
    status = {**SERVING_1, "failed_versions": [failed(2)]}
    for second in ({}, {"rolled_back": MARK}):  # also in the pass that writes the mark
        found = plan.plan(settled(deployed({}, status, second)))
        assert summary(found) == ("True", "Serving", None)
        assert "churn-2 was rolled back (AnalysisFailed: too slow)" in condition(found, "Ready")["message"]
        assert (condition(found, "RolledBack")["status"], condition(found, "RolledBack")["reason"]) == (
            "True",
            "AnalysisFailed",
        )


def test_the_very_pass_that_takes_it_back_does_not_say_that_a_person_must_act() -> None:
    found = deployed({"rollout": CANARY}, {**SERVING_1, "candidate": candidate(2, 0, step_started=5)}, **ABORT)
    assert summary(plan.plan(found))[2] != "Stalled"


@pytest.mark.parametrize("model", [{"pipeline": "churn", "number": 2}, {"version": "churn-2"}])
def test_after_a_return_a_pin_is_not_ready(model: dict[str, Any]) -> None:
    record = FailedVersion(**{**failed(2).model_dump(), "spec": snapshot({"model": model}).spec_digest})
    found = plan.plan(
        settled(deployed({"model": model}, {**SERVING_1, "failed_versions": [record]}, {"rolled_back": MARK}))
    )
    assert summary(found) == ("False", "RolledBack", "Stalled")
    assert condition(found, "RolledBack")["reason"] == "AnalysisFailed"


def test_a_new_follower_is_ready_with_the_older_one_and_says_why() -> None:
    found = plan.plan(settled(deployed({}, SERVING_1, {"rolled_back": ELSEWHERE})))
    assert summary(found) == ("True", "Serving", None)
    assert "ModelDeployment shop rolled it back (Aborted: by hand)" in condition(found, "Ready")["message"]
    assert not [c for c in found.status["conditions"] if c["type"] == "RolledBack"]


UNAPPROVED = {
    "rejected": ({"rejected": True, "note": "rejected by ann: unfair"}, ("False", "VersionRejected", "Stalled")),
    "not decided again yet": ({"note": ""}, ("False", "WaitingForApproval", "Reconciling")),
}


@pytest.mark.parametrize("name", UNAPPROVED)
@pytest.mark.parametrize("ready", [2, 0], ids=["served", "down"])
def test_a_follower_that_serves_an_unapproved_version_for_want_of_another_is_not_ready(name: str, ready: int) -> None:
    known, want = UNAPPROVED[name]
    versions = tuple(version(n, **{"approved": False, **known}) for n in (1, 2))
    found = plan.plan(
        deployed({}, {"stable": stable(2)}, versions=versions, workloads=(workload(2, ready=ready),)),
    )
    assert summary(found) == want
    message = next(c["message"] for c in found.status["conditions"] if c["type"] == "Ready")
    why = f"churn-2 is not approved ({known['note'] or 'no decision yet'}), nor is any other version"
    assert why in message and ("churn-2 is served; " in message) == bool(ready)
    available = next(c["status"] for c in found.status["conditions"] if c["type"] == "Available")
    assert available == ("True" if ready else "False") and found.status["stable"]["version"] == "churn-2"


@pytest.mark.parametrize("model", [{"pipeline": "churn"}, {"version": "churn-1"}], ids=["followed", "pinned"])
def test_a_first_version_that_is_rejected_while_its_pods_start_is_never_served(model: dict[str, Any]) -> None:
    rejected = version(1, approved=False, rejected=True, note="rejected by ann")
    found = snapshot({"model": model}, {"candidate": candidate(1)}, versions=(rejected,), workloads=(workload(1),))
    state, reasons = decide(found)
    assert brief(state) == (None, None, None) and reasons == ["RolledBack"]
    assert summary(plan.plan(found))[0] == "False" and marked(plan.plan(found))["churn-1"]["reason"] == "Rejected"


def test_a_rejected_version_stays_where_the_only_other_was_rolled_back_here() -> None:
    versions = (version(1, rolled_back=MARK), version(2, approved=False, rejected=True, note="rejected by ann"))
    status = {"stable": stable(2), "failed_versions": [failed(1)]}
    found = snapshot({}, status, versions=versions, workloads=(workload(2),), router=router(scrape()))
    state, reasons = decide(found)
    assert brief(state) == (2, None, None) and reasons == [], "nobody hears of a rollback that does not come"


def test_a_newer_version_ends_the_condition() -> None:
    three = (version(1), version(2, rolled_back=MARK), version(3))
    status = {"stable": stable(3), "failed_versions": [failed(2)]}
    found = plan.plan(settled(snapshot({}, status, versions=three, workloads=(workload(3),))))
    assert not [c for c in found.status["conditions"] if c["type"] == "RolledBack"]


def test_retry_on_the_deployment_lifts_its_own_marks() -> None:
    both = {"rolled_back": {**MARK, **ELSEWHERE}}
    found = plan.plan(
        deployed({}, {**SERVING_1, "failed_versions": [failed(2)]}, both, annotations={"tidemill.io/retry": "x"})
    )
    assert marked(found) == {"churn-2": None}
    assert "failedVersions" not in found.status
    later = {**SERVING_1, "last_handled_retry": "x"}
    again = plan.plan(deployed({}, later, both, annotations={"tidemill.io/retry": "x"}))
    assert marked(again) == {}, "a value counts once"


def test_a_mark_that_a_person_has_lifted_lets_it_be_tried_again() -> None:
    status = {**SERVING_1, "failed_versions": [failed(2, {"rollout": CANARY})]}
    for lifted in (NOW, ago(300)):  # 300: the very second in which it failed
        at_once = deployed({"rollout": CANARY}, status, {"lifted": lifted}, router=router(scrape()))
        assert brief(decide(at_once)[0])[:2] == (1, 2)
    found = deployed({"rollout": CANARY}, status, {"lifted": NOW}, router=router(scrape()))
    assert brief(decide(found)[0])[:2] == (1, 2)
    assert marked(plan.plan(found)) == {}
    before = deployed({"rollout": CANARY}, status, {"lifted": ago(301)}, router=router(scrape()))
    assert brief(decide(before)[0]) == (1, None, None), "it failed after that"


def test_promotion_where_it_was_rolled_back_lifts_that_mark() -> None:
    pin = {"model": {"pipeline": "churn", "number": 2}}
    found = plan.plan(deployed(pin, {**SERVING_1, "candidate": candidate(2)}, {"rolled_back": {**MARK, **ELSEWHERE}}))
    assert found.status["stable"]["version"] == "churn-2"
    assert marked(found) == {"churn-2": None}


def test_a_monitor_cannot_roll_back_to_what_was_rolled_back_here() -> None:
    request = RollbackRequest("r1", "churn-2", "accuracy 0.6 is below 0.8", ago(10))
    versions = (version(1, rolled_back=MARK), version(2))
    found = snapshot(
        {},
        {"stable": stable(2), "previous": stable(1)},
        versions=versions,
        workloads=TWO["workloads"],
        rollback_requests=(request,),
    )
    state, reasons = decide(found)
    assert brief(state) == (2, None, None) and reasons == ["RollbackImpossible"]


@pytest.mark.parametrize(("others", "is_marked"), [(19, True), (20, False)])
def test_twenty_deployments_mark_a_version_and_no_more(others: int, is_marked: bool) -> None:
    elsewhere = {f"other-{n}": "Aborted: x" for n in range(others)}
    found = deployed({}, {"stable": stable(1), "failed_versions": [failed(2)]}, {"rolled_back": elsewhere})
    assert ("churn-2" in marked(plan.plan(found))) is is_marked


def test_a_mark_says_why_within_its_bounds() -> None:
    wordy = failed(2).model_copy(update={"message": "x" * 2000})
    found = deployed({}, {"stable": stable(1)})
    (patch,) = rollback_marks.patches(found, State(), State(failed=(wordy,)))
    assert len(patch.body["status"]["takenBack"]["churn"]["message"]) == 1024
