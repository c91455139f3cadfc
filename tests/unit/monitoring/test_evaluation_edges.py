"""What the monitor's report means where a limit is met exactly, half of a figure is missing, or a list is long."""

from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, SPEC, performance, report, snapshot, window

from tidemill.monitoring.policy import evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.monitoring import ColumnNote, PerformanceReport

EVERYTHING: dict[str, Any] = {
    **FULL,
    "performance": {**FULL["performance"], "estimate": {}},
    "fairness": {
        "groups": [{"column": "gender", "privileged": "m"}],
        "limits": [{"metric": "SelectionRateRatio", "min": 0.8}],
    },
    "gaming": {},
}


def kinds(found: Snapshot) -> set[str]:
    return {condition.type for condition in evaluation.evaluate(found).conditions}


def said(found: Snapshot, kind: str) -> str:
    condition = evaluation.evaluate(found).get(kind)
    assert condition is not None
    return condition.message


def reason(found: Snapshot, kind: str) -> tuple[str, str]:
    condition = evaluation.evaluate(found).get(kind)
    assert condition is not None
    return condition.status, condition.reason


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        ({"deployment": "churn"}, set()),
        (SPEC, {"DriftDetected", "DataQualityDegraded"}),
        (FULL, {"DriftDetected", "DataQualityDegraded", "PerformanceDegraded", "LabelsArriving"}),
        (
            EVERYTHING,
            {
                "DriftDetected",
                "DataQualityDegraded",
                "PerformanceDegraded",
                "LabelsArriving",
                "EstimatedPerformanceLow",
                "FairnessLimitExceeded",
                "GamingSuspected",
            },
        ),
    ],
    ids=["nothing", "drift", "labels", "everything"],
)
def test_what_is_unknown_while_nothing_is_read_is_what_is_judged_when_something_is(
    spec: dict[str, Any], more: set[str]
) -> None:
    assert kinds(snapshot(spec, read=report(window(1)))) == {"DataArriving"} | more
    for away in (snapshot(spec), snapshot({**spec, "suspend": True}), snapshot(spec, served=None)):
        assert kinds(away) == {"DataArriving"} | more
        assert {condition.status for condition in evaluation.evaluate(away).conditions} == {"Unknown"}


@pytest.mark.parametrize(
    ("spec", "lacking"),
    [
        ({"columns": [{"name": "shop", "type": "Number"}]}, None),
        ({"columns": [{"name": "shop", "type": "Number"}, {"name": "code", "type": "Category"}]}, "types of columns"),
        ({"quality": {"maxMissingRatio": 0.1}}, "data quality"),
        ({"drift": SPEC["drift"]}, "data quality"),
        ({}, None),
    ],
)
def test_a_profile_is_too_old_for_what_spec_asks_for_only(
    spec: dict[str, Any], lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = dict.fromkeys(evaluation.reference.SINCE, 1) | {"types of columns": 2, "data quality": 2}
    monkeypatch.setattr(evaluation.reference, "SINCE", since)
    found = evaluation.evaluate(snapshot({"deployment": "churn", **spec}, read=report(window(1), profile_version=1)))
    condition = found.get("ProfileTooOld")
    assert (condition is None) == (lacking is None)
    assert condition is None or condition.message.split("too old for: ")[1].startswith(f"{lacking}. ")


@pytest.mark.parametrize(("number", "end"), [(5, "c4."), (6, "c4 and 1 more."), (9, "c4 and 4 more.")])
def test_five_columns_are_named_and_the_others_counted(number: int, end: str) -> None:
    notes = tuple(ColumnNote(name=f"c{n}", finding="Identifier") for n in range(number))
    text = said(snapshot(read=report(window(1), column_notes=notes)), "ColumnsNoted")
    assert text.split(" spec.columns")[0].endswith(end)


@pytest.mark.parametrize(("number", "end"), [(5, ": f0, f1, f2, f3, f4"), (6, "f4, 1 more")])
def test_five_features_without_a_score_are_named_and_the_others_counted(number: int, end: str) -> None:
    names = tuple(f"f{n}" for n in range(number))
    before = window(2, comparable=False, tested=30, without_score=("before",))
    last = window(1, comparable=False, tested=30, without_score=names)
    assert said(snapshot(read=report(before, last)), "DriftDetected").endswith(end)


def test_problems_that_are_counted_are_those_of_the_last_window() -> None:
    def bad(number: int, problems: int) -> Any:
        return window(number, quality_problems=tuple(f"f{n} is broken" for n in range(problems)))

    text = said(snapshot(FULL, read=report(bad(2, 1), bad(1, 7))), "DataQualityDegraded")
    assert text.endswith("f4 is broken; 2 more")


def test_a_window_within_the_limits_is_told_with_its_rows() -> None:
    text = said(snapshot(FULL, read=report(window(1))), "DataQualityDegraded")
    assert text == "the last window (100 rows) is within the limits"


def labelled(value: float, **changes: Any) -> PerformanceReport:
    return performance(value).model_copy(update=changes)


@pytest.mark.parametrize(
    ("asked", "found", "wanted"),
    [
        ({"min": 0.8, "minLabelsRatio": 0.5}, labelled(0.9), ("False", "WithinLimits")),
        ({"min": 0.8, "minLabelsRatio": 0.5001}, labelled(0.9), ("Unknown", "LabelsRatioTooLow")),
        ({"max": 0.95}, labelled(0.9, low=0.85, high=0.95), ("False", "WithinLimits")),
        ({"max": 0.95}, labelled(0.9, low=0.85, high=0.9501), ("False", "LimitNotExcluded")),
        ({"min": 0.8}, labelled(0.9, low=None, high=0.95), ("False", "WithinLimits")),
        ({"min": 0.8}, labelled(0.9, low=0.7, high=None), ("False", "WithinLimits")),
    ],
    ids=["labels enough", "labels too few", "at max", "above max", "half an interval", "the other half"],
)
def test_performance_at_its_limits(asked: dict[str, float], found: PerformanceReport, wanted: tuple[str, str]) -> None:
    looked = snapshot(
        {**FULL, "performance": {"metric": "accuracy", "minLabels": 10, **asked}}, read=report(performance=found)
    )
    assert reason(looked, "PerformanceDegraded") == wanted
    assert ("95 %" in said(looked, "PerformanceDegraded")) == (None not in (found.low, found.high))
