"""How much a compressed file may become: a megabyte of zeros is a kilobyte of gzip.

The bound is half of the container's memory (what is parsed is held as bytes and as a table), and at most what the
operator's setting says. Sizes that a file claims are checked first, then what it really becomes.
"""

import gzip
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill_contracts.storage import EXPANDED_LIMIT_ENV

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import FileMetaData

DEFAULT_LIMIT = 8 << 30
_MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_QUANTITY = re.compile(r"([0-9]{1,15})(|Ki|Mi|Gi|Ti)")


class ExpansionError(Exception):
    """A file becomes larger than is allowed. The message says how large it may be and who can change that."""


def limit() -> int:
    """Return the bound in bytes."""
    text = os.environ.get(EXPANDED_LIMIT_ENV, "")
    found = _QUANTITY.fullmatch(text)
    stated = int(found[1]) * _UNITS[found[2]] if found else DEFAULT_LIMIT
    return min([stated, *(size // 2 for size in _memory())])


def _memory() -> Iterator[int]:
    """Yield the container's memory limit where there is one."""
    for path in _MEMORY:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or `max`
            continue


def check(size: int, where: str) -> None:
    """Refuse a size beyond the bound.

    Raises:
        ExpansionError
    """
    most = limit()
    if size > most:
        raise ExpansionError(
            f"{where}: unpacked it has more than {most} bytes, which are allowed here: half of the container's memory, "
            f"at most the operator's {EXPANDED_LIMIT_ENV}"
        )


def gunzipped(path: Path, where: str) -> bytes:
    """Return what a gzip file becomes.

    Raises:
        ExpansionError; OSError, EOFError, zlib.error: it is broken.
    """
    with gzip.open(path) as file:
        content = file.read(limit() + 1)
    check(len(content), where)
    return content


def check_parquet(metadata: "FileMetaData", where: str) -> None:
    """Refuse a Parquet file that says itself that a row group is too large.

    Raises:
        ExpansionError
    """
    for index in range(metadata.num_row_groups):
        check(metadata.row_group(index).total_byte_size, where)


def counted(batches: "Iterable[RecordBatch]", where: str) -> "Iterator[RecordBatch]":
    """Yield batches until they are too large together: encodings claim little and become much.

    Raises:
        ExpansionError
    """
    size = 0
    for batch in batches:
        size += batch.nbytes
        check(size, where)
        yield batch


def check_zip(path: Path, where: str) -> None:
    """Refuse a zip archive that grows too much; members that are stored as they are do not grow.

    Raises:
        ExpansionError; zipfile.BadZipFile: it is broken.
    """
    with zipfile.ZipFile(path) as archive:
        check(sum(max(member.file_size - member.compress_size, 0) for member in archive.infolist()), where)
