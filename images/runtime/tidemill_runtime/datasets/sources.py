"""From a data URI to local files and a revision string.

A revision changes when, and only when, the content may have: the digest of the content, except for
object stores, where it is the digest of sorted (key, etag, size), so that a probe need not download
anything. An etag is opaque: the same bytes uploaded in other parts are another revision. The content
digest of what a run really read is kept beside it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tidemill_contracts import schemes
from tidemill_contracts.digests import canonical_json, sha256, sha256_of_pieces
from tidemill_contracts.storage import Uri, parse_uri
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import builtin, feedback_files, web
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Entry, Folder

SUFFIXES = {
    ".csv": "CSV",
    ".csv.gz": "CSV",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".jsonl": "JSONLines",
    ".jsonl.gz": "JSONLines",
    ".ndjson": "JSONLines",
}


SINGLE_FILES: Final[Mapping[str, Callable[[Uri, str | None], Iterable[bytes]]]] = {
    "builtin": builtin.read,
    "http": web.get,
    "https": web.get,
}
"""What reads a URI, with the name of its mounted Secret, piece by piece, by scheme: those that lead to one file, not to
a folder of a claim, a ConfigMap or an object store."""


@dataclass(frozen=True)
class Fetched:
    """Local copies of a data set's files, in order, with what they are called at the source."""

    files: tuple[tuple[str, Path], ...]
    revision: str
    digest: str  # of the content that was read


def resolve(source: DataInput) -> str:
    """Return the revision of a data set without keeping its content.

    Raises:
        DataError: there is nothing at the URI, or no form of it is readable.
        StorageError: the source refuses or does not answer.
    """
    uri = _parse(source)
    if schemes.BY_NAME[uri.scheme].place == "kept rows":
        return feedback_files.resolve(source)
    read = SINGLE_FILES.get(uri.scheme)
    if read is not None:
        return sha256_of_pieces(read(uri, source.secret))
    folder, entries, single = find(uri, source)
    if not schemes.BY_NAME[uri.scheme].exact:
        return listing_revision(entries)
    return content_digest([(e.key, e.size, base.digest(folder, e.key)) for e in entries], single=single)


def fetch(source: DataInput, into: Path) -> Fetched:
    """Copy a data set's files below `into` and return them with revision and digest.

    The digest is of the copies, so what is parsed later is what was digested, whatever happens at the source.

    Raises: as `resolve`.
    """
    uri = _parse(source)
    into.mkdir(parents=True, exist_ok=True)
    if schemes.BY_NAME[uri.scheme].place == "kept rows":
        return Fetched(*feedback_files.fetch(source, into))
    if uri.scheme in SINGLE_FILES:
        digest = _download(uri, source.secret, into / "download")
        return Fetched(((_file_name(uri), into / "download"),), digest, digest)
    folder, entries, single = find(uri, source)
    copies = [(e.key, into / f"{index:05d}") for index, e in enumerate(entries)]
    digests = [(key, base.download(folder, key, path), path.stat().st_size) for key, path in copies]
    read = content_digest([(key, size, digest) for key, digest, size in digests], single=single)
    return Fetched(tuple(copies), read if schemes.BY_NAME[uri.scheme].exact else listing_revision(entries), read)


def suffix_format(name: str) -> str | None:
    """Return the format that a file name promises, None when it promises none."""
    lower = name.lower()
    return next((form for suffix, form in SUFFIXES.items() if lower.endswith(suffix)), None)


def _parse(source: DataInput) -> Uri:
    try:
        uri = parse_uri(source.uri)
        if uri.scheme not in schemes.DATA_SCHEMES:  # no file of the container is data
            raise ValueError(f"{uri.scheme}:// is not read: {schemes.expected(schemes.DATA_SCHEMES)}")
        return uri
    except ValueError as error:
        raise DataError("InvalidUri", f"input {source.name!r}: {error}") from error


def find(uri: Uri, source: DataInput) -> tuple[Folder, list[Entry], bool]:
    """Return the folder, the files of the data set in it, and whether the URI names one file itself."""
    if uri.path:
        parent, name = folders.open_parent(uri, source.secret)
        entry = parent.head(name)
        if entry is not None:
            return parent, [entry], True
    folder = folders.open_folder(uri, source.secret)
    entries = [e for e in folder.files() if not any(part.startswith(("_", ".")) for part in e.key.split("/"))]
    if not entries:
        what = (
            "no such key"
            if schemes.BY_NAME[uri.scheme].mount == "configMap"
            else "there is no file and no folder with files"
        )
        raise DataError("DataNotFound", f"input {source.name!r}: {what} at {uri}")
    partitioned = next((e.key for e in entries if any("=" in part for part in e.key.split("/")[:-1])), None)
    if partitioned:
        text = (
            f"{uri} is partitioned by folder names ({partitioned}), which would lose a column; write it unpartitioned"
        )
        raise DataError("PartitionedFolder", f"input {source.name!r}: {text}")
    return folder, _select(entries, source), False


def _select(entries: list[Entry], source: DataInput) -> list[Entry]:
    """Return the entries that are data by their suffix; a single file of any name is taken as it is."""
    wanted = [
        e for e in entries if suffix_format(e.key) is not None and source.format in ("Auto", suffix_format(e.key))
    ]
    if wanted:
        return wanted
    if len(entries) == 1:
        return entries
    raise DataError(
        "UnknownFormat",
        f"input {source.name!r}: no file at {source.uri} ends like {source.format} data "
        f"({', '.join(SUFFIXES)}); found {', '.join(e.key for e in entries[:5])}",
    )


def listing_revision(entries: list[Entry]) -> str:
    """Return the revision of files in an object store: by name, etag and size."""
    return sha256(canonical_json([[e.key, e.etag, e.size] for e in entries]))


def content_digest(files: list[tuple[str, int, str]], *, single: bool) -> str:
    """Return the digest of a data set from its files' key, size and digest; a single file's own where it was named."""
    return files[0][2] if single else sha256(canonical_json([list(file) for file in sorted(files)]))


def _file_name(uri: Uri) -> str:
    """Return what the one file at a URI is called."""
    if schemes.BY_NAME[uri.scheme].place == "bundled":
        return f"{uri.authority}.csv"
    return PurePosixPath(uri.path.partition("?")[0]).name or "data"


def _download(uri: Uri, secret: str | None, path: Path) -> str:
    try:
        with path.open("wb") as file:
            return sha256_of_pieces(SINGLE_FILES[uri.scheme](uri, secret), file.write)
    except OSError as error:
        raise base.translate(error, f"cannot write {path}") from error
