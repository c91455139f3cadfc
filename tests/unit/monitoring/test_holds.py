"""What holds a request although its finding is true: nobody is acted on who has not agreed."""

from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, ago, performance, report, served, snapshot, window

from tidemill.monitoring import observe, plan
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import actions, evaluation
from tidemill.monitoring.snapshot import Snapshot

CAUSES = {"causes": ["Performance"], "cooldownSeconds": 0, "maxPerDay": 10}
BOTH = {**FULL, "actions": {"retrain": CAUSES, "rollback": CAUSES}}
BAD = report(window(1), performance=performance(0.4, degraded=True))
GOOD = report(window(1), performance=performance(0.9))


def look(spec: dict[str, Any] = BOTH, status: dict[str, Any] | None = None, **fields: Any) -> Snapshot:
    return snapshot(spec, status, **{"read": BAD, **fields})


def decided(found: Snapshot) -> tuple[list[str], list[tuple[str, str]]]:
    decision = actions.decide(found, evaluation.evaluate(found))
    return [a.type for a in decision.requests], [(a.type, hold.reason) for a, hold in decision.held]


def test_nothing_holds_what_everybody_agrees_to() -> None:
    assert decided(look()) == (["Retrain", "Rollback"], [])


@pytest.mark.parametrize(
    ("found", "requested", "held"),
    [
        (
            look(served=served(monitor_rollback="Never")),
            ["Retrain"],
            [("Rollback", "NotAllowed")],
        ),
        (look(served=served(monitor_rollback="Act")), ["Retrain", "Rollback"], []),
        (
            look(served=served(has_feedback_keys=False)),
            [],
            [("Retrain", "LabelsNotAuthenticated"), ("Rollback", "LabelsNotAuthenticated")],
        ),
        (
            look(read=report(window(1), performance=performance(0.4, degraded=True, authenticated=False))),
            [],
            [("Retrain", "LabelsNotAuthenticated"), ("Rollback", "LabelsNotAuthenticated")],
        ),
        (look(served=served(allows_retrain=False)), ["Rollback"], [("Retrain", "NotAllowed")]),
        (
            look(served=served(pipeline_exists=False, allows_retrain=False)),
            ["Rollback"],
            [("Retrain", "PipelineNotFound")],
        ),
        (look(served=served(pipeline=None, allows_retrain=False)), ["Rollback"], [("Retrain", "PipelineNotFound")]),
        (look(served=served(previous=None)), ["Retrain"], [("Rollback", "NoEarlierVersion")]),
        (look(served=served(suspended=True)), ["Retrain"], [("Rollback", "DeploymentSuspended")]),
        (
            look({**BOTH, "actions": {**BOTH["actions"], "dryRun": True}}),
            [],
            [("Retrain", "DryRun"), ("Rollback", "DryRun")],
        ),
        (
            look(actions_held="the Namespace says so"),
            [],
            [("Retrain", "DisabledInNamespace"), ("Rollback", "DisabledInNamespace")],
        ),
        (
            look(status={"findings": [{"version": "churn-1", "cause": "Performance"}]}),
            ["Retrain"],
            [("Rollback", "SameFinding")],
        ),
        (look(status={"findings": [{"version": "churn-1", "cause": "Drift"}]}), ["Retrain", "Rollback"], []),
        (look(status={"findings": [{"version": "churn-2", "cause": "Performance"}]}), ["Retrain", "Rollback"], []),
    ],
    ids=[
        "never",
        "act",
        "no keys",
        "labels without a key",
        "no trigger",
        "no such pipeline",
        "a version of no pipeline",
        "nowhere to go back to",
        "a deployment that is suspended",
        "dry run",
        "switched off",
        "same finding",
        "another finding",
        "another version",
    ],
)
def test_who_holds_what(found: Snapshot, requested: list[str], held: list[tuple[str, str]]) -> None:
    assert decided(found) == (requested, held)


def test_what_is_held_is_a_condition_and_an_event_and_uses_up_nothing() -> None:
    found = plan.plan(look({**BOTH, "actions": {**BOTH["actions"], "dryRun": True}}))
    assert found.status is not None
    assert "actions" not in found.status
    (condition,) = [c for c in found.status["conditions"] if c["type"] == "ActionsHeld"]
    assert (condition["status"], condition["reason"]) == ("True", "DryRun")
    assert "Retrain of churn (Performance) is not requested: spec.actions.dryRun is true" in condition["message"]
    assert "ActionsHeld" in [e.reason for e in found.events]
    assert decided(look(status=found.status))[0] == ["Retrain", "Rollback"]


