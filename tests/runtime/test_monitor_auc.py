"""roc_auc of a monitor: against scikit-learn, its error against other ways to compute it, what it takes to judge."""

import math
import sqlite3
from collections import Counter
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator
from sklearn import metrics
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts.calibration import CalibrationTable
from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.model import auc
from tidemill_runtime.model.auc import ByBin
from tidemill_runtime.monitor import detector, evaluation, intervals, performance
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.detector import State
from tidemill_runtime.monitor.performance import Outputs
from tidemill_runtime.monitor.score_order import ScoreOrder

TWO = Outputs(CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0))
THREE = Outputs(CategoricalProfile(name="y", categories=("a", "b", "c"), counts=(1, 1, 1, 0), missing=0))
ORDER = ScoreOrder("0", "1")
Sums = dict[str, float]


def sums_of(probabilities: Any, truth: Any, of: Outputs = TWO, order: ScoreOrder = ORDER) -> Sums:
    """The sums of rows by the probability of class 1, recorded as servers do: that of the predicted class."""
    assert of.profile is not None
    column, total = ColumnBins(of.profile), Counter[str]()
    for p, label in zip(np.asarray(probabilities).tolist(), np.asarray(truth).tolist(), strict=True):
        score = max(p, 1 - p) if 0 <= p <= 1 else p
        total.update(performance.addition(column, int(p >= 0.5), score, label, order))  # type: ignore[arg-type]
    return dict(total)


def value_of(sums: Sums, of: Outputs = TWO) -> tuple[float | None, str]:
    return performance.metric("roc_auc", sums, of.profile, of.classes)


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@given(st.lists(st.tuples(st.sampled_from([0.001, 0.1, 0.2, 0.45, 0.5, 0.6, 0.77, 0.99]), st.sampled_from([0, 1]))))
def test_with_ties_it_is_scikit_learns(rows: list[tuple[float, int]]) -> None:
    truth = [label for _, label in rows]
    if len(set(truth)) < 2:
        assert value_of(sums_of([p for p, _ in rows], truth))[0] is None
        return
    expected = metrics.roc_auc_score(truth, [p for p, _ in rows])
    assert value_of(sums_of([p for p, _ in rows], truth))[0] == pytest.approx(expected)


