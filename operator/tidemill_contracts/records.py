"""The contract between the operator and the pod that reads or writes records of versions in an artifact store.

In: one JSON document, `RecordsConfig`, in the environment variable `TIDEMILL_RECORDS_CONFIG`.
Out: one JSON document, `RecordsResult`, as the termination message, and when reading each record as one line of the
log that begins with `LINE`, or with `CLAIM` where no complete version lies beside it. The pod believes no record and
signs none: to it they are lines of text. It reads those first that the record of all versions names, so that nobody who
may write to the store can hide them behind others.
"""

from typing import Final

from tidemill_contracts.base import Document

RECORDS_ENV: Final = "TIDEMILL_RECORDS_CONFIG"
RECORD_FILE: Final = "record.json"
"""Beside `manifest.json` in the folder of a version. The manifest does not list it, so no digest depends on it."""
SERIES_FILE: Final = "versions.json"
"""In the folder of all versions of a pipeline: a record of which of them exist, and which numbers were given."""
IMPORTED: Final = "imported"
"""Folder in that of all versions of a pipeline: records of imported ones, whose content lies with the import."""
LINE: Final = "tidemill-record "
CLAIM: Final = "tidemill-claim "
"""Begins the line of a record beside no complete version, which is not restored: its number is not given again."""
TEXT_LIMIT: Final = 64 << 10
"""Characters of one record."""
MOST_RECORDS: Final = 200
"""Records that one pod reads by name, others that it reads, or that it writes: what spec.history.versions may keep."""
LOG_LIMIT: Final = 2 << 20
"""Bytes of all records that one pod shows."""
MOST_EXAMPLES: Final = 3
"""Names of what could not be read, each of at most 200 characters."""
FILE_LIMIT: Final = 200_000
"""Files below the folder that one pod looks at."""


class StoredRecord(Document):
    """One record to be written."""

    uri: str  # of the version's folder, or of one below IMPORTED, which is made
    text: str


class RecordsConfig(Document):
    """What is read or written."""

    store: str  # URI of the folder below which all versions of the pipeline lie
    secret: str | None = None  # mounted below storage.SECRET_ROOT
    write: tuple[StoredRecord, ...] = ()
    series: str | None = None  # the record of all versions to be written; None, and nothing else to write: read


class RecordsResult(Document):
    """What the pod did."""

    read: int = 0  # records that were shown in the log, that of all versions included
    unreadable: int = 0  # what has the name of a record and is none: a link, a pipe, too long, of no complete version
    examples: tuple[str, ...] = ()  # of such, paths below the store
    more: int = 0  # records that were not looked at, at least, because there are more than one pod reads
    written: int = 0
    missing: int = 0  # versions that are not in the store: nothing is recorded of them
    error: str | None = None  # why it could not be done
