"""A monitor's answer: what of it is believed, and that no mistake quotes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.monitoring.make import DIGEST, NOW, performance, report, window

from tidemill.monitoring import reports
from tidemill.monitoring.reports import Expected, ReportError
from tidemill_contracts.monitoring import ColumnScore

EXPECTED = Expected("churn", DIGEST, "accuracy", NOW)
COLUMN: dict[str, Any] = {"name": "tenure", "test": "PSI", "score": 0.6, "threshold": 0.2, "drifted": True}


def reported(**changes: Any) -> dict[str, Any]:
    """A good report as JSON, with changes of the version that is served."""
    found = json.loads(report(window(2, drift=True), window(1, drift=True), performance=performance(0.9)).to_json())
    found["versions"][0] |= changes
    return found


def estimated(**changes: Any) -> dict[str, Any]:
    """An answer with an estimate."""
    return reported(performance={"metric": "accuracy", "labels": 3, "estimate": {"start": 0, "end": 60, **changes}})


def with_window(**changes: Any) -> dict[str, Any]:
    found = reported()
    found["versions"][0]["windows"][-1] |= changes
    return found


BAD: dict[str, tuple[Any, str]] = {
    "not JSON": ("hunter2", "json_invalid"),
    "another monitor": ({**reported(), "monitor": "hunter2"}, "monitor names another monitor"),
    "in the future": ({**reported(), "now": NOW.timestamp() + 90_000}, "now is not a time"),
    "no time at all": ({**reported(), "started_at": 1e300}, "started_at is not a time"),
    "a digest twice": ({**reported(), "versions": reported()["versions"] * 2}, "a digest twice"),
    "negative rows": (reported(rows=-1), "rows is not a count"),
    "many rows": (reported(rows=10**30), "rows is not a count"),
    "last record": (reported(last_record_at=-5), "last_record_at is not a time"),
    "labels from no time": (reported(labels_start=1e300, labels_end=1e300), "labels_start is not a time"),
    "labels until for ever": (reported(labels_start=0, labels_end=float("inf")), "labels_end is not a time"),
    "labels until no number": (reported(labels_start=0, labels_end=float("nan")), "labels_end is not a time"),
    "a profile beyond counting": (reported(profile_version=10**30), "profile_version is not a count"),
    "many notes on columns": (
        reported(column_notes=[{"name": "hunter2", "finding": "Code"}] * 51),
        "column_notes has more than 50",
    ),
    "a finding that is none": (
        reported(column_notes=[{"name": "a", "finding": "hunter2"}]),
        "column_notes.0.finding: literal_error",
    ),
    "more drifted features than there can be": (with_window(features_drifted=2_501), "features has more than 2500"),
    "more problems than there can be": (with_window(problems_found=7_501), "features has more than 2500"),
    "more without a score than there can be": (
        with_window(features_without_score=2_501),
        "features has more than 2500",
    ),
    "a number of problems that is none": (with_window(problems_found=-1), "problems_found is not a count"),
    "a need beyond counting": (
        {**reported(), "retention": {"rows": 10**30, "prediction_bytes": 1, "storage_bytes": 1}},
        "rows is not a count",
    ),
    "a need of no size": (
        {**reported(), "retention": {"rows": 1, "prediction_bytes": 0, "storage_bytes": 1}},
        "prediction_bytes is not a size",
    ),
    "a need of no number": (
        {**reported(), "retention": {"rows": 1, "prediction_bytes": "hunter2", "storage_bytes": 1}},
        "retention.prediction_bytes: float_parsing",
    ),
    "a need that is none": (
        {**reported(), "retention": {"rows": 1, "prediction_bytes": float("nan"), "storage_bytes": 1}},
        "prediction_bytes is not a size",
    ),
    "predictions discarded beyond counting": (reported(discarded=-1), "discarded is not a count"),
    "a database beyond counting": ({**reported(), "newer_database": -(10**30)}, "newer_database is not a count"),
    "windows": (reported(windows=reported()["versions"][0]["windows"] * 13), "windows has more than 24"),
    "an endless window": (with_window(end=1e12), "end is not a time"),
    "an infinite score": (with_window(features=[{**COLUMN, "score": float("inf")}]), "score is not a finite"),
    "importance above all": (with_window(features=[{**COLUMN, "importance": 1.5}]), "importance is not a share"),
    "importance of no number": (
        with_window(features=[{**COLUMN, "importance": float("nan")}]),
        "importance is not a share",
    ),
    "a baseline of fewer than no rows": (with_window(baseline={"type": "Training", "rows": -1}), "rows is not a count"),
    "a baseline that begins nowhere": (
        with_window(baseline={"type": "Previous", "rows": 9, "end": 5}),
        "baseline.start and baseline.end are no time range of its type",
    ),
    "training with a time": (
        with_window(baseline={"type": "Training", "rows": 9, "start": 1, "end": 5}),
        "baseline.start and baseline.end are no time range of its type",
    ),
    "a baseline of the future": (
        with_window(baseline={"type": "Window", "rows": 9, "start": 1, "end": 1e18}),
        "end is not a time",
    ),
    "a baseline of another kind": (with_window(baseline={"type": "Other"}), "versions.0.windows.1.baseline.type"),
    "no number": (with_window(drifted_share=float("nan")), "drifted_share is not a finite"),
    "text for a number": (with_window(rows="hunter2"), "versions.0.windows.1.rows: int_parsing"),
    "a test that is none": (with_window(features=[{**COLUMN, "test": "hunter2"}]), "features.0.test: literal_error"),
    "many columns": (with_window(features=[COLUMN] * 2501), "features has more than 2500"),
    "a problem that is none": (with_window(quality_problems=["hunter2"]), "quality_problems has an entry"),
    "a problem with text beside it": (
        with_window(quality_problems=["age: missing_ratio 0.3 > 0.05 (hunter2)"]),
        "quality_problems has an entry",
    ),
    "many features without a score": (with_window(without_score=["a"] * 2501), "features has more than 2500"),
    "features beyond counting": (with_window(tested=10**30), "tested is not a count"),
    "labels beyond counting": (
        reported(performance={"metric": "accuracy", "labels": 3, "unrecognized": -1}),
        "unrecognized is not a count",
    ),
    "another metric": (reported(performance={"metric": "hunter2", "labels": 3}), "performance.metric is not spec"),
    "an interval of no numbers": (
        reported(performance={"metric": "accuracy", "labels": 3, "low": float("nan"), "high": 1}),
        "low is not a finite",
    ),
    "half an interval": (reported(performance={"metric": "accuracy", "labels": 3, "low": 0.5}), "are no interval"),
    "an interval that ends before it begins": (
        reported(performance={"metric": "accuracy", "labels": 3, "low": 0.6, "high": 0.5}),
        "are no interval",
    ),
    "a proof of no time": (
        reported(performance={"metric": "accuracy", "labels": 3, "degraded": True, "breach_start": 7}),
        "are no time range",
    ),
    "a proof that ends before it begins": (
        reported(performance={"metric": "accuracy", "labels": 3, "breach_start": 7, "breach_end": 7}),
        "are no time range",
    ),
    "a proof of the future": (
        reported(performance={"metric": "accuracy", "labels": 3, "breach_start": 7, "breach_end": 1e300}),
        "breach_end is not a time",
    ),
    "labels below none": (
        reported(performance={"metric": "accuracy", "labels": 3, "labels_needed": -1}),
        "labels_needed is not a count",
    ),
    "an estimate of no number": (estimated(value=float("nan")), "value is not a finite"),
    "an estimate with half an interval": (estimated(low=0.5), "performance.estimate.low and"),
    "an estimate of more than all rows": (estimated(unsupported_ratio=1.5), "unsupported_ratio is not a share"),
    "an estimate of no time": (estimated(end=0), "are no time range"),
    "an estimate of the future": (estimated(start=1e300), "start is not a time"),
    "a finding without a trusted estimate": (estimated(exceeded=True, value=0.1), "exceeded without a trusted value"),
    "an estimate of rows below none": (estimated(rows=-1), "rows is not a count"),
    "an infinite metric": (
        reported(performance={"metric": "accuracy", "labels": 3, "value": 1e400}),
        "value is not a fin",
    ),
}


@pytest.mark.parametrize(("answer", "message"), BAD.values(), ids=BAD)
def test_a_mistake_is_named_by_its_field_and_never_quoted(answer: Any, message: str) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    with pytest.raises(ReportError, match=message) as caught:
        reports.read(text.encode(), EXPECTED)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_a_pod_made_up_is_not_quoted_either() -> None:
    try:
        reports.read(json.dumps({**reported(), "hunter2": 1}).encode(), EXPECTED)
    except ReportError as error:
        assert "hunter2" not in str(error)


@pytest.mark.parametrize("text", ["[" * 70_000, '{"a":' * 70_000, "[" + "[]," * 70_000, "[" + "1," * 700_000])
def test_a_text_that_would_grow_in_memory_is_measured_before_it_is_parsed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "from_json", lambda body, **how: pytest.fail("it was parsed"))
    with pytest.raises(ReportError, match="more than 24 windows of 2500 columns"):
        reports.read(text.encode(), EXPECTED)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"' + "x" * 7_000_000 + '\N{GRINNING FACE}"}',
        '{"a":"' + "\\n" * 3_900_000 + '\N{GRINNING FACE}"}',
        '{"a":"' + ("x" * 2000 + '\\"') * 7_000 + '"}',
        '{"' + "k" * 7_000_000 + '":1}',
        '{"a":"' + "x" * 1000,
    ],
    ids=["one emoji", "escapes", "quotes", "a key", "no end"],
)
def test_a_long_text_is_not_parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "from_json", lambda body, **how: pytest.fail("it was parsed"))
    with pytest.raises(ReportError, match="it contains a text that is too long or not terminated"):
        reports.read(text.encode(), EXPECTED)


def test_columns_of_other_windows_and_versions_are_never_made_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [{**COLUMN, "name": f"column-{i}"} for i in range(100)]
    answer = reported(windows=[{**w, "features": columns} for w in reported()["versions"][0]["windows"]])
    answer["versions"].append({**answer["versions"][0], "digest": "sha256:" + "3" * 64})
    seen: list[Any] = []
    validate = reports.MonitorReport.model_validate
    monkeypatch.setattr(reports.MonitorReport, "model_validate", lambda t, **how: seen.append(t) or validate(t, **how))
    reports.read(json.dumps(answer).encode(), EXPECTED)
    assert [["features" in w for w in v["windows"]] for v in seen[0]["versions"]] == [[False, True], [False, False]]


@pytest.mark.slow
def test_the_largest_honest_report_is_read() -> None:
    columns = tuple(ColumnScore(**{**COLUMN, "name": f"column-{i}"}) for i in range(2400))
    found = report(*(window(24 - i, drift=True, features=columns) for i in range(24)))
    (version,) = reports.read(found.to_json().encode(), EXPECTED).versions
    assert [len(w.features) for w in version.windows] == [0] * 23 + [2400]
    assert all(w.drift for w in version.windows)


def test_what_no_decision_needs_is_not_kept() -> None:
    calm = {**COLUMN, "name": "calm", "drifted": False, "note": "x" * 1000}
    answer = with_window(features=[COLUMN, calm])
    answer["versions"].append({**answer["versions"][0], "digest": "sha256:" + "3" * 64, "version": "hunter2"})
    found = reports.read(json.dumps(answer).encode(), EXPECTED)
    (version,) = found.versions
    assert [c.name for c in version.windows[-1].features] == ["tenure"]
    assert version.windows[0].features == () and version.windows[0].drift
    assert (
        reports.read(json.dumps(answer).encode(), Expected("churn", DIGEST, None, NOW)).versions[0].performance is None
    )


def test_a_columns_name_is_one_short_line_however_the_data_call_it() -> None:
    name = "a\nb\x1b[31m" + "c" * 1000
    answer = with_window(features=[{**COLUMN, "name": name}], quality_problems=[f"{name}: missing_ratio 0.31 > 0.05"])
    last = reports.read(json.dumps(answer).encode(), EXPECTED).versions[0].windows[-1]
    shown = last.features[0].name
    assert shown.startswith("a?b?[31mccc") and len(shown) == reports.MAX_NAME
    assert last.quality_problems == (f"{shown}: missing_ratio 0.31 > 0.05",)


def test_examples_of_labels_are_few_short_lines() -> None:
    found = {"metric": "accuracy", "labels": 0, "unrecognized": 9, "examples": ["ja\n" + "x" * 99, "b", "c", "d"]}
    answer = json.dumps(reported(performance=found)).encode()
    read = reports.read(answer, EXPECTED).versions[0].performance
    assert read is not None and read.examples == ("ja?" + "x" * 17, "b", "c")
