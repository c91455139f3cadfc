"""Rows to predict, column by column, whatever protocol they came by.

A `Frame` holds one float64 matrix (the usual case: numeric columns sent as one tensor), one array per
column, or the values of a single row. Protocol modules build it, models read it, the prediction log keeps
it; none of them needs to know the others. Missing values are NaN in numbers and None in text. No I/O, no pandas.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.artifact import ColumnSpec, Kind, Signature, kind_of
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.known_columns import KnownColumns

Array = NDArray[Any]

_NONE = type(None)
NUMBERS = frozenset({int, float, _NONE})
BOOLEANS = frozenset({bool, _NONE})
TEXTS = frozenset({str, _NONE})
EXACT = 2**53
"""Up to here float64 holds every whole number."""
_INTS = frozenset({int})
_OBJECT = np.dtype(object)
_FLOAT64 = np.dtype(np.float64)
_DTYPES = {float: _FLOAT64, int: np.dtype(np.int64), str: _OBJECT}
_TAKES = {"number": "numbers", "boolean": "true or false", "text": "strings"}


@dataclass(frozen=True)
class Column:
    """One input column."""

    name: str
    datatype: str
    kind: Kind
    categories: tuple[str, ...] | None = None
    """The values that training saw, where they are few enough to be known."""
    minimum: float = -math.inf
    maximum: float = math.inf
    """Numbers outside are refused; infinity is inside where neither is set."""
    is_integer: bool = field(init=False)
    is_bounded: bool = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    """What the column's values are held as when none is missing."""

    def __post_init__(self) -> None:
        """Derive what decoders need with every row."""
        is_integer = self.datatype.startswith(("INT", "UINT"))
        whole = np.dtype(np.uint64 if self.datatype == "UINT64" else np.int64)
        object.__setattr__(self, "is_integer", is_integer)
        object.__setattr__(self, "is_bounded", self.minimum > -math.inf or self.maximum < math.inf)
        object.__setattr__(self, "dtype", _OBJECT if self.kind == "text" else whole if is_integer else _FLOAT64)


def _column(spec: ColumnSpec) -> Column:
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    return Column(spec.name, spec.datatype, kind_of(spec.datatype), spec.categories, low, high)


class Schema:
    """The input columns that a model uses, in the model's order; `known` are all that it knows."""

    def __init__(self, signature: Signature, *, ignores_others: bool = False, logged: Iterable[str] = ()) -> None:
        inputs = signature.used_inputs
        self.known = KnownColumns(signature, ignores_others=ignores_others, logged=logged)
        self.columns = tuple(_column(spec) for spec in inputs)
        self.names = tuple(c.name for c in self.columns)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.width = len(self.columns)
        self.is_numeric = all(c.kind == "number" for c in self.columns)
        self.has_text = any(c.kind == "text" for c in self.columns)
        self.has_wide = any(c.datatype in ("INT64", "UINT64") for c in self.columns)
        """Whether a column may hold whole numbers that float64 does not."""
        self.complete = tuple(i for i, c in enumerate(inputs) if c.nullable is False and not c.closed)
        """The places of columns in which the model takes no missing values."""
        self.closed = tuple(
            (i, frozenset(c.categories) | (frozenset() if c.nullable is False else {None}))
            for i, c in enumerate(inputs)
            if c.closed and c.categories is not None
        )
        """The places of columns that take known values only, and those values."""

    def check_names(self, given: Iterable[str], where: str) -> None:
        """Refuse a set of columns that lacks one that the model uses, or has one that it may not have.

        Raises:
            BadRequestError: names what is missing and what is unexpected.
        """
        found = set(given)
        if len(found) == self.width and found == self.index.keys():
            return
        missing = [name for name in self.names if name not in found]
        unexpected = self.known.refused(found - self.index.keys())
        if not missing and not unexpected:
            return
        parts = [f"missing columns: {quoted(missing)}"] if missing else []
        parts += [f"unexpected columns: {quoted(unexpected)}"] if unexpected else []
        raise BadRequestError(f"{where}: {'; '.join(parts)}; the model takes {quoted(self.names)}")


