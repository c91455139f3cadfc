"""Detectors of performance: how often they err and how soon they find; intervals against other ways to say the same."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from sklearn import metrics

from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile
from tidemill_runtime.model import label_sums
from tidemill_runtime.monitor import detector, intervals, performance
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.detector import State
from tidemill_runtime.monitor.performance import Outputs

TWO = Outputs(CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0))
THREE = Outputs(CategoricalProfile(name="y", categories=("a", "b", "c"), counts=(1, 1, 1, 0), missing=0))
PRICE = Outputs(NumericProfile(name="y", edges=(0.0,), counts=(1, 1), missing=0, mean=3.0, std=1.0))
HOUR = 3600.0
Sums = dict[str, float]


def value_of(name: str, sums: Sums, of: Outputs) -> tuple[float | None, str]:
    return performance.metric(name, sums, of.profile, of.classes)


def sums_of(of: Outputs, predicted: list[object], scores: list[float | None], true: list[object]) -> Sums:
    assert of.profile is not None
    total: Counter[str] = Counter()
    for prediction, score, label in zip(predicted, scores, true, strict=True):
        for name, value in performance.addition(ColumnBins(of.profile), prediction, score, label).items():  # type: ignore[arg-type]
            total[name] += value  # type: ignore[assignment]
    return dict(total)


def alarms(config: PerformanceConfig, draw: Callable[[], Sums], looks: int, of: Outputs) -> list[int]:
    """Return the looks, an hour each, at which the limit is said to be exceeded."""
    found, state = [], State(detector.target(config))
    waiting: Counter[str] = Counter()
    for look in range(looks):
        state = State(**{**vars(state), "waited": state.waited + HOUR})
        for name, value in draw().items():
            waiting[name] += value  # type: ignore[assignment]
        if detector.labels_in(waiting, of) < detector.labels_of_a_look(config):
            continue
        state, side = detector.looked(state, config, waiting, of)
        waiting.clear()
        if side is not None:
            found.append(look)
    return found


def right_of_two(random: Generator, accuracy: float, labels: int = 200) -> Sums:
    right = int(random.binomial(labels, accuracy))
    return {
        label_sums.cell_name("1", "1"): right,
        label_sums.cell_name("0", "1"): labels - right,
    }


ACCURACY = PerformanceConfig(metric="accuracy", min=0.85)


def test_a_good_model_near_its_limit_is_not_found_for_years() -> None:
    """Accuracy 0.87, limit 0.85, 200 labels an hour: judged at each look by its value it is below within days."""
    random = np.random.default_rng(1)
    assert alarms(ACCURACY, lambda: right_of_two(random, 0.87), 3 * 8760, TWO) == []


def test_a_bad_model_is_found_within_hours() -> None:
    """Accuracy 0.80, limit 0.85, 200 labels an hour: docs say 10 hours on average."""
    random = np.random.default_rng(2)
    delays = []
    for _ in range(40):
        (first, *_) = alarms(ACCURACY, lambda: right_of_two(random, 0.80), 60, TWO)
        delays.append(first + 1)
    assert np.mean(delays) < 10
    assert max(delays) <= 24


STATED = {"false_alarms_per_month": 7.2}  # every 100 hours


def cells(random: Generator, recalls: tuple[float, float], positive: float) -> Sums:
    labels = int(random.binomial(200, positive))
    found, wrong = int(random.binomial(labels, recalls[1])), int(random.binomial(200 - labels, 1 - recalls[0]))
    return {
        label_sums.cell_name("1", "1"): found,
        label_sums.cell_name("1", "0"): labels - found,
        label_sums.cell_name("0", "1"): wrong,
        label_sums.cell_name("0", "0"): 200 - labels - wrong,
    }


def losses(random: Generator, scale: float) -> Sums:
    error = scale * random.standard_normal(200)
    label = random.standard_normal(200)
    return {
        "count": 200.0,
        label_sums.MOMENTS: 200.0,
        "absolute_error": float(abs(error).sum()),
        "squared_error": float((error**2).sum()),
        "squared_error_squares": float((error**4).sum()),
        "label": float(label.sum()),
        "label_squared": float((label**2).sum()),
        "label_cubed": float((label**3).sum()),
        "label_fourth": float((label**4).sum()),
        "squared_error_label": float((error**2 * label).sum()),
        "squared_error_label_squared": float((error**2 * label**2).sum()),
    }


F1 = 2 * 0.8 / (2 * 0.8 + 0.2 + 0.1 * 7 / 3)  # of recalls 0.9 and 0.8 with 30 % positive
AT_THE_LIMIT: dict[str, tuple[PerformanceConfig, Callable[[Generator], Sums], Outputs]] = {
    "f1": (PerformanceConfig(metric="f1", min=F1, **STATED), lambda r: cells(r, (0.9, 0.8), 0.3), TWO),
    "precision": (
        PerformanceConfig(metric="precision", min=0.8 / (0.8 + 0.1 * 7 / 3), **STATED),
        lambda r: cells(r, (0.9, 0.8), 0.3),
        TWO,
    ),
    "balanced_accuracy": (
        PerformanceConfig(metric="balanced_accuracy", min=0.85, **STATED),
        lambda r: cells(r, (0.9, 0.8), 0.3),
        TWO,
    ),
    "mae": (PerformanceConfig(metric="mae", max=math.sqrt(2 / math.pi), **STATED), lambda r: losses(r, 1.0), PRICE),
    "rmse": (PerformanceConfig(metric="rmse", max=1.0, **STATED), lambda r: losses(r, 1.0), PRICE),
    "r2": (PerformanceConfig(metric="r2", min=0.75, **STATED), lambda r: losses(r, 0.5), PRICE),
}


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_false_alarms_are_as_rare_as_stated(name: str) -> None:
    """Exactly at the limit, the worst case, for 4,000 hours."""
    config, draw, of = AT_THE_LIMIT[name]
    random = np.random.default_rng(5)
    assert len(alarms(config, lambda: draw(random), 4_000, of)) <= 40


WORSE: dict[str, tuple[Callable[[Generator], Sums], Outputs, int]] = {
    "f1": (lambda r: cells(r, (0.85, 0.7), 0.3), TWO, 12),
    "precision": (lambda r: cells(r, (0.85, 0.8), 0.3), TWO, 24),
    "balanced_accuracy": (lambda r: cells(r, (0.85, 0.7), 0.3), TWO, 12),
    "mae": (lambda r: losses(r, 1.3), PRICE, 12),
    "rmse": (lambda r: losses(r, 1.3), PRICE, 12),
    "r2": (lambda r: losses(r, 0.65), PRICE, 12),
}


@pytest.mark.parametrize("name", WORSE)
def test_a_clear_change_is_found_within_hours(name: str) -> None:
    draw, of, hours = WORSE[name]
    config = AT_THE_LIMIT[name][0].model_copy(update={"false_alarms_per_month": 0.2})
    random = np.random.default_rng(6)
    delays = [alarms(config, lambda: draw(random), 100, of)[0] + 1 for _ in range(10)]
    assert np.mean(delays) <= hours


SCORES: dict[str, Callable[[list[int], list[int]], float]] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "f1": metrics.f1_score,
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
}


@pytest.mark.parametrize("name", SCORES)
def test_the_standard_error_is_the_spread_of_the_metric_over_samples(name: str) -> None:
    random = np.random.default_rng(11)
    samples = [cells(random, (0.9, 0.8), 0.3) for _ in range(2_000)]
    values = [value_of(name, sample, TWO)[0] or 0.0 for sample in samples]
    errors = [intervals.standard_error(name, s, TWO, v) or 0.0 for s, v in zip(samples, values, strict=True)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.06)
    truth = np.mean(values)
    found = [intervals.interval(name, s, TWO, v) or (0, 0) for s, v in zip(samples, values, strict=True)]
    assert np.mean([low <= truth <= high for low, high in found]) > 0.93


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_the_standard_error_of_a_regression_is_its_spread(name: str) -> None:
    random = np.random.default_rng(12)
    samples = [losses(random, 0.5) for _ in range(2_000)]
    values = [value_of(name, sample, PRICE)[0] or 0.0 for sample in samples]
    errors = [intervals.standard_error(name, s, PRICE, v) or 0.0 for s, v in zip(samples, values, strict=True)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.06)


def test_sums_of_rows_are_those_that_intervals_take() -> None:
    """Of r2 the infinitesimal jackknife: the influence of each row, written out."""
    random = np.random.default_rng(13)
    true = (5 + random.standard_normal(50)).tolist()
    predicted = (np.array(true) + 0.4 * random.standard_normal(50)).tolist()
    total = sums_of(PRICE, predicted, [None] * 50, true)
    value, _ = value_of("r2", total, PRICE)
    assert value is not None and value == pytest.approx(metrics.r2_score(true, predicted))
    labels, error = np.array(true), np.array(true) - np.array(predicted)
    deviation = (labels - labels.mean()) ** 2
    influence = (error**2 - (1 - value) * deviation) / deviation.mean()
    assert intervals.standard_error("r2", total, PRICE, value) == pytest.approx(
        math.sqrt((influence**2).mean() / 50), rel=1e-9
    )


def test_the_interval_of_accuracy_is_wilsons() -> None:
    """Newcombe, Two-sided confidence intervals for the single proportion (1998), table I: 81 of 263 and 0 of 20."""
    assert intervals.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    one = {label_sums.cell_name("1", "1"): 20.0}
    assert intervals.interval("accuracy", one, TWO, 1.0) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "recall", "precision"])
def test_a_perfect_score_of_few_rows_is_not_known_for_sure(name: str) -> None:
    sums = {label_sums.cell_name("1", "1"): 5.0, performance.cell_name("0", "0"): 500.0}
    low, high = intervals.interval(name, sums, TWO, 1.0) or (1.0, 1.0)
    assert low < 0.6 and high == 1.0


def test_of_three_classes_the_macro_average_has_an_interval() -> None:
    random = np.random.default_rng(14)
    values, errors = [], []
    for _ in range(400):
        true = random.choice(list("abc"), 300)
        predicted = np.where(random.random(300) < 0.7, true, random.choice(list("abc"), 300))
        counts = Counter(label_sums.cell_name(t, p) for t, p in zip(true.tolist(), predicted.tolist(), strict=True))
        sums = {name: float(count) for name, count in counts.items()}
        value, _ = value_of("f1", sums, THREE)
        assert value is not None
        values.append(value)
        errors.append(intervals.standard_error("f1", sums, THREE, value) or 0.0)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_labels_without_squares_have_no_interval_and_no_evidence() -> None:
    """Sums that a monitor of an older release has added up."""
    old = {"count": 50.0, "absolute_error": 50.0, "squared_error": 80.0, "label": 0.0, "label_squared": 9.0}
    assert intervals.interval("rmse", old, PRICE, 1.26) is None
    assert detector.growth("rmse", "max", 1.0, old, PRICE) is None
    assert intervals.interval("mae", old, PRICE, 1.0) is not None


def test_how_many_labels_would_decide() -> None:
    state, sums = State(detector.target(ACCURACY)), right_of_two(np.random.default_rng(0), 1.0)

    def needed(right: float) -> int | None:
        sums = {label_sums.cell_name("1", "1"): right, performance.cell_name("0", "1"): 200 - right}
        return detector.undecided(ACCURACY, state, sums, TWO, right / 200)

    assert needed(200) is None and sums
    within, beyond = needed(174), needed(160)
    assert within is not None and 700 < within < 1_000, "the interval is half as wide with four times the labels"
    assert beyond is not None and 1_000 < beyond < 2_500
    assert needed(170) is None, "exactly at the limit nothing can be said"


@pytest.mark.parametrize("metric", ["accuracy", "f1", "balanced_accuracy", "brier", "log_loss", "mae", "rmse", "r2"])
@pytest.mark.parametrize("limit", [-1.0, 0.0, 1e-300, 0.5, 1.0, 2.0, 1e300])
def test_no_limit_and_no_labels_break_it(metric: str, limit: float) -> None:
    of = PRICE if metric in ("mae", "rmse", "r2") else TWO
    rows: list[Sums] = [
        {},
        sums_of(of, [1], [1.0], [1]),
        sums_of(of, [1] * 3, [0.0, 1.0, None], [0, 1, 1]),
        sums_of(of, [0, 1, 0, 1], [0.9] * 4, [1, 1, 0, 0]),
        sums_of(of, [7e74, -7e74], [None] * 2, [0, 1]),
    ]
    for side in ("min", "max"):
        config = PerformanceConfig(metric=metric, **{side: limit})
        for sums in rows:
            state, _ = detector.looked(State(detector.target(config), waited=1.0), config, sums, of)
            assert not any(math.isnan(x) for x in (*state.low, *state.high))
            assert State.from_json(state.to_json()) == state
            value, _ = value_of(metric, sums, of)
            if value is not None:
                detector.undecided(config, state, sums, of, value)
