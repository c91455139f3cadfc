"""What is made of a decision about records: versions that were found again, or the Job that reads or writes them."""

from __future__ import annotations

from typing import Any

from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import constants
from tidemill.training.recording import condition, policy
from tidemill.training.recording.builders import records_job, restored_version
from tidemill.training.recording.policy import RecordActions
from tidemill.training.recording.snapshot import RecordsSnapshot


def changes(keeper: RecordsSnapshot, found: RecordActions) -> Plan:
    """What is applied, deleted and reported."""
    done = tuple(ObjectRef("batch/v1", "Job", keeper.namespace, job.name, job.uid) for job in found.done)
    return Plan(apply=_made(keeper, found), delete=done, events=_reported(keeper, found))


def _made(keeper: RecordsSnapshot, found: RecordActions) -> tuple[dict[str, Any], ...]:
    if found.start is None:
        return tuple(restored_version.build(keeper, record) for record in found.restore)
    if found.start == "read":
        return records_job.build(keeper, "read", found.number, policy.DEADLINE_SECONDS)
    texts, series = policy.written(keeper), policy.series(keeper)
    return records_job.build(keeper, "write", found.number, policy.DEADLINE_SECONDS, texts, series)


def _reported(keeper: RecordsSnapshot, found: RecordActions) -> tuple[Event, ...]:
    """Warnings about what was read: records that this operator has not signed, and versions that nothing lists."""
    read = found.status.read if found.status else None
    before = keeper.known.read if keeper.known else None
    if read is None or read == before:
        return ()
    if read.unlisted:
        return (Event("Warning", constants.VERSIONS_NOT_LISTED, condition.unlisted(keeper, read), "Restore"),)
    if not (read.refused or read.more):
        return ()
    return (Event("Warning", constants.RECORDS_REFUSED, condition.refused(keeper, read), "Restore"),)
