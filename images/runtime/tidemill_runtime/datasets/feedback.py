"""Kept rows as training data: the inputs and the label of every row whose label has come.

What else a file has (ids, times, clients, the version and its answer) is no input of a model: trained on, it would
teach the next model to repeat the last one. It is counted, for the record of the version. Files are read batch by
batch, newest first, and of each batch only the rows that are taken stay in memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from tidemill_contracts import feedback, payloads
from tidemill_contracts.feedback import RowsInput, RowsTaken
from tidemill_contracts.training import DataInput, is_name
from tidemill_runtime import expansion
from tidemill_runtime.datasets import feedback_files, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.datasets.sources import Fetched
from tidemill_runtime.expansion import ExpansionError, Growth

if TYPE_CHECKING:
    import pyarrow as pa

_NO_INPUTS: Final = payloads.RESERVED - {payloads.LABEL}
_RENAMED: Final = "input."
_BATCH_ROWS: Final = 65_536


class _Counts:
    """What is counted of the rows that were taken, and of those that were left out."""

    def __init__(self) -> None:
        self.first, self.last = np.inf, -np.inf
        self.versions: Counter[str] = Counter()
        self.suspected = self.left_out = self.rows = 0

    def add(self, taken: "pa.Table", suspected: Sequence[str]) -> None:
        """Count rows."""
        times = taken[payloads.TIME].to_numpy()
        if len(times):
            self.first, self.last = min(self.first, float(times.min())), max(self.last, float(times.max()))
        found = taken[payloads.VERSION].to_pylist()
        self.versions.update(v for v in found if v is not None and is_name(v) and v != feedback.OTHERS)
        self.suspected += _of_clients(taken, suspected)
        self.rows += len(taken)

    def document(self) -> RowsTaken:
        """Return them."""
        most = dict(self.versions.most_common(feedback.VERSIONS))
        more = self.rows - sum(most.values())
        return RowsTaken(
            rows=self.rows,
            first=self.first,
            last=self.last,
            versions={**most, feedback.OTHERS: more} if more else most,
            suspected=self.suspected,
            left_out=self.left_out,
        )


def read(source: DataInput, fetched: Fetched) -> tuple[pd.DataFrame, RowsTaken]:
    """Return the rows with a label, oldest first, as a table of the inputs and `label`, and what was taken.

    A column that only some files have is missing in the rows of the others.

    Raises:
        DataError: InvalidData, TooLarge, DuplicateColumns; NoFeatures, no input was kept; TooFewLabels.
    """
    rows, growth, counts = feedback_files.rows_of(source), Growth(), _Counts()
    frames: list[pd.DataFrame] = []
    for name, path in reversed(fetched.files):
        left = rows.max_rows - counts.rows
        if left <= 0:
            break
        taken = _newest(list(_batches(path, f"input {source.name!r}, {name}", rows, growth, counts)), left)
        if taken is None:
            continue
        counts.add(taken, rows.suspected)
        frames.append(labelled(tables.frame(taken), rows.columns))
    if not counts.rows:
        text = f"input {source.name!r}: {source.uri} has no row with a label"
        left_out = f"; {counts.left_out} of clients under suspicion were left out" if counts.left_out else ""
        raise DataError("TooFewLabels", text + left_out)
    names = list(dict.fromkeys(str(name) for frame in frames for name in frame.columns))
    if names == [payloads.LABEL]:
        text = f"input {source.name!r}: the rows of {source.uri} have no inputs; see spec.logging.payloads.columns"
        raise DataError("NoFeatures", text)
    return tables.stacked([frame.reindex(columns=names) for frame in reversed(frames)]), counts.document()


def labelled(found: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return of rows that have a label the inputs and `label`.

    Inputs that were renamed when they were kept get their own names back, except one that is named as the label.

    `columns`: own names of the inputs that may be taken; None: all.
    """
    kept = found.drop(columns=[name for name in _NO_INPUTS if name in found])
    own = {str(name): _own_name(str(name)) for name in kept.columns}
    wanted = [name for name in own if name == payloads.LABEL or columns is None or own[name] in columns]
    names = {name: own[name] for name in wanted if own[name] != payloads.LABEL}
    return kept[wanted].rename(columns=names)


def _own_name(name: str) -> str:
    bare = name.removeprefix(_RENAMED)
    return bare if bare in payloads.RESERVED else name


def _batches(path: Path, where: str, rows: RowsInput, growth: Growth, counts: _Counts) -> Iterator["pa.RecordBatch"]:
    """Yield what is taken of a file, as it is read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            expansion.check_parquet(file.metadata, where)
            tables.check_schema(file.schema_arrow, where)
            _check(file.schema_arrow, where)
            if payloads.LABEL not in file.schema_arrow.names:
                return
            size = expansion.parquet_rows(file.metadata, _BATCH_ROWS)
            for batch in file.iter_batches(batch_size=size):
                expansion.check(expansion.expanded(batch), where)
                yield from expansion.counted([_chosen(batch, rows, counts)], where, growth)
    except (pa.ArrowException, OSError) as error:
        raise DataError("InvalidData", f"{where}: not Parquet: {str(error).splitlines()[0]}") from error
    except ExpansionError as error:
        text = f"{error}; a smaller spec.data[].feedback.maxRows takes fewer rows"
        raise DataError("TooLarge", text) from error


def _check(schema: "pa.Schema", where: str) -> None:
    """Refuse a file without the columns that every file has: anybody who may write to the store may have made it."""
    import pyarrow as pa

    wanted = {
        payloads.TIME: pa.types.is_floating,
        payloads.VERSION: pa.types.is_string,
        payloads.ID: pa.types.is_string,
    }
    for name, fits in wanted.items():
        if name not in schema.names or not fits(schema.field(name).type):
            raise DataError("InvalidData", f"{where}: no column {name!r} as a monitor writes it; remove the file")


def _chosen(batch: "pa.RecordBatch", rows: RowsInput, counts: _Counts) -> "pa.RecordBatch":
    """Return the rows that have a label, without those of clients that are left out."""
    import pyarrow.compute as pc

    times = batch.column(payloads.TIME)
    known = pc.invert(pc.is_null(batch.column(payloads.LABEL), nan_is_null=True))
    is_time = pc.and_(pc.greater_equal(times, 0.0), pc.less_equal(times, feedback.LAST_TIME))  # NaN is none
    chosen = batch.filter(pc.and_(known, is_time))
    if not rows.leave_out or payloads.CLIENT not in chosen.schema.names:
        return chosen
    suspected = _is_of(chosen.column(payloads.CLIENT), rows.suspected)
    counts.left_out += int(pc.sum(suspected).as_py() or 0)
    return chosen.filter(pc.invert(suspected))


def _of_clients(table: "pa.Table", clients: Sequence[str]) -> int:
    import pyarrow.compute as pc

    if not clients or payloads.CLIENT not in table.column_names:
        return 0
    return int(pc.sum(_is_of(table[payloads.CLIENT], clients)).as_py() or 0)


def _is_of(column: "pa.Array | pa.ChunkedArray", clients: Sequence[str]) -> "pa.Array | pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(column.cast(pa.string()), value_set=pa.array(clients, pa.string()))


def _newest(batches: "list[pa.RecordBatch]", most: int) -> "pa.Table | None":
    """Return the last rows of a file, at most so many; None where it has none."""
    import pyarrow as pa

    if not any(len(batch) for batch in batches):
        return None
    table = pa.Table.from_batches(batches)
    return table.slice(max(len(table) - most, 0))
