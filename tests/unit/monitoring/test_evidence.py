"""The same evidence never leads to a second request: what a request rests on, and what counts as new after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, NOW, WINDOW, ago, performance, report, served, snapshot, window

from tidemill.api.v1alpha1.model_monitor import ActionStatus, Evidence
from tidemill.monitoring.policy import actions, evaluation, evidence
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.monitoring import MonitorReport

ALL = ["Drift", "Quality", "Performance"]
EAGER = {"causes": ALL, "cooldownSeconds": 0, "maxPerDay": 10}
SPEC = {**FULL, "actions": {"retrain": EAGER, "rollback": EAGER}}


def labelled(oldest: int, newest: int = 1, *windows: Any, **proof: Any) -> MonitorReport:
    """Labels of the windows `oldest` to `newest` before now that prove a limit exceeded."""
    stretch = {"breach_start": window(oldest).start, "breach_end": window(newest).end, **proof}
    bad = performance(0.4, degraded=True).model_copy(update=stretch)
    return report(*(windows or (window(oldest), window(newest))), performance=bad)


def asked(
    read: MonitorReport, earlier: list[ActionStatus] | None = None, *, later: float = 0, **fields: Any
) -> list[ActionStatus]:
    """What is requested `later` seconds from now by a process that knows the status only."""
    status = {"actions": [a.to_json() for a in earlier or ()]}
    found: Snapshot = replace(snapshot(SPEC, status, read=read, **fields), now=NOW + timedelta(seconds=later))
    return list(actions.decide(found, evaluation.evaluate(found)).requests)


def kinds(found: list[ActionStatus]) -> list[tuple[str, str]]:
    return [(a.type, a.cause) for a in found]


BOTH = [("Retrain", "Performance"), ("Rollback", "Performance")]


def test_the_same_labels_ask_once_however_much_time_passes() -> None:
    first = asked(labelled(3, 2))
    assert kinds(first) == BOTH
    assert {(a.evidence.start, a.evidence.end) for a in first if a.evidence} == {(ago(180), ago(60))}
    for later in (1, WINDOW, 3600, 86_400, 10 * 86_400):
        assert asked(labelled(3, 2), first, later=later) == []


def test_some_new_labels_beside_the_same_ones_are_no_new_evidence() -> None:
    assert asked(labelled(3, 1), asked(labelled(3, 2)), later=60) == []


def test_labels_of_newer_predictions_are() -> None:
    first = asked(labelled(3, 2))
    again = asked(labelled(1, 1), first, later=60)
    assert kinds(again) == BOTH
    assert not {a.id for a in first} & {a.id for a in again}


def test_a_pass_that_is_repeated_before_its_status_was_written_asks_for_the_same_thing() -> None:
    assert [a.id for a in asked(labelled(3, 2))] == [a.id for a in asked(labelled(3, 2), later=70)]


DRIFTED = (window(4, drift=True), window(3, drift=True))
BROKEN: dict[str, Any] = {"comparable": False, "tested": 1, "without_score": ("tenure",)}


def test_windows_without_scores_ask_for_nothing_because_of_drift() -> None:
    only_drift = {**SPEC, "actions": {"retrain": {**EAGER, "causes": ["Drift"]}}}
    for windows in ((window(2, **BROKEN), window(1, **BROKEN)), (*DRIFTED, window(2, **BROKEN), window(1, **BROKEN))):
        found = snapshot(only_drift, read=report(*windows))
        assert actions.decide(found, evaluation.evaluate(found)).requests == ()


def test_the_evidence_of_drift_has_no_window_that_says_nothing_about_it() -> None:
    read = report(window(4, drift=True), window(3, **BROKEN), window(2, drift=True))
    (first, _) = asked(read)
    assert first.evidence is not None and (first.evidence.start, first.evidence.end) == (ago(240), ago(60))


def test_labels_that_name_no_class_ask_for_nothing() -> None:
    found = labelled(3, 2)
    bad = performance(0.0, degraded=True).model_copy(update={"unrecognized": 100})
    versions = (found.versions[0].model_copy(update={"performance": bad}),)
    assert asked(found.model_copy(update={"versions": versions})) == []


def test_windows_that_drifted_ask_once_and_none_of_them_again() -> None:
    first = asked(report(*DRIFTED))
    assert kinds(first) == [("Retrain", "Drift"), ("Rollback", "Drift")]
    assert first[0].evidence is not None
    assert (first[0].evidence.start, first[0].evidence.end) == (ago(240), ago(120))
    overlapping = report(*DRIFTED, window(2, drift=True))
    assert asked(overlapping, first, later=60) == []
    assert kinds(asked(report(*DRIFTED, window(2, drift=True), window(1, drift=True)), first)) == kinds(first)


BAD_WINDOW = {"drift": True, "quality_problems": ("tenure: missing_ratio 0.31 > 0.05",)}


def test_another_cause_does_not_use_the_same_windows_again() -> None:
    first = asked(report(window(3, **BAD_WINDOW), window(2, **BAD_WINDOW)))
    assert kinds(first) == [("Retrain", "Quality"), ("Rollback", "Quality")]
    assert asked(report(window(3, **BAD_WINDOW), window(2, **BAD_WINDOW)), first, later=60) == []


def test_a_cause_without_new_evidence_does_not_hide_one_with_it() -> None:
    first = asked(labelled(3, 2))
    both = labelled(3, 2, window(2, drift=True), window(1, drift=True))
    assert kinds(asked(both, first)) == [("Retrain", "Drift"), ("Rollback", "Drift")]


def test_the_type_that_was_not_requested_may_still_rest_on_it() -> None:
    first = [a for a in asked(labelled(3, 2)) if a.type == "Retrain"]
    assert kinds(asked(labelled(3, 2), first)) == [("Rollback", "Performance")]


SERVED = {
    "all of it from before the version came back": (labelled(3, 2), served(since=ago(59)), False),
    "its oldest window is from before": (labelled(3, 1), served(since=ago(120)), False),
    "begins with the service": (labelled(2, 1), served(since=ago(120)), True),
    "begins with the service, and was there before": (
        labelled(2, 1, window(9), window(2), window(1)),
        served(since=ago(120)),
        True,
    ),
    "came in the middle of its first window ever": (labelled(2, 1), served(since=ago(90)), True),
    "came in the middle of a window, and was there before": (
        labelled(2, 1, window(5), window(2), window(1)), served(since=ago(90)), False,
    ),
    "nobody knows since when": (labelled(3, 2), served(since=None), True),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVED)
def test_after_a_retrain_or_a_return_only_newer_predictions_count(name: str) -> None:
    read, service, want = SERVED[name]
    assert bool(asked(read, served=service)) is want


def test_a_version_that_came_back_within_its_first_window_waits_for_the_next() -> None:
    (_, rollback) = asked(labelled(3, 2))
    rollback = rollback.model_copy(update={"time": ago(100), "evidence": None})
    returned = served(since=ago(90), previous="churn-1")
    for age in (100, 120):  # in the window, and at its very start
        earlier = rollback.model_copy(update={"time": ago(age)})
        assert [a for a in asked(labelled(2, 1), [earlier], served=returned) if a.type == "Retrain"] == []
    before = rollback.model_copy(update={"time": ago(121)})
    assert [a for a in asked(labelled(2, 1), [before], served=returned) if a.type == "Retrain"] != []


def test_drift_of_the_time_before_a_return_asks_for_nothing() -> None:
    assert asked(report(*DRIFTED), served=served(since=ago(150))) == []


def test_a_request_of_an_older_release_counts_as_based_on_all_before_it() -> None:
    (retrain, rollback) = (a.model_copy(update={"evidence": None, "time": ago(90)}) for a in asked(labelled(3, 2)))
    assert asked(labelled(2, 1), [retrain, rollback]) == []
    assert kinds(asked(labelled(1, 1), [retrain, rollback])) == BOTH


def test_a_monitor_of_an_older_release_proves_nothing() -> None:
    unproven = labelled(1, 1, breach_start=None, breach_end=None)
    assert asked(unproven) == []
    found = evaluation.evaluate(snapshot(SPEC, read=unproven)).get("PerformanceDegraded")
    assert found is not None and (found.status, found.reason) == ("False", "LimitNotExcluded")


def test_the_last_request_of_each_type_is_not_forgotten() -> None:
    (_, rollback) = asked(labelled(9, 8))
    retrains = [rollback.model_copy(update={"id": f"r{n}", "type": "Retrain", "cause": "Drift"}) for n in range(30)]
    kept = actions.remember([rollback, *retrains[:19]], retrains[19:])
    assert len(kept) == actions.MAX_ACTIONS
    assert kept[0] == rollback and kept[-1].id == "r29"


def test_quality_rests_on_the_last_window_alone() -> None:
    found = snapshot(SPEC, read=report(window(3), window(2), window(1)))
    assert evidence.of(found, "Quality") == Evidence(start=ago(60), end=ago(0))
    assert evidence.of(found, "Drift") == Evidence(start=ago(120), end=ago(0))
    without = {name: section for name, section in SPEC.items() if name != "drift"}
    assert evidence.of(snapshot(without, read=report(window(2), window(1))), "Quality") == Evidence(
        start=ago(60), end=ago(0)
    )
    assert evidence.of(snapshot(SPEC, read=report()), "Quality") is None


def test_without_performance_there_is_nothing_to_rest_on() -> None:
    assert evidence.of(snapshot(SPEC, read=report(window(1))), "Performance") is None
    assert evidence.of(snapshot(SPEC), "Performance") is None


@pytest.mark.parametrize("missing", ["breach_start", "breach_end"])
def test_half_a_proof_is_none(missing: str) -> None:
    assert evidence.of(snapshot(SPEC, read=labelled(3, 2, **{missing: None})), "Performance") is None
    assert asked(labelled(3, 2, **{missing: None})) == []
