"""JSON tensors of the Open Inference Protocol: from `data` to arrays, checked against shape and datatype.

Nested and flat row-major data are both accepted, as the protocol says; null stands for a missing
value. JSON libraries elsewhere write 1.0 for 1 and the other way round, so whole floats pass as
integers; text never passes as a number. Nothing here knows columns or models.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import BOOLEANS, EXACT, NUMBERS, TEXTS, Array, shown

_INTEGERS: dict[str, tuple[int, int]] = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
DATATYPES = ("BOOL", *_INTEGERS, "FP16", "FP32", "FP64", "BYTES")
MAX_RANK = 8
_BEYOND_FP32 = (2.0 - 2.0**-24) * 2.0**127  # what rounds to infinity: half a step above the largest FP32
_NONE = type(None)
_FLOATS = frozenset({float})


class Tensor(NamedTuple):
    """One named tensor of a request, whatever transport it came by.

    `values` is flat and row-major: float64, int64 or uint64 for `number`, object for `text` (str, None) and for `any`
    (what only the column can tell how to read). `is_complete` says that no value is missing.
    """

    name: str
    shape: list[int]
    kind: Literal["number", "text", "any"]
    values: Array
    is_complete: bool
    where: str


def decode_data(data: object, shape: list[int], datatype: str, where: str) -> tuple[Array, bool]:
    """Return a JSON tensor's values, flat, and whether none of them is null.

    They are float64, int64, uint64, or object for BYTES and for whole numbers that no float holds beside nulls.

    Raises:
        BadRequestError: shape and data disagree, or a value is not of the datatype.
    """
    values = _flatten(data, shape, where)
    types = set(map(type, values))
    is_complete = _NONE not in types
    if datatype == "FP64":
        if types == _FLOATS or types <= NUMBERS:
            return np.array(values, dtype=np.float64), is_complete
    elif datatype in _INTEGERS:
        if types <= NUMBERS:
            return _whole_numbers(values, types, datatype, where), is_complete
    elif datatype == "BYTES":
        if types <= TEXTS:
            return np.array(values, dtype=object), is_complete
    elif datatype == "FP32":
        if types <= NUMBERS:
            return _singles(values, where), is_complete
    elif datatype == "BOOL":
        if types <= BOOLEANS or (types <= BOOLEANS | {int} and set(values) <= {0, 1, None}):
            return np.array(values, dtype=np.float64), is_complete
    elif datatype == "FP16":
        raise BadRequestError(f"{where}.datatype: FP16 has no JSON form; send FP32, or FP16 as binary data")
    else:
        raise unknown_datatype(datatype, where)
    raise BadRequestError(f"{where}.data: {_offender(values, datatype)} is no {datatype}")


def unknown_datatype(datatype: object, where: str) -> BadRequestError:
    """Return the error for a datatype that is none, or one that the server does not read."""
    if datatype == "BF16":
        return BadRequestError(f"{where}.datatype: BF16 is not supported; send FP32")
    known = ", ".join(DATATYPES)
    if type(datatype) is not str:
        return BadRequestError(f"{where}.datatype: expected one of {known}, got {shown(datatype)}")
    return BadRequestError(f"{where}.datatype: {shown(datatype)} is unknown; expected one of {known}")


def decode_shape(shape: object, where: str) -> list[int]:
    """Return a checked shape.

    Raises:
        BadRequestError: not a list of one to eight numbers ≥ 0.
    """
    if type(shape) is list and 0 < len(shape) <= MAX_RANK:
        for length in shape:
            if type(length) is not int or length < 0:
                break
        else:
            return shape
    raise BadRequestError(f"{where}.shape: expected a list of 1 to {MAX_RANK} whole numbers, got {_listed(shape)}")


def _listed(shape: object) -> str:
    return f"[{', '.join(shown(n) for n in shape)}]" if isinstance(shape, list) and len(shape) <= 16 else shown(shape)


def _flatten(data: object, shape: list[int], where: str) -> list[Any]:
    size = math.prod(shape)
    if type(data) is not list:
        raise BadRequestError(f"{where}.data: expected a list, got {shown(data) if data is not None else 'none'}")
    if data and type(data[0]) is list and len(shape) > 1:
        data = _unnest(data, shape, where)
    if len(data) != size:
        raise BadRequestError(f"{where}.data: shape {shape} holds {counted(size, 'value')}, got {len(data)}")
    return data


def _unnest(data: list[Any], shape: list[int], where: str) -> list[Any]:
    for depth, length in enumerate(shape[:-1]):
        if depth == 0 and len(data) != length:
            raise BadRequestError(f"{where}.data: shape {shape} has {counted(length, 'row')}, got {len(data)}")
        width = shape[depth + 1]
        if any(type(part) is not list or len(part) != width for part in data):
            raise BadRequestError(f"{where}.data: not nested as shape {shape} says: expected lists of {width}")
        data = data[0] if len(data) == 1 else [value for part in data for value in part]
    return data


def _singles(values: list[Any], where: str) -> Array:
    """Return FP32 values as float64, rounded to what FP32 holds: the same number as the binary form gives."""
    array: Array = np.array(values, dtype=np.float64)
    if bool((np.abs(array) >= _BEYOND_FP32).any()):
        raise BadRequestError(f"{where}.data: a value is out of range for FP32")
    return array.astype(np.float32).astype(np.float64)


def _whole_numbers(values: list[Any], types: set[type], datatype: str, where: str) -> Array:
    given = values if _NONE not in types else [v for v in values if v is not None]
    if float in types:
        given = _integers(given, datatype, where)
    low, high = _INTEGERS[datatype]
    try:
        array: Array = np.array(given, dtype=np.uint64 if datatype == "UINT64" else np.int64)
    except OverflowError:
        array = np.empty(0)
    if len(array) < len(given) or (len(array) and not (low <= array.min() and array.max() <= high)):
        value = next(v for v in given if not low <= v <= high)
        raise BadRequestError(f"{where}.data: {shown(value)} is out of range for {datatype} ({low} to {high})")
    if _NONE not in types:
        return array
    is_exact = not len(array) or -EXACT <= array.min() <= array.max() <= EXACT
    return np.array(values, dtype=np.float64 if is_exact else object)


def _integers(values: list[Any], datatype: str, where: str) -> list[int]:
    for value in values:
        if type(value) is float and not value.is_integer():
            raise BadRequestError(f"{where}.data: {shown(value)} is no whole number, as {datatype} takes")
    return [int(value) for value in values]


def _offender(values: list[Any], datatype: str) -> str:
    allowed = {"BYTES": TEXTS, "BOOL": BOOLEANS}.get(datatype, NUMBERS)
    value = next((v for v in values if type(v) not in allowed), values[0] if values else None)
    return shown(value)


def encode_data(array: Array) -> list[Any]:
    """Return an array as flat row-major JSON data; the encoder writes NaN and infinity as null."""
    data: list[Any] = array.tolist() if array.ndim == 1 else array.ravel().tolist()
    return data
