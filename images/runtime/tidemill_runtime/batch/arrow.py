"""Arrow tables to frames and answers to Arrow columns: what `server/protocol` is online, for data sets.

Whole columns at a time, no Python per row. Values become what a request with the same values becomes: whole numbers
stay whole beyond 2^53, missing is NaN in numbers and None in text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill_contracts.artifact import PROBABILITIES, ModelManifest
from tidemill_runtime.model.errors import PredictError
from tidemill_runtime.model.frame import EXACT, Array, Column, Frame, Schema, quoted
from tidemill_runtime.model.prediction import Prediction

Rows = NDArray[np.int64]
_HINTS = {
    "text": "strings (dates as text in ISO 8601, as training had them)",
    "number": "numbers",
    "boolean": "booleans or numbers",
}


def check_columns(found: pa.Schema, schema: Schema, where: str) -> None:
    """Refuse a table that lacks columns of the model, or has them with types that it cannot take.

    Raises:
        PredictError: DataInvalid; names the columns, what they take and what was found.
    """
    if twice := repeated(found.names):
        raise PredictError("DataInvalid", f"{where}: columns {quoted(twice)} are there twice")
    missing = [name for name in schema.names if name not in found.names]
    if missing:
        text = f"{where}: missing columns: {quoted(missing)}; it has {quoted(found.names)}"
        raise PredictError("DataInvalid", text)
    for column in schema.columns:
        kind = found.field(column.name).type
        if not _takes(column, kind):
            takes = f"is {column.datatype} and takes {_HINTS[column.kind]}, got {kind}"
            raise PredictError("DataInvalid", f"{where}: column {column.name!r} {takes}")


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, each once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _takes(column: Column, kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return True
    if column.kind == "text":
        return _is_text(kind)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(numeric or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def may_name_rows(kind: pa.DataType) -> bool:
    """Return whether values of a type have one text each: strings and whole numbers."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(kind) or bool(pa.types.is_integer(kind))


def frames_of(table: pa.Table, schema: Schema, where: str) -> list[tuple[Rows, Frame]]:
    """Return the rows of a checked table as frames, each with the places of its rows in the table.

    One frame, but where a column of whole numbers beyond 2^53 has gaps: no array holds both exactly, so that rows
    with and without a gap go apart, as requests with one row each would.

    Raises:
        PredictError: DataInvalid; text that is no UTF-8, which Parquet does not check.
    """
    columns = [_values(table.column(column.name), column, where) for column in schema.columns]
    every = np.arange(table.num_rows, dtype=np.int64)
    wide = [i for i, (_, gaps) in enumerate(columns) if gaps is not None]
    if not wide:
        return [(every, Frame(schema, table.num_rows, arrays=[values for values, _ in columns]))]
    patterns = np.stack([gaps for _, gaps in columns if gaps is not None], axis=1)
    _, group = np.unique(patterns, axis=0, return_inverse=True)
    found = []
    for number in range(int(group.max()) + 1):
        rows = every[group.ravel() == number]
        arrays = [
            values[rows] if gaps is None or not gaps[rows[0]] else np.full(len(rows), np.nan)
            for values, gaps in columns
        ]
        found.append((rows, Frame(schema, len(rows), arrays=arrays)))
    return found


def _values(chunked: pa.ChunkedArray, column: Column, where: str) -> tuple[Array, NDArray[np.bool_] | None]:
    """Return a column's values, and where they are missing if the array itself cannot say it."""
    if column.kind == "text":
        try:
            return _texts(chunked), None
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise PredictError("DataInvalid", f"{where}: column {column.name!r} has text that is no UTF-8") from error
    if pa.types.is_dictionary(chunked.type):
        chunked = chunked.cast(chunked.type.value_type)
    kind = chunked.type
    if pa.types.is_integer(kind) and column.is_integer:
        if not chunked.null_count:
            return _whole(chunked.to_numpy(), column), None
        span = pc.min_max(chunked)
        if span["max"].is_valid and (span["max"].as_py() > EXACT or span["min"].as_py() < -EXACT):
            filled = _whole(pc.fill_null(chunked, pa.scalar(0, kind)).to_numpy(), column)
            return filled, chunked.is_null().to_numpy()
    return chunked.cast(pa.float64(), safe=False).to_numpy(), None


