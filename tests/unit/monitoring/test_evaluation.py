"""What the monitor's report means."""

from typing import Any

import pytest
from tests.unit.monitoring.make import DIGEST, FULL, NOW, SPEC, ago, performance, report, served, snapshot, window

from tidemill.monitoring import plan
from tidemill.monitoring.policy import drift, evaluation
from tidemill.monitoring.snapshot import Reading, Snapshot
from tidemill_contracts import reference
from tidemill_contracts.monitoring import ColumnFinding, ColumnNote, ColumnScore, PerformanceReport


def between(value: float, low: float, high: float, **changes: Any) -> PerformanceReport:
    """Performance with an interval, beyond no limit as far as is proven."""
    return performance(value).model_copy(update={"low": low, "high": high, **changes})


def verdict(found: Snapshot, kind: str) -> tuple[str, str] | None:
    condition = evaluation.evaluate(found).get(kind)
    return (condition.status, condition.reason) if condition else None


DRIFTED, CALM = {"drift": True}, {"drift": False}
BROKEN: dict[str, Any] = {"comparable": False, "tested": 3, "without_score": ("tenure",)}
LABELS = {name: value for name, value in FULL.items() if name not in ("drift", "quality")}
QUALITY = {name: value for name, value in FULL.items() if name not in ("drift", "performance")}


def labelled(value: float | None, labels: int = 100, **changes: Any) -> PerformanceReport:
    return performance(value, labels, degraded=bool(changes.get("degraded"))).model_copy(update=changes)


