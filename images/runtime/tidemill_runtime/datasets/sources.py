"""From a data URI to local files and a revision string.

A revision changes when, and only when, the content may have: the digest of the content, except for
object stores, where it is the digest of sorted (key, etag, size), so that a probe need not download
anything. An etag is opaque: the same bytes uploaded in other parts are another revision. The content
digest of what a run really read is kept beside it.
"""

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tidemill_contracts.artifact import canonical_json, sha256
from tidemill_contracts.storage import OBJECT_STORE_SCHEMES, Uri, parse_uri
from tidemill_contracts.training import DataInput
from tidemill_runtime import storage
from tidemill_runtime.datasets import builtin
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage import Entry, Folder, StorageError

SUFFIXES = {
    ".csv": "CSV",
    ".csv.gz": "CSV",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".jsonl": "JSONLines",
    ".jsonl.gz": "JSONLines",
    ".ndjson": "JSONLines",
}
_HTTP_TRIES = 3
_HTTP_TIMEOUT_SECONDS = 60


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
    if uri.scheme == "builtin":
        return sha256(builtin.csv_bytes(uri.authority))
    if uri.scheme in ("http", "https"):
        hasher = hashlib.sha256()
        for piece in _get(uri, source.secret):
            hasher.update(piece)
        return "sha256:" + hasher.hexdigest()
    folder, entries, single = find(uri, source)
    if uri.scheme in OBJECT_STORE_SCHEMES and uri.scheme != "file":
        return listing_revision(entries)
    return content_digest([(e.key, e.size, storage.digest(folder, e.key)) for e in entries], single=single)


def fetch(source: DataInput, into: Path) -> Fetched:
    """Copy a data set's files below `into` and return them with revision and digest.

    The digest is of the copies, so what is parsed later is what was digested, whatever happens at the source.

    Raises: as `resolve`.
    """
    uri = _parse(source)
    into.mkdir(parents=True, exist_ok=True)
    if uri.scheme == "builtin":
        content = builtin.csv_bytes(uri.authority)
        (into / "data.csv").write_bytes(content)
        return Fetched(((f"{uri.authority}.csv", into / "data.csv"),), sha256(content), sha256(content))
    if uri.scheme in ("http", "https"):
        name = PurePosixPath(uri.path.partition("?")[0]).name or "data"
        digest = _download(uri, source.secret, into / "download")
        return Fetched(((name, into / "download"),), digest, digest)
    folder, entries, single = find(uri, source)
    copies = [(e.key, into / f"{index:05d}") for index, e in enumerate(entries)]
    digests = [(key, storage.download(folder, key, path), path.stat().st_size) for key, path in copies]
    read = content_digest([(key, size, digest) for key, digest, size in digests], single=single)
    opaque = uri.scheme in OBJECT_STORE_SCHEMES and uri.scheme != "file"
    return Fetched(tuple(copies), listing_revision(entries) if opaque else read, read)


def suffix_format(name: str) -> str | None:
    """Return the format that a file name promises, None when it promises none."""
    lower = name.lower()
    return next((form for suffix, form in SUFFIXES.items() if lower.endswith(suffix)), None)


def _parse(source: DataInput) -> Uri:
    try:
        return parse_uri(source.uri)
    except ValueError as error:
        raise DataError("InvalidUri", f"input {source.name!r}: {error}") from error


def find(uri: Uri, source: DataInput) -> tuple[Folder, list[Entry], bool]:
    """Return the folder, the files of the data set in it, and whether the URI names one file itself."""
    if uri.path:
        parent, name = storage.open_parent(uri, source.secret)
        entry = parent.head(name)
        if entry is not None:
            return parent, [entry], True
    folder = storage.open_folder(uri, source.secret)
    entries = [e for e in folder.files() if not any(part.startswith(("_", ".")) for part in e.key.split("/"))]
    if not entries:
        what = "no such key" if uri.scheme == "configmap" else "there is no file and no folder with files"
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


def _download(uri: Uri, secret: str | None, path: Path) -> str:
    hasher = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for piece in _get(uri, secret):
                hasher.update(piece)
                file.write(piece)
    except OSError as error:
        raise storage.translate(error, f"cannot write {path}") from error
    return "sha256:" + hasher.hexdigest()


def _get(uri: Uri, secret: str | None) -> Iterator[bytes]:
    """Yield the body of an HTTP answer; a request that got no answer is tried again, a broken body is not."""
    authorization = storage.secret_values(secret, uri.scheme).get("AUTHORIZATION")
    request = urllib.request.Request(_quoted(uri), headers={"User-Agent": "tidemill"})  # noqa: S310  http or https
    if authorization:  # for this URL alone: whom it redirects to is not whom the Secret is for
        request.add_unredirected_header("Authorization", authorization)
    for attempt in range(_HTTP_TRIES):
        try:
            with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_SECONDS) as response:  # noqa: S310
                yield from _body(response, uri)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 or attempt == _HTTP_TRIES - 1:
                raise _http_error(uri, error.code, is_redirected=error.url != request.full_url) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            why = getattr(error, "reason", error)
            if isinstance(why, ssl.SSLCertVerificationError):
                text = f"{uri}: the server's certificate is not trusted here: {why.verify_message}"
                raise StorageError("AccessDenied", text, retriable=False) from error
            if attempt == _HTTP_TRIES - 1:
                raise StorageError("StorageUnavailable", f"cannot read {uri}: {why}", retriable=True) from error
        time.sleep(0.5 * 2**attempt)


def _body(response: "http.client.HTTPResponse", uri: Uri) -> Iterator[bytes]:
    expected = response.headers.get("Content-Length")
    read = 0
    try:
        while piece := response.read(storage.CHUNK):
            read += len(piece)
            yield piece
    except (http.client.HTTPException, OSError) as error:
        raise StorageError("StorageUnavailable", f"{uri}: broken off after {read} bytes", retriable=True) from error
    if expected is not None and expected.isdigit() and int(expected) != read:
        text = f"{uri}: broken off after {read} of {expected} bytes"
        raise StorageError("StorageUnavailable", text, retriable=True)


def _http_error(uri: Uri, code: int, *, is_redirected: bool) -> StorageError:
    if code in (401, 403):
        why = "the Secret's AUTHORIZATION is missing or refused"
        if is_redirected:
            why = "it redirects, and the Secret's AUTHORIZATION is not sent on; give the final URL"
        return StorageError("AccessDenied", f"{uri} answers {code}: {why}", retriable=False)
    if code in (404, 410):
        return StorageError("NotFound", f"{uri} answers {code}: there is no such file", retriable=False)
    return StorageError("StorageUnavailable", f"{uri} answers {code}", retriable=code >= 500 or code in (408, 425, 429))


def _quoted(uri: Uri) -> str:
    return urllib.parse.quote(str(uri), safe=":/?&=#%@+,;~!$'()*[]")