def test_of_several_that_are_held_the_condition_has_the_reason_of_the_first_and_the_words_of_all() -> None:
    found = look(served=served(allows_retrain=False, has_feedback_keys=False))
    assert decided(found)[1] == [("Retrain", "NotAllowed"), ("Rollback", "LabelsNotAuthenticated")]
    condition = actions.decide(found, evaluation.evaluate(found)).condition
    assert condition is not None
    assert condition.reason == "NotAllowed"
    assert [text.split(" (")[0] for text in condition.message.split("; ")] == ["Retrain of churn", "Rollback of churn"]


@pytest.mark.parametrize(
    ("fields", "says", "ahead"),
    [
        (
            {"pipeline_exists": False, "allows_retrain": False},
            "Retrain of churn (Performance) is not requested: TrainingPipeline churn does not exist",
            "spec.actions.retrain will start no run: TrainingPipeline churn does not exist",
        ),
        (
            {"pipeline": None, "allows_retrain": False},
            "Retrain of churn-2 (Performance) is not requested: version churn-2 is of no pipeline",
            "spec.actions.retrain will start no run: version churn-2 is of no pipeline",
        ),
        (
            {"allows_retrain": False},
            "spec.triggers.monitors of TrainingPipeline churn is not set",
            "spec.actions.retrain will start no run: spec.triggers.monitors of TrainingPipeline churn is not set",
        ),
        (
            {"previous": None},
            "Rollback of churn (Performance) is not requested: no version that served before churn-2 may serve again",
            None,
        ),
    ],
)
def test_a_wish_that_nobody_can_fulfil_is_said_once_and_what_is_known_ahead_in_ready(
    fields: dict[str, Any], says: str, ahead: str | None
) -> None:
    found = plan.plan(look(served=served(**fields)))
    assert found.status is not None
    said = {c["type"]: c["message"] for c in found.status["conditions"]}
    assert says in said["ActionsHeld"]
    assert [says in e.message for e in found.events if e.reason == "ActionsHeld"] == [True]
    again = plan.plan(look(status=found.status, served=served(**fields)))
    assert "ActionsHeld" not in [e.reason for e in again.events]
    quiet = plan.plan(look(served=served(**fields), read=GOOD)).status
    assert quiet is not None
    (ready,) = [c["message"] for c in quiet["conditions"] if c["type"] == "Ready"]
    assert ahead in ready if ahead else "spec.actions" not in ready


def test_nothing_is_held_while_nothing_is_found() -> None:
    found = plan.plan(look({**BOTH, "actions": {**BOTH["actions"], "dryRun": True}}, read=GOOD))
    assert found.status is not None
    assert "ActionsHeld" not in [c["type"] for c in found.status["conditions"]]


def test_findings_of_versions_are_remembered_until_the_version_itself_shows_otherwise() -> None:
    old = {"version": "churn-1", "cause": "Drift"}
    found = plan.plan(look(FULL, {"findings": [old]})).status
    assert found is not None
    assert found["findings"] == [old, {"version": "churn-2", "cause": "Performance"}]
    again = plan.plan(look(FULL, found, read=GOOD)).status
    assert again is not None
    assert again["findings"] == [old]
    unknown = plan.plan(look(FULL, found, read=None)).status
    assert unknown is not None
    assert unknown["findings"] == found["findings"]


