"""DriftDetected: N of M windows, what is named below the share, what changed, and how often the alarm came."""

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.monitoring.make import NOW, SPEC, WINDOW, ago, report, snapshot, window
from tests.unit.monitoring.test_plan import given

from tidemill.monitoring import plan
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import drift, evaluation, evidence
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.baselines import BaselineConfig, BaselineReport
from tidemill_contracts.drift_tests import BY_NAME, NAMES
from tidemill_contracts.monitoring import ColumnScore

FALSE = {"type": "DriftDetected", "status": "False", "reason": "NoDrift", "message": "", "observedGeneration": 1}


def column(name: str, score: float = 0.9, **changes: Any) -> ColumnScore:
    return ColumnScore(**{"name": name, "test": "PSI", "score": score, "threshold": 0.2, "drifted": True, **changes})


def spec(**changes: Any) -> dict[str, Any]:
    return {**SPEC, "drift": {"features": {}, "consecutiveWindows": 2, **changes}}


def history(drifted: str, **changes: Any) -> Snapshot:
    """One character a window, oldest first: x drifted."""
    windows = [window(len(drifted) - i, drift=mark == "x") for i, mark in enumerate(drifted)]
    return snapshot(spec(**changes), read=report(*windows))


@pytest.mark.parametrize(
    ("windows", "changes", "status", "reason", "count"),
    [
        pytest.param("x.x", {"outOf": 3}, "True", "DriftSustained", 2, id="two of three, with one between"),
        pytest.param("xx.", {"outOf": 3}, "True", "DriftSustained", 2, id="the last is calm, and two of three are not"),
        pytest.param("x..", {"outOf": 3}, "False", "DriftNotSustained", 1, id="one of three"),
        pytest.param("xx...", {"outOf": 3}, "False", "NoDrift", 0, id="longer ago than three windows"),
        pytest.param("x", {"outOf": 3}, "False", "DriftNotSustained", 1, id="fewer windows than three"),
        pytest.param("x.x", {}, "False", "DriftNotSustained", 1, id="in a row, as before there was outOf"),
        pytest.param("xxx", {}, "True", "DriftSustained", 3, id="in a row and longer than needed"),
    ],
)
def test_drift_is_n_of_the_last_m_windows(
    windows: str, changes: dict[str, Any], status: str, reason: str, count: int
) -> None:
    found = evaluation.evaluate(history(windows, **changes))
    condition = found.get("DriftDetected")
    assert condition is not None
    assert (condition.status, condition.reason, found.drifted_windows) == (status, reason, count)


def test_a_feature_that_drifted_is_named_where_the_share_is_not_reached() -> None:
    moved = column("income", 9.1, reference_mean=14.1, mean=22.5, below_ratio=0.0, above_ratio=0.38)
    last = window(1, features=(moved,), drifted_share=1 / 30)
    found = evaluation.evaluate(snapshot(spec(), read=report(last))).get("DriftDetected")
    assert found is not None
    assert (found.status, found.reason) == ("False", "DriftBelowShare")
    assert found.message == (
        "1 feature drifted in the last window (100 rows), which is a share of 0.033 and below driftedShare (0.3): "
        "income (PSI 9.1, limit 0.2: mean 14.1 → at least 22.5; 38 % above training's maximum)"
    )


def test_no_figure_of_drift_reads_like_a_limit_that_it_is_not_at() -> None:
    moved = column("income", 0.20004, reference_mean=1000.2, mean=1000.7)
    last = window(1, features=(moved,), drifted_share=0.2999)
    found = evaluation.evaluate(snapshot(spec(), read=report(last))).get("DriftDetected")
    assert found is not None
    assert found.message == (
        "1 feature drifted in the last window (100 rows), which is a share of 0.2999 and below driftedShare (0.3): "
        "income (PSI 0.20004, limit 0.2: mean 1000 → 1001)"
    )


BARELY_ABOVE = "mean 5 → at least 9; 1 % above training's maximum"
BARELY_BELOW = "mean 9 → at most 5; 1 % below training's minimum"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"reference_mean": 14.1, "mean": 22.5, "below_ratio": 0.0, "above_ratio": 0.0}, "mean 14.1 → 22.5"),
        (
            {"reference_mean": 5.0, "mean": 1.0, "below_ratio": 0.4, "above_ratio": 0.0},
            "mean 5 → at most 1; 40 % below training's minimum",
        ),
        (
            {"reference_mean": 14.123, "mean": 22.567, "below_ratio": 0.2, "above_ratio": 0.3},
            "mean 14.1 → about 22.6; 20 % below training's minimum; 30 % above training's maximum",
        ),
        ({"reference_mean": 5.0, "mean": 9.0, "below_ratio": 0.005, "above_ratio": 0.006}, BARELY_ABOVE),
        ({"reference_mean": 9.0, "mean": 5.0, "below_ratio": 0.006, "above_ratio": 0.005}, BARELY_BELOW),
        ({"category": "B", "reference_share": 0.12, "share": 0.48}, "'B' 12 % → 48 %"),
        ({}, ""),
        ({"mean": 5.0}, ""),
        ({"reference_mean": 5.0}, ""),
    ],
)
def test_what_changed_is_told_in_figures(changed: dict[str, Any], text: str) -> None:
    assert drift.change(column("x", **changed)) == text


