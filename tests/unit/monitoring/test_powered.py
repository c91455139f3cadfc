"""The metric of all rows from labels of a random sample: what the monitor is told, and what is believed and said."""

import json
from typing import Any

import pytest
from tests.unit.monitoring.make import DIGEST, FULL, NOW, performance, report, snapshot, window

from tidemill.monitoring import plan, reports
from tidemill.monitoring.builders import workload
from tidemill.monitoring.reports import Expected, ReportError
from tidemill_contracts.monitoring import PoweredReport

SPEC = {**FULL, "performance": {**FULL["performance"], "labels": "RandomSample"}}
GOOD: dict[str, Any] = {"value": 0.91234, "low": 0.9, "high": 0.92345, "rows": 10_000, "labels": 300}


def test_the_monitor_is_told_and_status_says_it() -> None:
    told = [workload.config(snapshot(spec)).performance for spec in (SPEC, FULL)]
    assert [one.random_sample for one in told if one is not None] == [True, False]
    labels = performance(0.9).model_copy(update={"powered": PoweredReport(**GOOD)})
    written = plan.plan(snapshot(SPEC, read=report(window(1), performance=labels))).status
    assert written is not None
    found = written["verdicts"]["performance"]["predictionPowered"]
    assert found == {"value": 0.912, "low": 0.9, "high": 0.923, "rows": 10_000, "labels": 300}
    written = plan.plan(snapshot(SPEC, read=report(window(1), performance=performance(0.9)))).status
    assert written is not None
    assert "predictionPowered" not in written["verdicts"]["performance"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": -1}, "labels is not a count"),
        ({"labels": 10_001}, "more labels than rows"),
        ({"value": float("inf")}, "value is not a finite"),
        ({"low": 0.95}, "no interval"),
    ],
)
def test_what_no_monitor_finds_is_not_believed(changes: dict[str, Any], why: str) -> None:
    found = json.loads(report(window(1), performance=performance(0.9)).to_json())
    found["versions"][0]["performance"]["powered"] = GOOD | changes
    with pytest.raises(ReportError, match=why):
        reports.read(json.dumps(found).encode(), Expected("churn", DIGEST, "accuracy", NOW))
