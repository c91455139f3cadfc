"""Verdicts of gates: thresholds, directions, champions, and metrics that are not there."""

from __future__ import annotations

import math

import pytest

from tidemill.api.v1alpha1.training_run import RunChampion
from tidemill.api.v1alpha1.training_template import Gate
from tidemill.training.run.policy import gates
from tidemill_contracts.model_metrics import LOWER_IS_BETTER, METRICS
from tidemill_contracts.training import TrainingResult

DIGEST = "sha256:" + "c" * 64


def champion(**metrics: float) -> RunChampion:
    """A champion with recorded metrics."""
    return RunChampion(version="churn-1", digest=DIGEST, uri="pvc://x/y", metrics=metrics)


def judge(gate: dict[str, object], metrics: dict[str, float | None], **more: object) -> list[tuple[bool, str]]:
    """Verdicts of one gate as (passed, reason)."""
    result = TrainingResult(outcome="Succeeded", metrics=metrics, champion_metrics=more.get("rescored"))  # type: ignore[arg-type]
    found = gates.verdicts([Gate.model_validate(gate)], gates.scores(result, more.get("champion")))  # type: ignore[arg-type]
    return [(v.passed, v.reason) for v in found]


MIN, MAX = {"metric": "auc", "min": 0.8}, {"metric": "rmse", "max": 2}
BETTER = {"metric": "auc", "againstChampion": {"minDelta": 0.01}}
NOT_MUCH_WORSE = {"metric": "auc", "againstChampion": {"minDelta": -0.002}}
LOWER = {"metric": "rmse", "againstChampion": {"minDelta": 0.1}}


def against(metric: str, **more: object) -> dict[str, object]:
    """A gate that asks for an improvement of 0.01."""
    return {"metric": metric, "againstChampion": {"minDelta": 0.01, **more}}


@pytest.mark.parametrize(
    ("gate", "metrics", "want"),
    [
        (MIN, {"auc": 0.9}, [(True, "AboveMin")]),
        (MIN, {"auc": 0.8}, [(True, "AboveMin")]),
        (MIN, {"auc": 0.79}, [(False, "BelowMin")]),
        (MAX, {"rmse": 2.0}, [(True, "BelowMax")]),
        (MAX, {"rmse": 2.1}, [(False, "AboveMax")]),
        (MIN, {}, [(False, "MetricMissing")]),
        (MIN, {"auc": None}, [(False, "MetricMissing")]),
        (MIN, {"auc": math.nan}, [(False, "MetricMissing")]),
        (MIN, {"auc": math.inf}, [(False, "MetricMissing")]),
        ({**MIN, "max": 0.95}, {"auc": 0.99}, [(True, "AboveMin"), (False, "AboveMax")]),
        (BETTER, {"auc": 0.1}, [(True, "NoChampion")]),
        (BETTER, {}, [(False, "MetricMissing")]),
    ],
    ids=[
        "above min",
        "equal to min",
        "below min",
        "equal to max",
        "above max",
        "absent",
        "null",
        "NaN",
        "infinite",
        "both limits",
        "first run has no champion",
        "first run without the metric",
    ],
)
def test_thresholds(gate: dict[str, object], metrics: dict[str, float | None], want: list[tuple[bool, str]]) -> None:
    assert judge(gate, metrics) == want


@pytest.mark.parametrize(
    ("gate", "value", "rescored", "want"),
    [
        (BETTER, 0.92, 0.9, (True, "BetterThanChampion")),
        (BETTER, 0.905, 0.9, (False, "WorseThanChampion")),
        (BETTER, 0.91, 0.9, (True, "BetterThanChampion")),  # 0.91 - 0.9 is a hair below 0.01 in binary
        (NOT_MUCH_WORSE, 0.899, 0.9, (True, "BetterThanChampion")),
        (NOT_MUCH_WORSE, 0.897, 0.9, (False, "WorseThanChampion")),
        (LOWER, 1.0, 2.0, (True, "BetterThanChampion")),
        (LOWER, 2.0, 1.0, (False, "WorseThanChampion")),
        (BETTER, 0.92, None, (False, "MetricMissing")),
    ],
)
def test_against_a_champion_that_was_scored_on_the_same_holdout(
    gate: dict[str, object], value: float, rescored: float | None, want: tuple[bool, str]
) -> None:
    metric = str(gate["metric"])
    assert judge(gate, {metric: value}, champion=champion(**{metric: 0.0}), rescored={metric: rescored}) == [want]


@pytest.mark.parametrize(
    ("value", "theirs", "better", "text"),
    [
        (
            0.92,
            0.9,
            "Higher",
            "0.92 against 0.9 of champion churn-1, higher is better: delta +0.02 is at least minDelta 0.01",
        ),
        (
            0.91,
            0.9,
            "Higher",
            "0.91 against 0.9 of champion churn-1, higher is better: delta +0.01 is at least minDelta 0.01",
        ),
        (
            0.9,
            0.92,
            "Higher",
            "0.9 against 0.92 of champion churn-1, higher is better: delta -0.02 is below minDelta 0.01",
        ),
        (0.0, 0.0, "Higher", "0 against 0 of champion churn-1, higher is better: delta +0 is below minDelta 0.01"),
        (
            0.90999999,
            0.9,
            "Higher",
            "0.91 against 0.9 of champion churn-1, higher is better: delta +0.00999999 is below minDelta 0.01",
        ),
        (
            1_234_567.0,
            1_234_568.0,
            "Lower",
            "1234567 against 1234568 of champion churn-1, lower is better: delta +1 is at least minDelta 0.01",
        ),
    ],
)
def test_a_comparison_tells_both_values_and_a_delta_that_reads_like_no_limit_that_it_is_not_at(
    value: float, theirs: float, better: str, text: str
) -> None:
    gate = Gate.model_validate(against("profit", better=better))
    result = TrainingResult(outcome="Succeeded", metrics={"profit": value}, champion_metrics={"profit": theirs})
    (found,) = gates.verdicts([gate], gates.scores(result, champion()))
    assert found.message == text


