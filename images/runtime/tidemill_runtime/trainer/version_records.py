"""Records of versions in the artifact store: lines of text that this pod puts beside versions, and shows again.

It neither signs nor believes them: the operator does both. What lies in the store may have been written by anybody who
may write there, so files are read up to a size, and a number of them. What is no record
costs itself only: it is counted, and the others are read and written.
"""

import logging
from typing import TextIO

from tidemill_contracts.artifact import MARKER_FILE
from tidemill_contracts.records import (
    FILE_LIMIT,
    IMPORTED,
    LINE,
    LOG_LIMIT,
    MOST_EXAMPLES,
    MOST_RECORDS,
    RECORD_FILE,
    SERIES_FILE,
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
_FAILURES = 3  # in writing, after which the store is taken to be away
_ITS_OWN = frozenset({"LinkRefused", "InvalidUri", "NotFound", "AccessDenied"})  # reasons that say nothing of others
_NAMES = frozenset({RECORD_FILE, MARKER_FILE, SERIES_FILE})


def write(config: RecordsConfig) -> RecordsResult:
    """Put each record into the folder of its version, and then the one of all; a version that is not there gets none.

    A record that cannot be written does not keep the others from it, and is the error of the result.
    """
    written = missing = 0
    errors: list[str] = []
    try:
        folder = folders.open_folder(config.store, config.secret)
    except (StorageError, ValueError) as error:
        log.warning("records: %s", error)
        return RecordsResult(error=str(error))
    for record in config.write:
        try:
            if _put(folder, record):
                written += 1
            else:
                missing += 1
        except (StorageError, ValueError) as error:
            log.warning("records: %s", error)
            errors.append(str(error))
            if len(errors) == _FAILURES:
                break
    if config.series is not None and not errors:  # it may name only versions that have a record
        try:
            _replace(folder, SERIES_FILE, config.series.encode())
        except StorageError as error:
            log.warning("records: %s", error)
            errors.append(str(error))
    log.info("records: %d written, %d versions are not in the store", written, missing)
    return RecordsResult(written=written, missing=missing, error=errors[0] if errors else None)


def _put(folder: Folder, record: StoredRecord) -> bool:
    key = _key(folder, record.uri)
    if not key.startswith(f"{IMPORTED}/") and folder.head(f"{key}/{MARKER_FILE}") is None:
        return False
    _replace(folder, f"{key}/{RECORD_FILE}", record.text.encode())
    return True


def _replace(folder: Folder, key: str, content: bytes) -> None:
    """Write a file that says something else; what is not readable, as a link that leads elsewhere, is replaced too."""
    try:
        known = folder.head(key)
        if known is not None and known.size == len(content) and base.read(folder, key) == content:
            return
    except StorageError as error:
        if error.reason not in _ITS_OWN:
            raise
    folder.write(key, content)


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
    """Print the records below the store as lines that begin with `LINE`, newest first, as many as are looked at.

    What cannot be shown is counted. Only where nothing can, because the store refuses, that is an error.
    """
    shown, left, unreadable = 0, LOG_LIMIT, list[str]()
    denied: StorageError | None = None
    try:
        folder = folders.open_folder(config.store, config.secret)
        found, unreadable = _newest(*folder.named(_NAMES, FILE_LIMIT))
        for entry in found:
            try:
                text = _text(folder, entry.key)
            except StorageError as error:
                if error.reason not in _ITS_OWN:
                    raise
                denied, text = (error if error.reason == "AccessDenied" else denied), None
            line = f"{LINE}{text}\n"
            left -= len(line.encode()) if text is not None else 0
            if text is None or left < 0:
                unreadable.append(entry.key)
                continue
            out.write(line)
            shown += 1
        out.flush()
        if denied is not None and not shown:
            raise denied
    except StorageError as error:
        log.warning("records: %s", error)
        return RecordsResult(read=shown, error=f"{error.reason}: {error}")
    log.info("records: %d found, %d cannot be read", shown, len(unreadable))
    examples = tuple(key[:200] for key in unreadable[:MOST_EXAMPLES])
    return RecordsResult(read=shown, unreadable=len(unreadable), examples=examples)


def _text(folder: Folder, key: str) -> str | None:
    """Return the line that a file is; None for one that is none, or that has grown since it was listed."""
    content = base.beginning(folder, key)
    if len(content) > TEXT_LIMIT * _BYTES:
        return None
    text = content.decode("utf-8", "replace").strip()
    return None if "\n" in text or "\r" in text else text


def _newest(entries: list[Entry], odd: list[str]) -> tuple[list[Entry], list[str]]:
    """Return the record of all versions and the newest of those that are complete, and the keys of all others.

    Without the marker of a complete version a record is a left over, or none of ours.
    """
    names = {entry.key for entry in entries}
    of_all = [entry for entry in entries if entry.key == SERIES_FILE]
    beside = sorted(
        (entry for entry in entries if _is_complete(entry.key, names)), key=lambda entry: (-entry.modified, entry.key)
    )
    looked_at = [*of_all, *beside[:MOST_RECORDS]]
    short = [entry for entry in looked_at if entry.size <= TEXT_LIMIT * _BYTES]
    others = [key for key in odd if key == SERIES_FILE or _is_complete(key, names)]
    others += [entry.key for entry in looked_at if entry.size > TEXT_LIMIT * _BYTES]
    return short, others + [entry.key for entry in beside[MOST_RECORDS:]]


def _is_complete(key: str, names: set[str]) -> bool:
    """Whether it is the record of a complete version: the content of an imported one lies elsewhere."""
    if not key.endswith(f"/{RECORD_FILE}"):
        return False
    return key.startswith(f"{IMPORTED}/") or f"{key.removesuffix(RECORD_FILE)}{MARKER_FILE}" in names
