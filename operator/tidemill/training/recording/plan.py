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
    return Plan(apply=_made(keeper, found), delete=done, events=_refused(keeper, found))


def _made(keeper: RecordsSnapshot, found: RecordActions) -> tuple[dict[str, Any], ...]:
    if found.start is None:
        return tuple(restored_version.build(keeper, record) for record in found.restore)
    if found.start == "read":
        return records_job.build(keeper, "read", found.number, policy.DEADLINE_SECONDS)
    texts, series = policy.written(keeper), policy.series(keeper)
    return records_job.build(keeper, "write", found.number, policy.DEADLINE_SECONDS, texts, series)


def _refused(keeper: RecordsSnapshot, found: RecordActions) -> tuple[Event, ...]:
    """A warning about records in the store that this operator has not signed."""
    read = found.status.read if found.status else None
    before = keeper.known.read if keeper.known else None
    if read is None or read == before or not read.refused:
        return ()
    return (Event("Warning", constants.RECORDS_REFUSED, condition.refused(keeper, read), "Restore"),)
