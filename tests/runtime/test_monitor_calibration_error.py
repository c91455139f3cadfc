"""The expected calibration error of labels that arrive: its value, its interval, and what proves a limit exceeded."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.model import label_sums
from tidemill_runtime.model.metric_formulas import GAP_COUNT, GAPS, gap_bin
from tidemill_runtime.monitor import detector, intervals, performance
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.detector import State
from tidemill_runtime.monitor.performance import Outputs

TWO = CategoricalProfile(name="y", categories=("0", "1"), counts=(1, 1, 0), missing=0)
OF = Outputs(TWO, ("0", "1"))
NAME = "calibration_error"


def drawn(random: np.random.Generator, rows: int, too_sure: float) -> dict[str, float]:
    """Sums of rows whose predicted class is right with a probability `too_sure` below the score."""
    score = random.uniform(0.55, 0.95, rows)
    right = random.random(rows) < score - too_sure
    gap = right - score
    # as `label_sums.of_class` adds them, row by row; the first test holds that
    places = np.array([gap_bin(value) for value in score.tolist()])
    sums: dict[str, Any] = {label_sums.cell_name("1", "1"): right.sum(), label_sums.cell_name("0", "1"): (~right).sum()}
    sums |= {GAPS[place]: gap[places == place].sum() for place in np.unique(places)}
    sums |= {label_sums.GAP_SQUARES: (gap * gap).sum(), GAP_COUNT: rows}
    return {name: float(value) for name, value in sums.items()}


def test_sums_are_those_of_each_row() -> None:
    found: dict[str, float] = {}
    for score, label in ((0.9, 1), (0.9, 0), (0.6, 1), (0.0, 0), (1.0, 1)):
        for name, value in performance.addition(ColumnBins(TWO), 1, score, label).items():
            found[name] = found.get(name, 0.0) + value
    gaps = {name: value for name, value in found.items() if name in GAPS}
    assert gaps == pytest.approx({"gap 13": 0.1 - 0.9, "gap 08": 0.4, "gap 00": 0.0, "gap 14": 0.0})
    assert (found[GAP_COUNT], found[label_sums.GAP_SQUARES]) == (5, pytest.approx(0.01 + 0.81 + 0.16))
    assert performance.metric(NAME, found, TWO)[0] == pytest.approx((0.8 + 0.4) / 5)


@pytest.mark.parametrize("score", [None, float("nan"), -0.1, 1.1])
def test_without_a_probability_it_has_no_value(score: float | None) -> None:
    sums = performance.addition(ColumnBins(TWO), 1, score, 1)
    value, why = performance.metric(NAME, sums, TWO)
    assert (value, why) == (None, "calibration_error needs the predicted class's probability")
    assert intervals.interval(NAME, sums, OF, 0.0) is None


def test_a_label_that_names_no_class_says_nothing_about_calibration() -> None:
    assert GAP_COUNT not in performance.addition(ColumnBins(TWO), 1, 0.9, "hunter2")


@pytest.mark.parametrize("too_sure", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("rows", [100, 1_000])
def test_the_interval_has_the_true_error_in_95_of_100_cases(rows: int, too_sure: float) -> None:
    random = np.random.default_rng(rows)
    inside = 0
    for _ in range(400):
        sums = drawn(random, rows, too_sure)
        value, _ = performance.metric(NAME, sums, TWO)
        assert value is not None
        between = intervals.interval(NAME, sums, OF, value)
        assert between is not None
        inside += between[0] <= too_sure <= between[1]
    assert inside / 400 >= 0.92


def test_a_calibrated_model_is_not_called_uncalibrated_and_one_that_is_too_sure_is() -> None:
    """The value of a window of 200 labels is 0.08 by chance alone: twice the limit."""
    config = PerformanceConfig(metric=NAME, max=0.04, min_labels=200)
    random = np.random.default_rng(5)
    assert detector.is_asymptotic(config, "max")
    found = {}
    for too_sure in (0.0, 0.04, 0.25):
        state, alarms = State(detector.target(config)), 0
        for hour in range(1_000):
            state = replace(state, waited=3600.0, newest=hour * 3600.0)
            state, side = detector.looked(state, config, drawn(random, 200, too_sure), OF)
            alarms += side is not None
        found[too_sure] = alarms
    assert found[0.0] == found[0.04] == 0
    assert found[0.25] > 100