CASES: dict[str, tuple[Snapshot, str, tuple[str, str] | None]] = {
    "no window yet": (snapshot(read=report()), "DriftDetected", ("Unknown", "NoJudgedWindow")),
    "an open window is not judged": (
        snapshot(read=report(window(0, closed=False, **DRIFTED))),
        "DriftDetected",
        ("Unknown", "NoJudgedWindow"),
    ),
    "one drifted window is not enough": (
        snapshot(read=report(window(2, **CALM), window(1, **DRIFTED))),
        "DriftDetected",
        ("False", "DriftNotSustained"),
    ),
    "two in a row": (
        snapshot(read=report(window(2, **DRIFTED), window(1, **DRIFTED))),
        "DriftDetected",
        ("True", "DriftSustained"),
    ),
    "a window with too few rows neither counts nor interrupts": (
        snapshot(read=report(window(3, **DRIFTED), window(2, judged=False), window(1, **DRIFTED))),
        "DriftDetected",
        ("True", "DriftSustained"),
    ),
    "a calm window interrupts": (
        snapshot(read=report(window(3, **DRIFTED), window(2, **DRIFTED), window(1, **CALM))),
        "DriftDetected",
        ("False", "NoDrift"),
    ),
    "windows of another version do not count": (
        snapshot(read=report(window(2, **DRIFTED), window(1, **DRIFTED), digest="sha256:" + "1" * 64)),
        "DriftDetected",
        ("Unknown", "NoJudgedWindow"),
    ),
    "what is not watched has no condition": (snapshot(LABELS, read=report()), "DataQualityDegraded", None),
    "quality is watched with drift alone": (
        snapshot(read=report(window(1, quality_problems=("tenure: missing_ratio 0.31 > 0.05",)))),
        "DataQualityDegraded",
        ("True", "LimitsExceeded"),
    ),
    "quality alone watches no drift": (snapshot(QUALITY, read=report(window(1))), "DriftDetected", None),
    "too few features have a score": (
        snapshot(read=report(window(2, **CALM), window(1, **BROKEN))),
        "DriftDetected",
        ("Unknown", "FeaturesWithoutScore"),
    ),
    "too few features had a score before": (
        snapshot(read=report(window(2, **BROKEN), window(1, **CALM))),
        "DriftDetected",
        ("False", "NoDrift"),
    ),
    "what was drift before says nothing while features have no score": (
        snapshot(read=report(window(3, **DRIFTED), window(2, **DRIFTED), window(1, **BROKEN))),
        "DriftDetected",
        ("Unknown", "FeaturesWithoutScore"),
    ),
    "a window without scores neither counts nor interrupts": (
        snapshot(read=report(window(3, **DRIFTED), window(2, **BROKEN), window(1, **DRIFTED))),
        "DriftDetected",
        ("True", "DriftSustained"),
    ),
    "labels that are not due are not judged, also within the limits": (
        snapshot(FULL, read=report(performance=labelled(0.9, due=False))),
        "PerformanceDegraded",
        ("Unknown", "LabelsNotDue"),
    ),
    "labels that are not due, beyond the limits": (
        snapshot(FULL, read=report(performance=labelled(0.1, due=False))),
        "PerformanceDegraded",
        ("Unknown", "LabelsNotDue"),
    ),
    "labels that name no class are no wrong answers": (
        snapshot(FULL, read=report(performance=labelled(0.1, degraded=True, unrecognized=6))),
        "PerformanceDegraded",
        ("Unknown", "LabelsNotRecognized"),
    ),
    "labels that name no class are no labels": (
        snapshot(FULL, read=report(performance=labelled(None, labels=0, unrecognized=100))),
        "LabelsArriving",
        ("False", "LabelsNotRecognized"),
    ),
    "a few labels that name no class leave the others": (
        snapshot(FULL, read=report(performance=labelled(0.1, degraded=True, unrecognized=5))),
        "PerformanceDegraded",
        ("True", "LimitsExceeded"),
    ),
    "a few labels that name no class, and labels arrive": (
        snapshot(FULL, read=report(performance=labelled(0.9, unrecognized=5))),
        "LabelsArriving",
        ("True", "LabelsArrive"),
    ),
    "quality within limits": (snapshot(FULL, read=report(window(1))), "DataQualityDegraded", ("False", "WithinLimits")),
    "quality degraded": (
        snapshot(FULL, read=report(window(1, quality_problems=("tenure: missing_ratio 0.31 > 0.05",)))),
        "DataQualityDegraded",
        ("True", "LimitsExceeded"),
    ),
    "no labels": (snapshot(FULL, read=report()), "PerformanceDegraded", ("Unknown", "NotEnoughLabels")),
    "few labels": (
        snapshot(FULL, read=report(performance=performance(0.1, labels=9, degraded=True))),
        "PerformanceDegraded",
        ("Unknown", "NotEnoughLabels"),
    ),
    "enough labels, but the metric is not defined on them": (
        snapshot(FULL, read=report(performance=performance(None, labels=500))),
        "PerformanceDegraded",
        ("Unknown", "MetricNotDefined"),
    ),
    "few labels, and none of them defines the metric": (
        snapshot(FULL, read=report(performance=performance(None, labels=9))),
        "PerformanceDegraded",
        ("Unknown", "NotEnoughLabels"),
    ),
    "good performance": (
        snapshot(FULL, read=report(performance=performance(0.9))),
        "PerformanceDegraded",
        ("False", "WithinLimits"),
    ),
    "the interval reaches beyond the limit": (
        snapshot(FULL, read=report(performance=between(0.9, 0.79, 0.95))),
        "PerformanceDegraded",
        ("False", "LimitNotExcluded"),
    ),
    "the interval is within the limit": (
        snapshot(FULL, read=report(performance=between(0.9, 0.8, 0.95))),
        "PerformanceDegraded",
        ("False", "WithinLimits"),
    ),
    "beyond the limit, and not proven": (
        snapshot(FULL, read=report(performance=between(0.7, 0.6, 0.79))),
        "PerformanceDegraded",
        ("False", "LimitNotExcluded"),
    ),
    "labels of a small share": (
        snapshot(
            {**FULL, "performance": {**FULL["performance"], "minLabelsRatio": 0.6}},
            read=report(performance=performance(0.5, degraded=True)),
        ),
        "PerformanceDegraded",
        ("Unknown", "LabelsRatioTooLow"),
    ),
    "bad performance": (
        snapshot(FULL, read=report(performance=performance(0.5, degraded=True))),
        "PerformanceDegraded",
        ("True", "LimitsExceeded"),
    ),
    "labels arrive": (
        snapshot(FULL, read=report(performance=performance(0.9))),
        "LabelsArriving",
        ("True", "LabelsArrive"),
    ),
    "labels do not arrive": (
        snapshot(FULL, read=report(performance=performance(None, 0, ratio=0.0))),
        "LabelsArriving",
        ("False", "NoLabels"),
    ),
    "no label is due": (
        snapshot(FULL, read=report(performance=performance(None, 0, ratio=None))),
        "LabelsArriving",
        ("Unknown", "NoLabelDue"),
    ),
    "data arrives": (snapshot(read=report(last=119)), "DataArriving", ("True", "PredictionsArrive")),
    "silence": (snapshot(read=report(last=121)), "DataArriving", ("False", "NoTraffic")),
    "silence is counted in windows": (
        snapshot({**SPEC, "window": {"seconds": 600}}, read=report(last=1199)),
        "DataArriving",
        ("True", "PredictionsArrive"),
    ),
    "nothing yet, the monitor is young": (
        snapshot(read=report(last=None, started=30), created=40),
        "DataArriving",
        ("Unknown", "NoDataYet"),
    ),
    "nothing yet, the version is young": (
        snapshot(read=report(last=None), served=served(since=ago(100))),
        "DataArriving",
        ("Unknown", "NoDataYet"),
    ),
    "nothing for long": (snapshot(read=report(last=None)), "DataArriving", ("False", "NoTraffic")),
    "nothing served": (
        snapshot(served=served(version=None, digest=None)),
        "DataArriving",
        ("Unknown", "NothingServed"),
    ),
    "no deployment": (snapshot(served=None), "DriftDetected", ("Unknown", "NothingServed")),
    "suspended": (
        snapshot({**SPEC, "suspend": True}, read=report(window(2, **DRIFTED), window(1, **DRIFTED))),
        "DriftDetected",
        ("Unknown", "Suspended"),
    ),
    "unreachable": (snapshot(error="no answer"), "DataArriving", ("Unknown", "MonitorUnreachable")),
}