def test_the_worst_feature_is_the_furthest_beyond_its_own_threshold() -> None:
    features = (column("a", 1.0, threshold=0.5), column("b", 0.4, threshold=0.1), column("c", drifted=False))
    assert [f.name for f in drift.worst_first(window(1, features=features))] == ["b", "a"]


def test_a_pod_that_says_no_threshold_or_half_a_baseline_is_not_quoted_with_one() -> None:
    features = (column("known", 0.5, threshold=0.2), column("other", 3.0, threshold=None))
    half = BaselineReport(type="Window", rows=9, windows=2, start=1_793_000_000)
    last = window(1, drift=True, features=features, baseline=half)
    assert [f.name for f in drift.worst_first(last)] == ["other", "known"]
    assert drift.describe(last) == "other (PSI 3), known (PSI 0.5, limit 0.2)"
    assert drift.compared_with(last) == ", compared with the training data"


def test_importance_is_compared_in_percent() -> None:
    features = (column("b", 9.0, importance=0.31), column("a", 0.3, importance=0.34))
    assert [f.name for f in drift.worst_first(window(1, features=features))] == ["a", "b"]


def test_the_most_important_feature_comes_first_and_its_importance_is_told() -> None:
    features = (
        column("far", 9.0, importance=0.002),  # a thousandth is told as 0 %
        column("further", 9.5, importance=0.0),
        column("main", 0.3, importance=0.61, reference_mean=14.1, mean=22.5, below_ratio=0.0, above_ratio=0.0),
        column("other", 0.3, importance=0.21),
        column("old", 10.0),
    )
    last = window(1, drift=True, features=features)
    assert [f.name for f in drift.worst_first(last)] == ["main", "other", "old", "further", "far"]
    assert drift.describe(last).startswith(
        "main (importance 61 %, PSI 0.3, limit 0.2: mean 14.1 → 22.5), other (importance 21 %, PSI 0.3, limit 0.2), "
        "old (PSI 10, limit 0.2), further (importance 0 %, "
    )
    status = plan.plan(snapshot(spec(), read=report(last))).status
    assert status is not None
    found = [(f["name"], f.get("importance")) for f in status["window"]["driftedFeatures"]]
    assert found == [("main", 0.61), ("other", 0.21), ("old", None), ("further", 0.0), ("far", 0.002)]


def test_drifted_probabilities_are_named() -> None:
    text = drift.describe(window(1, features=(), probability=column("score", 0.5)))
    assert text == "probability of the predicted class (PSI 0.5, limit 0.2)"


def test_status_says_the_smallest_shift_and_counts_alarms_when_they_begin() -> None:
    old = {"since": "2026-10-20T12:00:00Z", "alarms": ["2026-10-20T12:00:00Z", "2026-11-10T12:00:00Z"]}
    status = {"conditions": [FALSE | {"lastTransitionTime": "2026-11-01T00:00:00Z"}], "verdicts": {"drift": old}}
    windows = window(2, drift=True), window(1, drift=True, smallest_shift=0.3141)
    found = plan.plan(snapshot(spec(), status, read=report(*windows))).status
    assert found is not None
    assert found["verdicts"] == {
        "drift": {
            "smallestShift": 0.31,
            "baseline": {"type": "Training", "version": "churn-2", "since": "2026-11-23T12:00:00Z"},
            "since": "2026-10-20T12:00:00Z",
            "alarms": ["2026-11-10T12:00:00Z", "2026-11-23T12:00:00Z"],  # the first is older than 30 days
        }
    }
    assert found["observedAlarmsPerMonth"] == 2.0


@pytest.mark.parametrize(
    ("status", "reason", "counted"),
    [
        ("False", "DriftNotSustained", 1),
        ("Unknown", "NoJudgedWindow", 1),
        ("True", "DriftSustained", 0),
        ("Unknown", "MonitorUnreachable", 0),
    ],
)
def test_an_alarm_counts_once_and_a_monitor_that_was_away_makes_no_new_one(
    status: str, reason: str, counted: int
) -> None:
    before = {**FALSE, "status": status, "reason": reason, "lastTransitionTime": "2026-11-01T00:00:00Z"}
    looked = snapshot(spec(), {"conditions": [before]}, read=report(window(2, drift=True), window(1, drift=True)))
    found = drift.verdict(looked, evaluation.evaluate(looked))
    assert found is not None
    assert len(found.alarms) == counted
    assert found.since == NOW


