"""The way back to an earlier version: no steps, nothing measured, only readiness and the deadline."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import (
    ANALYSIS,
    CANARY,
    NOW,
    ago,
    brief,
    candidate,
    decide,
    digest,
    failed,
    measured,
    measurement,
    router,
    scrape,
    snapshot,
    stable,
    stats,
    version,
    workload,
)

from tidemill.api.v1alpha1.rollback import EarlierVersion
from tidemill.monitoring import observe as monitoring
from tidemill.serving import plan
from tidemill.serving import state as states
from tidemill.serving.snapshot import RollbackRequest, Snapshot
from tidemill.serving.state import State
from tidemill.training.records import deployment_record

WAITS = {**CANARY, "analysis": ANALYSIS}
"""Steps that never end without traffic."""


def earlier(*numbers: int) -> list[EarlierVersion]:
    return [EarlierVersion(version=f"churn-{n}", digest=digest(n)) for n in numbers]


def served(number: int, *before: int, **status: Any) -> dict[str, Any]:
    """A status in which a version is stable and others were before it, newest first."""
    previous = {"previous": stable(before[0])} if before else {}
    return {"stable": stable(number), "rollback_versions": earlier(*before), **previous, **status}


def world(
    status: dict[str, Any],
    *,
    number: int | None = None,
    versions: tuple[Any, ...] = (),
    pods: tuple[int, ...] = (1, 2, 3, 4),
    window: int | None = None,
    **fields: Any,
) -> Snapshot:
    model = {"pipeline": "churn"} | ({} if number is None else {"number": number})
    rollout = WAITS if window is None else {**WAITS, "rollbackWindow": {"versions": window}}
    fields.setdefault("router", router(scrape(members=dict.fromkeys(range(1, 6), 1))))
    return snapshot(
        {"model": model, "rollout": rollout},
        status,
        versions=versions or tuple(version(n) for n in range(1, 5)),
        workloads=tuple(workload(n) for n in pods),
        **fields,
    )


def rejected(number: int) -> Any:
    return version(number, approved=False, rejected=True, note="rejected by ann: unfair")


def ways(state: State) -> list[str]:
    return [v.version for v in state.ways_back]


@pytest.mark.parametrize(("number", "left"), [(3, [2, 1]), (2, [1])])
def test_a_number_within_the_window_takes_over_at_once_and_without_traffic(number: int, left: list[int]) -> None:
    state, reasons = decide(world(served(4, 3, 2, 1), number=number))
    assert brief(state) == (number, None, None) and reasons == ["RolloutStarted", "Promoted"]
    assert ways(state) == [f"churn-{n}" for n in left]
    assert state.failed == (), "nothing is held against the version that was left"


def test_beyond_the_window_the_way_back_has_steps() -> None:
    assert brief(decide(world(served(4, 3, 2, 1), number=1))[0]) == (4, 1, 0)
    assert brief(decide(world(served(4, 3, 2, 1), number=1, window=3))[0]) == (1, None, None)
    assert brief(decide(world(served(4, 3, 2, 1), number=3, window=0))[0]) == (4, 3, 0)


def test_a_version_that_never_was_stable_here_has_steps() -> None:
    assert brief(decide(world(served(4, 2), number=3))[0]) == (4, 3, 0)


def test_the_way_back_waits_for_its_pods_and_for_every_router() -> None:
    state, reasons = decide(world(served(4, 3), number=3, pods=(4,)))
    assert brief(state) == (4, 3, -1) and reasons == ["RolloutStarted"]
    status = served(4, 3, candidate=state.candidate)
    assert brief(decide(world(status, number=3, router=router(scrape(members={4: 1}))))[0]) == (4, 3, -1)
    assert brief(decide(world(status, number=3))[0]) == (3, None, None)


def test_the_deadline_ends_a_way_back_whose_pods_do_not_come() -> None:
    status = served(4, 3, candidate=candidate(3, started=601))
    state, reasons = decide(world(status, number=3, pods=(4,)))
    assert brief(state) == (4, None, None) and reasons == ["RolledBack"]
    assert state.failed[0].reason == "ProgressDeadlineExceeded"


def test_nothing_is_measured_on_the_way_back() -> None:
    """A way back that began with steps, under an operator from before, ends at once and not by its measurements."""
    bad = measurement(stable=(4, stats(500)), candidate=(3, stats(100, 100)))
    status = served(4, 3, candidate=candidate(3, 0, step_started=9999, failures=1))
    state, reasons = decide(world(status, number=3, measurement=bad))
    assert brief(state) == (3, None, None) and reasons == ["Promoted"]


def test_a_changed_signature_does_not_hold_the_way_back() -> None:
    columns = {"inputs": [{"name": "old", "datatype": "FP64", "shape": [-1]}], "outputs": []}
    versions = (version(3, columns=columns), version(4))
    assert brief(decide(world(served(4, 3), number=3, versions=versions))[0]) == (3, None, None)
    unknown = router(scrape(members={4: 1}))
    state, reasons = decide(world(served(4, 3), number=3, versions=versions, router=unknown))
    assert brief(state) == (4, 3, -1) and reasons == ["RolloutStarted"]


def test_what_was_left_is_rolled_out_in_steps_when_it_comes_again() -> None:
    state, _ = decide(world(served(4, 3), number=3))
    status = {"stable": state.stable, "previous": state.previous, "rollback_versions": list(state.earlier or ())}
    assert brief(decide(world(status, number=4))[0]) == (3, 4, 0)


# ---- reject ----


def test_rejecting_again_and_again_leads_further_back_each_time() -> None:
    versions = (version(1), version(2), rejected(3))
    state, reasons = decide(world(served(3, 2, 1), versions=versions))
    assert brief(state) == (2, None, None) and reasons == ["RolledBack", "RolloutStarted", "Promoted"]
    status = {
        "stable": state.stable,
        "previous": state.previous,
        "rollback_versions": list(state.earlier or ()),
        "failed_versions": list(state.failed),
    }
    found = world(status, versions=(version(1), rejected(2), rejected(3)))
    state, reasons = decide(found)
    assert brief(state) == (1, None, None) and reasons == ["RolledBack", "RolloutStarted", "Promoted"]
    assert ways(state) == []


def test_a_rejected_version_gives_way_to_one_that_served_before_a_newer_one_that_did_not() -> None:
    versions = (version(1), version(2), rejected(3))
    state, reasons = decide(world(served(3, 1), versions=versions))
    assert reasons[:2] == ["RolledBack", "Promoted"]
    assert brief(state)[0] == 1, "the rejected version is out of service"
    assert brief(state)[1:] == (2, 0), "and the newest good one is rolled out in steps"


def test_a_rejected_version_does_not_give_way_to_one_of_which_the_spec_does_not_speak() -> None:
    found = world(served(3, 1), versions=(version(2), rejected(3)), others=(version(1),))
    assert brief(decide(found)[0]) == (2, None, None)


def test_a_rejected_first_version_gives_way_at_once_although_nothing_served_before() -> None:
    state, _ = decide(world(served(3), versions=(version(2), rejected(3))))
    assert brief(state) == (2, None, None)


def test_where_the_way_back_does_not_start_another_version_is_tried() -> None:
    versions = (version(1), version(2), rejected(3))
    status = served(3, 1, candidate=candidate(1, started=601), failed_versions=[was(3, "Rejected")])
    state, reasons = decide(world(status, versions=versions, pods=(2, 3)))
    assert reasons == ["RolledBack", "RolloutStarted", "Promoted"] and brief(state) == (2, None, None)


def test_a_newer_version_after_a_rejected_one_has_steps() -> None:
    versions = (rejected(3), version(4))
    state, _ = decide(world(served(3, failed_versions=[was(3, "Rejected")]), versions=versions))
    assert brief(state) == (3, 4, 0)


def was(number: int, reason: str) -> Any:
    """Rolled back under the spec of `world`."""
    spec = {"model": {"pipeline": "churn"}, "rollout": WAITS}
    return failed(number).model_copy(update={"reason": reason, "spec": snapshot(spec).spec_digest})


# ---- requests of monitors ----

REQUEST = RollbackRequest("r1", "churn-3", "accuracy 0.6 is below 0.8", ago(10))


def test_a_monitor_leads_back_to_the_first_version_that_may_serve() -> None:
    versions = (version(1), rejected(2), version(3))
    state, _ = decide(world(served(3, 2, 1), versions=versions, rollback_requests=(REQUEST,)))
    assert brief(state) == (1, None, None)


@pytest.mark.parametrize(
    ("second", "has_failed"),
    [(version(2), True), (version(2, rolled_back={"churn": "AnalysisFailed: too slow"}), False)],
    ids=["by the status", "by the mark"],
)
def test_a_monitor_does_not_lead_to_what_this_deployment_rolled_back(second: Any, has_failed: bool) -> None:
    status = served(3, 2, 1, failed_versions=[was(2, "AnalysisFailed")] if has_failed else [])
    found = world(status, versions=(version(1), second, version(3)), rollback_requests=(REQUEST,))
    assert brief(decide(found)[0]) == (1, None, None)


def test_a_monitor_leads_back_to_another_pipelines_version_without_steps() -> None:
    found = world(served(3, 9), versions=(version(3),), others=(version(9),), rollback_requests=(REQUEST,), pods=(3, 9))
    found = replace(found, router=router(scrape(members={3: 1, 9: 1})))
    assert brief(decide(found)[0]) == (9, None, None)


def test_a_monitor_does_not_lead_forward_to_what_a_person_has_left() -> None:
    status = {"stable": stable(3), "previous": stable(4), "rollback_versions": []}
    state, reasons = decide(world(status, number=3, rollback_requests=(REQUEST,)))
    assert brief(state) == (3, None, None) and reasons == ["RollbackImpossible"]


def test_a_monitor_knows_where_a_rollback_would_go() -> None:
    def way(**status: Any) -> str | None:
        obj = {"spec": {}, "status": {"stable": {}, "previous": {"version": "churn-4", "digest": digest(4)}, **status}}
        return monitoring.served(obj, None).previous

    records = [v.to_json() for v in earlier(2, 1)]
    assert way() == "churn-4" and way(rollbackVersions=[]) is None and way(rollbackVersions=records) == "churn-2"
    assert way(rollbackVersions=records, failedVersions=records[:1]) == "churn-1"
    assert way(failedVersions=[{"version": "churn-4", "digest": digest(4)}]) is None


# ---- what is recorded ----


def test_a_promotion_is_recorded_in_the_status() -> None:
    over = candidate(2, 1, step_started=9999, successes=1, last_analysis=measured("Successful"))
    found = world(served(1, candidate=over), versions=(version(1), version(2)))
    written = plan.plan(found).status or {}
    assert written["rollbackVersions"] == [{"version": "churn-1", "digest": digest(1)}]
    assert "rollbackVersions" not in (plan.plan(world({"stable": stable(4)})).status or {})


def test_a_status_from_before_leads_back_to_its_previous_version_only_where_that_is_older() -> None:
    before = {"stable": stable(4), "previous": stable(3)}
    state, _ = decide(world(before, number=3))
    assert brief(state) == (3, None, None) and ways(state) == []
    after = {"stable": stable(3), "previous": stable(4)}
    assert brief(decide(world(after, number=4))[0]) == (3, 4, 0)


def test_no_more_versions_are_recorded_than_a_window_may_have() -> None:
    state = State(stable=stable(30), earlier=tuple(earlier(*range(29, 19, -1))), candidate=candidate(31))
    after = states.promote(state, NOW)
    assert len(after.ways_back) == 10 and ways(after)[0] == "churn-30"


def test_a_version_that_was_rolled_back_is_no_way_back() -> None:
    state = State(stable=stable(3), earlier=tuple(earlier(2)), candidate=candidate(4), failed=(failed(3),))
    assert ways(states.promote(state, NOW)) == ["churn-2"]


def test_what_may_be_returned_to_is_kept() -> None:
    status = {"rollbackVersions": [v.to_json() for v in earlier(3, 2, 1)]}
    spec: dict[str, Any] = {"model": {"pipeline": "churn"}}

    def kept(**rollout: Any) -> tuple[frozenset[str], frozenset[str]]:
        obj = {"metadata": {"name": "churn"}, "spec": spec | {"rollout": rollout}, "status": status}
        record = deployment_record(obj)
        return record.needed, record.digests

    assert kept() == ({"churn-3", "churn-2"}, {digest(3), digest(2)})
    assert kept(rollbackWindow={"versions": 0}) == (frozenset(), frozenset())
    assert len(kept(rollbackWindow={"versions": 10})[0]) == 3