@pytest.mark.parametrize("name", CASES)
def test_judge(name: str) -> None:
    found, kind, want = CASES[name]
    assert verdict(found, kind) == want


def old_status(seconds: float) -> dict[str, Any]:
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": "X",
            "message": "as before",
            "lastTransitionTime": "2026-11-23T11:00:00Z",
        }
        for kind, status in (("DataArriving", "True"), ("DriftDetected", "True"), ("Ready", "True"))
    ]
    for condition in conditions:
        condition["observedGeneration"] = 1  # type: ignore[assignment]
    last = ago(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"conditions": conditions, "version": "churn-2", "driftedWindows": 3, "lastEvaluationTime": last}


def test_a_short_absence_of_the_monitor_changes_nothing() -> None:
    found = evaluation.evaluate(snapshot(status=old_status(59), error="no answer"))
    assert found.is_true("DriftDetected") and found.drifted_windows == 3
    assert found.get("Ready") is None


def test_a_short_absence_counts_from_the_last_answer_not_from_the_last_write() -> None:
    away = Reading(None, ago(30), "no answer")
    assert evaluation.evaluate(snapshot(status=old_status(500), reading=away)).is_true("DriftDetected")


@pytest.mark.parametrize(
    "found",
    [
        snapshot(status=old_status(61), error="no answer"),
        snapshot(status={**old_status(5), "version": "churn-1"}, error="no answer"),
    ],
    ids=["long absence", "about another version"],
)
def test_old_findings_do_not_live_on(found: Snapshot) -> None:
    assert verdict(found, "DriftDetected") == ("Unknown", "MonitorUnreachable")