@pytest.mark.parametrize("separation", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("base", [-7.0, 0.0, 4.0], ids=["rare", "half", "frequent"])
def test_bins_cost_less_than_a_thousandth(base: float, separation: float) -> None:
    random = np.random.default_rng(1)
    truth = (random.random(40_000) < 0.3).astype(int)
    probabilities = logistic(base + separation * truth + random.normal(size=40_000))
    found, _ = value_of(sums_of(probabilities, truth))
    assert found == pytest.approx(metrics.roc_auc_score(truth, probabilities), abs=1e-3)


def test_probabilities_that_are_all_alike_have_the_bins_of_the_calibration_tables() -> None:
    """As boosting without calibration gives them: from 0.49 to 0.51."""
    random = np.random.default_rng(2)
    truth = (random.random(5_000) < 0.3).astype(int)
    probabilities = 0.5 + 0.002 * (truth - 0.6 + random.normal(size=5_000))
    expected = metrics.roc_auc_score(truth, probabilities)

    def table(predicted: str, scores: Any) -> CalibrationTable:
        edges = tuple(np.unique(np.quantile(scores, np.linspace(0, 1, 81))).tolist())
        return CalibrationTable(predicted=predicted, edges=edges, rows=(0,) * (len(edges) + 1), sums={})

    tables = (table("0", 1 - probabilities[probabilities < 0.5]), table("1", probabilities[probabilities >= 0.5]))
    order = ScoreOrder("0", "1", tables)
    assert value_of(sums_of(probabilities, truth))[0] != pytest.approx(expected, abs=0.02), "the odds alone do not do"
    assert value_of(sums_of(probabilities, truth, order=order))[0] == pytest.approx(expected, abs=1e-3)
    assert order.bins < 400


def test_memory_is_bounded_however_many_labels_come() -> None:
    random = np.random.default_rng(3)
    sums = sums_of(random.random(20_000), random.integers(0, 2, 20_000))
    assert len([name for name in sums if name.startswith(auc.ORDER)]) <= 2 * ORDER.bins <= 402


@pytest.mark.parametrize(
    ("probabilities", "truth", "of", "note"),
    [
        ([0.2, 0.8], [0, 0], TWO, "no label is the class 1"),
        ([0.2, 0.8], [1, 1], TWO, "every label is the class 1"),
        ([], [], TWO, "roc_auc needs two classes and the predicted class's probability"),
        ([math.nan, -0.5, 1.5], [1, 0, 1], TWO, "roc_auc needs two classes and the predicted class's probability"),
        ([0.2, 0.8], ["a", "b"], THREE, "roc_auc needs two classes and the predicted class's probability"),
        ([0.2, 0.8], ["maybe", "so"], TWO, "roc_auc needs two classes and the predicted class's probability"),
    ],
    ids=["negatives only", "positives only", "no labels", "no probabilities", "three classes", "labels of no class"],
)
def test_where_it_is_not_defined_it_has_no_value_and_says_why(
    probabilities: list[float], truth: list[Any], of: Outputs, note: str
) -> None:
    sums = sums_of(probabilities, truth, of)
    assert value_of(sums, of) == (None, note)
    assert intervals.standard_error("roc_auc", sums, of, 0.5) is None


def test_labels_that_are_missing_or_of_no_class_are_left_out() -> None:
    probabilities, truth = [0.1, 0.4, 0.35, 0.8, 0.7, 0.2], [0, 0, 1, 1, None, "other"]
    assert value_of(sums_of(probabilities, truth))[0] == metrics.roc_auc_score([0, 0, 1, 1], probabilities[:4]) == 0.75


def test_a_class_that_the_holdout_never_predicted_is_a_class() -> None:
    """Of a rare class no probability is above one half: that is where this metric is asked for."""
    profile = CategoricalProfile(name="y", categories=("0",), counts=(9, 0), missing=0)
    column = ColumnBins(profile, classes=("0", "1"))
    rows = [(0.99, 0), (0.9, 1), (0.95, 0), (0.6, 1), (0.7, 0)]
    total = Counter[str]()
    for score, label in rows:
        total.update(performance.addition(column, 0, score, label, ORDER))  # type: ignore[arg-type]
    expected = metrics.roc_auc_score([label for _, label in rows], [1 - score for score, _ in rows])
    assert performance.metric("roc_auc", dict(total), profile, ("0", "1")) == (pytest.approx(expected), "")
    of_true = [1 - score if label else score for score, label in rows]
    loss, _ = performance.metric("log_loss", dict(total), profile, ("0", "1"))
    assert loss == pytest.approx(-np.log(of_true).mean())


def by_bin(scores: Any, truth: Any) -> Sums:
    """The sums of rows by any score, in bins that are narrow beside its spread."""
    sums: Sums = {}
    for label in (0, 1):
        places, counts = np.unique(np.floor(scores[truth == label] * 20).astype(int) + 1_000, return_counts=True)
        for place, rows in zip(places.tolist(), counts.tolist(), strict=True):
            sums[auc.name(place, positive=bool(label))] = float(rows)
    return sums


# -- error and interval -----------------------------------------------------------------------------------------


def test_the_error_is_that_of_delong_row_by_row() -> None:
    """DeLong et al. (1988), equations 4 to 6, by comparing every pair."""
    random = np.random.default_rng(4)
    truth = random.integers(0, 2, 90)
    probabilities = np.round(logistic(truth + random.normal(size=90)), 1).clip(0.05, 0.95)
    x, y = probabilities[truth == 1], probabilities[truth == 0]
    pairs = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    of_positives, of_negatives = pairs.mean(axis=1), pairs.mean(axis=0)
    expected = math.sqrt(of_positives.var(ddof=1) / len(x) + of_negatives.var(ddof=1) / len(y))
    found = ByBin.of(sums_of(probabilities, truth))
    assert found.area() == pytest.approx(pairs.mean())
    assert math.sqrt(found.observed_variance()) == pytest.approx(expected)


def test_the_published_figures_of_109_images() -> None:
    """Hanley and McNeil, The meaning and use of the area under a ROC curve (1982), table I: 0.893, error 0.032.

    Stata's manual has 0.8932 for these, and 0.0307 by DeLong (roctab).
    """
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    sums = {auc.name(place, positive=False): float(rows) for place, rows in enumerate(normal)}
    sums |= {auc.name(place, positive=True): float(rows) for place, rows in enumerate(abnormal)}
    found = ByBin.of(sums)
    assert found.area() == pytest.approx(0.893, abs=5e-4)
    assert math.sqrt(found.observed_variance()) == pytest.approx(0.0307, abs=5e-5)
    assert found.standard_error() == pytest.approx(0.032, abs=5e-4)


def test_influences_are_what_one_more_row_adds() -> None:
    random = np.random.default_rng(5)
    truth = random.integers(0, 2, 4_000)
    sums = sums_of(logistic(truth + random.normal(size=4_000)), truth)
    found = ByBin.of(sums)
    for positive, influence in zip((True, False), found.influences(), strict=True):
        for number in (0, len(found.places) // 2, len(found.places) - 1):
            more = Counter(sums)
            more[auc.name(found.places[number], positive=positive)] += 1  # type: ignore[assignment]
            assert ByBin.of(more).area() - found.area() == pytest.approx(influence[number], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("probabilities", "truth", "interval"),
    [
        ([0.2, 0.8], [0, 1], (0.207, 1.0)),  # one of each, in order: Wilson's of one row
        ([0.8, 0.2], [0, 1], (0.0, 0.793)),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], (0.108, 0.892)),  # all tied
        ([0.1] * 30 + [0.9] * 30, [0] * 30 + [1] * 30, (0.886, 1.0)),  # all in order: Wilson's of 30 rows
        ([0.1, 0.3, 0.2, 0.4, 0.25], [0, 0, 0, 0, 1], (0.055, 0.945)),  # a single positive: Wilson's of one row
    ],
    ids=["two rows", "the wrong way round", "all tied", "perfect", "a single positive"],
)
def test_few_labels_and_labels_without_variance_have_a_wide_interval(
    probabilities: list[float], truth: list[int], interval: tuple[float, float]
) -> None:
    sums = sums_of(probabilities, truth)
    value, _ = value_of(sums)
    assert value is not None
    found = intervals.interval("roc_auc", sums, TWO, value)
    assert found is not None
    assert found == pytest.approx(interval, abs=1e-3)


