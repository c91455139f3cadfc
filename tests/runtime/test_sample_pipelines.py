"""The pipelines of manifests/samples, run by the trainer on their rows or own-model's: each passes its own gates.

What a cluster is needed for (rollouts, approvals, imports) is tests/e2e/test_samples.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.runtime.conftest import Trained, Trainer
from tests.support import samples

from tidemill_contracts.training import DataInput, HoldoutSplit

OWN = samples.FOLDER / "own-model"


@dataclass(frozen=True)
class Pipeline:
    """One TrainingPipeline: its spec, the files of the ConfigMap with its code, and those of the one with its data."""

    name: str
    spec: dict[str, Any]
    files: dict[str, str]
    rows: dict[str, str]

    def __str__(self) -> str:
        return self.name


def pipelines() -> list[Pipeline]:
    """Those of samples on the rows of own-model; the quickstart has data of its own."""
    found = []
    for file in sorted(samples.FOLDER.glob("*.yaml")):
        documents = list(yaml.safe_load_all(file.read_text()))
        code = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
        code["churn-code"] = {"train.py": (OWN / "train.py").read_text()}
        for document in documents:
            if document["kind"] == "TrainingPipeline":
                spec = document["spec"]
                named = urlsplit(spec["data"][0]["uri"])
                rows = code.get(named.netloc, {}) if named.scheme == "configmap" else {}
                files = code[spec["code"]["configMap"]["name"]]
                found.append(Pipeline(document["metadata"]["name"], spec, files, rows))
    return found


ALL = {pipeline.name: pipeline for pipeline in pipelines()}


def snake(value: Any) -> Any:
    """The same with the names that fields have in the trainer's configuration."""
    if isinstance(value, dict):
        return {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", key): snake(item) for key, item in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value


def run(trainer: Trainer, pipeline: Pipeline, rows: str = "customers.csv", **parameters: str) -> Trained:
    """Train as its spec says, on a file of its ConfigMap or of own-model, with parameters changed as a patch would."""
    spec, more = pipeline.spec, dict(pipeline.files)
    evaluation = spec.get("evaluation", {})
    options: dict[str, Any] = {"files": more, "parameters": {**spec.get("parameters", {}), **parameters}}
    if "command" in spec["code"]:
        options["command"] = tuple(spec["code"]["command"])
    if "holdoutRatio" in evaluation:
        options["holdout_ratio"] = evaluation["holdoutRatio"]
    if "split" in evaluation:
        options["split"] = HoldoutSplit.model_validate(snake(evaluation["split"]))
    options["seed"] = spec.get("seed", 0)
    source = snake({key: value for key, value in spec["data"][0].items() if key not in ("secretRef", "feedback")})
    content = pipeline.rows.get(rows) or (OWN / rows).read_text()
    if source["uri"].startswith("feedback://"):  # kept rows have the label under this name
        content = content.replace("churned", "label", 1)
    given = {**source, "uri": trainer.table(content), "format": "CSV"}
    options["gate_metrics"] = tuple(gate["metric"] for gate in evaluation.get("gates", ()))
    return trainer(more.get("train.py", ""), (DataInput.model_validate(given),), spec["target"], **options)


def passes(gate: dict[str, Any], trained: Trained) -> bool:
    """Whether a gate with limits of its own is met; a first version has no champion to be compared with."""
    value = trained.result.metrics[gate["metric"]]
    return value is not None and gate.get("min", value) <= value <= gate.get("max", value)


@pytest.mark.parametrize("pipeline", ALL.values(), ids=str)
def test_a_pipeline_trains_and_passes_its_gates(trainer: Trainer, pipeline: Pipeline) -> None:
    trained = run(trainer, pipeline)

    assert trained.exit_code == 0, trained.log
    gates = pipeline.spec.get("evaluation", {}).get("gates", [])
    assert [gate for gate in gates if not passes(gate, trained)] == [], trained.result.metrics
    assert (trained.result.holdout is not None) == ("split" in pipeline.spec.get("evaluation", {}))


@pytest.mark.parametrize(("name", "form"), [("churn-ratio", "skops-code"), ("churn-program", "program")])
def test_a_version_has_the_form_that_its_sample_waits_for(trainer: Trainer, name: str, form: str) -> None:
    assert run(trainer, ALL[name]).result.formats[0] == form


def used(trained: Trained) -> set[str]:
    """The columns that clients must send."""
    assert trained.result.signature is not None
    return {column.name for column in trained.result.signature.inputs if column.is_used}


def test_the_patch_of_the_signature_sample_renames_the_column_that_clients_send(trainer: Trainer) -> None:
    before = run(trainer, ALL["churn-columns"])
    after = run(trainer, ALL["churn-columns"], "renamed.csv", column="tenure_months")

    assert (used(before), used(after)) == ({"tenure"}, {"tenure_months"})


def test_the_patch_of_the_way_back_makes_another_version(trainer: Trainer) -> None:
    before, after = run(trainer, ALL["churn-back"]), run(trainer, ALL["churn-back"], strength="0.4")

    assert before.result.digest != after.result.digest
