"""Labels of a random sample: the interval covers what all rows show, is narrower where answers help, and never lies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.runtime.test_monitor_estimate import Rows, classified, counted, layout, measured, scores_of, trained
from tests.support.monitoring import DIGEST, START, Clock, batch, config, reference, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig, PoweredReport
from tidemill_runtime.monitor import detector, intervals, performance
from tidemill_runtime.monitor.binning import PREDICTION, Layout
from tidemill_runtime.monitor.powered import Expectations
from tidemill_runtime.trainer.model.inspection import Model

HOUR = 3600
ROWS, LABELS = 3_000, 300


def looked(model: Model, found: Layout, rows: Rows, names: tuple[str, ...]) -> dict[str, tuple[PoweredReport, float]]:
    """The metrics of all rows from the first labels, each with the width of the interval of those labels alone."""
    assert found.strata is not None
    expectations = Expectations(found.strata)
    features, truth = rows
    predicted, probabilities = model.predict(features), model.probabilities(features)
    scores = scores_of(model, predicted, probabilities) or [None] * len(truth)
    sums: dict[str, float] = {}
    for row in range(LABELS):
        answer = predicted[row].item()
        added = performance.addition(found.columns[PREDICTION], answer, scores[row], truth[row].item())
        for name, value in {**added, **expectations.addition(answer, scores[row], added)}.items():
            sums[name] = sums.get(name, 0.0) + value
    counts, of = counted(model, found, features), detector.outputs(found)
    reports = {}
    for name in names:
        report = expectations.report(name, sums, counts, LABELS)
        value, _ = performance.metric(name, sums, of.profile, of.classes)
        assert report is not None
        assert value is not None
        low, high = intervals.interval(name, sums, of, value) or (0.0, 0.0)
        reports[name] = report, high - low
    return reports


def true_values(model: Model, rows: Rows, names: tuple[str, ...]) -> dict[str, float]:
    truth, predicted, probabilities = rows[1], model.predict(rows[0]), model.probabilities(rows[0])
    if probabilities is None:
        formulas: dict[str, Any] = {"mae": metrics.mean_absolute_error, "rmse": metrics.root_mean_squared_error}
        return {name: float(formulas[name](truth, predicted)) for name in names}
    positive = probabilities[:, 1]
    values = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "brier": metrics.brier_score_loss(truth, positive),
        "log_loss": metrics.log_loss(truth, positive),
    }
    return {name: float(values[name]) for name in names}


@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize(
    ("estimator", "draw", "names"),
    [
        (LogisticRegression(), classified, ("accuracy", "brier", "log_loss")),
        (LinearRegression(), measured, ("mae", "rmse")),
    ],
)
def test_the_interval_covers_the_true_value_and_is_narrower_than_that_of_labels(
    estimator: Any, draw: Any, names: tuple[str, ...], shift: float
) -> None:
    random = np.random.default_rng(3)
    model = trained(estimator, draw(random, 2_000))
    found = layout(model, draw(random, 1_500))
    wanted = true_values(model, draw(random, 200_000, shift), names)
    covered, ratios = dict.fromkeys(names, 0), {name: list[float]() for name in names}
    draws = 60
    for _ in range(draws):
        for name, (report, width) in looked(model, found, draw(random, ROWS, shift), names).items():
            covered[name] += report.low <= wanted[name] <= report.high
            ratios[name].append((report.high - report.low) / width)
            assert (report.rows, report.labels) == (ROWS, LABELS)
    for name in names:
        assert covered[name] >= 0.88 * draws, name  # 52 and fewer of 60 have probability 0.02 at 95 %
        assert np.mean(ratios[name]) < 1.0, name


def test_where_answers_say_nothing_any_more_the_interval_is_wider_and_covers() -> None:
    random = np.random.default_rng(4)
    model = trained(LogisticRegression(), classified(random, 2_000))
    found = layout(model, classified(random, 1_500))

    def flipped(rows: int) -> Rows:
        features, truth = classified(random, rows)
        return features, 1 - truth

    wanted = true_values(model, flipped(200_000), ("accuracy",))["accuracy"]
    assert wanted < 0.4
    covered = sum(
        report.low <= wanted <= report.high
        for _ in range(40)
        for report, _ in looked(model, found, flipped(ROWS), ("accuracy",)).values()
    )
    assert covered >= 35


def test_a_metric_of_another_kind_or_a_label_without_residual_has_none() -> None:
    random = np.random.default_rng(5)
    model = trained(LogisticRegression(), classified(random, 500))
    found = layout(model, classified(random, 500))
    assert found.strata is not None
    expectations = Expectations(found.strata)
    counts = counted(model, found, classified(random, 100)[0])
    sums: dict[str, float] = {}
    for label in (1, 0, 1):
        added = performance.addition(found.columns[PREDICTION], 1, 0.8, label)
        for name, value in {**added, **expectations.addition(1, 0.8, added)}.items():
            sums[name] = sums.get(name, 0.0) + value
    assert expectations.report("accuracy", sums, counts, 3) is not None
    assert expectations.report("accuracy", sums, counts, 4) is None
    assert expectations.report("f1", sums, counts, 3) is None
    assert expectations.report("accuracy", {}, counts, 0) is None
    assert expectations.report("accuracy", sums, counts * 0, 3) is None


@pytest.mark.parametrize("asked", [True, False])
def test_a_monitor_that_is_told_so_reports_it(tmp_path: Path, asked: bool) -> None:
    random = np.random.default_rng(6)
    model = trained(LogisticRegression(), classified(random, 2_000))
    profile = layout(model, classified(random, 1_500)).profile
    features, truth = classified(random, 1_000)
    predicted = model.predict(features)
    watched = PerformanceConfig(metric="accuracy", min=0.1, min_labels=50, label_delay_seconds=0, random_sample=asked)
    digest = "sha256:" + "b" * 64
    with running(config(tmp_path, performance=watched), Clock(START + HOUR + 10)) as monitor:
        monitor.add_reference(reference(digest, profile=profile)).result(10)
        sent = batch(
            0,
            1_000,
            digest=digest,
            columns={name: features[name].tolist() for name in features},
            predictions=predicted.tolist(),
            scores=scores_of(model, predicted, model.probabilities(features)),
        )
        monitor.add_batch(sent).result(10)
        some = random.permutation(1_000)[:200].tolist()
        monitor.add_feedback([Feedback(id=f"p0/{row}", label=int(truth[row])) for row in some]).result(10)
        found = monitor.report(digest).versions[0].performance
    assert digest != DIGEST
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    if not asked:
        assert found.powered is None
        return
    assert found.powered is not None
    assert json.loads(found.to_json())["powered"]["rows"] == 1_000
    assert found.powered.labels == 200
    assert found.powered.low < metrics.accuracy_score(truth, predicted) < found.powered.high
