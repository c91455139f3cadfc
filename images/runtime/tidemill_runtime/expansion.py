"""Limits on the size of decompressed files: a megabyte of zeros is a kilobyte of gzip.

The bound is half of the container's memory (what is parsed is held as bytes and as a table), and at most what the
operator's setting says. Sizes that a file claims are checked first, then what it really becomes.
"""

import gzip
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill_contracts import quantities
from tidemill_contracts.storage import EXPANDED_LIMIT_ENV

if TYPE_CHECKING:
    from pyarrow import Array, RecordBatch
    from pyarrow.parquet import FileMetaData

DEFAULT_LIMIT = 8 << 30
_WIDEST = 32  # bytes of a value that is no text
_TEXT_ROWS = 4096  # at once, of a file with texts
_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class ExpansionError(Exception):
    """A file becomes larger than is allowed. The message says how large it may be and who can change that."""


def limit() -> int:
    """Return the bound in bytes."""
    stated = quantities.size(os.environ.get(EXPANDED_LIMIT_ENV, "")) or DEFAULT_LIMIT
    return min([stated, *(size // 2 for size in _memory())])


def _memory() -> Iterator[int]:
    """Yield the container's memory limit where there is one."""
    for path in _MEMORY:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or `max`
            continue


class Growth:
    """What the compressed files of one data set have become so far, all together."""

    def __init__(self) -> None:
        self._limit = limit()
        self._size = 0

    def add(self, size: int, where: str) -> None:
        """Count what a part has become.

        Raises:
            ExpansionError: all are too large together.
        """
        self._size += size
        _compare(self._size, self._limit, where)

    @property
    def left(self) -> int:
        """Bytes that more parts may have."""
        return self._limit - self._size


def check(size: int, where: str) -> None:
    """Refuse a size beyond the bound.

    Raises:
        ExpansionError
    """
    _compare(size, limit(), where)


def _compare(size: int, most: int, where: str) -> None:
    if size > most:
        raise ExpansionError(
            f"{where}: unpacked it has more than {most} bytes, which are allowed here: half of the container's memory, "
            f"at most the operator's {EXPANDED_LIMIT_ENV}"
        )


def gunzipped(path: Path, where: str, growth: Growth) -> bytes:
    """Return what a gzip file becomes, all its members.

    Raises:
        ExpansionError; OSError, EOFError, zlib.error: it is broken.
    """
    with gzip.open(path) as file:
        content = file.read(growth.left + 1)
    growth.add(len(content), where)
    return content


def check_parquet(metadata: "FileMetaData", where: str) -> None:
    """Refuse a Parquet file that says itself that a row group is too large.

    Raises:
        ExpansionError
    """
    for index in range(metadata.num_row_groups):
        check(metadata.row_group(index).total_byte_size, where)


def parquet_rows(metadata: "FileMetaData", most: int) -> int:
    """Return how many rows to read at once, at most `most`, so that these stay within the bound whatever they are.

    A text may stand in the file once and in every row, so none of the rows is taken to be shorter than its whole part
    of the file. Columns of fixed width are told by the schema; numbers are few bytes.
    """
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    texts = [column.total_uncompressed_size for column in columns if column.physical_type == "BYTE_ARRAY"]
    most = min(most, _TEXT_ROWS, limit() // max(1, *texts)) if texts else most
    schema = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    fixed = sum(column.length for column in schema if column.physical_type == "FIXED_LEN_BYTE_ARRAY")
    return max(1, min(most, limit() // fixed) if fixed else most)


def counted(batches: "Iterable[RecordBatch]", where: str, growth: Growth) -> "Iterator[RecordBatch]":
    """Yield batches, without dictionaries, until they are too large together: encodings claim little and become much.

    Raises:
        ExpansionError: before it becomes that large.
    """
    from pyarrow import RecordBatch

    for batch in batches:
        growth.add(expanded(batch), where)
        yield RecordBatch.from_arrays([_plain(column) for column in batch.columns], names=batch.schema.names)


def expanded(batch: "RecordBatch") -> int:
    """Return the bytes of a batch when each row has its values itself, not their places in a dictionary."""
    return sum(_expanded(column) for column in batch.columns)


def _plain(column: "Array") -> "Array":
    return column.dictionary_decode() if hasattr(column, "dictionary") else column


def _expanded(column: "Array") -> int:
    if not hasattr(column, "dictionary"):
        return int(column.nbytes)
    from pyarrow import compute, types

    values, places = column.dictionary, column.indices
    if not any(is_text(values.type) for is_text in (types.is_string, types.is_large_string, types.is_binary)):
        return len(places) * _WIDEST
    lengths = compute.binary_length(values).cast("int64")
    return int(compute.sum(lengths.take(places)).as_py() or 0) + 8 * len(places)


def check_zip(path: Path, where: str) -> None:
    """Refuse a zip archive that grows too much; members that are stored as they are do not grow.

    Raises:
        ExpansionError; zipfile.BadZipFile: it is broken.
    """
    with zipfile.ZipFile(path) as archive:
        check(sum(max(member.file_size - member.compress_size, 0) for member in archive.infolist()), where)
