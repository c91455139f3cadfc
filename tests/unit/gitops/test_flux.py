"""The health expressions on a CEL evaluator, in the order in which Flux asks them, and kstatus where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from hack.tools.kubectl import Kubectl
from tests.support.invariants import kstatus
from tests.support.recorded import FLUX, RECORDED, Recorded

PATCH = yaml.safe_load((FLUX / "healthcheckexprs.yaml").read_text())
EXPRESSIONS = {item["kind"]: item for item in PATCH["spec"]["healthCheckExprs"]}


def holds(expression: str, document: dict[str, Any]) -> bool:
    """Evaluate one expression; the object's fields are its variables, and an error means "not yet"."""
    try:
        return bool(cel.evaluate(expression, document))
    except RuntimeError:
        return False


def verdict(document: dict[str, Any]) -> str:
    """Say what Flux says: deletion and observedGeneration first, then inProgress, failed, current, else in progress."""
    expressions = EXPRESSIONS.get(document["kind"])
    if expressions is None:
        return kstatus(document)
    if document["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if document.get("status", {}).get("observedGeneration") != document["metadata"]["generation"]:
        return "InProgress"
    for name, result in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        if holds(expressions[name], document):
            return result
    return "InProgress"


@pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])
def test_recorded_state(recorded: Recorded) -> None:
    assert verdict(recorded.document) == recorded.flux


@pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])
def test_tools_that_know_only_kstatus_come_to_the_same_verdict(recorded: Recorded) -> None:
    """Helm and kpt; they differ in one thing, a suspended object that is not Ready is waited for."""
    wanted = recorded.flux
    if recorded.document["spec"].get("suspend") and kstatus(recorded.document) == "InProgress":
        wanted = "InProgress"

    assert kstatus(recorded.document) == wanted


def test_every_kind_that_people_write_has_all_three() -> None:
    assert set(EXPRESSIONS) == {"TrainingPipeline", "ModelDeployment", "ModelMonitor"}
    for item in EXPRESSIONS.values():
        assert item["apiVersion"] == "tidemill.io/v1alpha1"
        assert {"inProgress", "failed", "current"} <= item.keys()


def test_a_mistake_in_an_expression_would_be_seen() -> None:
    rolled_back = next(r.document for r in RECORDED if r.name == "model-deployment-rolled-back")

    assert holds(EXPRESSIONS["ModelDeployment"]["failed"], rolled_back)
    assert not holds(EXPRESSIONS["ModelDeployment"]["failed"].replace("Stalled", "Staled"), rolled_back)


@pytest.mark.slow
def test_the_component_adds_the_expressions_and_keeps_the_rest(tmp_path: Path) -> None:
    shutil.copytree(FLUX, tmp_path / "tidemill")
    metadata = {"name": "models", "namespace": "flux-system"}
    own = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": metadata,
        "spec": {"interval": "10m", "path": "./models", "prune": True, "wait": True},
    }
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "kustomization.yaml").write_text("resources: [models.yaml]\ncomponents: [tidemill]\n")

    text = Kubectl().run("kustomize", str(tmp_path))

    assert yaml.safe_load(text) == {**own, "spec": {**own["spec"], **PATCH["spec"]}}  # type: ignore[dict-item]