def _whole(values: Array, column: Column) -> Array:
    """Return whole numbers as int64 or uint64: as the column has them where they fit, else as the other."""
    if values.dtype.kind == "u":
        fits = not len(values) or values.max() < 2**63
        return values.astype(np.int64 if fits and column.dtype != np.uint64 else np.uint64)
    fits = not len(values) or values.min() >= 0
    return values.astype(np.uint64 if fits and column.dtype == np.uint64 else np.int64, copy=False)


def _texts(chunked: pa.ChunkedArray) -> Array:
    """Return strings and None as objects; equal strings are one object, made once."""
    if pa.types.is_null(chunked.type):
        return np.full(len(chunked), None, dtype=object)
    encoded = chunked if pa.types.is_dictionary(chunked.type) else chunked.dictionary_encode()
    encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    words = np.append(encoded.dictionary.to_numpy(zero_copy_only=False).astype(object), [None])
    places = encoded.indices.fill_null(len(words) - 1) if encoded.indices.null_count else encoded.indices
    texts: Array = words[places.to_numpy(zero_copy_only=False)]
    return texts


@dataclass(frozen=True)
class Output:
    """One column of the result: `name` as written, `tensor` the output's name in the signature, `place` in its row."""

    name: str
    tensor: str
    place: int | None
    type: pa.DataType


def outputs_of(manifest: ModelManifest, prefix: str = "") -> list[Output]:
    """Return the result's columns: a name of the signature each, and one column for each class, target or dimension.

    `probabilities` becomes `probability_<class>`; other outputs of several values become `<name>_0`, `<name>_1`, ….
    """
    found = []
    for spec in manifest.signature.outputs:
        kind = _arrow_type(spec.datatype)
        if len(spec.shape) < 2:
            found.append(Output(prefix + spec.name, spec.name, None, kind))
            continue
        width = spec.shape[1]
        classes = manifest.classes if spec.name == PROBABILITIES else None
        if classes is not None and len(classes) == width:
            names = [f"probability_{_class_text(value)}" for value in classes]
        else:
            names = [f"{spec.name}_{i}" for i in range(width)]
        found += [Output(prefix + name, spec.name, i, kind) for i, name in enumerate(names)]
    return found


def _class_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arrow_type(datatype: str) -> pa.DataType:
    if datatype == "BYTES":
        return pa.string()
    if datatype == "BOOL":
        return pa.bool_()
    if datatype.startswith(("INT", "UINT")):
        return pa.uint64() if datatype == "UINT64" else pa.int64()
    return pa.float64()


def columns_of(answers: Sequence[Prediction], outputs: Sequence[Output]) -> list[pa.Array]:
    """Return the values of the result's columns for the rows of some answers, one after another."""
    tensors: dict[str, list[Array]] = {}
    for answer in answers:
        for name, _, values in answer.tensors():
            tensors.setdefault(name, []).append(values)
    rows = sum(len(answer.prediction) for answer in answers)
    joined = {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in tensors.items()}
    return [_column(joined.get(output.tensor), output, rows) for output in outputs]


def _column(values: Array | None, output: Output, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, output.type)
    if values.ndim == 2:
        values = values[:, output.place or 0]
    if pa.types.is_string(output.type):
        try:
            return pa.array(np.ascontiguousarray(values), output.type, from_pandas=True)
        except pa.ArrowException:  # labels of a column of objects that are no strings
            return pa.array([None if v is None else str(v) for v in values], output.type)
    return pa.array(np.ascontiguousarray(values)).cast(output.type)
