"""The ModelVersion that an imported model becomes: content, where it came from, and what its manifest says of it."""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.model_version import ModelVersionSpec, VersionLineage, VersionSource, VersionSplit
from tidemill.core import children, labels
from tidemill.training import version_facts
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.numbering import Registration
from tidemill_contracts.artifact import Lineage
from tidemill_contracts.holdout import Holdout
from tidemill_contracts.training import TrainingResult


def build(snapshot: ImportSnapshot, found: Registration, result: TrainingResult) -> dict[str, Any]:
    """The manifest. Its controller is the pipeline where there is one, as of every version; else the import."""
    owner = snapshot.pipeline if snapshot.pipeline is not None else snapshot.object
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": found.name,
            "namespace": snapshot.namespace,
            "labels": children.labels(
                "model-version", snapshot.series, {labels.PIPELINE: snapshot.series, labels.IMPORT: snapshot.name}
            ),
            "ownerReferences": [children.owner_reference(owner)],
        },
        "spec": _spec(snapshot, found, result).to_json(),
    }


def _spec(snapshot: ImportSnapshot, found: Registration, result: TrainingResult) -> ModelVersionSpec:
    wanted = snapshot.model_import.spec
    return ModelVersionSpec(
        pipeline=snapshot.series,
        number=found.number,
        secret_ref=wanted.artifacts.secret_ref,
        **version_facts.facts(result),
        lineage=_lineage(result.lineage),
        source=VersionSource(
            import_=snapshot.name,
            generation=snapshot.generation,
            uri=wanted.source.uri,
            digest=wanted.source.digest,
        ),
        approval=wanted.approval,
    )


def _lineage(found: Lineage | None) -> VersionLineage | None:
    """What decided the outcome of the training; its run is of another namespace and is not named."""
    if found is None:
        return None
    return VersionLineage(
        data=found.data,
        code=found.code,
        image=found.image,
        parameters=found.parameters,
        seed=found.seed,
        frameworks=found.frameworks,
        split=_split(found.holdout),
    )


def _split(found: Holdout | None) -> VersionSplit | None:
    if found is None or found.type == "Stratified":
        return None
    return VersionSplit(type=found.type, column=found.column, ratio=found.ratio, cut=found.cut)
