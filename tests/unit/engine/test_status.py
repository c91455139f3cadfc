"""The status as it is written: complete, compared by value, and made for passes that had none of their own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.fakes import START

from tidemill.core import conditions
from tidemill.core.conditions import format_time
from tidemill.engine import status
from tidemill.errors import ApiError, Stalled, Waiting

Obj = dict[str, Any]
BEFORE = "2026-03-01T11:00:00Z"


def obj(*found: Obj, generation: int | None = 3, **more: Any) -> Obj:
    meta = {"name": "m", "namespace": "ns"} | ({} if generation is None else {"generation": generation})
    return {"metadata": meta, "status": {**more, "conditions": list(found)} if found or more else {}}


def condition(kind: str, value: str, reason: str = "Because", generation: int = 2) -> Obj:
    base = {"type": kind, "status": value, "reason": reason, "message": "", "lastTransitionTime": BEFORE}
    return {**base, "observedGeneration": generation}


def shown(made: Obj) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in made["conditions"]}


def times(made: Obj) -> dict[str, str]:
    return {c["type"]: c["lastTransitionTime"] for c in made["conditions"]}


def test_what_is_written_has_no_nulls_and_says_which_generation_it_is_of() -> None:
    wanted = {"a": None, "b": [{"c": None, "d": (1, None)}], "e": 0}
    assert status.complete(wanted, obj()) == {"b": [{"d": [1, None]}], "e": 0, "observedGeneration": 3}
    assert status.complete({"observedGeneration": 2}, obj()) == {"observedGeneration": 2}
    assert status.complete({}, obj(generation=None)) == {"observedGeneration": 0}


def test_equal_values_need_no_write() -> None:
    assert status.is_same({"a": 1, "b": None}, {"a": 1.0})
    assert status.is_same(None, {})
    assert not status.is_same({"a": 1}, {"a": 2})
    assert not status.is_same(None, {"a": 1})


def test_a_stalled_object_is_not_ready_and_keeps_what_else_was_known() -> None:
    known = obj(condition("Ready", "False"), condition("DriftDetected", "True"), lastRun="churn-1")
    made = status.stalled(known, Stalled("Bad", "spec.x"), START)
    assert shown(made) == {
        "Ready": ("False", "Bad", "spec.x"),
        "Stalled": ("True", "Bad", "spec.x"),
        "DriftDetected": ("True", "Because", ""),
    }
    assert times(made) == {"Ready": BEFORE, "Stalled": format_time(START), "DriftDetected": BEFORE}
    assert (made["observedGeneration"], made["lastRun"]) == (3, "churn-1")
    assert {c["observedGeneration"] for c in made["conditions"]} == {3}


def test_a_waiting_object_goes_on_and_is_no_longer_stalled() -> None:
    made = status.waiting(obj(condition("Stalled", "True")), Waiting("NotYet", "soon", 5), START)
    assert shown(made) == {"Ready": ("False", "NotYet", "soon"), "Reconciling": ("True", "NotYet", "soon")}
    assert status.waiting(obj(generation=None), Waiting("NotYet", "soon", 5), START)["observedGeneration"] == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApiError(403, "Forbidden", "exceeded quota"), "the API server refused: exceeded quota"),
        (KeyError("boom"), "KeyError: 'boom'"),
    ],
)
def test_a_failing_object_says_what_failed(error: Exception, text: str) -> None:
    made = status.failing(obj(), error, START)
    assert shown(made) == {
        "Ready": ("False", "ReconcileError", text),
        "Reconciling": ("True", "ProgressingWithRetry", text),
    }


def test_of_a_plan_that_was_carried_out_in_part_the_summary_alone_is_replaced() -> None:
    """Its times are those of the live conditions: the plan's own verdict was never written."""
    known = obj(condition("Ready", "False"), condition("DriftDetected", "True"), lastRun="churn-1")
    fresh = format_time(START)
    planned = {
        "lastRun": "churn-2",
        "conditions": [
            {**condition("Ready", "True"), "lastTransitionTime": fresh},
            {**condition("Available", "True"), "lastTransitionTime": fresh},
        ],
    }
    made = status.failing(known, ValueError("x"), START, planned)
    assert set(shown(made)) == {"Ready", "Reconciling", "Available"}
    assert made["lastRun"] == "churn-2"
    assert times(made)["Ready"] == BEFORE
    assert set(shown(status.stalled(known, Stalled("Bad", ""), START, {"lastRun": "x"}))) == {"Ready", "Stalled"}
    assert set(shown(status.waiting(known, Waiting("No", "", 1), START, {"a": 1}))) == {"Ready", "Reconciling"}


@pytest.mark.parametrize(
    ("found", "generation", "alike"),
    [
        (condition("Stalled", "True", "Bad", 3), 3, True),
        (condition("Stalled", "True", "Bad", 2), 3, False),
        (condition("Stalled", "True", "Other", 3), 3, False),
        (condition("Ready", "False", "Bad", 3), 3, False),
        (condition("Stalled", "True", "Bad", 0), None, True),
    ],
)
def test_the_same_verdict_on_the_same_generation_is_no_news(found: Obj, generation: int | None, alike: bool) -> None:
    assert status.was_stalled_alike(obj(found, generation=generation), Stalled("Bad", "")) is alike


def test_what_was_never_looked_at_was_not_stalled() -> None:
    assert not status.was_stalled_alike({"metadata": {}}, Stalled("Bad", ""))
    assert not status.was_stalled_alike({"metadata": {}, "status": {"conditions": None}}, Stalled("Bad", ""))


def test_people_are_warned_of_a_stalled_object() -> None:
    event = status.stalled_event(Stalled("Bad", "spec.x"))
    assert (event.type, event.reason, event.message, event.action) == ("Warning", "Bad", "spec.x", "Reconcile")
    assert conditions.STALLED == "Stalled"