@pytest.mark.parametrize(("positives", "negatives"), [(5, 200), (15, 200), (40, 160), (100, 100)])
@pytest.mark.parametrize("separation", [0.5, 1.5, 2.5])
def test_the_interval_has_the_true_value_in_95_of_100_cases(positives: int, negatives: int, separation: float) -> None:
    random = np.random.default_rng(6)
    truth = np.array([1] * positives + [0] * negatives)
    true = 0.5 * (1 + math.erf(separation / 2))  # of two normal distributions with variance 1
    inside, runs = 0, 300
    for _ in range(runs):
        sums = by_bin(separation * truth + random.normal(size=len(truth)), truth)
        between = intervals.interval("roc_auc", {**sums, 'confusion ["0", "1"]': 1.0}, TWO, ByBin.of(sums).area())
        assert between is not None
        inside += between[0] <= true <= between[1]
    assert inside / runs >= 0.91  # 0.95 less three standard errors


# -- whether a limit is exceeded --------------------------------------------------------------------------------

LIMIT = PerformanceConfig(metric="roc_auc", min=0.8, min_labels=100)


def test_labels_wait_until_thirty_of_each_class_are_there() -> None:
    """The error comes from the smaller class: with two positives it may be anything."""
    one = {auc.name(3, positive=True): 29.0, auc.name(1, positive=False): 5_000.0}
    assert not detector.is_enough(LIMIT, one, 5_029)
    assert detector.is_enough(LIMIT, {**one, auc.name(3, positive=True): 30.0}, 5_030)
    assert not detector.is_enough(LIMIT, {auc.name(3, positive=True): 30.0, auc.name(1, positive=False): 30.0}, 60)
    assert detector.is_enough(PerformanceConfig(metric="accuracy", min=0.8), one, 1), "others need no second class"


