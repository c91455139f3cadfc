"""Records of versions in the artifact store: lines of text that this pod puts beside versions, and shows again.

It neither signs nor believes them: the operator does both. What lies in the store may have been written by anybody who
may write there, so files are read up to a size, and a number of them.
"""

import logging
from typing import TextIO

from tidemill_contracts.artifact import MARKER_FILE
from tidemill_contracts.records import (
    LINE,
    LOG_LIMIT,
    MOST_RECORDS,
    RECORD_FILE,
    TEXT_LIMIT,
    RecordsConfig,
    RecordsResult,
    StoredRecord,
)
from tidemill_contracts.storage import parse_uri
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Entry, Folder, StorageError

log = logging.getLogger(__name__)
_BYTES = 4  # of a character, at most


def write(config: RecordsConfig) -> RecordsResult:
    """Put each record into the folder of its version; a version that is not there gets none."""
    written = missing = 0
    try:
        folder = folders.open_folder(config.store, config.secret)
        for record in config.write:
            if _put(folder, record):
                written += 1
            else:
                missing += 1
    except (StorageError, ValueError) as error:
        log.warning("records: %s", error)
        return RecordsResult(written=written, missing=missing, error=str(error))
    log.info("records: %d written, %d versions are not in the store", written, missing)
    return RecordsResult(written=written, missing=missing)


def _put(folder: Folder, record: StoredRecord) -> bool:
    key = _key(folder, record.uri)
    content = record.text.encode()
    if folder.head(f"{key}/{MARKER_FILE}") is None:
        return False
    known = folder.head(f"{key}/{RECORD_FILE}")
    if known is None or known.size != len(content) or base.read(folder, f"{key}/{RECORD_FILE}") != content:
        folder.write(f"{key}/{RECORD_FILE}", content)
    return True


def _key(folder: Folder, uri: str) -> str:
    """Return the path of a version's folder below the store.

    Raises:
        ValueError: it lies elsewhere.
    """
    text, store = str(parse_uri(uri)), f"{folder.uri}/"
    if not text.startswith(store):
        raise ValueError(f"{uri} does not lie below {folder.uri}")
    return text.removeprefix(store)


def show(config: RecordsConfig, out: TextIO) -> RecordsResult:
    """Print the records below the store as lines that begin with `LINE`, newest first, as many as are looked at."""
    shown = 0
    try:
        folder = folders.open_folder(config.store, config.secret)
        left = LOG_LIMIT
        for entry in _newest(folder.files()):
            text = base.read(folder, entry.key).decode("utf-8", "replace")
            line = f"{LINE}{text.strip()}\n"
            left -= len(line.encode())
            if left < 0:
                break
            if "\n" in text.strip() or "\r" in text:
                continue
            out.write(line)
            shown += 1
        out.flush()
    except StorageError as error:
        log.warning("records: %s", error)
        return RecordsResult(read=shown, error=f"{error.reason}: {error}")
    log.info("records: %d found", shown)
    return RecordsResult(read=shown)


def _newest(entries: list[Entry]) -> list[Entry]:
    """The newest records of versions that are complete; others are left overs, or none of ours."""
    names = {entry.key for entry in entries}
    found = [
        entry
        for entry in entries
        if entry.key.endswith(f"/{RECORD_FILE}")
        and entry.size <= TEXT_LIMIT * _BYTES
        and f"{entry.key.removesuffix(RECORD_FILE)}{MARKER_FILE}" in names
    ]
    return sorted(found, key=lambda entry: (-entry.modified, entry.key))[:MOST_RECORDS]