LIMIT = evaluation.silence_limit(snapshot()).total_seconds()
AT_THE_LIMIT: dict[str, tuple[Snapshot, str, str]] = {
    "the last prediction, still in time": (snapshot(read=report(last=LIMIT)), "DataArriving", "PredictionsArrive"),
    "the last prediction, too old": (snapshot(read=report(last=LIMIT + 1)), "DataArriving", "NoTraffic"),
    "no prediction yet, still in time": (
        snapshot(read=report(last=None), served=served(since=ago(LIMIT))), "DataArriving", "NoDataYet",
    ),
    "no prediction, for too long": (
        snapshot(read=report(last=None), served=served(since=ago(LIMIT + 1))), "DataArriving", "NoTraffic",
    ),
    "a monitor that is away, still for a moment": (
        snapshot(status=old_status(evaluation.UNREACHABLE_SECONDS), error="no answer"), "DriftDetected", "X",
    ),
    "a label too few": (
        snapshot(FULL, read=report(window(1), performance=performance(0.9, labels=9))),
        "PerformanceDegraded", "NotEnoughLabels",
    ),
    "just enough labels": (
        snapshot(FULL, read=report(window(1), performance=performance(0.9, labels=10))),
        "PerformanceDegraded", "WithinLimits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_limits_count_themselves_in(name: str) -> None:
    found, kind, reason = AT_THE_LIMIT[name]
    (_, reported) = verdict(found, kind) or ("", "")
    assert reported == reason


def test_a_metric_that_is_not_defined_says_what_it_needs() -> None:
    spec = {**FULL, "performance": {**FULL["performance"], "metric": "log_loss"}}
    found = evaluation.evaluate(snapshot(spec, read=report(performance=performance(None, labels=500)))).get(
        "PerformanceDegraded"
    )
    assert found is not None
    assert found.message == (
        "log_loss cannot be computed from 500 labels: it is a metric of classification and needs probabilities; "
        "the monitor's report says more"
    )


@pytest.mark.parametrize(("number", "more"), [(5, ""), (6, "1 more"), (9, "4 more")])
def test_a_message_names_five_and_counts_the_rest(number: int, more: str) -> None:
    drifted = tuple(
        ColumnScore(name=f"f{n}", test="PSI", score=1.0, threshold=0.2, drifted=True) for n in range(number)
    )
    problems = tuple(f"f{n}: missing_ratio 0.31 > 0.05" for n in range(number))
    bad = window(1, drift=True, features=drifted, quality_problems=problems)
    found = evaluation.evaluate(snapshot(FULL, read=report(bad)))
    for kind in ("DriftDetected", "DataQualityDegraded"):
        condition = found.get(kind)
        assert condition is not None
        assert condition.message.count("f4") == 1 and "f5" not in condition.message
        assert condition.message.endswith(more) if more else "more" not in condition.message


def test_messages_name_features_scores_and_limits() -> None:
    found = evaluation.evaluate(snapshot(read=report(window(2, drift=True), window(1, drift=True)))).get(
        "DriftDetected"
    )
    assert found is not None
    assert found.message == "2 of 2 windows in a row drifted: tenure (PSI 0.612, limit 0.2)"
    assert DIGEST and NOW


def test_silence_says_since_when() -> None:
    found = evaluation.evaluate(snapshot(read=report(last=600))).get("DataArriving")
    assert found is not None and "2026-11-23T11:50Z" in found.message


def test_a_profile_that_is_too_old_names_what_cannot_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {**FULL, "drift": {**FULL["drift"], "predictions": {"test": "PSI", "threshold": 0.2}}}
    found = snapshot(spec, read=report(window(1)))
    assert verdict(found, "ProfileTooOld") is None
    newest = reference.CURRENT
    since = {**reference.SINCE, "drift of predictions": newest + 1, "performance": newest + 2}
    monkeypatch.setattr(reference, "SINCE", since)
    condition = evaluation.evaluate(found).get("ProfileTooOld")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "NotJudged")
    assert condition.message == (
        f"the reference profile of churn-2 has version {newest}, which is too old for: drift of predictions, "
        "performance. "
        "Train a new version to get a newer profile."
    )
    assert verdict(snapshot(read=report(window(1))), "ProfileTooOld") is None  # nothing of that is asked for
    assert verdict(found, "DriftDetected") == ("False", "NoDrift")  # what can be judged is
    made = plan.plan(found)
    assert [e.reason for e in made.events if e.type == "Warning"] == ["ProfileTooOld"]


def test_a_profile_of_version_1_is_judged_as_before_and_that_is_said() -> None:
    spec = {**FULL, "columns": [{"name": "shop", "type": "Category"}]}
    found = snapshot(spec, read=report(window(1), profile_version=1))
    condition = evaluation.evaluate(found).get("ProfileTooOld")
    assert condition is not None
    assert condition.message == (
        "the reference profile of churn-2 has version 1, which is too old for: drift of features without that of "
        "rounding to FP32, types of columns. Train a new version to get a newer profile."
    )
    assert verdict(found, "DriftDetected") == ("False", "NoDrift")


def test_columns_that_appear_to_be_codes_or_identifiers_are_told() -> None:
    notes = tuple(
        ColumnNote(name=name, finding=finding)
        for name, finding in (("row", "Identifier"), ("shop_id", "Code"), *((f"zip{i}", "Code") for i in range(6)))
    )
    condition = evaluation.evaluate(snapshot(read=report(window(1), column_notes=notes))).get("ColumnsNoted")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "TypesAssumed")
    assert condition.message == (
        "appears to be codes, judged as Category: shop_id, zip0, zip1, zip2, zip3 and 2 more; "
        "appears to be an identifier, drift is not judged: row. spec.columns states the type of a column."
    )
    assert verdict(snapshot(read=report(window(1))), "ColumnsNoted") is None


