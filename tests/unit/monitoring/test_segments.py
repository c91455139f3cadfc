"""Performance by segment, and how long labels take: what of a report is believed, and what status says."""

import json
from typing import Any

import pytest
from tests.unit.monitoring.make import DIGEST, FULL, NOW, performance, report, snapshot, window

from tidemill.monitoring import plan, reports
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import evaluation
from tidemill.monitoring.reports import Expected, ReportError
from tidemill_contracts.monitoring import ColumnNote, LabelDelays, SegmentReport

EXPECTED = Expected("churn", DIGEST, "accuracy", NOW)
SPEC = {**FULL, "performance": {**FULL["performance"], "segments": ["country"]}}
GOOD: dict[str, Any] = {"column": "country", "segment": "DE", "value": 0.91234, "low": 0.8, "high": 1.0, "labels": 40}


def answer(*segments: dict[str, Any]) -> bytes:
    labels = performance(0.9).model_copy(update={"segments": tuple(SegmentReport(**GOOD) for _ in segments)})
    found = json.loads(report(window(1), performance=labels).to_json())
    found["versions"][0]["performance"]["segments"] = list(segments)
    return json.dumps(found).encode()


def test_status_has_each_segment_with_its_interval() -> None:
    labels = performance(0.9).model_copy(update={"segments": (SegmentReport(**GOOD),)})
    written = plan.plan(snapshot(SPEC, read=report(window(1), performance=labels))).status
    assert written is not None
    assert written["verdicts"]["performance"]["segments"] == [{**GOOD, "value": 0.912}]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": -1}, "labels is not a count"),
        ({"value": float("nan")}, "value is not a finite"),
        ({"low": None}, "are no interval"),
        ({"low": 1.5}, "are no interval"),
        ({"segment": 7}, "segment: string_type"),
    ],
)
def test_a_segment_that_is_none_is_not_believed(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ReportError, match=why):
        reports.read(answer(GOOD | changes), EXPECTED)


def test_no_more_than_50_and_only_short_printable_names() -> None:
    assert len(_read(answer(*[GOOD] * 50))) == 50
    with pytest.raises(ReportError, match="segments has more than 50"):
        reports.read(answer(*[GOOD] * 51), EXPECTED)
    (found,) = _read(answer({**GOOD, "segment": "x\n" + "y" * 500}))
    assert found.segment == "x?" + "y" * 62


def _read(body: bytes) -> tuple[SegmentReport, ...]:
    found = reports.read(body, EXPECTED).versions[0].performance
    assert found is not None
    return found.segments


def test_the_monitor_is_told_the_columns() -> None:
    told = workload.config(snapshot(SPEC)).performance
    assert told is not None
    assert told.segments == ("country",)


def test_a_column_that_is_no_feature_is_a_statement_that_was_not_applied() -> None:
    read = report(window(1), column_notes=(ColumnNote(name="country", finding="NoSegments"),))
    condition = evaluation.evaluate(snapshot(SPEC, read=read)).get("ColumnsNoted")
    assert condition is not None
    assert condition.reason == "StatementNotApplied"
    assert "performance has no segments by it: country" in condition.message


@pytest.mark.parametrize(
    ("delays", "text"),
    [
        (LabelDelays(p50=90.0, p90=3_000.0, p99=20_000.0, labels=9), "within 90 s, 99 % within 5.6 h"),
        (LabelDelays(p50=200.0, p90=3_000.0, p99=900_000.0, labels=9), "within 3.3 min, 99 % within 10 d"),
        (LabelDelays(p50=119.5, p90=3_000.0, p99=120.0, labels=9), "within 120 s, 99 % within 2 min"),
        (LabelDelays(p50=7_199.0, p90=3_000.0, p99=7_200.0, labels=9), "within 120 min, 99 % within 2 h"),
        (LabelDelays(p50=172_799.0, p90=3_000.0, p99=172_800.0, labels=9), "within 48 h, 99 % within 2 d"),
        (LabelDelays(), ""),
        (None, ""),
    ],
)
def test_labels_arriving_says_how_long_they_take(delays: LabelDelays | None, text: str) -> None:
    labels = performance(0.9).model_copy(update={"label_delays": delays})
    look = snapshot(FULL, read=report(window(1), performance=labels))
    condition = evaluation.evaluate(look).get("LabelsArriving")
    assert condition is not None
    assert ("half of the labels come" in condition.message) == bool(text)
    assert text in condition.message
    written = plan.plan(look).status
    assert written is not None
    wanted = None
    if delays is not None and text:
        wanted = {"p50Seconds": round(delays.p50 or 0), "p90Seconds": 3000, "p99Seconds": round(delays.p99 or 0)}
    assert written["performance"].get("labelDelay") == wanted


@pytest.mark.parametrize("delay", [-1.0, float("inf"), 1e11])
def test_a_delay_that_is_none_is_not_believed(delay: float) -> None:
    found = json.loads(report(window(1), performance=performance(0.9)).to_json())
    found["versions"][0]["performance"]["label_delays"] = {"p50": delay, "labels": 1}
    with pytest.raises(ReportError, match="p50 is no delay"):
        reports.read(json.dumps(found).encode(), EXPECTED)
