"""What is requested, when, and how often."""

from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, SPEC, ago, performance, report, served, snapshot, window

from tidemill.api.v1alpha1.model_monitor import ActionStatus, Evidence
from tidemill.monitoring import plan
from tidemill.monitoring.policy import actions, evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.monitoring import ColumnScore

RETRAIN = {**FULL, "actions": {"retrain": {"causes": ["Drift", "Performance"], "cooldownSeconds": 600, "maxPerDay": 2}}}
ROLLBACK = {**FULL, "actions": {"rollback": {"causes": ["Performance"], "cooldownSeconds": 600, "maxPerDay": 1}}}
BOTH = {**FULL, "actions": {**RETRAIN["actions"], **ROLLBACK["actions"]}}
DRIFT = report(window(2, drift=True), window(1, drift=True))
BAD = report(window(1), performance=performance(0.4, degraded=True))


def done(kind: str, seconds: float, identity: str = "old") -> dict[str, Any]:
    return {
        "id": identity,
        "type": kind,
        "cause": "Drift",
        "target": "churn",
        "version": "churn-2",
        "message": "as before",
        "time": ago(seconds).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def decide(found: Snapshot) -> list[tuple[str, str, str, str]]:
    return [(a.type, a.cause, a.target, a.version) for a in actions.decide(found, evaluation.evaluate(found)).requests]


ASKED = [("Retrain", "Drift", "churn", "churn-2")]

CASES: dict[str, tuple[Snapshot, list[tuple[str, str, str, str]]]] = {
    "drift asks for a run": (snapshot(RETRAIN, read=DRIFT), ASKED),
    "no action configured": (snapshot(FULL, read=DRIFT), []),
    "not sustained": (snapshot(RETRAIN, read=report(window(1, drift=True))), []),
    "performance comes before drift": (
        snapshot(
            RETRAIN,
            read=report(window(2, drift=True), window(1, drift=True), performance=performance(0.4, degraded=True)),
        ),
        [("Retrain", "Performance", "churn", "churn-2")],
    ),
    "a cause that is not listed": (snapshot(ROLLBACK, read=DRIFT), []),
    "performance returns to the version before": (
        snapshot(ROLLBACK, read=BAD),
        [("Rollback", "Performance", "churn", "churn-2")],
    ),
    "both": (
        snapshot(BOTH, read=BAD),
        [("Retrain", "Performance", "churn", "churn-2"), ("Rollback", "Performance", "churn", "churn-2")],
    ),
    "no version to return to": (snapshot(ROLLBACK, read=BAD, served=served(previous=None)), []),
    "the deployment is suspended": (snapshot(ROLLBACK, read=BAD, served=served(suspended=True)), []),
    "a roll-out is under way": (snapshot(RETRAIN, read=DRIFT, served=served(candidate="churn-3")), []),
    "no pipeline is known": (snapshot(RETRAIN, read=DRIFT, served=served(pipeline=None)), []),
    "suspended": (snapshot({**RETRAIN, "suspend": True}, read=DRIFT), []),
    "cooldown": (snapshot(RETRAIN, {"actions": [done("Retrain", 599)]}, read=DRIFT), []),
    "after the cooldown": (snapshot(RETRAIN, {"actions": [done("Retrain", 600)]}, read=DRIFT), ASKED),
    "the cooldown of one type does not hold the other": (
        snapshot(RETRAIN, {"actions": [done("Rollback", 5)]}, read=DRIFT),
        ASKED,
    ),
    "enough for a day": (
        snapshot(RETRAIN, {"actions": [done("Retrain", 80000), done("Retrain", 7000, "b")]}, read=DRIFT),
        [],
    ),
    "exactly a day later": (
        snapshot(RETRAIN, {"actions": [done("Retrain", 86400), done("Retrain", 7000, "b")]}, read=DRIFT),
        ASKED,
    ),
    "a second before a day is over": (
        snapshot(RETRAIN, {"actions": [done("Retrain", 86399), done("Retrain", 7000, "b")]}, read=DRIFT),
        [],
    ),
    "a day later": (
        snapshot(RETRAIN, {"actions": [done("Retrain", 86401), done("Retrain", 7000, "b")]}, read=DRIFT),
        ASKED,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decide(name: str) -> None:
    found, want = CASES[name]
    assert decide(found) == want


def request(found: Snapshot) -> Any:
    (action,) = actions.decide(found, evaluation.evaluate(found)).requests
    return action


def test_the_same_window_gives_the_same_id_and_asks_once() -> None:
    eager = {**RETRAIN, "actions": {"retrain": {"causes": ["Drift"], "cooldownSeconds": 0, "maxPerDay": 9}}}
    first = request(snapshot(eager, read=DRIFT))
    assert first.id == request(snapshot(eager, read=DRIFT)).id
    assert decide(snapshot(eager, {"actions": [first.to_json()]}, read=DRIFT)) == []
    later = report(window(3, drift=True), window(2, drift=True))
    assert request(snapshot(eager, read=later)).id != first.id


def test_the_request_is_in_status_and_reported_as_an_event() -> None:
    found = plan.plan(snapshot(RETRAIN, read=DRIFT))
    assert found.status is not None
    (recorded,) = found.status["actions"]
    assert recorded["message"].startswith("2 of 2 windows in a row drifted")
    (event,) = [e for e in found.events if e.reason == "RetrainRequested"]
    assert recorded["id"] in event.message and "TrainingPipeline churn" in event.message


def test_only_the_newest_requests_are_kept() -> None:
    old = [done("Retrain", 90000 - n, f"a{n}") for n in range(20)]
    found = plan.plan(snapshot(RETRAIN, {"actions": old}, read=DRIFT))
    assert found.status is not None
    assert len(found.status["actions"]) == 20
    assert found.status["actions"][0]["id"] == "a1" and found.status["actions"][-1]["id"] not in {"a18", "a19"}
    assert SPEC


def test_the_cooldown_counts_from_the_last_of_several_requests() -> None:
    spec = {**FULL, "actions": {"retrain": {"causes": ["Drift"], "cooldownSeconds": 600, "maxPerDay": 9}}}
    earlier = [{**done("Retrain", seconds, f"r{seconds}"), "cause": "Performance"} for seconds in (3000, 599)]
    assert decide(snapshot(spec, {"actions": earlier}, read=DRIFT)) == []
    earlier[1] |= done("Retrain", 600, "r600") | {"cause": "Performance"}
    assert decide(snapshot(spec, {"actions": earlier}, read=DRIFT)) == ASKED


def test_an_id_is_short_and_another_one_for_other_content() -> None:
    def identity(**changes: Any) -> str:
        found = snapshot(RETRAIN, read=BAD, served=served(**changes))
        return actions._identity("Retrain", "Drift", found, Evidence(start=ago(120), end=ago(0)))

    assert len(identity()) == 16
    assert identity() == identity() != identity(digest="sha256:" + "3" * 64)


def test_what_a_request_says_is_kept_within_bounds() -> None:
    names = (f"{n}{'x' * 400}" for n in range(5))
    features = tuple(ColumnScore(name=n, test="PSI", score=0.6, threshold=0.2, drifted=True) for n in names)
    found = snapshot(RETRAIN, read=report(window(2, drift=True), window(1, drift=True, features=features)))
    (action,) = actions.decide(found, evaluation.evaluate(found)).requests
    assert len(action.message) == 1024


def test_as_long_as_there_is_room_nothing_is_forgotten() -> None:
    old = [ActionStatus.model_validate(done("Retrain", 600 - n, f"r{n}")) for n in range(5)]
    new = [ActionStatus.model_validate(done("Retrain", 0, "new"))]
    assert actions.remember(old, new) == [*old, *new]
