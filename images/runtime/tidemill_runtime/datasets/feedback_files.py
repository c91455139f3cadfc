"""Which files of a deployment's kept rows a run takes: as many of the newest as hold the rows that it may have.

How many rows of a file have a label is in its last bytes, so looking takes no download. A run takes files up to a cut,
the last file of each database that was known when the run was decided: what is written meanwhile changes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tidemill_contracts import feedback, payloads
from tidemill_contracts.counts import counted
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.feedback import File, RowsInput
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Entry, Folder, StorageError

MOST_FILES: Final = 5000
"""Files that are looked at, newest first: rows with labels that lie further back are not found."""
_FOOTER: Final = 1 << 16
_LARGEST_FOOTER: Final = 1 << 24
_MAGIC: Final = b"PAR1"
Cut = Mapping[str, int]


class Found(NamedTuple):
    """A file of kept rows in the store."""

    file: File
    entry: Entry


class Taken(NamedTuple):
    """Copies of files, oldest first, with what they are called; revision, and digest of what was copied."""

    files: tuple[tuple[str, Path], ...]
    revision: str
    digest: str


def resolve(source: DataInput) -> str:
    """Return the revision of the kept rows: that of the last run while too few rows with a label have come since.

    Raises:
        DataError: TooFewLabels, before there was a run; InvalidData, a file is broken.
        StorageError: the store refuses or does not answer.
    """
    rows, folder, listed = _listed(source)
    known = feedback.parse(rows.known)
    cut: Cut
    new = _labelled(folder, _beyond(listed, known.cut if known else {}), rows.min_new_rows)
    if new >= rows.min_new_rows:
        cut = _newest(listed)
    elif known is None:
        text = f"{source.uri} has {counted(new, 'row')} with a label; spec.data[name={source.name}].feedback.minNewRows"
        raise DataError("TooFewLabels", f"{text} is {rows.min_new_rows}")
    elif known.without == feedback.without(rows):
        return str(rows.known)
    else:  # other clients are left out: the same files give other rows
        cut = known.cut
    return _revision(_selected(source, rows, folder, listed, cut), cut, rows)


def fetch(source: DataInput, into: Path) -> Taken:
    """Copy the files that a run takes below `into`: those of its revision, where it has one.

    Raises: as `resolve`; TooFewLabels where no row has a label.
    """
    try:
        return _fetch(source, into)
    except StorageError as error:
        if error.reason != "NotFound":
            raise
        return _fetch(source, into)  # a file was removed meanwhile, as its time had come: look once more


def _fetch(source: DataInput, into: Path) -> Taken:
    rows, folder, listed = _listed(source)
    pinned = feedback.parse(source.revision)
    cut = pinned.cut if pinned is not None else _newest(listed)
    selected = _selected(source, rows, folder, listed, cut)
    copies, digests = [], []
    for index, found in enumerate(selected):
        path = into / f"{index:05d}"
        digests.append([found.file.key, base.download(folder, found.file.key, path)])
        copies.append((found.file.key, path))
    return Taken(tuple(copies), _revision(selected, cut, rows), sha256(canonical_json(digests)))


def rows_of(source: DataInput) -> RowsInput:
    """Return where the kept rows are.

    Raises:
        DataError: InvalidUri, nobody has said it.
    """
    if source.rows is None:
        text = f"input {source.name!r}: {source.uri} is read in runs of a TrainingPipeline only"
        raise DataError("InvalidUri", text)
    return source.rows


def _listed(source: DataInput) -> tuple[RowsInput, Folder, list[Found]]:
    """Return the files, newest first."""
    rows = rows_of(source)
    folder = folders.open_folder(rows.uri, rows.secret)
    named = [(feedback.file(entry.key), entry) for entry in folder.files(payloads.ROWS)]
    listed = sorted((Found(file, entry) for file, entry in named if file is not None), reverse=True)
    databases = list(dict.fromkeys(found.file.database for found in listed))[: feedback.DATABASES]
    return rows, folder, [found for found in listed if found.file.database in databases]


def _newest(listed: list[Found]) -> dict[str, int]:
    cut: dict[str, int] = {}
    for file, _ in listed:
        cut[file.database] = max(file.number, cut.get(file.database, 0))
    return cut


def _beyond(listed: list[Found], cut: Cut) -> list[Found]:
    return [found for found in listed if found.file.number > cut.get(found.file.database, 0)]


def _labelled(folder: Folder, files: list[Found], enough: int) -> int:
    """Return how many rows of these files have a label, newest first, until they are enough."""
    rows = 0
    for found in files[:MOST_FILES]:
        rows += labels(folder, found.entry)
        if rows >= enough:
            break
    return rows


def _selected(source: DataInput, rows: RowsInput, folder: Folder, listed: list[Found], cut: Cut) -> list[Found]:
    """Return the newest files up to the cut that have labels, until they hold max_rows of them, oldest first."""
    selected, held = [], 0
    for found in [f for f in listed if f.file.number <= cut.get(f.file.database, 0)][:MOST_FILES]:
        here = labels(folder, found.entry)
        if here:
            selected.append(found)
            held += here
        if held >= rows.max_rows:
            break
    if not selected:
        raise DataError("TooFewLabels", f"input {source.name!r}: {source.uri} has no row with a label")
    return selected[::-1]


def _revision(selected: list[Found], cut: Cut, rows: RowsInput) -> str:
    listing = sha256(canonical_json([[found.file.key, found.entry.size, found.entry.etag] for found in selected]))
    return feedback.revision(listing, cut, feedback.without(rows))


def labels(folder: Folder, entry: Entry) -> int:
    """Return how many rows of a file have a label, as it says itself.

    Raises:
        DataError: InvalidData, it is no Parquet file.
        StorageError: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    end = folder.end(entry, _FOOTER)
    size = int.from_bytes(end[-8:-4], "little") + 8
    where = f"{folder.uri.child(entry.key)}"
    if end[-4:] != _MAGIC or size > min(entry.size, _LARGEST_FOOTER):
        raise DataError("InvalidData", f"{where}: not Parquet; remove the file, or put the one that was written back")
    try:
        metadata = parquet.read_metadata(pa.BufferReader(end if size <= len(end) else folder.end(entry, size)))
    except (pa.ArrowException, OSError) as error:
        raise DataError("InvalidData", f"{where}: not Parquet: {str(error).splitlines()[0]}") from error
    places = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path == payloads.LABEL]
    if not places or pa.types.is_null(metadata.schema.to_arrow_schema().field(payloads.LABEL).type):
        return 0
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return sum(max(group.num_rows - _nulls(group.column(places[0]).statistics), 0) for group in groups)


def _nulls(statistics: Any) -> int:
    return statistics.null_count if statistics is not None and statistics.has_null_count else 0
