"""Counting tables of columns that are in memory already, such as parts of a Parquet file: no value becomes an object.

A table gives the same counters as the same values in records of a server. What is read at a time is what is held.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tidemill_contracts.reference import NumericProfile, category_text
from tidemill_runtime.monitor.binning import OUTPUTS, ColumnBins, Counts, Layout
from tidemill_runtime.monitor.values import is_missing


def count_tables(layout: Layout, tables: Iterable[Any], outputs: Mapping[str, str] | None = None) -> tuple[int, Counts]:
    """Return the number of rows and int64[size], the layout's vector, of tables that come one after the other.

    Args:
        layout: of the version whose columns these are.
        tables: `pyarrow.RecordBatch`es. A feature that a table lacks is missing in each of its rows; other columns are
            ignored.
        outputs: which column is an output of the model: its name by `binning.PREDICTION` and `binning.SCORE`.
    """
    rows, total = 0, np.zeros(layout.size, dtype=np.int64)
    for table in tables:
        rows += table.num_rows
        total += count_table(layout, table, outputs or {})
    return rows, total


def count_table(layout: Layout, table: Any, outputs: Mapping[str, str]) -> Counts:
    """Return int64[size] for one `pyarrow.RecordBatch`; arguments as of `count_tables`."""
    total = np.zeros(layout.size, dtype=np.int64)
    names = set(table.schema.names)
    for key, column in layout.columns.items():
        name = outputs.get(key) if key in OUTPUTS else column.profile.name
        counts = layout.column(key, total)  # a view
        if name in names:
            counts[:] = count_column(column, table.column(name))
        else:
            counts[column.bins] = table.num_rows
    return total


def count_column(column: ColumnBins, values: Any) -> Counts:
    """Return int64[size] for one `pyarrow.Array`."""
    import pyarrow as pa  # where it is used: counting records of servers needs none of it

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not isinstance(column.profile, NumericProfile):
        return column.count_texts(_texts(values))
    if pa.types.is_boolean(values.type) or pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return column.count_numbers(values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False))
    if pa.types.is_null(values.type):
        return column.count_numbers(np.full(len(values), np.nan))
    return column.count_numbers(np.full(len(values), np.nan), mistyped=len(values) - values.null_count)


def _texts(values: Any) -> dict[str | None, int]:
    """Return the text of each value with how often it comes, None where it is missing."""
    found: dict[str | None, int] = {}
    for entry in values.value_counts().to_pylist():
        value = entry["values"]
        text = None if is_missing(value) else category_text(value)
        found[text] = found.get(text, 0) + entry["counts"]
    return found
