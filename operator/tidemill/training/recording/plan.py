"""What is made of a decision about records: versions that were found again, or the Job that reads or writes them."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.store_records import RecordsRead
from tidemill.core.plan import Event, ObjectRef, Plan
from tidemill.training import constants
from tidemill.training.recording import policy
from tidemill.training.recording.builders import records_job, restored_version
from tidemill.training.recording.policy import RecordActions
from tidemill.training.recording.snapshot import RecordsSnapshot
from tidemill_contracts.counts import does


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
    return (Event("Warning", constants.RECORDS_REFUSED, refused_records(read), "Restore"),)


def refused_records(read: RecordsRead) -> str:
    """What is said of records in the store that this operator has not signed, or that cannot be read."""
    which = f" (for example {', '.join(read.unreadable)})" if read.unreadable else ""
    return (
        f"{does(read.refused, 'record', 'was', 'were')} not believed in the artifact store: no key of this operator "
        f"signed that for this namespace and pipeline, or it cannot be read{which}; "
        f"{does(read.restored, 'version', 'was', 'were')} registered again; the next number is above {read.numbers}"
    )
