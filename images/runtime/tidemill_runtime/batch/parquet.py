"""Parquet files in and one Parquet file out, wherever URIs say they are, with memory for a few chunks only.

Files on a mounted claim are read where they lie; those of object stores are copied to the local disk one
after another, so that what is read is what was digested. The result gets its name in one last step.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from tidemill_contracts import schemes
from tidemill_contracts.digests import first_digits, sha256
from tidemill_contracts.storage import Uri, parse_uri
from tidemill_contracts.training import DataInput
from tidemill_runtime import expansion
from tidemill_runtime.datasets import sources
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.model.errors import PredictError
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Entry, Folder
from tidemill_runtime.storage.local import LocalFolder

SUFFIXES = (".parquet", ".pq")
_WILD = re.compile(r"[*?\[]")
_UNIQUE = "prediction_id"  # end of the name of a column in which a dictionary of values would be of no use
_COMPRESSION = "zstd"


def as_uri(text: str) -> Uri:
    """Return a URI; text without a scheme is a path on this machine.

    Raises:
        PredictError: ConfigInvalid.
    """
    try:
        return parse_uri(text if "://" in text else f"file://{Path(text).absolute()}")
    except ValueError as error:
        raise PredictError("ConfigInvalid", str(error)) from error


@dataclass(frozen=True)
class Inputs:
    """The files of a data set, in order. `revision` changes when, and only when, the content may have."""

    uri: str
    folder: Folder | None  # None: `copies` holds what was fetched already
    entries: tuple[Entry, ...]
    revision: str
    copies: Mapping[str, Path]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def name(self, entry: Entry) -> str:
        """Return what a file is called in messages."""
        return entry.key if self.folder is None else str(self.folder.uri.child(entry.key))

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[pq.ParquetFile]:
        """Give one file, to be read in pieces.

        Raises:
            PredictError: DataInvalid, it is no Parquet file; StorageError: it cannot be read.
        """
        with tempfile.TemporaryDirectory(prefix="tidemill-input-") as scratch, ExitStack() as held:
            path = self.copies.get(entry.key)
            if path is None and isinstance(self.folder, LocalFolder):
                # By the open file: a link that is put in its place meanwhile is not followed.
                path = Path(f"/proc/self/fd/{held.enter_context(self.folder.opened(entry.key)).fileno()}")
            if path is None:
                assert self.folder is not None  # noqa: S101  fetched files are in `copies`
                path = Path(scratch) / "data"
                base.download(self.folder, entry.key, path)
            try:
                file = pq.ParquetFile(path, memory_map=True)
            except (pa.ArrowException, OSError) as error:
                raise PredictError("DataInvalid", f"{self.name(entry)}: {error}") from error
            with file:
                _check_size(file, self.name(entry))
                yield file
            if isinstance(self.folder, LocalFolder) and self.folder.head(entry.key) != entry:
                text = f"{self.name(entry)} changed while it was read"
                raise PredictError("DataChanged", text, retryable=True)


def _check_size(file: pq.ParquetFile, where: str) -> None:
    try:
        expansion.check_parquet(file.metadata, where)
    except expansion.ExpansionError as error:
        raise PredictError("DataInvalid", str(error)) from error


@contextmanager
def find(text: str, secret: str | None) -> Iterator[Inputs]:
    """Give the data set at a URI: a file, a folder of files, or a pattern (`*`, `?`, `[…]`, `**` for folders).

    Raises:
        PredictError: there is nothing, or nothing that is Parquet; StorageError: the store refuses or does not answer.
    """
    uri = as_uri(text)
    source = DataInput(name="--input", uri=str(uri), format="Parquet", secret=secret)
    try:
        if uri.scheme in sources.SINGLE_FILES:
            with tempfile.TemporaryDirectory(prefix="tidemill-input-") as scratch:
                fetched = sources.fetch(source, Path(scratch))
                entries = tuple(Entry(name, path.stat().st_size, 0.0) for name, path in fetched.files)
                yield Inputs(text, None, entries, fetched.revision, dict(fetched.files))
            return
        if _WILD.search(uri.path):
            folder, found, single = _matching(uri, secret)
        else:
            folder, found, single = sources.find(uri, source)
    except DataError as error:
        raise PredictError(error.reason, str(error)) from error
    if isinstance(folder, LocalFolder):
        digests = [(e.key, e.size, base.digest(folder, e.key)) for e in found]
        revision = sources.content_digest(digests, single=single)
    else:
        revision = sources.listing_revision(found)
    yield Inputs(text, folder, tuple(found), revision, {})


def _matching(uri: Uri, secret: str | None) -> tuple[Folder, list[Entry], bool]:
    """Return the files whose keys match a pattern, below the last folder without a wildcard."""
    parts = uri.path.split("/")
    fixed = next(i for i, part in enumerate(parts) if _WILD.search(part))
    folder = folders.open_folder(Uri(uri.scheme, uri.authority, "/".join(parts[:fixed])), secret)
    try:
        pattern = re.compile("/".join(_translated(part) for part in parts[fixed:]).replace(".*/", "(?:.*/)?"))
    except re.error as error:
        raise PredictError("ConfigInvalid", f"{uri} is no pattern: {error}") from error
    found = [e for e in folder.files() if pattern.fullmatch(e.key)]
    if not found:
        raise DataError("DataNotFound", f"no file matches {uri}")
    return folder, found, False


def _translated(part: str) -> str:
    """Return a regular expression for one name of a pattern; a wildcard never crosses a folder."""
    if part == "**":
        return ".*"
    plain = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        plain.get(piece) or (piece.replace("[!", "[^") if len(piece) > 2 and piece[0] == "[" else re.escape(piece))
        for piece in re.findall(r"\[[^\]]+\]|[^*?\[]+|.", part)
    )


def chunks(file: pq.ParquetFile, columns: Sequence[str], rows: int, where: str) -> Iterator[pa.Table]:
    """Yield a file's rows in tables of `rows` rows, the last one shorter, whatever its row groups are.

    Raises:
        PredictError: DataInvalid; the file is broken, or so many rows become too large.
    """
    growth = expansion.Growth()
    pending: list[pa.RecordBatch] = []
    waiting = 0
    for batch in _batches(file, columns, rows, where):
        _grow(growth, batch, where)
        pending.append(batch)
        waiting += batch.num_rows
        if waiting >= rows:
            table = pa.Table.from_batches(pending)
            yield table.slice(0, rows)
            rest = table.slice(rows)
            pending, waiting = rest.to_batches(), rest.num_rows
            growth = expansion.Growth()
    if waiting:
        yield pa.Table.from_batches(pending)


def _grow(growth: expansion.Growth, batch: pa.RecordBatch, where: str) -> None:
    try:
        growth.add(expansion.expanded(batch), where)
    except expansion.ExpansionError as error:
        raise PredictError("DataInvalid", str(error)) from error


def _batches(file: pq.ParquetFile, columns: Sequence[str], rows: int, where: str) -> Iterator[pa.RecordBatch]:
    rows = expansion.parquet_rows(file.metadata, rows)
    batches = file.iter_batches(batch_size=rows, columns=list(columns))
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise PredictError("DataInvalid", f"{where}: {error}") from error
        if batch is None:
            return
        yield batch


class Writer:
    """One Parquet file that grows chunk by chunk; every chunk is a row group."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self.rows = 0

    def write(self, table: pa.Table, where: str) -> None:
        """Append a table.

        Raises:
            PredictError: DataInvalid; its columns have other types than those of the first file.
        """
        if table.schema != self._schema:
            try:
                table = table.cast(self._schema)
            except (pa.ArrowException, ValueError) as error:
                raise PredictError(
                    "DataInvalid", f"{where}: its columns differ from the first file's: {error}"
                ) from error
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)
            self.rows += table.num_rows

    def add_metadata(self, key: str, value: str) -> None:
        """Add to the file's key-value metadata."""
        self._writer.add_key_value_metadata({key: value})


