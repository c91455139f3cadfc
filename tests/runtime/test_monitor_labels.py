"""Labels that come before, after, twice, or never; performance of predictions old enough to have one."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests.support.monitoring import DIGEST, START, Clock, batch, config, reference, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.model_metrics import names
from tidemill_contracts.monitoring import PerformanceConfig, PerformanceReport
from tidemill_contracts.reference import NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import ground_truth, schema
from tidemill_runtime.monitor.service import FeedbackResult, Monitor

HOUR = 3600.0
DAY = 86_400.0


def settings(folder: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {"metric": "accuracy", "min": 0.8, "min_labels": 10, "label_delay_seconds": 7_200}
    return config(folder, performance=PerformanceConfig(**(values | changes)))


def post(monitor: Monitor, number: int, truths: list[Any]) -> FeedbackResult:
    """Post the labels of the first rows of a batch."""
    future: Future[FeedbackResult] = monitor.add_feedback(
        [Feedback(id=f"p{number}/{row}", label=label) for row, label in enumerate(truths)]
    )
    return future.result(10)


def performance(monitor: Monitor) -> PerformanceReport:
    monitor.detect()
    report = monitor.report().versions[0].performance
    assert report is not None
    return report


def shown(report: PerformanceReport) -> tuple[float | None, int, float | None, bool, str]:
    return report.value, report.labels, report.labels_ratio, report.degraded, report.note


def test_labels_are_joined_whether_they_come_before_or_after_their_prediction(tmp_path: Path) -> None:
    predictions: list[Any] = [1] * 10
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        assert post(monitor, 1, [1] * 5 + [0]).count("pending") == 6
        monitor.add_batch(batch(1, 10, at=START, predictions=predictions)).result()
        assert performance(monitor).labels == 6
        late = monitor.add_feedback([Feedback(id=f"p1/{row}", label=1) for row in range(6, 10)]).result()
        assert late.count("joined") == 4
        assert shown(performance(monitor)) == (0.9, 10, 1.0, False, "")


def test_a_label_counts_once_and_a_different_one_is_a_conflict(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        assert post(monitor, 1, [1]).outcomes == [("p1/0", "pending")]
        assert post(monitor, 1, [1.0]).outcomes == [("p1/0", "repeated")]
        assert post(monitor, 1, [0]).outcomes == [("p1/0", "conflict")]
        monitor.add_batch(batch(1, 1, at=START, predictions=[1])).result()
        assert post(monitor, 1, ["1"]).outcomes == [("p1/0", "repeated")]
        assert post(monitor, 1, [0]).conflicts == ["p1/0"]
        assert (performance(monitor).labels, performance(monitor).value) == (1, 1.0)


def test_one_post_may_name_an_id_twice(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as monitor:
        twice = monitor.add_feedback([Feedback(id="x", label=1), Feedback(id="x", label=0)]).result()
    assert [outcome for _, outcome in twice.outcomes] == ["pending", "conflict"]


def test_a_bad_metric_of_old_enough_predictions_is_degraded(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 40, at=START, predictions=[1] * 40)).result()
        post(monitor, 1, [1] * 7 + [0] * 3)
        assert shown(performance(monitor)) == (0.7, 10, 0.25, False, ""), "by chance once in eight times"
        more = monitor.add_feedback([Feedback(id=f"p1/{row}", label=0) for row in range(10, 30)]).result()
        assert more.count("joined") == 20
        found = performance(monitor)
    assert shown(found) == (7 / 30, 30, 0.75, True, "")
    assert (found.breach_start, found.breach_end) == (START, START + HOUR)
    assert found.low is not None and found.high is not None and found.low < 7 / 30 < found.high < 0.8


def test_labels_of_young_predictions_are_shown_and_not_judged(tmp_path: Path) -> None:
    clock = Clock(START + HOUR + 7_199)
    with running(settings(tmp_path), clock) as monitor:
        monitor.add_batch(batch(1, 10, at=START, predictions=[1] * 10)).result()
        post(monitor, 1, [0] * 10)
        young = performance(monitor)
        clock.now += 1
        old = performance(monitor)
    assert (young.value, young.degraded, young.labels_ratio) == (0.0, False, None)
    assert (young.due, old.due) == (False, True)
    assert young.note == "not judged: fewer than 10 labels of predictions older than the label delay"
    assert (old.value, old.degraded, old.labels_ratio, old.note) == (0.0, True, 1.0, "")


def test_texts_of_labels_cannot_fill_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground_truth, "MAX_SUMS", 5)
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 20, at=START, predictions=[1] * 20)).result()
        post(monitor, 1, [*(f"text {n}" for n in range(15)), *[1] * 5])
        report = performance(monitor)
        connection = schema.connect(str(tmp_path / "monitor.db"), readonly=True)
        assert (
            connection.execute("SELECT count(*) FROM performance").fetchone()[0] == 7
        )  # five, one for the rest, one of known classes
        connection.close()
    assert (report.labels, report.unrecognized, report.value) == (5, 15, 1.0)  # known classes always have room


def test_labels_that_are_spelt_otherwise_are_those_that_they_mean(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 12, at=START, predictions=[1] * 12)).result()
        post(monitor, 1, ["yes", "true", "1.0", True, 1, "1", 1.0, "Y", "TRUE", "no", "0.0", False])
        report = performance(monitor)
    assert (report.value, report.labels, report.unrecognized, report.note) == (0.75, 12, 0, "")


def test_labels_that_name_no_class_are_a_finding_and_no_wrong_answers(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 20, at=START, predictions=[1] * 20)).result()
        post(monitor, 1, ["ja"] * 20)
        report = performance(monitor)
    assert (report.value, report.degraded, report.labels, report.unrecognized) == (None, False, 0, 20)
    assert report.examples == ("ja",)
    assert report.note.startswith("20 labels name no class of the model: ja")


def test_older_windows_stand_in_for_labels_that_name_no_class(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 5 * HOUR)) as monitor:
        for hour in range(3):
            monitor.add_batch(batch(hour, 10, at=START + hour * HOUR, predictions=[1] * 10)).result()
            post(monitor, hour, [0] * 4 + ["?"] * 4)
        report = performance(monitor)
    assert (report.labels, report.unrecognized, report.value) == (12, 12, 0.0)
    assert not report.degraded, "the others may be those of one class"


def test_too_few_labels_are_not_judged(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 10, at=START, predictions=[1] * 10)).result()
        none = performance(monitor)
        post(monitor, 1, [0] * 9)
        few = performance(monitor)
    assert (none.value, none.labels, none.labels_ratio) == (None, 0, 0.0)
    assert (few.value, few.labels, few.degraded) == (0.0, 9, False)


def test_the_newest_windows_with_enough_labels_are_judged(tmp_path: Path) -> None:
    with running(settings(tmp_path), Clock(START + 5 * HOUR)) as monitor:
        for hour, label in enumerate((1, 1, 0)):
            monitor.add_batch(batch(hour, 10, at=START + hour * HOUR, predictions=[1] * 10)).result()
            post(monitor, hour, [label] * 8)
        assert shown(performance(monitor)) == (0.5, 16, 0.8, False, "")


def test_the_report_says_of_which_windows_its_labels_are(tmp_path: Path) -> None:
    def stretch() -> tuple[float | None, float | None]:
        (version,) = monitor.report().versions
        return version.labels_start, version.labels_end

    # Predictions are kept for twice the delay and a window: those of the first hour too, whenever old ones are removed.
    chosen = settings(tmp_path, label_delay_seconds=10_800)
    with running(chosen, Clock(START + 7 * HOUR)) as monitor:
        for hour in range(4):
            monitor.add_batch(batch(hour, 10, at=START + hour * HOUR, predictions=[1] * 10)).result()
        assert stretch() == (None, None)
        for hour in (0, 1):
            post(monitor, hour, [1] * 8)
        assert stretch() == (START, START + 2 * HOUR), "windows without labels are no part of it"
        post(monitor, 3, [1] * 10)
        assert stretch() == (START + 3 * HOUR, START + 4 * HOUR)
    with running(chosen, Clock(START + 7 * HOUR)) as monitor:
        assert stretch() == (START + 3 * HOUR, START + 4 * HOUR), "the same after a restart"


def test_a_maximum_is_a_limit_too(tmp_path: Path) -> None:
    profile = ReferenceProfile(
        rows=10,
        features=(),
        prediction=NumericProfile(name="price", edges=(1.0,), counts=(5, 5), missing=0, mean=1.0, std=1.0),
    )
    digest = "sha256:" + "c" * 64
    with running(settings(tmp_path, metric="mae", min=None, max=1.0), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_reference(reference(digest, "price-1", profile)).result()
        monitor.add_batch(batch(1, 80, digest=digest, at=START, columns={}, predictions=[1.5] * 80)).result()
        post(monitor, 1, [4.0] * 80)
        monitor.detect()
        (version,) = monitor.report(digest).versions
    assert version.performance is not None
    assert (version.performance.value, version.performance.degraded) == (2.5, True)


def test_an_early_label_that_is_too_large_does_not_cost_the_batch_of_its_prediction(tmp_path: Path) -> None:
    price = NumericProfile(name="price", edges=(1.0,), counts=(5, 5), missing=0, mean=1.0, std=1.0)
    profile = ReferenceProfile(rows=10, features=(), prediction=price)
    digest = "sha256:" + "c" * 64
    with running(settings(tmp_path, metric="mae", min=None, max=9.0), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_reference(reference(digest, "price-1", profile)).result()
        assert post(monitor, 1, [1e200]).count("pending") == 1
        monitor.add_batch(batch(1, 10, digest=digest, at=START, columns={}, predictions=[1.5] * 10)).result()
        labels = [Feedback(id=f"p1/{row}", label=4.0) for row in range(1, 10)]
        assert monitor.add_feedback(labels).result().count("joined") == 9
        (version,) = monitor.report(digest).versions
    assert (version.rows, version.performance and version.performance.value) == (10, 2.5)


@pytest.mark.parametrize("metric", ["rmse", "average_precision"])
def test_a_metric_that_cannot_be_computed_says_why(tmp_path: Path, metric: str) -> None:
    with running(settings(tmp_path, metric=metric), Clock(START + 3 * HOUR)) as monitor:
        monitor.add_batch(batch(1, 10, at=START)).result()
        post(monitor, 1, [1] * 10)
        report = performance(monitor)
    assert (report.value, report.degraded) == (None, False)
    allowed = ", ".join(names("classification", monitored=True))
    assert report.note == f"{metric} is not computed for classes: one of {allowed}"


def test_a_label_whose_window_is_gone_still_counts_as_joined(tmp_path: Path) -> None:
    clock = Clock(START)
    short = config(tmp_path, retention_seconds=3_600)  # without performance, predictions stay for two days
    with running(short, clock) as monitor:
        monitor.add_batch(batch(1, 1, predictions=[1])).result()
        for number in range(24):
            clock.now += HOUR
            monitor.add_batch(batch(2 + number, 1, at=clock.now)).result()
        monitor.prune()
        assert post(monitor, 1, [1]).count("joined") == 1
        assert monitor.report(DIGEST).versions[0].windows[0].start == START + HOUR
