"""The ModelVersion of a record that was found in the artifact store: the spec as it was, and the record as evidence."""

from __future__ import annotations

from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import children, labels
from tidemill.training import constants
from tidemill.training.recording.snapshot import RecordsSnapshot
from tidemill.training.store_records import StoreRecord


def build(snapshot: RecordsSnapshot, record: StoreRecord) -> dict[str, Any]:
    """The manifest. Its status follows from the signed record in the annotation, whoever made the object."""
    said, source = record.statement, record.spec.source
    more = {labels.PIPELINE: snapshot.pipeline, **({labels.IMPORT: source.import_} if source is not None else {})}
    labelled = children.labels("model-version", snapshot.pipeline, more)
    annotations = {constants.RECORD: record.annotation, **({constants.SPEC: said.training} if said.training else {})}
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": children.metadata(said.version, snapshot.object, labelled, annotations),
        "spec": record.spec.to_json(),
    }
