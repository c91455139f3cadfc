"""Fairness: what the monitor is told, what of its report is believed, and what condition and status say of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.monitoring.make import DIGEST, FULL, NOW, report, served, snapshot, window

from tidemill.monitoring import observe, plan, reports
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import evaluation, fairness
from tidemill.monitoring.reports import Expected, ReportError
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.fairness import FairnessLimit, FairnessReport, GapReport, GroupReport

EXPECTED = Expected("churn", DIGEST, "accuracy", NOW)
LIMITS = [{"metric": "SelectionRateRatio", "min": 0.8}, {"metric": "FalsePositiveRateDifference", "max": 0.1}]
SPEC: dict[str, Any] = {
    **FULL,
    "fairness": {"groups": [{"column": "gender", "privileged": "m"}], "limits": LIMITS},
}
LOGGED = served(logged_columns=frozenset({"gender"}))
RATIO: dict[str, Any] = {
    "metric": "SelectionRateRatio",
    "value": 0.61234,
    "low": 0.5,
    "high": 0.7,
    "rows": 900,
    "privileged_rows": 1_000,
    "judged": True,
}
DIFFERENCE: dict[str, Any] = RATIO | {"metric": "FalsePositiveRateDifference", "value": 0.0}
WOMEN: dict[str, Any] = {"column": "gender", "group": "f", "rows": 900, "selection_rate": 0.31234}
MEN: dict[str, Any] = {"column": "gender", "group": "m", "rows": 1_000, "selection_rate": 0.51, "privileged": True}


def found(*gaps: dict[str, Any], positive: str | None = "1", spec: dict[str, Any] = SPEC, **changes: Any) -> Snapshot:
    women = GroupReport(**WOMEN, gaps=tuple(GapReport(**gap) for gap in gaps))
    groups = (women, GroupReport(**MEN)) if gaps else ()
    read = report(window(1))
    versions = (read.versions[0].model_copy(update={"fairness": FairnessReport(positive=positive, groups=groups)}),)
    return snapshot(spec, read=read.model_copy(update={"versions": versions}), **{"served": LOGGED, **changes})


def condition(look: Snapshot) -> Any:
    return evaluation.evaluate(look).get("FairnessLimitExceeded")


@pytest.mark.parametrize(
    ("gap", "status", "reason"),
    [
        (RATIO | {"exceeded": True}, "True", "LimitsExceeded"),
        (RATIO, "False", "LimitNotExcluded"),
        (RATIO | {"value": 0.9, "low": 0.85, "high": 0.95}, "False", "WithinLimits"),
        (RATIO | {"value": None, "low": None, "high": None}, "False", "LimitNotExcluded"),
        (RATIO | {"judged": False}, "Unknown", "NotEnoughRows"),
        (RATIO | {"exceeded": True, "rows": 199}, "Unknown", "NotEnoughRows"),
        (RATIO | {"metric": "SelectionRateDifference", "exceeded": True}, "Unknown", "NotEnoughRows"),
        (
            RATIO | {"metric": "FalsePositiveRateDifference", "value": 0.0, "low": -0.09, "high": 0.09},
            "False",
            "WithinLimits",
        ),
        (
            RATIO | {"metric": "FalsePositiveRateDifference", "value": -0.05, "low": -0.11, "high": 0.0},
            "False",
            "LimitNotExcluded",
        ),
        (RATIO | {"value": 0.9, "low": 0.8, "high": 0.95, "rows": 200}, "False", "WithinLimits"),
        (DIFFERENCE | {"low": -0.1, "high": 0.1}, "False", "WithinLimits"),
        (DIFFERENCE | {"low": -0.1001, "high": 0.1}, "False", "LimitNotExcluded"),
        (DIFFERENCE | {"low": -0.1, "high": 0.1001}, "False", "LimitNotExcluded"),
        (DIFFERENCE | {"low": 0.0, "high": 0.0}, "False", "WithinLimits"),
        (DIFFERENCE | {"low": None, "high": 0.0}, "False", "LimitNotExcluded"),
        (DIFFERENCE | {"low": 0.0, "high": None}, "False", "LimitNotExcluded"),
    ],
)
def test_the_condition_says_what_is_proven(gap: dict[str, Any], status: str, reason: str) -> None:
    said = condition(found(gap))
    assert (said.status, said.reason) == (status, reason)


def test_the_message_has_group_figure_interval_and_rows() -> None:
    said = condition(found(RATIO | {"exceeded": True}))
    assert said.message == "gender=f: selection rate ratio 0.612 (95 %: 0.5 to 0.7) on 900 rows against 1000"
    said = condition(found(RATIO | {"value": 0.9, "low": 0.85, "high": 0.95}))
    assert said.message == "1 comparison of groups within the limits; fewer than minRows rows for a limit: gender=f"


def test_no_figure_reads_like_a_limit_that_it_is_not_at() -> None:
    proven = {"value": 0.79996, "low": 0.75, "high": 0.799991, "exceeded": True}
    assert "ratio 0.79996 (95 %: 0.75 to 0.79999) on" in condition(found(RATIO | proven)).message
    proven = {"value": -0.10004, "low": -0.123, "high": -0.1, "exceeded": True}
    assert "difference -0.10004 (95 %: -0.123 to -0.1) on" in condition(found(DIFFERENCE | proven)).message


def groups(number: int, *gaps: dict[str, Any]) -> Snapshot:
    """So many groups with the same gaps."""
    one = found(*gaps)
    assert one.reading.report is not None
    version = one.reading.report.versions[0]
    assert version.fairness is not None
    women, men = version.fairness.groups
    many = (*(women.model_copy(update={"group": f"g{n}"}) for n in range(number)), men)
    fairness = version.fairness.model_copy(update={"groups": many})
    read = one.reading.report.model_copy(update={"versions": (version.model_copy(update={"fairness": fairness}),)})
    return replace(one, reading=replace(one.reading, report=read))


@pytest.mark.parametrize(("number", "end"), [(3, ""), (4, "; 1 more"), (9, "; 6 more")])
@pytest.mark.parametrize("exceeded", [True, False])
def test_three_comparisons_are_told_and_the_others_counted(number: int, end: str, exceeded: bool) -> None:
    text = condition(groups(number, RATIO | {"exceeded": exceeded})).message
    assert ("g2:" in text, "g3:" in text) == (True, False)
    assert text.endswith(f"on 900 rows against 1000{end}")


@pytest.mark.parametrize(("number", "end"), [(3, "g2"), (4, "g2 and 1 more"), (9, "g2 and 6 more")])
def test_groups_that_are_too_small_for_a_limit_are_named(number: int, end: str) -> None:
    kept = RATIO | {"value": 0.9, "low": 0.85, "high": 0.95}
    text = condition(groups(number, kept, DIFFERENCE | {"judged": False})).message
    assert text.startswith(f"{number} comparisons of groups within the limits; fewer than minRows rows for a limit: ")
    assert text.endswith(f"gender={end}")
    both = condition(groups(number, kept, DIFFERENCE | {"low": -0.01, "high": 0.01})).message
    assert both == f"{2 * number} comparisons of groups within the limits"


def test_status_has_the_groups_only_where_spec_asks_and_a_gap_without_an_interval_is_open() -> None:
    assert fairness.status(found(RATIO, spec=FULL)) is None
    written = fairness.status(found(RATIO | {"value": None, "low": None, "high": None}))
    assert written is not None and written.groups is not None and written.groups[0].gaps is not None
    assert written.groups[0].gaps[0].verdict == "LimitNotExcluded"


def test_what_cannot_be_compared_is_unknown_and_says_why() -> None:
    said = condition(found(RATIO, served=served()))
    assert (said.status, said.reason) == ("Unknown", "ColumnNotLogged")
    assert "spec.logging.columns of ModelDeployment churn" in said.message
    assert condition(found(positive=None)).reason == "PositiveClassNotKnown"
    assert condition(found()).reason == "NotEnoughRows"
    assert condition(snapshot(SPEC, read=report(window(1)), served=LOGGED)).reason == "NotEnoughRows"
    assert condition(snapshot(SPEC, served=LOGGED)).reason == "MonitorUnreachable"
    assert condition(snapshot({**SPEC, "suspend": True}, served=LOGGED)).reason == "Suspended"
    assert condition(found(RATIO, spec=FULL)) is None


def test_status_has_each_group_with_its_gaps_and_nothing_is_requested() -> None:
    spec = {**SPEC, "actions": {"retrain": {"causes": ["Performance"]}, "rollback": {"causes": ["Performance"]}}}
    written = plan.plan(found(RATIO | {"exceeded": True}, spec=spec)).status
    assert written is not None
    no_labels = {"negatives": 0, "positives": 0}
    assert written["verdicts"]["fairness"] == {
        "positive": "1",
        "groups": [
            {
                "column": "gender",
                "group": "f",
                "privileged": False,
                "rows": 900,
                **no_labels,
                "selectionRate": 0.312,
                "gaps": [
                    {"metric": "SelectionRateRatio", "value": 0.612, "low": 0.5, "high": 0.7, "verdict": "Exceeded"}
                ],
            },
            {"column": "gender", "group": "m", "privileged": True, "rows": 1000, "selectionRate": 0.51, **no_labels},
        ],
    }
    assert not written.get("actions")


def test_a_limit_that_is_exceeded_is_an_event() -> None:
    events = plan.plan(found(RATIO | {"exceeded": True})).events
    assert "FairnessLimitExceeded" in {event.reason for event in events}


def test_the_monitor_is_told_groups_and_limits() -> None:
    told = workload.config(snapshot(SPEC)).fairness
    assert told is not None
    assert [(g.column, g.privileged, g.values) for g in told.groups] == [("gender", "m", ())]
    assert told.limits == (
        FairnessLimit(metric="SelectionRateRatio", min=0.8),
        FairnessLimit(metric="FalsePositiveRateDifference", max=0.1),
    )
    assert (told.min_rows, told.positive, told.false_alarms_per_month) == (200, None, 0.2)
    assert workload.config(snapshot(FULL)).fairness is None


def test_logged_columns_are_those_of_the_deployment() -> None:
    deployment: dict[str, Any] = {"spec": {"logging": {"columns": ["gender"]}}}
    assert observe.served(deployment, None).logged_columns == {"gender"}
    assert observe.served({"spec": {}}, None).logged_columns == frozenset()


def answer(*groups: dict[str, Any], **changes: Any) -> bytes:
    read = json.loads(report(window(1)).to_json())
    read["versions"][0]["fairness"] = {"positive": "1", "groups": list(groups), **changes}
    return json.dumps(read).encode()


@pytest.mark.parametrize(
    ("group", "changes", "why"),
    [
        ({"rows": -1}, {}, "not a count"),
        ({"selection_rate": 1.5}, {}, "not a share"),
        ({"gaps": [RATIO | {"value": float("nan")}]}, {}, "not a finite number"),
        ({"gaps": [RATIO | {"low": None}]}, {}, "no interval"),
        ({"gaps": [RATIO | {"low": 0.9}]}, {}, "no interval"),
        ({"gaps": [RATIO | {"rows": -1}]}, {}, "not a count"),
        ({"gaps": [RATIO | {"judged": False, "exceeded": True}]}, {}, "without being judged"),
        ({"gaps": [RATIO] * 5}, {}, "gaps has more than 4"),
        ({"gaps": [RATIO | {"metric": "Justice"}]}, {}, "metric: literal_error"),
        ({}, {"start": 5.0}, "start is no beginning"),
        ({}, {"labels_start": 9.0, "labels_end": 8.0}, "labels_start is no beginning"),
        ({}, {"start": 5.0, "end": NOW.timestamp() + 1e6}, "in the future"),
    ],
)
def test_what_no_monitor_finds_is_not_believed(group: dict[str, Any], changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ReportError, match=why):
        reports.read(answer(WOMEN | group, **changes), EXPECTED)


def test_names_are_short_and_printable_and_groups_are_bounded() -> None:
    read = reports.read(answer(WOMEN | {"group": "x\n" + "y" * 500}), EXPECTED).versions[0].fairness
    assert read is not None
    assert read.groups[0].group == "x?" + "y" * 62
    with pytest.raises(ReportError, match="more than 48"):
        reports.read(answer(*[WOMEN] * 49), EXPECTED)
