"""Predictions that are not kept until their labels are due: told with the sizes, and never as missing labels."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.monitoring.make import FULL, performance, report, snapshot, window

from tidemill.monitoring import status
from tidemill.monitoring.builders import workload
from tidemill.monitoring.plan import plan
from tidemill.monitoring.policy import evaluation, retention
from tidemill.monitoring.snapshot import Snapshot, storage_bytes
from tidemill_contracts import quantities
from tidemill_contracts import retention as contract
from tidemill_contracts.monitoring import MonitorReport, RetentionReport


def told(
    rows: int, *, labels: int = 0, ratio: float | None = 0.0, discarded: int = 0, volume: int = 2**30, **kept: Any
) -> MonitorReport:
    """A report with so many predictions in the time of a label's delay."""
    found = report(window(1), performance=performance(None, labels, ratio))
    (version,) = found.versions
    return found.model_copy(
        update={
            "versions": (version.model_copy(update={"discarded": discarded}),),
            "retention": RetentionReport(rows=rows, prediction_bytes=180.0, storage_bytes=volume, **kept),
        }
    )


def seen(rows: int, size: str = "1Gi", **changes: Any) -> Snapshot:
    return snapshot({**FULL, "storage": {"size": size}}, read=told(rows, **changes))


def test_a_store_that_is_too_small_says_needed_given_and_the_field() -> None:
    condition = evaluation.evaluate(seen(10_000_000, discarded=1_234)).get("RetentionTooSmall")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "StorageTooSmall")
    assert condition.message == (
        "labels are due after 86400 s, and the 10000000 predictions of that time, of 180 bytes each, need 2.8Gi; "
        "spec.storage.size is 1Gi, and the volume has 1Gi. Set spec.storage.size to 2.8Gi or more and let the claim "
        "churn-monitor grow to it, or lower spec.logging.sampleRatio of ModelDeployment churn; "
        "1234 predictions were discarded before a label came"
    )


@pytest.mark.parametrize("rows", [0, 3_000_000])
def test_a_store_that_is_large_enough_says_nothing(rows: int) -> None:
    assert evaluation.evaluate(seen(rows)).get("RetentionTooSmall") is None


def test_a_store_that_is_just_large_enough_says_nothing() -> None:
    fits = contract.rows_that_fit(2**30, 180.0)
    assert retention.too_small(seen(fits)) is None
    assert retention.too_small(seen(fits + 1)) is not None


def test_a_monitor_that_says_nothing_of_the_version_has_discarded_nothing() -> None:
    other = seen(10_000_000)
    assert other.reading.report is not None
    alone = replace(
        other, reading=replace(other.reading, report=other.reading.report.model_copy(update={"versions": ()}))
    )
    condition = retention.too_small(alone)
    assert condition is not None
    assert condition.message.endswith("of ModelDeployment churn")


def test_the_size_that_is_told_is_enough() -> None:
    for rows in (4_000_000, 10_000_000, 123_456_789):
        condition = retention.too_small(seen(rows))
        assert condition is not None
        size = condition.message.split("Set spec.storage.size to ")[1].split()[0]
        assert retention.too_small(seen(rows, size, volume=2**60)) is None
        assert retention.too_small(seen(rows, size)) is not None, "the claim has not grown yet"


@pytest.mark.parametrize(
    ("labels", "ratio", "kind", "reason"),
    [
        (0, 0.0, "PerformanceDegraded", "NotEnoughLabels"),
        (0, 0.0, "LabelsArriving", "NoLabels"),
    ],
)
def test_labels_are_not_blamed_for_predictions_that_are_gone(labels: int, ratio: float, kind: str, reason: str) -> None:
    fits = evaluation.evaluate(seen(1_000, labels=labels, ratio=ratio)).get(kind)
    assert fits is not None
    assert fits.reason == reason
    small = evaluation.evaluate(seen(10_000_000, labels=labels, ratio=ratio)).get(kind)
    assert small is not None
    assert (small.status, small.reason) == ("Unknown", "RetentionTooSmall")


def test_labels_that_joined_are_judged_in_a_small_store_too() -> None:
    found = evaluation.evaluate(seen(10_000_000, labels=50, ratio=0.4)).get("LabelsArriving")
    assert found is not None
    assert (found.status, found.reason) == ("True", "LabelsArrive")


@pytest.mark.parametrize("delay", [1_000_000, 5_184_000, 5_198_752, 5_198_753, 99_999_999])
def test_the_length_of_windows_that_is_told_is_the_shortest_that_is_enough(delay: int) -> None:
    def told_for(seconds: int) -> Any:
        asked = {**FULL["performance"], "labelDelaySeconds": delay}
        spec = {**FULL, "window": {"seconds": seconds}, "performance": asked}
        return retention.too_small(snapshot(spec, read=report(window(1))))

    shortest = int(told_for(10).message.split("set spec.window.seconds to ")[1].split()[0])
    assert told_for(shortest) is None
    assert shortest == 10 or told_for(shortest - 1) is not None


def test_windows_that_are_too_short_for_the_delay_are_told_before_anything_is_counted() -> None:
    spec = {**FULL, "window": {"seconds": 10}, "performance": {**FULL["performance"], "labelDelaySeconds": 5_184_000}}
    condition = evaluation.evaluate(snapshot(spec, read=report(window(1)))).get("RetentionTooSmall")
    assert condition is not None
    assert condition.reason == "WindowsTooShort"
    assert condition.message.endswith("windows are kept, which is 1000000 s: set spec.window.seconds to 52 or more")
    enough = {**spec, "window": {"seconds": 52}}
    assert evaluation.evaluate(snapshot(enough, read=report(window(1)))).get("RetentionTooSmall") is None


def test_without_performance_and_by_an_older_monitor_nothing_is_said() -> None:
    assert evaluation.evaluate(snapshot(read=told(10**9))).get("RetentionTooSmall") is None
    assert evaluation.evaluate(snapshot(FULL, read=report(window(1)))).get("RetentionTooSmall") is None


def test_counts_are_in_the_status_and_a_warning_is_sent_once() -> None:
    made = plan(seen(10_000_000, discarded=7, labels_unmatched=9))
    assert made.status is not None
    found = made.status["performance"]
    assert (found["discarded"], found["labelsUnmatched"]) == (7, 9)
    assert "RetentionTooSmall" in [event.reason for event in made.events if event.type == "Warning"]
    quiet = plan(seen(10)).status
    assert quiet is not None
    assert not {"discarded", "labelsUnmatched"} & quiet["performance"].keys()


def test_the_monitor_knows_the_size_of_its_claim() -> None:
    assert workload.config(seen(0, "5Gi")).storage_bytes == 5 * 2**30
    assert '"storage_bytes"' not in workload.config(seen(0)).to_json(), "pods of before stay as they are"
    assert storage_bytes("1e3000") == storage_bytes("1.5.5") == 2**30


@given(st.integers(1, 2**60))
def test_a_size_is_shown_as_a_quantity_that_is_enough(size: int) -> None:
    found = quantities.number(retention.shown(size))
    assert found is not None
    assert size <= found <= max(1.11 * size, 2**20)


def test_reasons_are_known() -> None:
    assert {"RetentionTooSmall", "StorageTooSmall", "WindowsTooShort"} <= status.REASONS