@pytest.mark.parametrize("finding", ["Unknown", "NoCategories", "NoNumbers"])
def test_a_statement_about_a_column_that_does_not_apply_is_told(finding: ColumnFinding) -> None:
    notes = (ColumnNote(name="age", finding=finding), ColumnNote(name="row", finding="Identifier"))
    found = snapshot(read=report(window(1), column_notes=notes))
    assert verdict(found, "ColumnsNoted") == ("True", "StatementNotApplied")


def test_a_database_of_a_newer_monitor_stalls_and_says_what_is_kept() -> None:
    found = snapshot(FULL, read=report().model_copy(update={"versions": (), "newer_database": 3}))
    assert {(c.status, c.reason) for c in evaluation.evaluate(found).conditions} == {("Unknown", "DatabaseTooNew")}
    made = plan.plan(found)
    assert made.status is not None
    ready, stalled = (next(c for c in made.status["conditions"] if c["type"] == t) for t in ("Ready", "Stalled"))
    assert (ready["status"], ready["reason"], stalled["status"]) == ("False", "DatabaseTooNew", "True")
    for part in ("claim churn-monitor", "schema 3", "monitor:1", "it is not changed", "newer image again"):
        assert part in ready["message"]


def said(found: Snapshot, kind: str) -> str:
    condition = evaluation.evaluate(found).get(kind)
    assert condition is not None
    return condition.message


def test_a_monitor_that_nobody_has_read_yet_is_told_as_that() -> None:
    assert said(snapshot(), "DriftDetected") == "the monitor's report has not been read yet"
    assert said(snapshot(error="connection refused"), "DriftDetected") == "connection refused"


@pytest.mark.parametrize(
    ("since", "started", "expected"),
    [
        (ago(36_000), 60, ("Unknown", "NoDataYet")),
        (None, 60, ("Unknown", "NoDataYet")),
        (ago(60), 36_000, ("Unknown", "NoDataYet")),
        (ago(36_000), 36_000, ("False", "NoTraffic")),
        (None, 36_000, ("False", "NoTraffic")),
    ],
)
def test_predictions_are_missed_since_the_version_serves_and_the_monitor_listens(
    since: Any, started: float, expected: tuple[str, str]
) -> None:
    read = report(last=None, started=started)
    found = snapshot(read=read, created=72_000, served=served(since=since))
    assert verdict(found, "DataArriving") == expected
    if expected[0] == "False":
        limit = evaluation.silence_limit(found).total_seconds()
        assert said(found, "DataArriving") == f"no prediction arrived for {limit:.0f} s"


def score(name: str, value: float | None) -> ColumnScore:
    return ColumnScore(name=name, test="PSI", score=value, threshold=0.2, drifted=True)


def test_features_without_a_score_are_named_and_counted() -> None:
    names = tuple(f"f{n}" for n in range(7))
    found = snapshot(read=report(window(1, comparable=False, tested=30, without_score=names)))
    text = "drift cannot be judged by 7 of 30 features, more than 20%: f0, f1, f2, f3, f4, 2 more"
    assert said(found, "DriftDetected") == text


def test_lists_that_the_monitor_has_cut_are_counted_whole() -> None:
    five = tuple(ColumnScore(name=f"f{n}", test="PSI", score=1.0, threshold=0.2, drifted=True) for n in range(5))
    counted = {"features_drifted": 2_000, "problems_found": 2_100, "features_without_score": 900}
    bad = window(1, drift=True, features=five, quality_problems=("f0: missing_ratio 0.31 > 0.05",), **counted)
    found = evaluation.evaluate(snapshot(FULL, read=report(bad)))
    drifted, broken = found.get("DriftDetected"), found.get("DataQualityDegraded")
    assert drifted is not None and drifted.message.endswith(", 1995 more")
    assert broken is not None and broken.message.endswith("; 2099 more")
    blind = window(1, comparable=False, tested=1_000, without_score=("f0",), **counted)
    message = said(snapshot(read=report(blind)), "DriftDetected")
    assert "900 of 1000 features" in message and message.endswith(": f0, 899 more")


