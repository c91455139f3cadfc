"""The pipeline as a keeper of the records of its versions."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.core import labels, pod
from tidemill.training import rejections
from tidemill.training.pipeline.snapshot import PipelineSnapshot, store_folder
from tidemill.training.recording.snapshot import RecordsSnapshot, has_store


def keeper(snapshot: PipelineSnapshot) -> RecordsSnapshot:
    """What the policy of records is told; without a folder where spec.artifacts.uri names no store."""
    spec = snapshot.pipeline.spec
    return RecordsSnapshot(
        object=snapshot.object,
        now=snapshot.now,
        config=snapshot.config,
        known=snapshot.pipeline.status.records,
        folder=store_folder(snapshot) if has_store(spec.artifacts.uri) else "",
        secret_ref=spec.artifacts.secret_ref,
        settings=pod.settings_of(spec),
        labels={labels.PIPELINE: snapshot.name},
        pipeline=snapshot.name,
        is_read_wanted=is_read_wanted(snapshot),
        numbers_used=numbers_used(snapshot),
        waiting="no run starts",
        versions=snapshot.versions,
        rejected=rejected(snapshot),
        advice="; set spec.artifacts.restore to Never to start without them",
        records=snapshot.records,
    )


def is_read_wanted(snapshot: PipelineSnapshot) -> bool:
    """Whether the pipeline has never run and has not read its store yet.

    A predecessor may have left the versions that are served; those that are not went with it.
    """
    status = snapshot.pipeline.status
    read = status.records.read if status.records else None
    is_read = read is not None and read.error is None
    has_history = bool(status.observed or status.last_run or snapshot.runs)
    return snapshot.pipeline.spec.artifacts.restore == "Auto" and not is_read and not has_history


def rejected(snapshot: PipelineSnapshot, found: Sequence[RejectedContent] = ()) -> tuple[RejectedContent, ...]:
    """Content that people have rejected: of versions that exist, remembered ones, and those just found in the store."""
    said = (v.said for v in snapshot.versions if v.said is not None)
    return rejections.standing(said, [*snapshot.pipeline.status.rejected, *found])


def numbers_used(snapshot: PipelineSnapshot) -> int:
    """The highest number that is known to have been given to a version of the pipeline."""
    status = snapshot.pipeline.status
    read = status.records.read if status.records else None
    return max([status.versions, read.numbers if read else 0, *(v.number for v in snapshot.versions)])
