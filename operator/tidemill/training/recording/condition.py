"""VersionsRecorded: whether the artifact store could be searched, was believed, and has the newest records."""

from __future__ import annotations

from tidemill.api.v1alpha1.store_records import Records, RecordsRead
from tidemill.core.conditions import Condition
from tidemill.training import constants
from tidemill.training.recording.snapshot import RecordsSnapshot
from tidemill_contracts.counts import does


def versions_recorded(keeper: RecordsSnapshot, recorded: Records | None) -> list[Condition]:
    """False while records cannot be read or written; True where some were refused. Absent otherwise.

    `recorded`: what status says of them from now on. That they could not be read counts as long as they are needed.
    """
    read, written = (recorded.read, recorded.written) if recorded else (None, None)
    if read is not None and read.error is not None and keeper.is_read_wanted:
        text = f"{keeper.waiting} before the artifact store was searched for records of earlier versions: {read.error}"
        return [Condition(constants.VERSIONS_RECORDED, "False", constants.RECORDS_NOT_READ, text)]
    if written is not None and written.error is not None:
        text = f"the artifact store does not have the newest records of versions: {written.error}"
        return [Condition(constants.VERSIONS_RECORDED, "False", constants.RECORDS_NOT_WRITTEN, text)]
    if read is not None and read.unlisted:
        text = unlisted(keeper, read)
        return [Condition(constants.VERSIONS_RECORDED, "True", constants.VERSIONS_NOT_LISTED, text)]
    if read is not None and (read.refused or read.more):
        text = refused(keeper, read)
        return [Condition(constants.VERSIONS_RECORDED, "True", constants.RECORDS_REFUSED, text)]
    return []


def unlisted(keeper: RecordsSnapshot, read: RecordsRead) -> str:
    """What is said of versions that were restored although nothing said which ones exist."""
    more = f"; {refused(keeper, read)}" if read.refused or read.more else ""
    again = does(read.unlisted or 0, "version", "was", "were")
    return (
        f"the record of which versions of this {keeper.kept_by} exist (versions.json) was missing in the artifact "
        f"store, or not believed: {again} registered again by records of their own, and versions that "
        f"had been pruned or deleted may be among them; reject those that should not be{more}"
    )


def refused(keeper: RecordsSnapshot, read: RecordsRead) -> str:
    """What is said of records in the store that this operator has not signed, or that cannot be read."""
    which = f" (for example {', '.join(read.unreadable)})" if read.unreadable else ""
    more = f"; {does(read.more, 'further record', 'was', 'were')} not looked at" if read.more else ""
    return (
        f"{does(read.refused, 'record', 'was', 'were')} not believed in the artifact store: no key of this operator "
        f"signed that for this namespace and {keeper.kept_by}, it cannot be read, or no complete version lies beside "
        f"it{which}{more}; "
        f"{does(read.restored, 'version', 'was', 'were')} registered again; the next number is above {read.numbers}"
    )
