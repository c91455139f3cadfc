"""One table a fact: whatever a table of `tidemill_contracts` holds can be requested, is computed and is documented.

And the other way round: nothing is computed, allowed or documented that no table holds.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

from hack.generate import crd

from tidemill.api.v1alpha1 import ModelDeployment, ModelMonitor, TrainingPipeline, TrainingRun
from tidemill.serving.policy.strategies import STRATEGIES
from tidemill_contracts import drift_tests, model_metrics
from tidemill_contracts.monitoring import ColumnScore, TestConfig
from tidemill_runtime.model import metric_formulas
from tidemill_runtime.monitor.stattests import formulas as drift_formulas

ROOT = Path(__file__).resolve().parents[2]
METRICS = [metric.name for metric in model_metrics.METRICS]
MONITORED = [metric.name for metric in model_metrics.METRICS if metric.monitored]


@cache
def _schema(resource: Any) -> dict[str, Any]:
    return crd.object_schema(resource)


def field(resource: Any, path: str) -> Any:
    """The schema of a field of a kind; [] goes into the items of a list."""
    found = _schema(resource)
    for part in path.split("."):
        found = found["properties"][part.removesuffix("[]")]
        found = found["items"] if part.endswith("[]") else found
    return found


def generated(page: str, name: str) -> str:
    """The part of a page between the markers of this name."""
    text = (ROOT / page).read_text()
    return text.split(f"<!-- {name}: begin;")[1].split(f"<!-- {name}: end -->")[0]


GENERATE = "{} has another list than the table of it: run `make generate`"


def first_column(table: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_a_name_stands_in_a_table_once() -> None:
    assert len(set(METRICS)) == len(METRICS)
    assert len(set(drift_tests.NAMES)) == len(drift_tests.NAMES)


def test_every_metric_is_computed_on_held_out_rows_and_every_monitored_one_from_labels() -> None:
    assert set(metric_formulas.FORMULAS) == set(METRICS)
    assert {name for name, f in metric_formulas.FORMULAS.items() if f.from_labels is not None} == set(MONITORED)


def test_every_metric_can_be_requested_and_is_named_where_it_can() -> None:
    watched = field(ModelMonitor, "spec.performance.metric")
    assert sorted(watched["enum"]) == sorted(MONITORED)
    assert set(MONITORED) <= set(re.findall(r"\w+", watched["description"]))
    for resource, path in ((TrainingPipeline, "spec.evaluation.gates[].metric"), (TrainingRun, "spec.gates[].metric")):
        gate = field(resource, path)
        assert "enum" not in gate, "a gate may name a metric of the user's own"
        assert set(METRICS) <= set(re.findall(r"\w+", gate["description"]))


def test_every_metric_is_documented_and_no_other() -> None:
    assert first_column(generated("docs/training-code.md", "metrics of models")) == METRICS, GENERATE.format(
        "docs/training-code.md"
    )


def test_admission_requires_a_target_for_the_metrics_of_the_first_version_only() -> None:
    """With one more, a stored pipeline whose own `evaluate` returns that name would be refused at its next change."""
    (listed,) = re.findall(
        r"g\.metric in\s+\[([^\]]*)\]", (ROOT / "crds/tidemill.io_trainingpipelines.yaml").read_text()
    )
    assert re.findall(r"\w+", listed) == list(model_metrics.RESERVED)
    assert model_metrics.RESERVED == (
        "accuracy",
        "balanced_accuracy",
        "f1",
        "roc_auc",
        "log_loss",
        "rmse",
        "mae",
        "r2",
    )


def test_a_metric_of_which_less_is_better_cannot_be_negative() -> None:
    """A gate takes a negative value for a metric of the user's own that has the other direction."""
    for metric in model_metrics.METRICS:
        assert metric.better == "higher" or metric.range.startswith("0 "), metric.name
    assert {m.name for m in model_metrics.METRICS if m.better == "lower"} == model_metrics.LOWER_IS_BETTER


def test_the_field_that_sets_the_direction_of_a_gate_names_the_metrics_of_which_less_is_better() -> None:
    for resource, path in ((TrainingPipeline, "spec.evaluation.gates[]"), (TrainingRun, "spec.gates[]")):
        better = field(resource, f"{path}.againstChampion.better")
        assert better["enum"] == ["Higher", "Lower"]
        assert set(re.findall(r"\w+", better["description"])) & set(METRICS) == model_metrics.LOWER_IS_BETTER


def test_every_drift_test_is_computed() -> None:
    assert set(drift_formulas.FORMULAS) == set(drift_tests.NAMES)


def test_every_drift_test_can_be_requested_configured_and_reported() -> None:
    for path in ("drift.features", "drift.overrides[]", "drift.predictions"):
        test = field(ModelMonitor, f"spec.{path}.test")
        assert test["enum"] == [drift_tests.AUTO, *drift_tests.NAMES]
        assert set(drift_tests.NAMES) <= set(re.findall(r"\w+", test["description"]))
    for document, requested in ((TestConfig, [drift_tests.AUTO]), (ColumnScore, [])):
        schema = document.model_json_schema()["properties"]["test"]
        assert (schema.get("enum") or schema["anyOf"][0]["enum"]) == [*requested, *drift_tests.NAMES]
    assert get_args(drift_tests.DriftTestName) == drift_tests.NAMES


def test_every_drift_test_is_documented_and_no_other() -> None:
    assert first_column(generated("docs/monitoring-statistics.md", "drift tests")) == list(drift_tests.NAMES), (
        GENERATE.format("docs/monitoring-statistics.md")
    )


def test_the_test_that_stands_in_suits_every_column() -> None:
    assert drift_tests.FALLBACK.columns == "any"
    assert (TestConfig().test, TestConfig().threshold) == (drift_tests.FALLBACK.name, drift_tests.FALLBACK.threshold)


def test_every_rollout_strategy_can_be_requested_and_is_documented() -> None:
    strategy = field(ModelDeployment, "spec.rollout.strategy")
    assert sorted(strategy["enum"]) == sorted(STRATEGIES)
    assert set(STRATEGIES) <= set(re.findall(r"\w+", strategy["description"]))
    page = (ROOT / "docs/kinds/model-deployment.md").read_text()
    table = page.split("## Strategies\n")[1].split("\n## ")[0]
    assert sorted(first_column(table)) == sorted(STRATEGIES)


def test_no_module_of_the_operator_but_the_table_and_the_api_knows_a_strategy_by_name() -> None:
    names = re.compile("|".join(f"""["']{name}["']""" for name in STRATEGIES))
    sources = (ROOT / "operator/tidemill").rglob("*.py")
    found = {str(path.relative_to(ROOT / "operator/tidemill")) for path in sources if names.search(path.read_text())}
    assert found == {"api/v1alpha1/model_deployment.py", "serving/policy/strategies.py"}