def test_the_advantage_of_a_champion_is_said_where_it_was_compared_with() -> None:
    result = TrainingResult(outcome="Succeeded", metrics={}, champion_overlap="it has learned 9 rows of the holdout")
    found = gates.scores(result, champion())
    limit, comparison = Gate.model_validate(MIN), Gate.model_validate(BETTER)
    assert gates.reservation([limit], found) is None
    assert gates.reservation([limit, comparison], found) == "it has learned 9 rows of the holdout"


@pytest.mark.parametrize(
    ("gate", "improved"),
    [
        *((against(metric.name), -1 if metric.better == "lower" else 1) for metric in METRICS),
        (against("profit"), 1),
        (against("profit", better="Lower"), -1),
        (against("profit", better="Higher"), 1),
        (against("mape", better="Higher"), 1),
        (against("brier", better="Lower"), -1),
        (against("accuracy", better="Lower"), -1),
    ],
)
def test_the_direction_is_that_of_the_gate_else_of_the_table_else_higher(
    gate: dict[str, object], improved: int
) -> None:
    """It is known before the run: nothing that a pod reports can turn a gate around."""
    metric = str(gate["metric"])
    for delta, want in ((0.1, (True, "BetterThanChampion")), (-0.1, (False, "WorseThanChampion"))):
        value = 0.5 + improved * delta
        assert judge(gate, {metric: value}, champion=champion(), rescored={metric: 0.5}) == [want]


@pytest.mark.parametrize("metric", sorted(LOWER_IS_BETTER))
def test_a_negated_metric_below_a_name_of_the_table_is_not_compared_the_wrong_way_round(metric: str) -> None:
    wrong = [(False, "MetricOutOfRange")]
    gate = against(metric)
    assert judge(gate, {metric: -0.5}, champion=champion(), rescored={metric: -0.4}) == wrong
    assert judge(gate, {metric: -0.5}) == wrong, "the first version would be the champion of the next"
    assert judge(gate, {metric: 0.5}, champion=champion(), rescored={metric: -0.4}) == wrong
    assert judge({"metric": metric, "min": -1}, {metric: -0.5}) == [(True, "AboveMin")]
    for better, want in (("Higher", "WorseThanChampion"), ("Lower", "BetterThanChampion")):
        chosen = against(metric, better=better)
        assert judge(chosen, {metric: -0.5}, champion=champion(), rescored={metric: -0.4})[0][1] == want


@pytest.mark.parametrize("metric", sorted(LOWER_IS_BETTER))
def test_a_model_without_errors_is_compared(metric: str) -> None:
    for value, theirs, want in ((0.0, 0.5, (True, "BetterThanChampion")), (0.5, 0.0, (False, "WorseThanChampion"))):
        assert judge(against(metric), {metric: value}, champion=champion(), rescored={metric: theirs}) == [want]


def test_a_metric_that_may_be_negative_is_compared() -> None:
    for metric in ("r2", "profit"):
        assert judge(against(metric), {metric: -0.5}, champion=champion(), rescored={metric: -0.9})[0][0]


def test_the_verdict_on_a_negated_metric_says_what_to_set() -> None:
    result = TrainingResult(outcome="Succeeded", metrics={"mape": -0.1})
    (found,) = gates.verdicts([Gate.model_validate(against("mape"))], gates.scores(result, None))
    assert found.message == (
        "the candidate's -0.1 is negative, which the built-in metric of that name cannot be: "
        "againstChampion.better must say whether Higher or Lower is better"
    )


def test_recorded_metrics_stand_in_where_the_champion_could_not_be_scored_and_the_verdict_says_so() -> None:
    result = TrainingResult(outcome="Succeeded", metrics={"auc": 0.95}, champion_note="its format is program")
    found = gates.verdicts([Gate.model_validate(BETTER)], gates.scores(result, champion(auc=0.9)))

    assert found[0].passed
    assert found[0].threshold == pytest.approx(0.91)
    assert "its format is program" in found[0].message


def test_the_summary_names_every_refusal_and_the_metrics_that_exist() -> None:
    result = TrainingResult(outcome="Succeeded", metrics={"auc": 0.5, "f1": 0.4, "bad": None})
    wanted = [Gate.model_validate(g) for g in (MIN, {"metric": "value", "min": 1}, {"metric": "f1", "min": 0.1})]
    found = gates.verdicts(wanted, gates.scores(result, None))

    assert gates.summary(found) == (
        "gate auc: 0.5 is below min 0.8; gate value: the metric was not produced as 'value'; the run produced auc, f1"
    )
