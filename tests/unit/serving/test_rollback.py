"""A ModelMonitor asks for the version before: when it comes back, from where, and when it cannot."""

from dataclasses import replace

import pytest
from tests.unit.serving.make import (
    CANARY,
    TWO,
    ago,
    brief,
    candidate,
    decide,
    digest,
    failed,
    snapshot,
    stable,
    version,
    workload,
)

from tidemill.api.v1alpha1.model_deployment import StableStatus
from tidemill.serving import plan
from tidemill.serving.policy import rollback_window
from tidemill.serving.snapshot import RollbackRequest, children_of
from tidemill.serving.state import State

REQUEST = RollbackRequest("r1", "churn-2", "accuracy 0.6 is below 0.8", ago(10))
SERVING_2 = {"stable": stable(2), "previous": stable(1)}


def asked(*requests: RollbackRequest, status=None, **fields):
    fields = {**TWO, "rollback_requests": requests, **fields}
    return snapshot({"rollout": CANARY}, status or SERVING_2, **fields)


def test_a_monitors_request_returns_at_once_while_the_pods_are_there() -> None:
    state, reasons = decide(asked(REQUEST))
    assert brief(state) == (1, None, None)
    assert reasons == ["RollbackRequested", "Promoted"]
    assert [f.version for f in state.failed] == ["churn-2"] and state.rollback == "r1"


def test_a_monitors_request_starts_the_pods_again() -> None:
    state, reasons = decide(asked(REQUEST, workloads=(workload(2),)))
    assert brief(state) == (2, 1, -1) and reasons == ["RollbackRequested"]
    later = asked(status={**SERVING_2, "candidate": state.candidate, "failed_versions": list(state.failed)})
    assert brief(decide(later)[0]) == (1, None, None)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (REQUEST, {**SERVING_2, "last_handled_rollback": "r1"}),
        (replace(REQUEST, version="churn-1"), SERVING_2),
        (replace(REQUEST, time=ago(10)), {"stable": stable(2, since=5), "previous": stable(1)}),
    ],
    ids=["handled already", "about another version", "from before this version came"],
)
def test_stale_requests_do_nothing(request_, status) -> None:
    state, reasons = decide(asked(request_, status=status))
    assert brief(state) == (2, None, None) and reasons == []


def test_a_request_of_the_second_in_which_the_version_came_counts() -> None:
    status = {"stable": stable(2, since=10), "previous": stable(1)}
    assert brief(decide(asked(REQUEST, status=status))[0]) == (1, None, None)


def test_without_a_previous_version_there_is_no_way_back() -> None:
    state, reasons = decide(asked(REQUEST, status={"stable": stable(2)}))
    assert brief(state) == (2, None, None) and reasons == ["RollbackImpossible"] and state.rollback == "r1"


def test_a_request_that_cannot_be_served_says_why() -> None:
    alone = plan.plan(asked(REQUEST, status={"stable": stable(2)})).events
    assert [e.message for e in alone] == ["request r1: there is no previous version (accuracy 0.6 is below 0.8)"]
    gone = plan.plan(asked(REQUEST, versions=(version(2),), workloads=(workload(2),))).events
    assert "request r1: the previous version, ModelVersion churn-1, does not exist any more" in gone[0].message


def test_only_a_candidate_beside_a_stable_version_can_be_a_way_back() -> None:
    """The first version gets all requests as what it is."""
    first = snapshot({}, {"candidate": candidate(1)}, versions=(version(1),), workloads=(workload(1),))
    assert not rollback_window.skips_steps(first, State.of(first.status))
    (event,) = plan.plan(first).events
    assert event.message == "churn-1 gets all requests, as the first version"
    serves = snapshot({}, SERVING_2, **TWO)
    assert not rollback_window.skips_steps(serves, State.of(serves.status))


def test_a_version_of_the_same_number_is_no_older_one() -> None:
    """After spec.model names another pipeline, numbers of two pipelines meet: the other's must prove itself."""
    other = version(2, name="live-2", digest=digest(9))
    moved = candidate(2).model_copy(update={"version": "live-2", "digest": digest(9)})
    bad = {"stable": stable(2), "candidate": moved, "failed_versions": [failed(2)]}
    found = snapshot({}, bad, versions=(other,), others=(version(2),))
    assert not rollback_window.skips_steps(found, State.of(found.status))
    older = version(1, name="live-1", digest=digest(8))
    moved = candidate(1).model_copy(update={"version": "live-1", "digest": digest(8)})
    found = snapshot({}, {**bad, "candidate": moved}, versions=(older,), others=(version(2),))
    assert rollback_window.skips_steps(found, State.of(found.status))


def test_a_previous_version_that_a_person_has_rejected_is_no_way_back() -> None:
    rejected = version(1, approved=False, rejected=True, note="rejected by ann: unfair")
    state, reasons = decide(asked(REQUEST, versions=(rejected, version(2))))
    assert brief(state) == (2, None, None) and reasons == ["RollbackImpossible"] and state.failed == ()


def test_a_previous_version_without_a_record_is_no_way_back() -> None:
    state, reasons = decide(asked(REQUEST, versions=(version(2),), workloads=(workload(2),)))
    assert brief(state) == (2, None, None) and reasons == ["RollbackImpossible"] and state.failed == ()


def test_a_request_returns_to_a_version_that_spec_model_does_not_cover() -> None:
    found = asked(REQUEST, versions=(version(2),), others=(version(1),), workloads=(workload(2),))
    state, reasons = decide(found)
    assert brief(state) == (2, 1, -1) and reasons == ["RollbackRequested"]
    started = [m["metadata"]["name"] for m in plan.plan(found).apply if m["kind"] == "Deployment"]
    assert children_of("churn", version(1))[0] in started


def test_a_newer_version_after_a_return_is_rolled_out_in_steps() -> None:
    state, _ = decide(asked(REQUEST))
    assert isinstance(state.stable, StableStatus)
    status = {"stable": state.stable, "previous": state.previous, "failed_versions": list(state.failed)}
    found = asked(status=status, versions=(version(1), version(2), version(3)), workloads=(workload(1), workload(3)))
    after, reasons = decide(found)
    assert brief(after) == (1, 3, 0) and reasons == ["RolloutStarted", "CanaryStep"]


def test_of_several_requests_the_newest_is_served() -> None:
    older = replace(REQUEST, id="r9", message="older", time=ago(20))
    state, _ = decide(asked(older, REQUEST))
    assert (state.rollback, state.failed[0].message) == ("r1", REQUEST.message)
    twin = replace(REQUEST, id="r2")
    assert decide(asked(twin, REQUEST))[0].rollback == "r2", "of the same second the one of the later id"


def test_what_a_request_says_is_kept_within_bounds() -> None:
    state, _ = decide(asked(replace(REQUEST, message="x" * 2000)))
    assert len(state.failed[0].message) == 1024
