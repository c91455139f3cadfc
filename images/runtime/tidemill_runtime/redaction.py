"""Replaces values of credentials in texts that leave the pod: logs, termination messages, errors of the server.

The values are those of the mounted Secrets and of the environment, under the keys of `tidemill_contracts.schemes`. A
rotated Secret's old values stay known. Only what stands in a text as it is, or as JSON, Python or a URL write it, is
found: this saves people from a library's careless message, and is no boundary against code that means to tell.
"""

import contextlib
import json
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, TextIO, cast

from tidemill_contracts import storage as contract
from tidemill_contracts.schemes import SECRET_KEYS
from tidemill_runtime import mounts

MARK = "[redacted]"
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
SHORTEST = 6
"""Characters; a shorter value would blank ordinary words, and protects nothing."""
_PLAIN = frozenset(key.name for key in SECRET_KEYS.values() if not key.is_secret)
_LINE = 16  # of a key of several lines, which may be cited by line
_LONGEST_LINE = 1 << 16
_MOST_BYTES = 1 << 16  # of one value; a Secret holds a mebibyte

_LOOK_SECONDS = 1.0
"""How long a look at the mount holds: a flood of bad requests must not read it a thousand times a second."""


@dataclass
class _Look:
    """The last look at the mount."""

    place: str | None = None
    until: float = 0.0
    signature: tuple[str, ...] = ()


_known: dict[str, None] = {}
_look = _Look()


def redact(text: str) -> str:
    """Return the text with every credential value in it replaced by `[redacted]`."""
    for value in _values():
        if value in text:
            text = text.replace(value, MARK)
    return text


def redacted(document: Any, keep: frozenset[str] = frozenset()) -> Any:
    """Return a JSON value with all its texts redacted, names in objects too; fields in `keep` stay as they are."""
    if isinstance(document, str):
        return redact(document)
    if isinstance(document, dict):
        return {redact(k): v if k in keep else redacted(v, keep) for k, v in document.items()}
    if isinstance(document, list | tuple):
        return [redacted(v, keep) for v in document]
    return document


class RedactedStream:
    """A text stream that redacts line by line: print() writes a line in pieces. In all else it is the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._begun = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole, keep the rest as long as it is no longer than a line may be."""
        with self._lock:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._stream.write(redact(whole + end))
            if len(self._begun) > _LONGEST_LINE:
                self._write_rest()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what there is."""
        with self._lock:
            self._write_rest()
        self._stream.flush()

    def _write_rest(self) -> None:
        if self._begun:
            self._stream.write(redact(self._begun))
            self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Redact what Python writes to standard output and standard error meanwhile."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, RedactedStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _values() -> tuple[str, ...]:
    """Every form of every value that was ever seen, longest first."""
    place, now = os.environ.get(mounts.MOUNT_ROOT_ENV), monotonic()
    if _look.place != place or now >= _look.until or not _look.signature:
        root = mounts.mounted(contract.SECRET_ROOT)
        signature = (str(root), *_signature(root))
        if _look.signature != signature:
            _known.update(dict.fromkeys(form for value in _found(root) for form in _forms(value)))
            _sorted.cache_clear()
        _look.place, _look.until, _look.signature = place, now + _LOOK_SECONDS, signature
    return _sorted()


@lru_cache(maxsize=1)
def _sorted() -> tuple[str, ...]:
    return tuple(sorted(_known, key=len, reverse=True))


def _signature(root: Path) -> tuple[str, ...]:
    """What changes when a Secret is mounted or renewed: the kubelet swaps the link `..data`."""
    try:
        folders = sorted(entry.name for entry in os.scandir(root))
    except OSError:
        return ()
    return tuple(f"{name} {_link(root / name)}" for name in folders)


def _link(folder: Path) -> str:
    try:
        return str((folder / "..data").readlink())
    except OSError:
        return str(folder.stat().st_mtime_ns) if folder.exists() else ""


def _found(root: Path) -> Iterator[str]:
    files = [file for file in root.glob("*/*") if file.name not in _PLAIN and file.is_file()] if root.is_dir() else []
    for file in files:
        with contextlib.suppress(OSError):  # renewed or taken away just now: the next look finds what is there
            yield from _parts(file.name, file.read_bytes()[:_MOST_BYTES].decode(errors="replace"))
    for key in SECRET_KEYS:
        if key not in _PLAIN and os.environ.get(key):
            yield from _parts(key, os.environ[key])


def _parts(key: str, value: str) -> Iterator[str]:
    """What of a value is secret by itself, the whole first."""
    value = value.strip()
    if key == "AWS_ENDPOINT_URL":  # an address; only what it may hold of a login is secret
        login = value.partition("://")[2].partition("/")[0].rpartition("@")[0]
        yield login.partition(":")[2]
        return
    yield value
    if key == "AUTHORIZATION":
        yield value.partition(" ")[2]
    if value.startswith("{"):
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return
        for name, part in document.items():
            if isinstance(part, str) and "private" in name:
                yield from _parts(name, part)
    elif "\n" in value:
        yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= _LINE)


def _forms(value: str) -> Iterator[str]:
    if len(value) < SHORTEST:
        return
    urls = (urllib.parse.quote(value, safe=""), urllib.parse.quote(value), urllib.parse.quote_plus(value))
    forms = (value, json.dumps(value)[1:-1], repr(value)[1:-1], *urls)
    yield from dict.fromkeys(forms)


def summary(error: Exception) -> str:
    """Return an exception's type and the first line of what it says, redacted, without addresses: equal in equal runs.

    What follows, as in skl2onnx's, is usually a page of advice to a library's developers.
    """
    said = (redact(str(error)).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {_ADDRESS.sub('', said)}"
