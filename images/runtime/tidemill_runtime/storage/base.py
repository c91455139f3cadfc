"""What all stores have in common: `Folder`, its errors, and what is done with any folder.

A `Folder` is a URI's place with relative keys below it. Everything above this package (data sets,
versions) works on folders and does not know which kind it has. Numeric libraries are never imported here.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tidemill_contracts.digests import sha256_of_pieces
from tidemill_contracts.storage import Uri

SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  a reason
CHUNK = 1 << 20
ADDRESS_REFUSED = "AddressRefused"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageError(Exception):
    """A file could not be read or written.

    `reason` is a PascalCase word for status: NotFound, AccessDenied, StorageFull, StorageUnavailable, SecretNotFound,
    InvalidUri, AddressRefused, LinkRefused, TooManyFiles. `retriable` says whether the same call may work later without
    anybody's help.
    """

    def __init__(self, reason: str, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retriable = retriable


@dataclass(frozen=True)
class Entry:
    """A file below a folder: size in bytes, `modified` in seconds since the epoch, `etag` opaque, of object stores."""

    key: str
    size: int
    modified: float
    etag: str | None = None


class Folder(Protocol):
    """Files by relative key ('a/b.csv'). Every method raises StorageError and nothing else."""

    @property
    def uri(self) -> Uri:
        """Where this folder is, in the form people write."""

    def files(self, prefix: str = "") -> list[Entry]:
        """Return every file below `prefix`, a folder, sorted by key; empty when there is none."""

    def named(self, names: frozenset[str], most: int) -> tuple[list[Entry], list[str]]:
        """Return every file below this folder that has one of these names, and the keys of what has one and is none.

        Such are folders, pipes, and links that lead out of the store. After `most` files (of any name) it is an error.
        """

    def head(self, key: str) -> Entry | None:
        """Return what is known of one file, None when there is no such file."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of a file in pieces of about a mebibyte."""

    def end(self, entry: Entry, size: int) -> bytes:
        """Return the last `size` bytes of a file, all of a shorter one. `entry`: as `files` has returned it."""

    def write(self, key: str, content: bytes) -> None:
        """Write one file; readers see the old content or the new one, never a part."""

    def create(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open a file of any size for writing; it gets its name when the block ends well, and never otherwise."""

    def delete(self, keys: list[str]) -> None:
        """Remove files in the given order; those that are gone already are no error."""


def read(folder: Folder, key: str) -> bytes:
    """Return the content of a file that fits into memory."""
    return b"".join(folder.chunks(key))


def beginning(folder: Folder, key: str) -> bytes:
    """Return the first piece of a file, about a mebibyte at most: of what should be short and may be anything."""
    return next(folder.chunks(key), b"")


def digest(folder: Folder, key: str, sink: Callable[[bytes], object] | None = None) -> str:
    """Return a file's `sha256:<hex>`, reading it once and handing each piece to `sink`."""
    return sha256_of_pieces(folder.chunks(key), sink)


def download(folder: Folder, key: str, destination: Path, watch: Callable[[bytes], object] | None = None) -> str:
    """Copy a file to a local path and return the digest of what was copied.

    `watch` is handed each piece before it is written; what it raises ends the copy.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)

    def take(piece: bytes) -> None:
        if watch is not None:
            watch(piece)
        file.write(piece)

    try:
        with destination.open("wb") as file:
            return digest(folder, key, take)
    except OSError as error:
        raise translate(error, f"cannot write {destination}") from error


def too_many(uri: Uri, most: int) -> StorageError:
    """Return the error of a folder with more files than are looked at."""
    text = f"more than {most} files lie below {uri}: remove what belongs to no version"
    return StorageError("TooManyFiles", text, retriable=False)


def translate(error: OSError, doing: str) -> StorageError:
    """Return the StorageError that says what a person can do about an OSError."""
    if error.errno in _FULL:
        return StorageError("StorageFull", f"{doing}: no space is left on the volume", retriable=True)
    if isinstance(error, FileNotFoundError):
        return StorageError("NotFound", f"{doing}: no such file", retriable=False)
    if isinstance(error, PermissionError):
        return StorageError("AccessDenied", f"{doing}: {error.strerror}", retriable=False)
    return StorageError("StorageUnavailable", f"{doing}: {error.strerror or error}", retriable=True)
