"""Records of versions in the artifact store: lines of text that this pod puts beside versions, and shows again.

It neither signs nor believes them: the operator does both. What lies in the store may have been written by anybody who
may write there, so files are read up to a size, and a number of them. What is no record
costs itself only: it is counted, and the others are read and written.
"""

import json
import logging
import re
from typing import TextIO

from tidemill_contracts.artifact import MARKER_FILE
from tidemill_contracts.records import (
    CLAIM,
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
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 300  # characters of the path of a version below its store
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
    """Print the records below the store as lines that begin with `LINE` or `CLAIM`.

    First that of all versions, then those that it names, then the newest others, as many as are looked at. What cannot
    be shown is counted. Only where nothing can, because the store refuses, that is an error.
    """
    shown = _Shown(out)
    try:
        folder = folders.open_folder(config.store, config.secret)
        names = shown.of_all(folder)
        try:
            listed = _Listed(*folder.named(_NAMES, FILE_LIMIT))
        except StorageError as error:
            if error.reason != "TooManyFiles" or not names:
                raise
            listed = _Listed([], [])
            shown.more = 1
        for name in names:
            shown.one(folder, f"{name}/{RECORD_FILE}", listed.entry(folder, f"{name}/{RECORD_FILE}"), listed)
        named = {f"{name}/{RECORD_FILE}" for name in names}
        others = [entry for entry in listed.newest() if entry.key not in named]
        for entry in others[:MOST_RECORDS]:
            shown.one(folder, entry.key, entry, listed, is_named=False)
        shown.more += len(others[MOST_RECORDS:])
        shown.unreadable = [*listed.odd, *shown.unreadable]
        out.flush()
        if shown.denied is not None and not shown.count:
            raise shown.denied
    except StorageError as error:
        log.warning("records: %s", error)
        return RecordsResult(read=shown.count, error=f"{error.reason}: {error}")
    log.info("records: %d found, %d cannot be read, %d not looked at", shown.count, len(shown.unreadable), shown.more)
    examples = tuple(key[:200] for key in shown.unreadable[:MOST_EXAMPLES])
    return RecordsResult(read=shown.count, unreadable=len(shown.unreadable), examples=examples, more=shown.more)


class _Listed:
    """What was found below the store by its names, or nothing where that is too much."""

    def __init__(self, entries: list[Entry], odd: list[str]) -> None:
        """`odd`: keys of what has one of the names and is no file of this store."""
        self._entries = {entry.key: entry for entry in entries}
        self.odd = [key for key in odd if key == SERIES_FILE or key.endswith(f"/{RECORD_FILE}")]

    def entry(self, folder: Folder, key: str) -> Entry | None:
        """Return what is known of a file; where nothing was listed, the store is asked."""
        return self._entries.get(key) if self._entries else _head(folder, key)

    def newest(self) -> list[Entry]:
        """Return the records of versions, newest first."""
        found = (entry for entry in self._entries.values() if entry.key.endswith(f"/{RECORD_FILE}"))
        return sorted(found, key=lambda entry: (-entry.modified, entry.key))

    def is_complete(self, folder: Folder, key: str) -> bool:
        """Whether it is the record of a complete version: the content of an imported one lies elsewhere."""
        marker = f"{key.removesuffix(RECORD_FILE)}{MARKER_FILE}"
        return key.startswith(f"{IMPORTED}/") or self.entry(folder, marker) is not None


class _Shown:
    """What was printed so far, and what could not be."""

    def __init__(self, out: TextIO) -> None:
        """Nothing is printed yet."""
        self._out = out
        self._left = LOG_LIMIT
        self.count = self.more = 0
        self.unreadable: list[str] = []
        self.denied: StorageError | None = None

    def of_all(self, folder: Folder) -> list[str]:
        """Print the record of all versions, if there is one, and return the folders that it names."""
        entry = _head(folder, SERIES_FILE)
        text = self._text(folder, entry) if entry is not None else None
        if text is None:  # too long, or several lines; what is no file is among the odd ones
            self.unreadable += [SERIES_FILE] if entry is not None else []
            return []
        self._print(LINE, text)
        return _named(text)

    def one(self, folder: Folder, key: str, entry: Entry | None, listed: _Listed, *, is_named: bool = True) -> None:
        """Print the record of one version, or count it."""
        if entry is None:
            return
        is_complete = listed.is_complete(folder, key)
        text = self._text(folder, entry)
        if text is not None and not self._print(LINE if is_complete else CLAIM, text):
            if not is_named:
                self.more += 1
                return
            text = None
        if text is None or not is_complete:
            self.unreadable.append(key)

    def _print(self, prefix: str, text: str) -> bool:
        line = f"{prefix}{text}\n"
        size = len(line.encode())
        if size > self._left:
            return False
        self._left -= size
        self._out.write(line)
        self.count += 1
        return True

    def _text(self, folder: Folder, entry: Entry) -> str | None:
        """Return the line that a file is; None for one that is none, or that has grown since it was listed."""
        if entry.size > TEXT_LIMIT * _BYTES:
            return None
        try:
            content = base.beginning(folder, entry.key)
        except StorageError as error:
            if error.reason not in _ITS_OWN:
                raise
            self.denied = error if error.reason == "AccessDenied" else self.denied
            return None
        if len(content) > TEXT_LIMIT * _BYTES:
            return None
        text = content.decode("utf-8", "replace").strip()
        return None if "\n" in text or "\r" in text else text


def _head(folder: Folder, key: str) -> Entry | None:
    """Return what is known of one file; None also for what is none of this store, as a link that leads out of it."""
    try:
        return folder.head(key)
    except (OSError, StorageError) as error:
        if isinstance(error, StorageError) and error.reason not in _ITS_OWN:
            raise
        return None


def _named(text: str) -> list[str]:
    """Return the folders that a record of all versions names, whoever wrote it: paths below the store, and not many."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    series = found.get("series") if isinstance(found, dict) else None
    names = series.get("folders") if isinstance(series, dict) else None
    paths = [name for name in names if isinstance(name, str) and _is_path(name)] if isinstance(names, list) else []
    return list(dict.fromkeys(paths))[:MOST_RECORDS]


def _is_path(name: str) -> bool:
    return len(name) <= _LONGEST and all(_PART.fullmatch(part) for part in name.split("/"))
