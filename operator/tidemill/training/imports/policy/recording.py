"""The import as a keeper of the records of its versions.

It writes them whether there is a pipeline or not, so that they are not those of long ago when the pipeline is gone. It
reads them only without one: otherwise the pipeline finds all versions.
"""

from __future__ import annotations

from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.core import labels
from tidemill.training.imports import store
from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.recording.snapshot import RecordsSnapshot, has_store


def keeper(snapshot: ImportSnapshot) -> RecordsSnapshot:
    """What the policy of records is told; without a folder where spec.artifacts.uri names no store."""
    spec, status = snapshot.model_import.spec, snapshot.model_import.status
    read = status.records.read if status.records else None
    own = [v.number for v in snapshot.versions if v.imported_by is not None and v.imported_by[0] == snapshot.name]
    return RecordsSnapshot(
        object=snapshot.object,
        now=snapshot.now,
        config=snapshot.config,
        known=status.records,
        folder=store.store_uri(snapshot) if has_store(spec.artifacts.uri) else "",
        secret_ref=spec.artifacts.secret_ref,
        settings=spec.pod or PodSettings(),
        labels={labels.IMPORT: snapshot.name},
        pipeline=snapshot.series,
        is_read_wanted=is_read_wanted(snapshot),
        numbers_used=max([status.number or 0, read.numbers if read else 0, *own]),
        waiting="nothing is imported",
        versions=snapshot.versions,
        import_name=snapshot.name,
        single=spec.as_.name,
        records=snapshot.records,
    )


def is_read_wanted(snapshot: ImportSnapshot) -> bool:
    """Whether the import has registered nothing, has not read its store yet, and no pipeline does it."""
    status = snapshot.model_import.status
    read = status.records.read if status.records else None
    return status.version is None and snapshot.pipeline is None and (read is None or read.error is not None)
