"""The recorded objects are ones that the operator writes: valid, within the status rules, in its own words."""

from __future__ import annotations

import pytest
from tests.support.documented import check_reasons
from tests.support.invariants import DEFAULT_STATUS, check_status
from tests.support.recorded import RECORDED, Recorded

from tidemill.api.v1alpha1 import KINDS

TYPES = {kind.INFO.kind: kind for kind in KINDS}
each = pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])


@each
def test_it_is_an_object_of_its_kind(recorded: Recorded) -> None:
    parsed = TYPES[recorded.document["kind"]].model_validate(recorded.document)

    known = parsed.status.to_json()  # type: ignore[attr-defined]
    assert set(recorded.document["status"]) <= set(known)


@each
def test_its_status_keeps_the_rules_and_has_documented_reasons(recorded: Recorded) -> None:
    check_status(recorded.document)
    check_reasons(recorded.document)


@pytest.mark.parametrize("kind", TYPES)
def test_the_states_that_every_kind_has_are_there(kind: str) -> None:
    mine = [r for r in RECORDED if r.document["kind"] == kind]

    assert DEFAULT_STATUS[kind] in [r.document["status"] for r in mine]
    assert "Pending deletion" in {r.argocd["message"] for r in mine}
    assert {r.argocd["status"] for r in mine} >= {"Progressing", "Healthy"}
    if kind in ("TrainingPipeline", "ModelDeployment", "ModelMonitor"):
        assert {r.argocd["status"] for r in mine} == {"Progressing", "Healthy", "Degraded", "Suspended"}
        assert any(r.argocd["message"].endswith("observe the latest generation") for r in mine)
