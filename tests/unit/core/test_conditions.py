from datetime import UTC, datetime, timedelta

import pytest
from tests.support.invariants import check_status, kstatus

from tidemill.core import conditions
from tidemill.core.conditions import Condition, merge, trio

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def an_object(merged: list[dict[str, object]], generation: int = 3) -> dict[str, object]:
    return {
        "kind": "ModelMonitor",
        "metadata": {"name": "m", "generation": generation},
        "status": {"observedGeneration": generation, "conditions": merged},
    }


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"ready": True, "reason": "Kept", "message": "all well"}, "Current"),
        ({"ready": False, "reason": "Broken", "message": "no", "stalled": ("Broken", "no")}, "Failed"),
        ({"ready": None, "reason": "Going", "message": "soon", "reconciling": ("Going", "soon")}, "InProgress"),
        ({"ready": "Unknown", "reason": "Going", "message": "soon"}, "InProgress"),
    ],
)
def test_trio_means_to_kstatus_what_it_says(given: dict[str, object], want: str) -> None:
    obj = an_object(merge([], trio(**given), 3, NOW))  # type: ignore[arg-type]
    check_status(obj)
    assert kstatus(obj) == want


@pytest.mark.parametrize(
    "given",
    [
        {"ready": False, "reconciling": ("A", "a"), "stalled": ("B", "b")},
        {"ready": True, "reconciling": ("A", "a")},
        {"ready": True, "stalled": ("A", "a")},
    ],
)
def test_trio_refuses_contradictions(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"never both|must not stand beside"):
        trio(reason="R", message="m", **given)  # type: ignore[arg-type]


def test_merge_keeps_transition_time_while_the_status_is_the_same() -> None:
    old = merge([], [Condition("Ready", "False", "A", "a")], 1, NOW)
    same = merge(old, [Condition("Ready", "False", "B", "b")], 2, LATER)
    assert same[0]["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert (same[0]["reason"], same[0]["observedGeneration"]) == ("B", 2)
    changed = merge(same, [Condition("Ready", "True", "B", "b")], 2, LATER)
    assert changed[0]["lastTransitionTime"] == "2026-03-01T13:00:00Z"


def test_merge_orders_and_drops() -> None:
    old = merge([], [Condition("Gone", "True", "A", "a"), Condition("Stalled", "True", "A", "a")], 1, NOW)
    new = [Condition("Zeta", "True", "A"), Condition("Alpha", "True", "A"), *trio(ready=True, reason="A", message="a")]
    assert [c["type"] for c in merge(old, new, 2, NOW)] == ["Ready", "Alpha", "Zeta"]
    assert merge(merge(old, new, 2, NOW), list(reversed(new)), 2, LATER) == merge(old, new, 2, NOW)


def test_with_trio_keeps_the_others() -> None:
    old = merge([], [Condition("Available", "True", "A", "a"), *trio(ready=True, reason="A", message="a")], 1, NOW)
    found = conditions.with_trio(old, trio(ready=False, reason="B", message="b", stalled=("B", "b")), 2, LATER)
    assert [(c["type"], c["status"]) for c in found] == [("Ready", "False"), ("Stalled", "True"), ("Available", "True")]


def test_json_round_trip() -> None:
    condition = Condition("Ready", "Unknown", "A", "a sentence", 4, NOW)
    assert Condition.from_json(condition.to_json()) == condition


def test_get_and_is_true() -> None:
    listed = merge([], trio(ready=True, reason="A", message="a"), 1, NOW)
    assert conditions.get(listed, "Ready") == listed[0]
    assert conditions.get(listed, "Stalled") is None
    assert conditions.is_true(listed, "Ready")
    assert not conditions.is_true(listed, "Stalled")


def test_control_characters_of_strangers_do_not_get_into_a_condition() -> None:
    """Messages cite pods, images and API servers; a terminal must not obey them."""
    found = Condition("Ready", "False", "Failed", "it said \x1b]0;owned\x07\nand ended").to_json()
    assert found["message"] == "it said \N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}\nand ended"