def quoted(names: Sequence[str], limit: int = 20) -> str:
    """Return names for a message: quoted, shortened, and at most `limit` of them."""
    text = ", ".join(repr(name if len(name) <= 60 else name[:59] + "…") for name in names[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")


class Frame:
    """`rows` rows of a schema, in one of three forms.

    `matrix` is float64 [rows, width]; `arrays` is one [rows] per column; `row` is a single row's values as Python has
    them, one per column: floats, whole numbers up to `EXACT` and text, none missing. Arrays are made of a row when
    they are needed: requests for a single row would be 11 to 18 % fewer a second with them (decision 206).

    `is_complete` is True where it is known that no value is missing, as in a `row`; False says nothing. `beside` has
    the values of logged columns, which only the prediction log reads.
    """

    __slots__ = ("_arrays", "beside", "is_complete", "matrix", "row", "rows", "schema")

    def __init__(
        self,
        schema: Schema,
        rows: int,
        matrix: Array | None = None,
        arrays: Sequence[Array] | None = None,
        is_complete: bool = False,
        row: list[Any] | None = None,
    ) -> None:
        self.schema = schema
        self.rows = rows
        self.matrix = matrix
        self._arrays = arrays
        self.is_complete = is_complete or row is not None
        self.row = row
        self.beside: dict[str, list[Any]] | None = None

    @property
    def arrays(self) -> Sequence[Array]:
        """One array [rows] per column, whatever form the rows came in."""
        if self._arrays is None:
            if self.row is not None:  # first: a matrix that was made of it has floats only
                self._arrays = [array_of_rows([value]) for value in self.row]
            else:
                self._arrays = list(_there(self.matrix).T)
        return self._arrays

    def column(self, index: int) -> Array:
        """Return one column, [rows]."""
        return self.arrays[index]

    def only_row(self) -> list[Any]:
        """Return the values of a frame of one row, one per column, as Python has them; NaN and None are missing."""
        if self.row is not None:
            return self.row
        if self._arrays is not None:
            return [array.item() for array in self._arrays]
        values: list[Any] = _there(self.matrix)[0].tolist()
        return values

    def part(self, start: int, end: int) -> "Frame":
        """Return the rows from `start` up to `end`, at least one, which share memory with this frame."""
        matrix = None if self.matrix is None else self.matrix[start:end]
        arrays = None if self._arrays is None else [array[start:end] for array in self._arrays]
        row = self.row  # its only part is itself
        found = Frame(self.schema, end - start, matrix, arrays, self.is_complete, row)
        if self.beside is not None:
            found.beside = {name: values[start:end] for name, values in self.beside.items()}
        return found

    def numbers(self) -> Array:
        """Return a float64 matrix [rows, width]; only for schemas without text."""
        if self.matrix is None:
            if self.rows == 1:
                self.matrix = np.array([self.only_row()], dtype=np.float64)
            else:
                self.matrix = np.column_stack([array.astype(np.float64, copy=False) for array in self.arrays])
        return self.matrix

    def integers(self) -> Array | None:
        """Return an int64 or uint64 matrix [rows, width] where all columns are of that type and float64 is too small.

        None where `numbers` loses nothing, or where no such matrix can hold the columns either.
        """
        if self.matrix is not None or self.row is not None or len({array.dtype for array in self.arrays}) > 1:
            return None
        matrix: Array = np.column_stack(self.arrays)
        return matrix if matrix.dtype.kind in "iu" and not (np.abs(matrix.astype(np.float64)) < EXACT).all() else None

    def objects(self) -> Array:
        """Return an object matrix [rows, width], for models that were fitted on one with text in it."""
        matrix = np.empty((self.rows, self.schema.width), dtype=object)
        for index in range(self.schema.width):
            matrix[:, index] = self.column(index)
        return matrix

    def check_missing(self) -> None:
        """Refuse missing values where the model has no answer for them, whatever form of it is served.

        Raises:
            BadRequestError: names row and column.
        """
        places = self.schema.complete
        if self.is_complete or not places or (self.matrix is not None and not np.isnan(self.matrix).any()):
            return
        for index in places:
            missing = _missing(self.column(index), self.schema.columns[index])
            if missing.any():
                where = f"row {int(missing.argmax())}: column {self.schema.names[index]!r}"
                raise BadRequestError(f"inputs: {where} takes no missing values, got null")

    def check_categories(self) -> None:
        """Refuse values that the model's encoders refuse, whatever form of it is served.

        Raises:
            BadRequestError: names row, column and the values that it takes.
        """
        for index, known in self.schema.closed:
            values = self.column(index)
            if known.issuperset(values):
                continue
            row = next(row for row, value in enumerate(values) if value not in known)
            column = self.schema.columns[index]
            takes = quoted(column.categories or ())
            raise BadRequestError(f"inputs: row {row}: column {column.name!r} takes {takes}, got {shown(values[row])}")

    def unseen_category(self, refused: str = "") -> str | None:
        """Return the values that training did not see, as a sentence for a model that refused one of them.

        `refused` is the list of values in scikit-learn's message; without it every column may be the one: its encoder
        may as well ignore such values, which only the model knows. A null is a column's last candidate, since
        whether training saw one is not known.
        """
        found = self._unseen(refused)
        found.sort(key=lambda candidate: candidate[2] is None)
        sentences = [
            f"row {row}: column {column.name!r} takes {quoted(column.categories or ())}, got {shown(value)}"
            for column, row, value in found
        ]
        more = f" or in {len(sentences) - 5} more columns" if len(sentences) > 5 else ""
        return " or ".join(sentences[:5]) + more if sentences else None

    def _unseen(self, refused: str) -> list[tuple[Column, int, str | None]]:
        """Return of each column the first value that training did not see, of those in `refused` if it is given."""
        found = []
        for index, column in enumerate(self.schema.columns):
            if column.kind != "text" or column.categories is None:
                continue
            known = set(column.categories)
            rows = [
                (column, row, value)
                for row, value in enumerate(self.column(index))
                if value not in known and (not refused or _is_in(value, refused))
            ]
            if rows:
                found.append(next((one for one in rows if one[2] is not None), rows[0]))
        return found

    def missing_columns(self) -> list[str]:
        """Return the names of columns that have a missing value."""
        found = []
        for index, column in enumerate(self.schema.columns):
            if _missing(self.column(index), column).any():
                found.append(column.name)
        return found


def _there(matrix: Array | None) -> Array:
    """Return the matrix of a frame that was given neither arrays nor a row.

    Raises:
        ValueError: nor a matrix; whoever made it is at fault.
    """
    if matrix is None:
        raise ValueError("a frame needs a matrix, arrays or a row")
    return matrix


def array_of_rows(values: Sequence[Any]) -> Array:
    """Return one column's values from `Frame.row`s; their whole numbers are exact as floats too."""
    kinds = set(map(type, values))
    return np.array(values, _DTYPES[kinds.pop()] if len(kinds) == 1 else _FLOAT64)


def _missing(values: Array, column: Column) -> NDArray[np.bool_]:
    """Return which values are missing, [rows]: None in text, NaN in numbers."""
    if column.kind == "text":
        return np.fromiter((value is None for value in values), dtype=np.bool_, count=len(values))
    return np.isnan(values)


def _is_in(value: str | None, refused: str) -> bool:
    """Return whether a list, as Python prints it, holds a value; null is None or NaN, outside of quotes."""
    if value is not None:
        return repr(value) in refused
    return re.search(r"\b(None|nan)\b", re.sub(r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\"""", "", refused)) is not None


def array_of(values: list[Any], column: Column, where: str) -> Array:
    """Return the values of one column that came without a datatype (V1, dictionaries).

    Raises:
        BadRequestError: a value that the column does not take; the message names row and column.
    """
    types = set(map(type, values))
    if column.kind == "text":
        if types <= TEXTS:
            return np.array(values, dtype=object)
    elif types <= NUMBERS or (column.kind == "boolean" and types <= BOOLEANS | NUMBERS):
        if not column.is_integer:
            return np.array(values, dtype=np.float64)
        return integers(values, column, where) if types == _INTS else _rounded(values, column, where)
    allowed = {"text": TEXTS, "number": NUMBERS, "boolean": BOOLEANS | NUMBERS}[column.kind]
    row = next(i for i, value in enumerate(values) if type(value) not in allowed)
    raise BadRequestError(
        f"{where}: row {row}: column {column.name!r} takes {_TAKES[column.kind]} or null, got {shown(values[row])}"
    )


def integers(values: list[int], column: Column, where: str) -> Array:
    """Return whole numbers exactly: as the column's own dtype, else as the other of int64 and uint64.

    Raises:
        BadRequestError: some are negative and others beyond int64, which no array holds.
    """
    for dtype in (column.dtype, np.int64, np.uint64):
        try:
            return np.array(values, dtype=dtype)
        except OverflowError:
            continue
    return _rounded(values, column, where)


def _rounded(values: list[Any], column: Column, where: str) -> Array:
    """Return values of an integer column as float64, where that changes no whole number."""
    array: Array = np.array(values, dtype=np.float64)
    for row, value in enumerate(values):
        if type(value) is int and not -EXACT <= value <= EXACT and int(array[row]) != value:
            raise BadRequestError(
                f"{where}: row {row}: column {column.name!r}: {value} is beyond what can be told apart beside "
                f"nulls, fractions or numbers of the other sign in one request; send the row alone"
            )
    return array


def frame_of_values(values: list[Any], rows: int, schema: Schema, where: str) -> Frame:
    """Return row-major values of a numeric schema, sent without a datatype, as a frame.

    Raises:
        BadRequestError: a value is no number; the message names row and column.
    """
    types = set(map(type, values))
    if types <= NUMBERS:
        matrix: Array = np.array(values, dtype=np.float64).reshape(rows, schema.width)
        if schema.has_wide and int in types and not (np.abs(matrix) < EXACT).all():
            width = schema.width
            columns = [array_of(values[i::width], column, where) for i, column in enumerate(schema.columns)]
            return Frame(schema, rows, None, columns, _NONE not in types)
        return Frame(schema, rows, matrix, None, _NONE not in types)
    at = next(i for i, value in enumerate(values) if type(value) not in NUMBERS)
    row, column = divmod(at, schema.width)
    name = schema.names[column]
    raise BadRequestError(f"{where}: row {row}: column {name!r} takes numbers or null, got {shown(values[at])}")


def check_kind(column: Column, kind: Kind, where: str) -> None:
    """Refuse text for numbers and numbers for text.

    Raises:
        BadRequestError: names column, its datatype and what came.
    """
    if (column.kind == "text") != (kind == "text"):
        raise BadRequestError(
            f"{where}: column {column.name!r} is {column.datatype} and takes {_TAKES[column.kind]}, got {_TAKES[kind]}"
        )


def shown(value: object) -> str:
    """Return a value for a message, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, dict)):
        what = "list" if isinstance(value, list) else "object"
        return f"{'a' if value and what == 'list' else 'an'} {what if value else f'empty {what}'}"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:59] + "…"
