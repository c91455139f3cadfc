"""The binary tensor extension: raw tensors after the JSON, little-endian and row-major, in both directions.

A request that has them says with a header how long its JSON is; nothing else says so, since the usual
client sends no content type. Text is UTF-8 here: columns and labels are strings, not bytes. Every size is
checked before anything is read, and what is read is a copy, since models may write into their input.
"""

import math
from collections.abc import Sequence

import numpy as np

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, Frame, Schema, quoted, shown
from tidemill_runtime.server.protocol.json_tensors import Tensor, unknown_datatype
from tidemill_runtime.server.protocol.tensors_to_frame import from_matrix

HEADER = "Inference-Header-Content-Length"
_ITEMS: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype("u1"),
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_SMALL = 64  # values that are summed sooner in Python than in numpy
_LENGTH = 4  # bytes before each element of BYTES that say how many follow


def json_length(header: bytes) -> int:
    """Return the value of the header that says how many bytes of the body are JSON.

    Raises:
        BadRequestError: no number ≥ 0.
    """
    if header.isdigit() and len(header) <= 18:
        return int(header)
    raise BadRequestError(f"{HEADER}: expected a number of bytes, got {shown(header.decode('latin-1'))}")


def split(body: bytes, length: int) -> tuple[memoryview, memoryview]:
    """Return the JSON of a body and what follows it.

    Raises:
        BadRequestError: the header says more than there is.
    """
    if not 0 <= length <= len(body):
        raise BadRequestError(f"{HEADER}: expected 0 to {len(body)}, the length of the body, got {length}")
    view = memoryview(body)
    return view[:length], view[length:]


def decode(raw: bytes | memoryview, shape: list[int], datatype: str, where: str) -> tuple[Array, bool]:
    """Return a tensor's values, flat, and whether each is known to be there: float64, int64, uint64, or object of str.

    Infinity, which JSON cannot send, is let through like any number; but nothing is promised of values beside it.

    Raises:
        BadRequestError: the bytes are not as many as shape and datatype say, or hold what the datatype does not.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return np.array(_texts(bytes(raw), count, where), dtype=object), True
    item = _ITEMS.get(datatype)
    if item is None:
        raise unknown_datatype(datatype, where)
    if len(raw) != count * item.itemsize:
        raise BadRequestError(
            f"{where}: {datatype} of shape {shape} takes {counted(count * item.itemsize, 'byte')} of binary data, "
            f"got {len(raw)}"
        )
    array: Array = np.frombuffer(raw, dtype=item)
    if item.kind == "f":
        with np.errstate(invalid="ignore"):  # a signalling NaN is a missing value like any other
            array = array.astype(np.float64)
        return array, _is_finite(array)
    if datatype == "BOOL":
        if count and int(array.max()) > 1:
            raise BadRequestError(f"{where}: a BOOL is a byte of 0 or 1, got {array.max()}")
        return array.astype(np.float64), True
    return array.astype(np.uint64 if datatype == "UINT64" else np.int64), True


def _is_finite(array: Array) -> bool:
    """Return whether every value is sure to be finite: a finite sum proves it; another may just be too large."""
    if len(array) <= _SMALL:
        return math.isfinite(sum(array.tolist()))
    return bool(np.isfinite(array).all())


def _texts(data: bytes, count: int, where: str) -> list[str]:
    values: list[str] = []
    at, end = 0, len(data)
    while at < end:
        start = at + _LENGTH
        size = int.from_bytes(data[at:start], "little")
        at = start + size
        if at > end:
            raise BadRequestError(f"{where}: BYTES element {len(values)} runs past the end of the binary data")
        try:
            values.append(data[start:at].decode())
        except UnicodeDecodeError as error:
            raise BadRequestError(
                f"{where}: BYTES element {len(values)} is no UTF-8 at its byte {error.start}; columns take text"
            ) from None
    if len(values) != count:
        raise BadRequestError(f"{where}: BYTES of {count} elements expected, the binary data has {len(values)}")
    return values


def raw_matrix(body: bytes, schema: Schema) -> Frame:
    """Return the rows of a body that is one bare matrix of all columns, of the datatype that they share.

    Raises:
        BadRequestError: the columns share none, the bytes are no whole rows, or the model does not use all columns:
            nothing in bare bytes says whether the others are there.
    """
    if schema.known.unused:
        raise BadRequestError(
            f"{HEADER}: 0 means one bare matrix, which takes models that use all of their columns; this one does not "
            f"use {quoted(schema.known.unused)}: send JSON with the shape before the binary data"
        )
    datatypes = {column.datatype for column in schema.columns}
    item = _ITEMS.get(next(iter(datatypes))) if len(datatypes) == 1 else None
    if item is None:
        raise BadRequestError(
            f"{HEADER}: 0 means one bare matrix, which takes columns of one numeric datatype; "
            f"this model's are {', '.join(sorted(datatypes))}: send JSON before the binary data"
        )
    size = schema.width * item.itemsize
    rows = len(body) // size
    if rows == 0 or rows * size != len(body):
        datatype = schema.columns[0].datatype
        raise BadRequestError(
            f"the body: expected rows of {counted(size, 'byte')} ({schema.width} {datatype}), got {len(body)}"
        )
    values, is_complete = decode(body, [rows, schema.width], schema.columns[0].datatype, "the body")
    return from_matrix(Tensor("", [rows, schema.width], "number", values, is_complete, "the body"), schema)


def encode(array: Array, datatype: str) -> bytes:
    """Return an array as the raw bytes of a tensor; NaN and infinity stay what they are."""
    if datatype == "BYTES":
        return texts(array.ravel().tolist())
    item = _ITEMS[datatype]
    if array.dtype == item:
        return array.tobytes()
    with np.errstate(over="ignore", invalid="ignore"):  # what FP16 does not hold is infinity there
        return array.astype(item).tobytes()


def texts(values: Sequence[object]) -> bytes:
    """Return the elements of a BYTES tensor, each after its length."""
    parts: list[bytes] = []
    for value in values:
        content = value if isinstance(value, bytes) else str(value).encode()
        parts += (len(content).to_bytes(_LENGTH, "little"), content)
    return b"".join(parts)
