"""From named tensors, by whatever transport they came, to the rows that a model reads.

One matrix for all columns in the model's order, or one tensor for each column by name. Columns that the model does not
use may be there and are not read; those that are logged lie beside the rows. Whole numbers stay what they are where the
column is an integer: a float64 matrix holds them up to 2^53, beyond it columns are kept apart.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import EXACT, Array, Column, Frame, Schema, array_of, check_kind, quoted, shown
from tidemill_runtime.model.logged_columns import scalars
from tidemill_runtime.server.protocol.json_tensors import Tensor


def frame_of(tensors: Sequence[Tensor], schema: Schema) -> Frame:
    """Return the rows of a request, with its logged columns beside them.

    Raises:
        BadRequestError: the tensors are not the model's columns; the message names the field.
    """
    logged = schema.known.logged
    apart = [tensor for tensor in tensors if tensor.name in logged] if logged and len(tensors) > 1 else []
    if not apart:
        return _rows_of(tensors, schema)
    rest = [tensor for tensor in tensors if tensor.name not in logged]
    if not rest:
        raise BadRequestError(f"inputs: expected the columns of the model beside logged ones: {quoted(schema.names)}")
    frame = _rows_of(rest, schema)
    frame.beside = _beside(apart, frame.rows)
    return frame


def _beside(tensors: Sequence[Tensor], rows: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name in found:
            raise BadRequestError(f"{tensor.where}.name: {shown(tensor.name)} is given twice")
        if tensor.shape not in ([rows], [rows, 1]):
            raise BadRequestError(
                f"{tensor.where}.shape: column {shown(tensor.name)} takes [{rows}] or [{rows}, 1], got {tensor.shape}"
            )
        found[tensor.name] = scalars(tensor.values.tolist(), tensor.name, tensor.where)
    return found


def _rows_of(tensors: Sequence[Tensor], schema: Schema) -> Frame:
    if len(tensors) == 1:
        tensor = tensors[0]
        shape = tensor.shape
        if len(shape) == 2 and shape[1] == schema.width and (schema.width > 1 or tensor.name not in schema.index):
            return from_matrix(tensor, schema)
        if len(shape) == 2 and shape[1] == schema.known.width > schema.width:
            return from_matrix(_used(tensor, schema), schema)
        if tensor.name not in schema.index and (len(shape) != 2 or shape[1] > 1):
            more = f" or {schema.known.width}, with those that it does not use" if schema.known.unused else ""
            raise BadRequestError(
                f"{tensor.where}.shape: a matrix for this model has {counted(schema.width, 'column')} "
                f"({quoted(schema.names)}){more}, got shape {shape}"
            )
    return _from_columns(tensors, schema)


def _used(tensor: Tensor, schema: Schema) -> Tensor:
    """Return a matrix of all known columns without those that the model does not use."""
    matrix = schema.known.narrowed(tensor.values.reshape(tensor.shape))
    return Tensor(tensor.name, list(matrix.shape), tensor.kind, matrix.ravel(), tensor.is_complete, tensor.where)


def from_matrix(tensor: Tensor, schema: Schema) -> Frame:
    """Return the rows of one tensor [rows, width].

    Raises:
        BadRequestError: no rows, or text for numeric columns and the other way round.
    """
    rows, values = tensor.shape[0], tensor.values
    if rows < 1:
        raise _no_rows(tensor)
    if tensor.kind == "number" and not schema.has_text:
        if values.dtype.kind != "f":
            if schema.has_wide and not _fits_floats(values):
                return _apart(tensor, schema)
            values = values.astype(np.float64)
        return Frame(schema, rows, matrix=values.reshape(rows, schema.width), is_complete=tensor.is_complete)
    return _apart(tensor, schema)


def _apart(tensor: Tensor, schema: Schema) -> Frame:
    matrix = tensor.values.reshape(tensor.shape[0], schema.width)
    arrays = []
    for index, column in enumerate(schema.columns):
        if tensor.kind != "any":
            _check_matrix(column, tensor, schema)
        arrays.append(_as_column(matrix[:, index], column, tensor))
    return Frame(schema, tensor.shape[0], arrays=arrays, is_complete=tensor.is_complete)


def _check_matrix(column: Column, tensor: Tensor, schema: Schema) -> None:
    try:
        check_kind(column, "text" if tensor.kind == "text" else "number", tensor.where)
    except BadRequestError as error:
        if schema.has_text and any(c.kind != "text" for c in schema.columns):
            raise BadRequestError(
                f"{error.message}; send one tensor per column, named as the column, each with its own datatype"
            ) from None
        raise


def _from_columns(tensors: Sequence[Tensor], schema: Schema) -> Frame:
    arrays: dict[str, Array] = {}
    rows, first = -1, ""
    is_complete = True
    for tensor in tensors:
        name, shape, kind, values, has_all, where = tensor
        index = schema.index.get(name)
        if index is None and schema.known.is_not_read(name):
            continue
        if name in arrays:
            raise BadRequestError(f"{where}.name: {shown(name)} is given twice")
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise BadRequestError(f"{where}.shape: column {shown(name)} takes [rows] or [rows, 1], got {shape}")
        if shape[0] != rows:
            if rows != -1:
                raise BadRequestError(f"{where}.shape: {counted(shape[0], 'row')}, but {first} has {rows}")
            rows, first = shape[0], where
        if index is not None:
            column = schema.columns[index]
            if kind != "any":
                check_kind(column, kind, where)
            values = _as_column(values, column, tensor)
        arrays[name] = values
        is_complete = is_complete and has_all
    schema.check_names(arrays, "inputs")
    if rows < 1:
        raise _no_rows(tensors[0])
    return Frame(schema, rows, arrays=[arrays[name] for name in schema.names], is_complete=is_complete)


def _as_column(values: Array, column: Column, tensor: Tensor) -> Array:
    """Return values with the column's own dtype where they are whole numbers and that changes none of them."""
    if tensor.kind == "any":
        return array_of(values.tolist(), column, tensor.where)
    if values.dtype is column.dtype or not column.is_integer or values.dtype.kind not in "iu" or not len(values):
        return values
    if column.dtype == np.uint64:
        return values.astype(np.uint64) if values.min() >= 0 else values
    if values.dtype == np.uint64:
        return values.astype(np.int64) if values.max() < 2**63 else values
    return values


def _fits_floats(values: Array) -> bool:
    return bool(values.max() <= EXACT and (values.dtype.kind == "u" or values.min() >= -EXACT))


def _no_rows(tensor: Tensor) -> BadRequestError:
    return BadRequestError(f"{tensor.where}.shape: expected at least one row")
