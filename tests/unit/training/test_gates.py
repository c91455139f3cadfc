"""Verdicts of gates: thresholds, directions, champions, and metrics that are not there."""

from __future__ import annotations

import math

import pytest

from tidemill.api.v1alpha1.training_run import RunChampion
from tidemill.api.v1alpha1.training_template import Gate
from tidemill.training.run.policy import gates
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