def test_labels_that_name_no_class_are_counted_with_examples() -> None:
    found = labelled(0.1, degraded=True, unrecognized=50, examples=("ja", "nein"))
    for kind in ("PerformanceDegraded", "LabelsArriving"):
        assert said(snapshot(FULL, read=report(performance=found)), kind) == (
            "50 of 150 labels name no class of the model, or are no number, for example 'ja', 'nein': "
            "they count neither as right nor as wrong"
        )
    few = snapshot(FULL, read=report(performance=labelled(0.9, unrecognized=5)))
    assert said(few, "PerformanceDegraded") == (
        "accuracy is 0.9 on 100 labels without 5 that name no class of the model, or are no number"
    )


def test_what_was_not_watched_before_an_upgrade_does_not_end_what_was() -> None:
    found = evaluation.evaluate(snapshot(status=old_status(5), error="no answer"))
    assert found.is_true("DriftDetected")
    assert verdict(snapshot(status=old_status(5), error="no answer"), "DataQualityDegraded") == (
        "Unknown", "MonitorUnreachable",
    )  # fmt: skip


def test_the_worst_feature_is_named_first_and_one_without_a_score_last() -> None:
    features = (score("none", None), score("low", 0.3), score("high", 0.9))
    text = drift.describe(window(1, drift=True, features=features))
    assert text == "high (PSI 0.9, limit 0.2), low (PSI 0.3, limit 0.2), none (PSI 0, limit 0.2)"


def test_drifted_predictions_are_named_after_the_features() -> None:
    text = drift.describe(window(1, features=(score("a", 0.3),), prediction=score("prediction", 0.5)))
    assert text == "a (PSI 0.3, limit 0.2), predictions (PSI 0.5, limit 0.2)"
    calm = score("prediction", 0.1).model_copy(update={"drifted": False})
    assert drift.describe(window(1, features=(), drifted_share=0.25, prediction=calm)) == (
        "share of drifted features in the last window 0.25"
    )


def test_quality_is_that_of_the_last_window() -> None:
    bad, good = window(2, quality_problems=("tenure: 9 % are missing",)), window(1)
    assert verdict(snapshot(FULL, read=report(bad, good)), "DataQualityDegraded") == ("False", "WithinLimits")
    again = snapshot(FULL, read=report(good, bad))
    assert said(again, "DataQualityDegraded") == "tenure: 9 % are missing"


def test_performance_says_what_is_needed_and_which_limit_is_exceeded() -> None:
    assert said(snapshot(FULL, read=report(window(1))), "PerformanceDegraded").startswith("0 labels have arrived")
    few = report(window(1), performance=performance(0.9, labels=3))
    assert said(snapshot(FULL, read=few), "PerformanceDegraded").startswith("3 labels have arrived, 10 needed")
    bad = report(window(1), performance=performance(0.4, degraded=True))
    assert said(snapshot(FULL, read=bad), "PerformanceDegraded") == "accuracy is 0.4 on 100 labels; min 0.8"
    unclear = report(window(1), performance=between(0.9, 0.79, 0.95, labels_needed=420))
    assert said(snapshot(FULL, read=unclear), "PerformanceDegraded") == (
        "accuracy is 0.9 (95 %: 0.79 to 0.95) on 100 labels; min 0.8 is not excluded: "
        "about 420 more like these would decide"
    )


def test_no_figure_of_performance_reads_like_a_limit_that_it_is_not_at() -> None:
    proven = performance(0.84997, degraded=True)
    asked = {**FULL, "performance": {"metric": "accuracy", "min": 0.85, "minLabels": 10, "minLabelsRatio": 0.3}}
    bad = report(window(1), performance=proven.model_copy(update={"low": 0.81, "high": 0.849996}))
    assert said(snapshot(asked, read=bad), "PerformanceDegraded") == (
        "accuracy is 0.84997 (95 %: 0.81 to 0.849996) on 100 labels; min 0.85"
    )
    few = report(window(1), performance=performance(0.9, ratio=0.296))
    assert said(snapshot(asked, read=few), "PerformanceDegraded") == (
        "29.6% of the predictions that are older than labelDelaySeconds have a label, 30% needed (minLabelsRatio)"
    )
    large = {**FULL, "performance": {"metric": "mae", "max": 1234567.0, "minLabels": 10}}
    wide = report(window(1), performance=between(1234567.4, 1234560.0, 1234570.0))
    assert said(snapshot(large, read=wide), "PerformanceDegraded") == (
        "mae is 1234567.4 (95 %: 1234560 to 1234570) on 100 labels; max 1234567 is not excluded"
    )
