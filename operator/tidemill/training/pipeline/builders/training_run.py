"""The TrainingRun that a decision becomes: a snapshot of everything that was resolved.

Its name derives from the key, so a second attempt after a crash meets the first one's object. Nothing here looks at
anything but its arguments.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.api.v1alpha1.training_run import (
    ResolvedCode,
    ResolvedData,
    RunChampion,
    StoreFolder,
    TrainingRunSpec,
    Trigger,
)
from tidemill.core import children, hashing, labels, names
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import PipelineSnapshot, store_folder
from tidemill.training.pipeline.state import Inputs, Verdict
from tidemill.training.records import VersionRecord
from tidemill_contracts import digests
from tidemill_contracts.storage import parse_uri

KEY_DIGITS = 10
OWNER_DIGITS = 12


def run_name(pipeline: str, key: str, suffix: str | None) -> str:
    """`<pipeline>-<key>[-<suffix>]`, at most 63 characters."""
    parts = [digests.first_digits(key, KEY_DIGITS), *([suffix] if suffix else [])]
    return names.child_name(pipeline, *parts)


def store_uri(snapshot: PipelineSnapshot) -> str:
    """The folder of this very object in the artifact store; a run removes what it finds there and need not keep.

    A bucket may serve several namespaces and clusters, and one file system may be behind claims of several namespaces.
    Names may be the same there, a uid is not: so what is removed here was written for this object (decision 213).
    """
    uid = hashing.short(snapshot.object["metadata"]["uid"].encode(), OWNER_DIGITS)
    return str(parse_uri(store_folder(snapshot)).child(uid))


def build(
    snapshot: PipelineSnapshot,
    inputs: Inputs,
    verdict: Verdict,
    champion: VersionRecord | None,
    keep: tuple[str, ...],
) -> dict[str, Any]:
    """The manifest of the run. `keep`: digests of the versions that must stay in the store."""
    spec = _spec(snapshot, inputs, verdict, champion, keep).to_json()
    annotations = {constants.SPEC: inputs.spec_digest}
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": children.metadata(
            run_name(snapshot.name, inputs.key, verdict.suffix),
            snapshot.object,
            children.labels("training-run", snapshot.name, {labels.PIPELINE: snapshot.name}),
            annotations,
        ),
        "spec": spec,
    }


def _spec(
    snapshot: PipelineSnapshot,
    inputs: Inputs,
    verdict: Verdict,
    champion: VersionRecord | None,
    keep: tuple[str, ...],
) -> TrainingRunSpec:
    spec = snapshot.pipeline.spec
    return TrainingRunSpec(
        pipeline=snapshot.name,
        key=inputs.key,
        trigger=Trigger(
            type=verdict.type,
            message=verdict.message[:1024],
            from_=verdict.before,
            to=verdict.after,
            id=verdict.id,
            monitor=verdict.monitor,
            time=snapshot.now.replace(microsecond=0),
        ),
        data=[
            ResolvedData(**dict(source), revision=inputs.data[source.name], rows=snapshot.rows_of(source))
            for source in spec.data
        ],
        target=spec.target,
        code=ResolvedCode(**dict(spec.code), digest=inputs.code.digest),
        image=inputs.image,
        parameters=spec.parameters,
        seed=spec.seed,
        allow_pickle=spec.allow_pickle,
        resources=spec.resources,
        node_selector=spec.node_selector,
        tolerations=spec.tolerations,
        queue_name=spec.queue_name,
        service_account_name=spec.service_account_name,
        pod=spec.pod,
        holdout_ratio=spec.evaluation.holdout_ratio,
        split=spec.evaluation.split,
        gates=spec.evaluation.gates,
        champion=_champion(champion),
        store=StoreFolder(uri=store_uri(snapshot), secret_ref=spec.artifacts.secret_ref),
        keep=list(keep),
        approval=spec.approval,
        limits=spec.run,
    )


def _champion(version: VersionRecord | None) -> RunChampion | None:
    if version is None:
        return None
    return RunChampion(version=version.name, digest=version.digest, uri=version.uri, metrics=dict(version.metrics))
