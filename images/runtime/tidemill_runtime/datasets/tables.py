"""Files of a data set as one pandas table, with mistakes of the files named by file, line and column."""

import decimal
import io
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tidemill_contracts.reference import category_text
from tidemill_contracts.training import DataInput
from tidemill_runtime import expansion
from tidemill_runtime.datasets import sources, whole_numbers
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.datasets.sources import Fetched
from tidemill_runtime.expansion import ExpansionError, Growth

if TYPE_CHECKING:
    import pyarrow

_BATCH_ROWS = 65536  # as the library has it
_CSV: dict[str, Any] = {"low_memory": False, "index_col": False}
_GZIP = b"\x1f\x8b"
_NUMBERS = (bool, int, float, decimal.Decimal, np.bool_, np.integer, np.floating)


def read(source: DataInput, fetched: Fetched) -> pd.DataFrame:
    """Parse every file of a data set and stack their rows in file order, with a fresh index from 0.

    Raises:
        DataError: InvalidData, TooLarge, DuplicateColumns, ColumnsDiffer, EmptyData.
    """
    frames: list[tuple[str, pd.DataFrame]] = []
    growth = Growth()
    for name, path in fetched.files:
        where = f"input {source.name!r}, {name}"
        frame = _parse(source, name, path, where, growth)
        frame.columns = pd.Index([str(column) for column in frame.columns])
        _check_columns([str(column) for column in frame.columns], where)
        frames.append((name, frame))
    first_name, first = frames[0]
    for name, frame in frames[1:]:
        different = sorted(set(first.columns) ^ set(frame.columns))
        if different:
            text = f"input {source.name!r}: {name} and {first_name} differ in columns {', '.join(different[:10])}"
            raise DataError("ColumnsDiffer", text)
    table = stacked([frame[list(first.columns)] for _, frame in frames])
    if table.empty:
        raise DataError("EmptyData", f"input {source.name!r}: {source.uri} has no rows")
    return table


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of the same columns as one, with a fresh index from 0 and every column as `normal` has it."""
    parts = whole_numbers.apart(frames)
    table = parts[0].reset_index(drop=True) if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    return pd.DataFrame({name: normal(table[name]) for name in table.columns})


def normal(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column in one of the four forms that a server can rebuild from JSON: int64, float64, bool, str.

    A model is served values without pandas' finer types, so it is trained on none: categories and dates
    become text (dates in ISO form), whole numbers and booleans with gaps become float64, and whole numbers that neither
    int64 nor float64 holds to the last digit become text.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype) and values.dtype != object:
        return values.astype(float) if values.isna().any() else values.astype(bool)
    if whole_numbers.is_beyond(values):
        return whole_numbers.plain(values)
    if pd.api.types.is_numeric_dtype(values.dtype):
        whole = pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any()
        return values.astype("int64" if whole and values.dtype != "uint64" else "float64")
    if values.dtype == object:
        present = values.dropna()
        if all(isinstance(value, _NUMBERS) for value in present):
            return _numbers(values, is_whole=len(present) == len(values))
    return values.map(_text, na_action="ignore").astype("str")


def _numbers(values: "pd.Series[Any]", *, is_whole: bool) -> "pd.Series[Any]":
    """Return objects that are all numbers, booleans or missing as plain columns; `is_whole`: none is missing."""
    if is_whole and all(isinstance(value, (bool, np.bool_)) for value in values):
        return values.astype(bool)
    if is_whole and all(isinstance(value, (bool, int, np.bool_, np.integer)) for value in values):
        try:
            return values.astype("int64")
        except OverflowError:
            pass
    if whole_numbers.are_digits(list(values.dropna())):
        return whole_numbers.digits(values)
    floats = [math.nan if pd.isna(value) else _float(value) for value in values]
    return pd.Series(floats, index=values.index, name=values.name, dtype="float64")


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else category_text(value)


def _format(source: DataInput, name: str, path: Path) -> str:
    if source.format != "Auto":
        return source.format
    by_name = sources.suffix_format(name)
    if by_name is not None:
        return by_name
    with path.open("rb") as file:
        start = file.read(65536)
    if start.startswith(b"PAR1"):
        return "Parquet"
    if start.startswith(_GZIP):
        start = zlib.decompressobj(wbits=31).decompress(start, 4096)
    return "JSONLines" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "CSV"


def _parse(source: DataInput, name: str, path: Path, where: str, growth: Growth) -> pd.DataFrame:
    if path.stat().st_size == 0:
        raise DataError("EmptyData", f"{where}: the file is empty")
    try:
        form = _format(source, name, path)
        if form == "Parquet":
            return _parquet(path, where, growth)
        text = _content(path, where, growth).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("InvalidData", f"{where}: byte {error.start} is not UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("InvalidData", f"{where}: broken gzip data: {error}") from error
    except ExpansionError as error:
        raise DataError("TooLarge", str(error)) from error
    return _csv(text, where) if form == "CSV" else _json_lines(text, where)


def _content(path: Path, where: str, growth: Growth) -> bytes:
    with path.open("rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
    return expansion.gunzipped(path, where, growth) if is_packed else path.read_bytes()


def _csv(text: str, where: str) -> pd.DataFrame:
    try:
        # The header is read apart: pandas renames a second 'a' to 'a.1', which would hide the mistake.
        header = pd.read_csv(io.StringIO(text), header=None, nrows=1, dtype=str, keep_default_na=False)
        _check_columns([str(name) for name in header.iloc[0]], where)
        frame = pd.read_csv(io.StringIO(text), **_CSV)
        return whole_numbers.of_csv(text, frame, **_CSV)
    except pd.errors.EmptyDataError as error:
        raise DataError("EmptyData", f"{where}: the file has no content") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        said = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError("InvalidData", f"{where}: not CSV: {said}") from error


def _parquet(path: Path, where: str, growth: Growth) -> pd.DataFrame:
    import pyarrow
    from pyarrow import parquet

    try:
        # A plain file, not a data set: folder names around it mean nothing here.
        with parquet.ParquetFile(path) as file:
            expansion.check_parquet(file.metadata, where)
            check_schema(file.schema_arrow, where)
            rows = expansion.parquet_rows(file.metadata, _BATCH_ROWS)
            batches = list(expansion.counted(file.iter_batches(batch_size=rows), where, growth))
            table = pyarrow.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError("InvalidData", f"{where}: not Parquet: {str(error).splitlines()[0]}") from error
    return frame(table)


def check_schema(schema: "pyarrow.Schema", where: str) -> None:
    """Refuse a Parquet file with nested columns, or with two of one name.

    Raises:
        DataError: InvalidData, DuplicateColumns.
    """
    import pyarrow

    _check_columns(schema.names, where)
    nested = next((f.name for f in schema if pyarrow.types.is_nested(f.type)), None)
    if nested is not None:
        raise DataError("InvalidData", f"{where}: column {nested!r} is nested; give it flat")


def frame(table: "pyarrow.Table") -> pd.DataFrame:
    """Return a table of pyarrow's as one of pandas'; whole numbers with gaps that float64 does not hold are text."""
    import pyarrow

    found: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        rounded = pyarrow.types.is_integer(column.type) and found[name].dtype.kind == "f"  # it has gaps
        if rounded and (found[name].abs() >= whole_numbers.LARGEST).any():
            found[name] = column.cast(pyarrow.string()).to_pandas()
    return found


def _json_lines(text: str, where: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    large: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError("InvalidData", f"{where}: line {number}: not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise DataError("InvalidData", f"{where}: line {number}: {error}") from error
        if not isinstance(row, dict):
            raise DataError("InvalidData", f"{where}: line {number}: expected an object, found {type(row).__name__}")
        nested = next((key for key, value in row.items() if isinstance(value, (dict, list))), None)
        if nested is not None:
            raise DataError("InvalidData", f"{where}: line {number}: column {nested!r} is nested; give it flat")
        rows.append(row)
        large.update(k for k, value in row.items() if type(value) is int and abs(value) > whole_numbers.LARGEST)
    frame = pd.DataFrame(rows)
    # A gap would have made them float64.
    return frame.assign(**{name: pd.Series([row.get(name) for row in rows], dtype=object) for name in large})


def _check_columns(names: list[str], where: str) -> None:
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise DataError("DuplicateColumns", f"{where}: columns occur more than once: {', '.join(duplicates)}")
    if any(not name.strip() for name in names):
        raise DataError(
            "InvalidData", f"{where}: column {[bool(n.strip()) for n in names].index(False) + 1} has no name"
        )