@pytest.mark.parametrize(("days", "kept"), [(29.9, 1), (30, 0)])
def test_an_alarm_is_kept_for_thirty_days(days: float, kept: int) -> None:
    old = {"since": ago(90 * 86_400).isoformat(), "alarms": [ago(days * 86_400).isoformat()]}
    looked = snapshot(spec(), {"verdicts": {"drift": old}}, read=report(window(1)))
    found = drift.verdict(looked, evaluation.evaluate(looked))
    assert found is not None
    assert len(found.alarms) == kept


def test_alarms_a_month_are_told_after_four_weeks() -> None:
    def observed(days: float) -> float | None:
        since = ago(days * 86_400).isoformat()
        looked = snapshot(spec(), {"verdicts": {"drift": {"since": since, "alarms": [ago(86_400).isoformat()]}}})
        return drift.observed_per_month(looked, drift.verdict(looked, evaluation.evaluate(looked)))

    assert [observed(27.9), observed(28), observed(300)] == [None, 1.07, 1.0]


def test_a_monitor_without_drift_has_no_verdict_on_it() -> None:
    looked = snapshot({"deployment": "churn", "quality": {"maxMissingRatio": 0.1}})
    assert drift.verdict(looked, evaluation.evaluate(looked)) is None
    assert drift.observed_per_month(looked, None) is None


SPAN = BaselineReport(type="Window", rows=1_200, windows=2, start=1_793_000_000, end=1_793_007_200)
NO_ROWS = BaselineReport(type="Training", rows=40, windows=1)
SINCE = "2026-11-20T00:00:00Z"
WANTED = {"type": "Window", "window": {"start": "2026-10-26T05:00:00Z", "end": "2026-10-26T08:00:00Z"}}


def baseline_of(found: BaselineReport | None, old: dict[str, Any] | None = None) -> dict[str, Any]:
    """spec.baseline is a span of time; what status says of the last window's baseline."""
    status = {"verdicts": {"drift": {"since": SINCE, "baseline": old}}} if old else {}
    looked = snapshot({**spec(), "baseline": WANTED}, status, read=report(window(1, baseline=found)))
    told = plan.plan(looked).status
    assert told is not None
    return dict(told["verdicts"]["drift"]["baseline"])


def test_the_baseline_is_that_of_the_last_window() -> None:
    windows = window(2, baseline=NO_ROWS), window(1, baseline=SPAN)
    told = plan.plan(snapshot({**spec(), "baseline": WANTED}, read=report(*windows))).status
    assert told is not None
    assert told["verdicts"]["drift"]["baseline"]["type"] == "Window"


def test_a_version_of_which_no_window_was_judged_has_training_as_its_baseline_and_says_why() -> None:
    looked = snapshot({**spec(), "baseline": WANTED}, read=report(window(0, closed=False)))
    found = drift.verdict(looked, evaluation.evaluate(looked))
    assert found is not None and found.baseline is not None
    assert (found.baseline.type, found.baseline.message) == ("Training", "no window has been judged yet")


def test_status_says_what_is_compared_with() -> None:
    assert baseline_of(SPAN) == {
        "type": "Window",
        "version": "churn-2",
        "since": "2026-11-23T12:00:00Z",
        "rows": 1_200,
        "start": "2026-10-26T07:33:20Z",
        "end": "2026-10-26T09:33:20Z",
    }
    told = baseline_of(NO_ROWS)
    assert (told["type"], "rows" in told) == ("Training", False)
    assert told["message"] == (
        "version churn-2 has 40 rows in the windows that spec.baseline names, and 50 (spec.window.minRows) are needed: "
        "its training data is the baseline"
    )


@pytest.mark.parametrize(
    ("old", "found", "since", "previous"),
    [
        ({"type": "Window", "version": "churn-2", "since": SINCE}, SPAN, SINCE, None),
        ({"type": "Training", "version": "churn-2", "since": SINCE}, SPAN, "2026-11-23T12:00:00Z", None),
        ({"type": "Window", "version": "churn-1", "since": SINCE}, NO_ROWS, "2026-11-23T12:00:00Z", "churn-1"),
        (
            {"type": "Window", "version": "churn-2", "previousVersion": "churn-1", "since": SINCE},
            SPAN,
            SINCE,
            "churn-1",
        ),
    ],
    ids=["the same", "enough rows at last", "a promotion", "after a promotion"],
)
def test_a_promotion_moves_the_baseline_and_status_says_so(
    old: dict[str, Any], found: BaselineReport, since: str, previous: str | None
) -> None:
    told = baseline_of(found, old)
    assert (told["version"], told["since"], told.get("previousVersion")) == ("churn-2", since, previous)


