"""The recorded objects are ones that the operator writes: valid, within the status rules, in its own words."""

from __future__ import annotations

import pytest
from tests.support.invariants import DEFAULT_STATUS, check_status
from tests.support.recorded import RECORDED, Recorded

from tidemill.api.base import PENDING
from tidemill.api.v1alpha1 import KINDS
from tidemill.engine import status as engine
from tidemill.monitoring import status as monitoring
from tidemill.serving import status as serving
from tidemill.training import constants as training

TYPES = {kind.INFO.kind: kind for kind in KINDS}
TRAINING = {value for name, value in vars(training).items() if name.isupper() and isinstance(value, str)}
REASONS = {
    "TrainingPipeline": TRAINING,
    "TrainingRun": TRAINING,
    "ModelVersion": TRAINING,
    "ModelDeployment": serving.REASONS | {"AnalysisFailed", "DigestMismatch"},
    "ModelMonitor": monitoring.REASONS,
}
ENGINE = {engine.RECONCILE_ERROR, engine.RETRYING}
each = pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])


@each
def test_it_is_an_object_of_its_kind(recorded: Recorded) -> None:
    parsed = TYPES[recorded.document["kind"]].model_validate(recorded.document)

    known = parsed.status.to_json()  # type: ignore[attr-defined]
    assert set(recorded.document["status"]) <= set(known)


@each
def test_its_status_keeps_the_rules(recorded: Recorded) -> None:
    check_status(recorded.document)


@each
def test_its_reasons_are_the_operators(recorded: Recorded) -> None:
    reasons = {c["reason"] for c in recorded.document["status"].get("conditions", [])}

    assert reasons <= REASONS[recorded.document["kind"]] | ENGINE | {PENDING}


@pytest.mark.parametrize("kind", TYPES)
def test_the_states_that_every_kind_has_are_there(kind: str) -> None:
    mine = [r for r in RECORDED if r.document["kind"] == kind]

    assert DEFAULT_STATUS[kind] in [r.document["status"] for r in mine]
    assert "Pending deletion" in {r.argocd["message"] for r in mine}
    assert {r.argocd["status"] for r in mine} >= {"Progressing", "Healthy"}
    if kind in ("TrainingPipeline", "ModelDeployment", "ModelMonitor"):
        assert {r.argocd["status"] for r in mine} == {"Progressing", "Healthy", "Degraded", "Suspended"}
        assert any(r.argocd["message"].endswith("observe the latest generation") for r in mine)
