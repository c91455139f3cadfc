"""Performance without labels: what its condition says, what is in status, and what it may ask for."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.monitoring.make import FULL, NOW, ago, performance, report, snapshot, window

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec
from tidemill.monitoring import plan
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import actions, estimate, evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.monitoring import EstimateReport

ASKED = {**FULL, "performance": {**FULL["performance"], "estimate": {}}}
RETRAIN = {**ASKED, "actions": {"retrain": {"causes": ["EstimatedPerformance"]}}}
LAST = window(1)
GOOD = EstimateReport(
    start=LAST.start, end=LAST.end, rows=100, value=0.9, low=0.85, high=0.95, trusted=True, unsupported_ratio=0.01
)
BAD = GOOD.model_copy(update={"value": 0.6, "low": 0.55, "high": 0.65, "exceeded": True})


def found(answer: EstimateReport | None, spec: dict[str, Any] | None = None, **realised: Any) -> Snapshot:
    labels = performance(0.9).model_copy(update={"estimate": answer, **realised})
    return snapshot(ASKED if spec is None else spec, read=report(LAST, performance=labels))


CASES: dict[str, tuple[EstimateReport | None, tuple[str, str], str]] = {
    "no window": (None, ("Unknown", "NoJudgedWindow"), "no window with at least 50 rows (minRows) has ended yet"),
    "no table": (
        EstimateReport(start=LAST.start, end=LAST.end, note="hunter2"),
        ("Unknown", "EstimateNotPossible"),
        "no calibration table",
    ),
    "few rows like these in the holdout": (
        BAD.model_copy(update={"trusted": False, "exceeded": False, "unsupported_ratio": 0.25}),
        ("Unknown", "EstimateNotTrusted"),
        "25% of the rows have answers of which the holdout had fewer than 30; more than 5%",
    ),
    "good": (GOOD, ("False", "WithinLimits"), "estimated as 0.9 (95 %: 0.85 to 0.95) on 100 rows; assumes p(y|x)"),
    "nothing proven": (
        GOOD.model_copy(update={"value": 0.81, "low": 0.78}),
        ("False", "LimitNotExcluded"),
        "min 0.8 is not excluded",
    ),
    "worse": (BAD, ("True", "LimitsExceeded"), "assumes p(y|x) as in the holdout; min 0.8"),
    "at the limit": (
        GOOD.model_copy(update={"value": 0.8, "low": 0.75, "exceeded": True}),
        ("False", "LimitNotExcluded"),
        "min 0.8 is not excluded",
    ),
    "an interval that ends at the limit": (
        GOOD.model_copy(update={"low": 0.8}),
        ("False", "WithinLimits"),
        "estimated as 0.9 (95 %: 0.8 to 0.95)",
    ),
    "half an interval": (GOOD.model_copy(update={"low": None}), ("False", "WithinLimits"), "(95 %: 0.9 to 0.9)"),
    "the other half": (GOOD.model_copy(update={"high": None}), ("False", "WithinLimits"), "(95 %: 0.9 to 0.9)"),
    "no figure that reads like the limit": (
        BAD.model_copy(update={"value": 0.79997, "low": 0.75, "high": 0.799996}),
        ("True", "LimitsExceeded"),
        "estimated as 0.79997 (95 %: 0.75 to 0.799996) on 100 rows",
    ),
    "a pod that contradicts itself": (
        GOOD.model_copy(update={"exceeded": True}),
        ("False", "WithinLimits"),
        "estimated as 0.9",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_condition(name: str) -> None:
    answer, wanted, part = CASES[name]
    condition = evaluation.evaluate(found(answer)).get("EstimatedPerformanceLow")
    assert condition is not None
    assert (condition.status, condition.reason) == wanted
    assert part in condition.message


def test_of_a_loss_the_maximum_counts() -> None:
    spec = {**FULL, "performance": {"metric": "mae", "max": 2.0, "min": 0.5, "minLabels": 10, "estimate": {}}}
    worse = BAD.model_copy(update={"value": 3.0, "low": 2.5, "high": 3.5})
    condition = evaluation.evaluate(found(worse, spec, metric="mae")).get("EstimatedPerformanceLow")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "LimitsExceeded")
    better = GOOD.model_copy(update={"value": 0.1, "low": 0.05, "high": 0.2})
    condition = evaluation.evaluate(found(better, spec, metric="mae")).get("EstimatedPerformanceLow")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "WithinLimits"), "better than asked for is no finding"


@pytest.mark.parametrize(
    ("limits", "answer", "wanted", "part"),
    [
        ({"min": 0.5}, (9.0, 8.0, 10.0), ("False", "WithinLimits"), "estimated as 9 (95 %: 8 to 10)"),
        ({"max": 2.0}, (2.0, 1.5, 2.5), ("False", "LimitNotExcluded"), "max 2 is not excluded"),
        ({"max": 2.0}, (1.0, 0.5, 2.0), ("False", "WithinLimits"), "estimated as 1 (95 %: 0.5 to 2)"),
        (
            {"max": 1234567.0},
            (1234568.0, 1234567.4, 1234569.0),
            ("True", "LimitsExceeded"),
            "estimated as 1234568 (95 %: 1234567.4 to 1234569) on 100 rows; "
            "assumes p(y|x) as in the holdout; max 1234567",
        ),
    ],
    ids=["no limit that counts", "at the limit", "an interval that ends at the limit", "all digits of large numbers"],
)
def test_a_loss_is_held_against_its_maximum(
    limits: dict[str, float], answer: tuple[float, float, float], wanted: tuple[str, str], part: str
) -> None:
    spec = {**FULL, "performance": {"metric": "mae", **limits, "minLabels": 10, "estimate": {}}}
    value, low, high = answer
    read = GOOD.model_copy(update={"value": value, "low": low, "high": high, "exceeded": True})
    condition = evaluation.evaluate(found(read, spec, metric="mae")).get("EstimatedPerformanceLow")
    assert condition is not None
    assert (condition.status, condition.reason) == wanted
    assert part in condition.message


def test_who_does_not_ask_has_no_condition_and_no_status() -> None:
    unasked = found(BAD, FULL)
    assert evaluation.evaluate(unasked).get("EstimatedPerformanceLow") is None
    assert estimate.status(unasked) is None
    assert not workload.config(unasked).performance.estimate  # type: ignore[union-attr]
    assert workload.config(found(BAD)).performance.estimate  # type: ignore[union-attr]


def test_it_is_unknown_like_all_others_while_nothing_is_judged() -> None:
    silent = snapshot(ASKED, error="no answer")
    condition = evaluation.evaluate(silent).get("EstimatedPerformanceLow")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", "MonitorUnreachable")


def test_status_has_three_digits_of_each_figure() -> None:
    figures = {"value": 0.61236, "low": 0.55478, "high": 0.65652, "unsupported_ratio": 0.01257}
    written = plan.plan(found(BAD.model_copy(update=figures))).status["verdicts"]["performance"]["estimated"]  # type: ignore[index]
    assert [written[name] for name in ("value", "low", "high", "unsupportedRatio")] == [0.612, 0.555, 0.657, 0.013]


def test_status_has_it_beside_the_realised_value() -> None:
    there = found(BAD, estimated=0.87654)
    written = plan.plan(there).status["verdicts"]["performance"]  # type: ignore[index]
    assert written["value"] == 0.9
    assert written["estimated"] == {
        "value": 0.6,
        "low": 0.55,
        "high": 0.65,
        "rows": 100,
        "start": ago(60).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "trusted": True,
        "unsupportedRatio": 0.01,
        "valueAtLabels": 0.877,
        "assumption": "assumes p(y|x) as in the holdout",
    }


def test_it_asks_for_a_run_only_where_spec_names_the_cause_and_once_for_a_window() -> None:
    def asked(look: Snapshot) -> list[Any]:
        return list(actions.decide(look, evaluation.evaluate(look)).requests)

    eager = {**ASKED, "actions": {"retrain": {"causes": ["Performance", "Drift"]}, "rollback": {"causes": ["Drift"]}}}
    assert asked(found(BAD, eager)) == []
    assert asked(found(GOOD, RETRAIN)) == []
    (request,) = asked(found(BAD, RETRAIN))
    assert (request.type, request.cause, request.target) == ("Retrain", "EstimatedPerformance", "churn")
    assert (request.evidence.start, request.evidence.end) == (ago(60), NOW)
    again = found(BAD, {**RETRAIN, "actions": {"retrain": {"causes": ["EstimatedPerformance"], "cooldownSeconds": 0}}})
    later = replace(again, status=again.status.model_copy(update={"actions": [request]}))
    assert asked(later) == [], "the same window asks once"


def test_no_rollback_rests_on_an_estimate() -> None:
    with pytest.raises(ValidationError, match="causes"):
        ModelMonitorSpec.model_validate({**ASKED, "actions": {"rollback": {"causes": ["EstimatedPerformance"]}}})


def test_it_is_recorded_as_a_finding_of_the_version() -> None:
    written = plan.plan(found(BAD, RETRAIN)).status
    assert written is not None
    assert {"version": "churn-2", "cause": "EstimatedPerformance"} in written["findings"]