def test_a_monitor_that_is_away_has_the_baseline_of_before() -> None:
    old = {"type": "Window", "version": "churn-2", "previousVersion": "churn-1", "since": SINCE, "rows": 9}
    status = {"verdicts": {"drift": {"since": SINCE, "baseline": old}}}
    for looked in (
        snapshot({**spec(), "baseline": WANTED}, status, error="refused"),
        snapshot({**spec(), "baseline": WANTED}, status, read=report(window(0, closed=False))),
    ):
        found = drift.verdict(looked, evaluation.evaluate(looked))
        assert found is not None and found.baseline is not None
        assert found.baseline.to_json() == old


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, ""),
        (SPAN, ", compared with 1200 rows of 2 windows, 2026-10-26T07:33Z to 2026-10-26T09:33Z"),
        (NO_ROWS, ", compared with the training data"),
    ],
)
def test_the_condition_says_what_is_compared_with(found: BaselineReport | None, text: str) -> None:
    looked = snapshot(spec(), read=report(window(2, drift=True, baseline=found), window(1, drift=True, baseline=found)))
    condition = evaluation.evaluate(looked).get("DriftDetected")
    assert condition is not None
    assert condition.message == f"2 of 2 windows in a row drifted{text}: tenure (PSI 0.612, limit 0.2)"
    quiet = evaluation.evaluate(snapshot(spec(), read=report(window(1, baseline=found)))).get("DriftDetected")
    assert quiet is not None
    assert quiet.message == f"the last window (100 rows) shows no drift{text}"


@pytest.mark.parametrize(
    ("stated", "config"),
    [
        ({"type": "Training"}, {"type": "Training"}),
        ({"type": "Previous"}, {"type": "Previous"}),
        (WANTED, {"type": "Window", "start": 1_792_990_800.0, "end": 1_793_001_600.0}),
        ({"type": "Seasonal", "seasonal": {}}, {"type": "Seasonal", "period_seconds": 604_800, "count": 4}),
        (
            {"type": "Seasonal", "seasonal": {"period": "Day", "count": 7}},
            {"type": "Seasonal", "period_seconds": 86_400, "count": 7},
        ),
    ],
)
def test_the_monitor_is_told_the_baseline(stated: dict[str, Any], config: dict[str, Any]) -> None:
    assert given(snapshot({**spec(), "baseline": stated})).baseline == BaselineConfig(**config)
    assert given(snapshot(spec())).baseline is None


@pytest.mark.parametrize("test", NAMES)
def test_a_threshold_that_is_left_out_is_the_usual_one_of_the_test(test: str) -> None:
    config = given(snapshot(spec(features={"test": test}, overrides=[{"name": "a", "test": test}])))
    assert config.drift is not None and config.drift.features is not None
    assert config.drift.features.threshold == config.drift.overrides["a"].threshold == BY_NAME[test].threshold


def test_the_monitor_is_given_what_its_level_follows_from_and_the_decisive_columns() -> None:
    other = {
        **spec(features={"test": "Auto"}, falseAlarmsPerMonth=1, outOf=3),
        "columns": [{"name": "income", "decisive": True}, {"name": "age"}],
    }
    config = given(snapshot(other))
    assert config.drift is not None and config.drift.features is not None
    assert (config.drift.false_alarms_per_month, config.drift.consecutive_windows, config.drift.out_of) == (1, 2, 3)
    assert config.drift.features.test == "Auto"
    assert {name for name, found in config.columns.items() if found.decisive} == {"income"}


def test_an_object_with_the_usual_threshold_written_out_is_the_same_as_one_without() -> None:
    """So that an upgrade replaces monitors in turn: this is no change of a user's."""
    written_out = {"features": {"test": "PSI", "threshold": 0.2}, "predictions": {"test": "PSI", "threshold": 0.2}}
    short: dict[str, Any] = {"features": {}, "predictions": {}}
    one, two, other = (
        workload.unit(snapshot(spec(**tests))).inputs
        for tests in (written_out, short, {"features": {"test": "PSI", "threshold": 0.3}})
    )
    assert one == two != other
    assert one["spec"]["drift"] == {"predictions": {}}


def test_evidence_of_an_alarm_of_n_of_m_windows_are_all_m() -> None:
    found = evidence.of(history("x.x", outOf=3), "Drift")
    assert found is not None
    assert found.end - found.start == timedelta(seconds=3 * WINDOW)