def output_uri(text: str) -> Uri:
    """Return where a result is to be written.

    Raises:
        PredictError: ConfigInvalid; the URI names no Parquet file, or a place that cannot be written.
    """
    uri = as_uri(text)
    if not uri.path.endswith(SUFFIXES) or uri.scheme not in schemes.names("batch output"):
        places = schemes.listed(("a path", *(f"{s}://" for s in schemes.names("batch output") if s != "file")))
        wanted = f"a file that ends in .parquet or .pq, at {places}"
        raise PredictError("ConfigInvalid", f"--output must name {wanted}, got {text!r}")
    return uri


@contextmanager
def create(text: str, secret: str | None, schema: pa.Schema) -> Iterator[Writer]:
    """Give a writer of the file at a URI, which is there when the block ends well, and as before otherwise.

    Raises:
        PredictError: as `output_uri`; StorageError: the store refuses or does not answer.
    """
    folder, name = folders.open_parent(output_uri(text), secret)
    # A dictionary of numbers that hardly ever repeat costs three times the time and makes the file larger.
    distinct = {one.name for one in schema if pa.types.is_floating(one.type) or one.name.endswith(_UNIQUE)}
    dictionary = [name for name in schema.names if name not in distinct]
    with (
        folder.create(name) as sink,
        pq.ParquetWriter(sink, schema, compression=_COMPRESSION, use_dictionary=dictionary) as writer,
    ):
        yield Writer(writer, schema)


def run_key(version_digest: str, revision: str) -> str:
    """Return what predictions of one version on one revision of a data set have in common, 16 hex digits."""
    return first_digits(sha256(f"{version_digest} {revision}".encode()), 16)