def looks(true: float, positives: float, random: Generator, most: int) -> int | None:
    """Return after how many looks of 200 labels an hour the limit 0.8 is said to be exceeded; None: not within most."""
    state, waiting, labels = State(detector.target(LIMIT)), Counter[str](), 0.0
    separation = math.sqrt(2) * NormalDist().inv_cdf(true)
    for look in range(most):
        truth = random.random(200) < positives
        waiting.update({**by_bin(separation * truth + random.normal(size=200), truth), 'confusion ["0", "0"]': 200.0})  # type: ignore[dict-item]
        labels += 200
        state = State(**{**vars(state), "waited": state.waited + 3600.0})
        if not detector.is_enough(LIMIT, waiting, labels):
            continue
        state, side = detector.looked(state, LIMIT, waiting, TWO)
        waiting.clear()
        labels = 0.0
        if side is not None:
            return look
    return None


@pytest.mark.parametrize("positives", [0.5, 0.03])
def test_a_model_at_its_limit_is_called_degraded_seldom_and_a_worse_one_soon(positives: float) -> None:
    """0.2 in a month at the limit, so of ten times 300 hours, four months, at most one is expected."""
    random = np.random.default_rng(7)
    false = [looks(0.8, positives, random, 300) for _ in range(10)]
    assert sum(found is not None for found in false) <= 4
    found = [looks(0.65, positives, random, 500) for _ in range(5)]
    assert all(look is not None for look in found)


def test_a_monitor_counts_judges_and_reports_it(tmp_path: Path) -> None:
    limits = PerformanceConfig(metric="roc_auc", min=0.9, min_labels=100, label_delay_seconds=0, segments=("plan",))
    random = np.random.default_rng(8)
    truth = random.integers(0, 2, 400)
    p = logistic(0.8 * (truth - 0.5) + random.normal(size=400))
    predicted, scores = (p >= 0.5).astype(int).tolist(), np.maximum(p, 1 - p).tolist()
    with running(config(tmp_path, performance=limits), Clock(START + 7200)) as monitor:
        monitor.add_batch(batch(0, 400, at=START, predictions=predicted, scores=scores)).result(10)
        monitor.add_feedback([Feedback(id=f"p0/{row}", label=int(truth[row])) for row in range(400)]).result(10)
        monitor.detect()
        found = monitor.report(DIGEST).versions[0].performance
    assert found is not None
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(metrics.roc_auc_score(truth, p), abs=5e-3)
    assert 0.5 < found.low < found.value < found.high < 0.9
    assert found.degraded
    assert found.asymptotic
    assert sum(segment.labels for segment in found.segments or ()) == 400


def test_another_metric_keeps_nothing_by_bin(tmp_path: Path) -> None:
    limits = PerformanceConfig(metric="accuracy", min=0.5, label_delay_seconds=0)
    with running(config(tmp_path, performance=limits), Clock(START + 7200)) as monitor:
        monitor.add_batch(batch(0, 50, at=START, predictions=[1] * 50, scores=[0.7] * 50)).result(10)
        monitor.add_feedback([Feedback(id=f"p0/{row}", label=1) for row in range(50)]).result(10)
    with sqlite3.connect(tmp_path / "monitor.db") as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM performance")}
    connection.close()
    assert names
    assert not [name for name in names if name.startswith(auc.ORDER)]


def test_labels_from_before_it_was_asked_for_have_no_value_and_it_is_said() -> None:
    sums = sums_of([0.2, 0.8], [0, 1])
    before = {name: rows for name, rows in sums.items() if not name.startswith(auc.ORDER)}
    value, note = value_of(before)
    assert (value, note) == (None, "roc_auc needs two classes and the predicted class's probability")
    report = evaluation.segment_report("roc_auc", ("plan", "basic"), before, TWO)
    assert report.value is report.low is None
