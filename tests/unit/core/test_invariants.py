"""The checker itself: every rule must be able to fail."""

from typing import Any

import pytest
from tests.support.invariants import DEFAULT_STATUS, check_status, kstatus

GOOD = {
    "type": "Ready",
    "status": "True",
    "reason": "Kept",
    "message": "all well",
    "observedGeneration": 2,
    "lastTransitionTime": "2026-03-01T12:00:00Z",
}
BAD = {**GOOD, "status": "False"}


def obj(*conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    meta = {"name": "m", "generation": 2, "creationTimestamp": "2026-03-01T11:00:00Z"}
    return {"metadata": meta, "status": {"observedGeneration": 2, "conditions": list(conditions), **status}}


def test_good_and_untouched_pass() -> None:
    check_status(obj(GOOD))
    for kind, status in DEFAULT_STATUS.items():
        check_status({"kind": kind, "metadata": {"generation": 1}, "status": status})
        assert kstatus({"kind": kind, "metadata": {"generation": 1}, "status": status}) == "InProgress"
    check_status({"metadata": {"generation": 1}})


@pytest.mark.parametrize(
    ("broken", "want"),
    [
        (obj(), "Ready must always be present"),
        (obj(BAD, {**GOOD, "type": "Stalled"}, {**GOOD, "type": "Reconciling"}), "only one of Reconciling and Stalled"),
        (obj(GOOD, {**GOOD, "type": "Stalled", "status": "False"}), "Stalled must be absent"),
        (obj(GOOD, {**GOOD, "type": "Reconciling"}), "Ready must not be True while Reconciling"),
        (obj({**GOOD, "status": "Unknown"}, {**GOOD, "type": "Stalled"}), "Ready must be False while Stalled"),
        (obj(GOOD, observedGeneration=3), "above generation"),
        (obj(GOOD, observedGeneration=None), "observedGeneration must be there"),
        (obj({**GOOD, "observedGeneration": 3}), "has observedGeneration 3, above"),
        (obj({**GOOD, "observedGeneration": 1}), "is of generation 1"),
        (obj({k: v for k, v in GOOD.items() if k != "observedGeneration"}), "has no observedGeneration"),
        (obj(GOOD, GOOD), "listed twice"),
        (obj({**GOOD, "reason": "not a word"}), "not a PascalCase word"),
        (obj({**GOOD, "message": ""}), "no message"),
        (obj({**GOOD, "status": "Yes"}), "allowed are True, False, Unknown"),
        (obj({**GOOD, "lastTransitionTime": "yesterday"}), "not RFC 3339"),
        (obj({**GOOD, "lastTransitionTime": "2026-03-01T10:00:00Z"}), "before the object was made"),
        (obj({k: v for k, v in GOOD.items() if k != "lastTransitionTime"}), "no lastTransitionTime"),
        (obj(GOOD, phase="Running"), "phase is deprecated"),
        (obj(GOOD, score=float("nan")), "NaN or infinity"),
        (obj(GOOD, {**GOOD, "type": "lower"}), "not PascalCase"),
    ],
)
def test_each_rule_can_fail(broken: dict[str, Any], want: str) -> None:
    with pytest.raises(AssertionError, match=want):
        check_status(broken)


def default_status(**ready: Any) -> dict[str, Any]:
    condition = {**DEFAULT_STATUS["TrainingPipeline"]["conditions"][0], **ready}
    status = {"observedGeneration": -1, "conditions": [condition]}
    return {"kind": "TrainingPipeline", "metadata": {"generation": 1}, "status": status}


@pytest.mark.parametrize(
    ("broken", "want"),
    [
        (default_status(status="True"), "Ready is True before anybody has looked"),
        (default_status(observedGeneration=1), "Ready has observedGeneration 1 before"),
        (default_status(lastTransitionTime="2026-03-01T11:00:00Z"), "not that of the default"),
        (default_status(message="something else"), "not the default one"),
        ({**default_status(), "status": {"observedGeneration": -1}}, "Ready must always be present"),
    ],
)
def test_each_rule_of_default_conditions_can_fail(broken: dict[str, Any], want: str) -> None:
    check_status(default_status())
    with pytest.raises(AssertionError, match=want):
        check_status(broken)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"metadata": {"generation": 1}}, "Current"),
        ({"metadata": {"generation": 1}, "status": {"phase": "Failed"}}, "Current"),
        ({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}, "InProgress"),
        (obj(GOOD), "Current"),
        (obj(GOOD, observedGeneration=1), "InProgress"),
        (obj(BAD), "InProgress"),
        (obj(BAD, {**GOOD, "type": "Stalled"}), "Failed"),
        (obj(BAD, {**GOOD, "type": "Reconciling"}, {**GOOD, "type": "Stalled"}), "InProgress"),
        ({"metadata": {"generation": 1, "deletionTimestamp": "2026-03-01T12:00:00Z"}}, "Terminating"),
    ],
)
def test_kstatus_as_recorded_from_cli_utils(given: dict[str, Any], want: str) -> None:
    assert kstatus(given) == want
