"""The ModelVersion that a passed run becomes: content, origin, and everything that decided what it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.model_version import ModelVersionSpec, VersionLineage, VersionRows, VersionSplit
from tidemill.api.v1alpha1.training_run import TrainingRunSpec
from tidemill.core import children, labels
from tidemill.training import constants, version_facts
from tidemill.training.numbering import Registration
from tidemill.training.run.snapshot import RunSnapshot
from tidemill_contracts.feedback import RowsTaken
from tidemill_contracts.training import TrainingResult


def build(snapshot: RunSnapshot, found: Registration, result: TrainingResult, image: str) -> dict[str, Any]:
    """The manifest. Its owner is the pipeline, not the run: runs are history and are removed earlier."""
    meta = snapshot.object["metadata"]
    spec_digest = (meta.get("annotations") or {}).get(constants.SPEC)
    manifest: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": found.name,
            "namespace": snapshot.namespace,
            "labels": children.labels(
                "model-version", snapshot.run.spec.pipeline, {labels.PIPELINE: snapshot.run.spec.pipeline}
            ),
            "ownerReferences": [children.controller_of(snapshot.object)],
        },
        "spec": _spec(snapshot, found, result, image).to_json(),
    }
    if spec_digest:
        manifest["metadata"]["annotations"] = {constants.SPEC: spec_digest}
    return manifest


def _spec(snapshot: RunSnapshot, found: Registration, result: TrainingResult, image: str) -> ModelVersionSpec:
    run = snapshot.run.spec
    return ModelVersionSpec(
        pipeline=run.pipeline,
        number=found.number,
        secret_ref=run.store.secret_ref,
        **version_facts.facts(result),
        lineage=VersionLineage(
            run=snapshot.name,
            trigger=run.trigger.type,
            key=run.key,
            data=result.data,
            code=run.code.digest,
            image=image,
            parameters=run.parameters,
            seed=run.seed,
            frameworks=result.frameworks,
            parent=run.champion.version if run.champion else None,
            parent_overlap=result.champion_overlap,
            split=_split(run, result),
            kept_rows={name: _rows(found) for name, found in result.kept_rows.items()} or None,
        ),
        approval=run.approval,
    )


def _rows(found: RowsTaken) -> VersionRows:
    return VersionRows(
        rows=found.rows,
        first=_moment(found.first),
        last=_moment(found.last),
        versions=found.versions,
        suspected=found.suspected,
        left_out=found.left_out,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _split(run: TrainingRunSpec, result: TrainingResult) -> VersionSplit | None:
    split = run.split
    if split is None:
        return None
    return VersionSplit(
        type=split.type,
        column=split.column,
        ratio=None if split.type == "Column" else run.holdout_ratio,
        cut=result.holdout.cut if result.holdout else None,
    )
