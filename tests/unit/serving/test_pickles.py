"""Loading a pickle needs spec.server.allowPickle; what was served before that field is kept, and nothing else."""

from dataclasses import replace
from typing import Any

from tests.unit.serving.make import candidate, decide, digest, failed, snapshot, stable, version, workload
from tests.unit.serving.test_builders import config_of

from tidemill.serving import plan
from tidemill.serving.snapshot import RollbackRequest, Snapshot
from tidemill.serving.status import REASONS

PICKLES = tuple(version(n, formats=("joblib",)) for n in (1, 2, 3))
WORKLOADS = tuple(replace(workload(n), version=v) for n, v in enumerate(PICKLES, 1))
ALLOWED = {"server": {"allowPickle": True}}


def deployed(spec: dict[str, Any] | None = None, newest: int = 1, **status: Any) -> Snapshot:
    return snapshot(spec, status, versions=PICKLES[:newest], workloads=WORKLOADS[:newest])


def given(found: Snapshot) -> dict[str, bool]:
    """By version: whether its servers may load a pickle, of every Deployment that is applied."""
    applied = [o for o in plan.plan(found).apply if o["kind"] == "Deployment" and "server" in str(o["metadata"])]
    servers = [config_of(o["spec"]["template"]["spec"]) for o in applied if "router" not in o["metadata"]["name"]]
    return {config.version: config.allow_pickle for config in servers}


def status_of(found: Snapshot) -> dict[str, Any]:
    status = plan.plan(found).status
    assert status is not None
    return status


def conditions(found: Snapshot) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status_of(found)["conditions"]}


def test_a_new_deployment_of_a_pickle_stalls_and_names_the_field() -> None:
    found = deployed()
    assert given(found) == {}
    assert conditions(found)["Stalled"] == ("True", "PickleNotAllowed")
    assert "PickleNotAllowed" in REASONS
    assert "spec.server.allowPickle: true" in str(status_of(found)["conditions"])
    assert status_of(found)["keptPickles"] == []


def test_a_version_that_is_stable_at_the_upgrade_keeps_loading_and_is_written_down() -> None:
    """Its pods are given what they were given before, so nothing restarts; pods that do restart load it."""
    found = deployed(stable=stable(1))
    assert given(found) == {"churn-1": True}
    assert status_of(found)["keptPickles"] == [digest(1)]
    assert "Stalled" not in conditions(found)


def test_so_does_a_suspended_deployments() -> None:
    assert status_of(deployed({"suspend": True}, stable=stable(1)))["keptPickles"] == [digest(1)]


def test_the_next_one_needs_the_field_while_the_kept_one_serves_on() -> None:
    found = deployed(newest=2, stable=stable(1), kept_pickles=[digest(1)])
    assert given(found) == {"churn-1": True}
    assert conditions(found)["Stalled"] == ("True", "PickleNotAllowed")
    assert "churn-2 (forms: joblib) can be loaded only from a pickle" in str(status_of(found)["conditions"])
    allowed = deployed(ALLOWED, newest=2, stable=stable(1), kept_pickles=[digest(1)])
    assert decide(allowed)[1] == ["RolloutStarted", "Promoted"]


def test_a_list_that_is_there_is_all_that_is_kept() -> None:
    """A version that became stable with the field does not stay allowed without it."""
    found = deployed(stable=stable(1), kept_pickles=[])
    assert given(found) == {"churn-1": False}
    assert conditions(found)["Stalled"] == ("True", "PickleNotAllowed")
    assert status_of(found)["keptPickles"] == []


def test_the_exception_is_of_one_content() -> None:
    """A ModelVersion of the kept one's name with other content is another version."""
    other = version(1, digest=digest(9), formats=("joblib",))
    found = snapshot({}, {"stable": stable(1), "kept_pickles": [digest(1)]}, versions=(other,), workloads=WORKLOADS[:1])
    assert conditions(found)["Stalled"] == ("True", "PickleNotAllowed")
    assert not found.allows_pickle(other)


def test_what_has_no_part_any_more_is_not_kept() -> None:
    found = deployed(ALLOWED, newest=3, stable=stable(3), previous=stable(2), kept_pickles=[digest(1), digest(2)])
    assert status_of(found)["keptPickles"] == [digest(2)]


def test_a_candidate_at_the_upgrade_goes_and_is_not_held_to_be_bad() -> None:
    found = deployed(newest=2, stable=stable(1), candidate=candidate(2, 0, step_started=5))
    state, events = decide(found)
    assert (state.candidate, state.failed, events) == (None, (), ["PickleNotAllowed"])


def test_so_does_a_first_candidate() -> None:
    state, events = decide(deployed(candidate=candidate(1)))
    assert (state.candidate, state.stable, events) == (None, None, ["PickleNotAllowed"])


def test_a_return_to_a_pickle_needs_the_same_leave() -> None:
    request = RollbackRequest("r1", "churn-2", "worse", stable(2, since=-1).since)  # type: ignore[arg-type]
    versions = (PICKLES[0], version(2))
    fields = {"versions": versions, "workloads": (WORKLOADS[0], workload(2)), "rollback_requests": (request,)}
    served = {"stable": stable(2), "previous": stable(1)}

    def after(**status: Any) -> list[str]:
        return decide(snapshot({}, {**served, **status}, **fields))[1]

    assert after(kept_pickles=[]) == ["RollbackImpossible"]
    assert after(kept_pickles=[digest(1)])[0] == "RollbackRequested"
    assert after()[0] == "RollbackRequested"


def test_a_version_that_failed_is_reported_as_such_where_its_pickle_is_allowed() -> None:
    record = failed(2, ALLOWED).model_copy(update={"reason": "CandidateUnavailable"})
    found = deployed(ALLOWED, newest=2, stable=stable(1), failed_versions=[record])
    assert conditions(found)["Stalled"] == ("True", "RolledBack")