def test_a_request_of_one_cause_starts_the_cooldown_of_all() -> None:
    spec = {**FULL, "actions": {"retrain": {"causes": ["Drift", "Performance"], "cooldownSeconds": 600}}}
    before = {
        "id": "old", "type": "Retrain", "cause": "Drift", "target": "churn", "version": "churn-2", "message": "",
        "time": ago(599).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    assert decided(look(spec, {"actions": [before]})) == ([], [])


def test_labels_need_a_key_only_where_they_are_the_cause() -> None:
    drifted = report(window(2, drift=True), window(1, drift=True))
    spec = {**FULL, "actions": {"retrain": {"causes": ["Drift"]}}}
    assert decided(look(spec, read=drifted, served=served(has_feedback_keys=False))) == (["Retrain"], [])


@pytest.mark.parametrize("access", [None, {"apiKeys": {"secretRef": {"name": "x"}}}])
def test_whether_labels_need_a_key_is_told_to_the_monitor(access: dict[str, Any] | None) -> None:
    md = deployment(None)
    without = observe.served({**md, "spec": {**md["spec"]} | ({"access": access} if access else {})}, None)
    keys = {"feedback": {"secretRef": {"name": "labels"}}}
    with_keys = observe.served({**md, "spec": {**md["spec"], "access": keys}}, None)
    assert (without.has_feedback_keys, with_keys.has_feedback_keys) == (False, True)
    for found, told in ((without, False), (with_keys, True)):
        config = workload.config(look(served=found)).performance
        assert config is not None and config.authenticated is told


def deployment(rollout: dict[str, Any] | None) -> dict[str, Any]:
    spec = {"model": {"pipeline": "churn"}} | ({} if rollout is None else {"rollout": rollout})
    return {"metadata": {"name": "churn"}, "spec": spec, "status": {}}


@pytest.mark.parametrize(
    ("rollout", "found"),
    [(None, "Propose"), ({}, "Propose"), ({"monitorRollback": "Act"}, "Act"), ({"monitorRollback": "Never"}, "Never")],
)
def test_what_the_deployment_allows(rollout: dict[str, Any] | None, found: str) -> None:
    assert observe.served(deployment(rollout), None).monitor_rollback == found


@pytest.mark.parametrize(
    ("pipeline", "allows"),
    [
        (None, False),
        ({"spec": {}}, False),
        ({"spec": {"triggers": {"schedule": {}}}}, False),
        ({"spec": {"triggers": {"monitors": {}}}}, True),
    ],
)
def test_what_the_pipeline_allows(pipeline: dict[str, Any] | None, allows: bool) -> None:
    assert observe.allows_retrain(pipeline) is allows


@pytest.mark.parametrize(
    ("labels", "disabled"),
    [(None, False), ({}, False), ({"tidemill.io/actions": "disabled"}, True), ({"tidemill.io/actions": "on"}, False)],
)
def test_the_switch_of_a_namespace(labels: dict[str, str] | None, disabled: bool) -> None:
    assert observe.are_actions_disabled({"metadata": {"name": "team"} | ({"labels": labels} if labels else {})}) is (
        disabled
    )
    assert observe.are_actions_disabled(None) is False


def test_the_digests_in_service_are_those_of_all_versions_that_may_serve() -> None:
    one, two, three, four = (f"sha256:{n}" for n in range(4))
    found = observe.served(
        {
            **deployment(None),
            "status": {
                "stable": {"version": "a", "digest": one},
                "candidate": {"version": "b", "digest": two},
                "previous": {"version": "c", "digest": three},
                "rollbackVersions": [{"version": "d", "digest": four}],
            },
        },
        None,
    )
    assert found.digests == {one, two, three, four}


def test_a_retrain_that_its_pipeline_lets_wait_is_not_requested_again() -> None:
    """The budget of a day is for requests that can do something."""
    (first,) = (a for a in actions.decide(look(), evaluation.evaluate(look())).requests if a.type == "Retrain")
    old = first.model_copy(update={"id": "r1", "evidence": None, "time": ago(90_000)})
    status = {"actions": [old.to_json()]}
    waits = look(status=status, served=served(handled_request="r0"))
    assert decided(waits) == (["Rollback"], [("Retrain", "RetrainWaits")])
    assert decided(look(status=status, served=served(handled_request="r1"))) == (["Retrain", "Rollback"], [])
    other = {"actions": [{**old.to_json(), "target": "another"}]}
    assert decided(look(status=other, served=served(handled_request=None))) == (["Retrain", "Rollback"], [])


def test_what_a_pipeline_has_served_is_read_from_its_status() -> None:
    pipeline = {"status": {"lastHandledMonitorRequests": {"churn": "r1"}}}
    assert observe.handled_request(pipeline, "churn") == "r1"
    assert observe.handled_request(pipeline, "other") is None
    assert observe.handled_request(None, "churn") is None
