"""The contract between the operator and the pod that reads or writes records of versions in an artifact store.

In: one JSON document, `RecordsConfig`, in the environment variable `TIDEMILL_RECORDS_CONFIG`.
Out: one JSON document, `RecordsResult`, as the termination message, and when reading each record as one line of the
log that begins with `LINE`. The pod believes no record and signs none: to it they are lines of text.
"""

from typing import Final

from tidemill_contracts.base import Document

RECORDS_ENV: Final = "TIDEMILL_RECORDS_CONFIG"
RECORD_FILE: Final = "record.json"
"""Beside `manifest.json` in the folder of a version. The manifest does not list it, so no digest depends on it."""
LINE: Final = "tidemill-record "
TEXT_LIMIT: Final = 64 << 10
"""Characters of one record."""
MOST_RECORDS: Final = 200
"""Records that one pod reads or writes: the most that spec.history.versions may keep."""
LOG_LIMIT: Final = 2 << 20
"""Bytes of all records that one pod shows."""


class StoredRecord(Document):
    """One record to be written."""

    uri: str  # of the version's folder
    text: str


class RecordsConfig(Document):
    """What is read or written."""

    store: str  # URI of the folder below which all versions of the pipeline lie
    secret: str | None = None  # mounted below storage.SECRET_ROOT
    write: tuple[StoredRecord, ...] = ()  # empty: read


class RecordsResult(Document):
    """What the pod did."""

    read: int = 0  # records that were shown in the log
    written: int = 0
    missing: int = 0  # versions that are not in the store: nothing is recorded of them
    error: str | None = None  # why it could not be done
