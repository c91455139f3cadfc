"""JSON tensors of the Open Inference Protocol: from `data` to arrays, checked against shape and datatype.

Nested and flat row-major data are both accepted, as the protocol says; null stands for a missing
value. JSON libraries elsewhere write 1.0 for 1 and the other way round, so whole floats pass as
integers; text never passes as a number. Nothing here knows columns or models.
"""

import math
from typing import Any

import numpy as np

from tidemill_runtime.server.errors import BadRequestError
from tidemill_runtime.server.frame import BOOLEANS, NUMBERS, TEXTS, Array, Kind, shown

_INTEGERS: dict[str, tuple[int, int]] = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_FLOATS = {"FP32": 3.4028234663852886e38, "FP64": math.inf}
DATATYPES = ("BOOL", *_INTEGERS, *_FLOATS, "BYTES")
_NONE = type(None)


def decode_data(data: object, shape: list[int], datatype: str, where: str) -> Array:
    """Return a JSON tensor's values, flat: float64, int64, uint64, or object for BYTES.

    Raises:
        BadRequestError: shape and data disagree, or a value is not of the datatype.
    """
    values = _flatten(data, shape, where)
    types = set(map(type, values))
    if datatype in _FLOATS:
        if types <= NUMBERS:
            return _floats(values, datatype, where)
    elif datatype in _INTEGERS:
        if types <= NUMBERS:
            return _whole_numbers(values, types, datatype, where)
    elif datatype == "BYTES":
        if types <= TEXTS:
            return np.array(values, dtype=object)
    elif datatype == "BOOL":
        if types <= BOOLEANS or (types <= BOOLEANS | {int} and set(values) <= {0, 1, None}):
            return np.array(values, dtype=np.float64)
    elif datatype == "FP16":
        raise BadRequestError(f"{where}.datatype: FP16 has no JSON form; send FP32")
    else:
        raise BadRequestError(f"{where}.datatype: {shown(datatype)} is unknown; expected one of {', '.join(DATATYPES)}")
    raise BadRequestError(f"{where}.data: {_offender(values, datatype)} is no {datatype}")


def kind_of_datatype(datatype: str) -> Kind:
    """Return whether a tensor of this datatype holds numbers or text."""
    return "text" if datatype == "BYTES" else "number"


def decode_shape(shape: object, where: str) -> list[int]:
    """Return a checked shape.

    Raises:
        BadRequestError: not a list of one to eight numbers ≥ 0.
    """
    if type(shape) is list and 0 < len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape):
        return shape
    raise BadRequestError(f"{where}.shape: expected a list of whole numbers, got {shown(shape)}")


def _flatten(data: object, shape: list[int], where: str) -> list[Any]:
    size = math.prod(shape)
    if not isinstance(data, list):
        raise BadRequestError(f"{where}.data: expected a list, got {shown(data)}")
    if data and isinstance(data[0], list) and len(shape) > 1:
        data = _unnest(data, shape, where)
    if len(data) != size:
        raise BadRequestError(f"{where}.data: shape {shape} holds {size} values, got {len(data)}")
    return data


def _unnest(data: list[Any], shape: list[int], where: str) -> list[Any]:
    for depth, length in enumerate(shape[:-1]):
        if depth == 0 and len(data) != length:
            raise BadRequestError(f"{where}.data: shape {shape} has {length} rows, got {len(data)}")
        width = shape[depth + 1]
        if any(type(part) is not list or len(part) != width for part in data):
            raise BadRequestError(f"{where}.data: not nested as shape {shape} says: expected lists of {width}")
        data = [value for part in data for value in part]
    return data


def _floats(values: list[Any], datatype: str, where: str) -> Array:
    array: Array = np.array(values, dtype=np.float64)
    if datatype == "FP32" and bool((np.abs(array) > _FLOATS["FP32"]).any()):
        raise BadRequestError(f"{where}.data: a value is out of range for FP32")
    return array


def _whole_numbers(values: list[Any], types: set[type], datatype: str, where: str) -> Array:
    low, high = _INTEGERS[datatype]
    for value in values:
        if value is None:
            continue
        if type(value) is float and not value.is_integer():
            raise BadRequestError(f"{where}.data: {shown(value)} is no whole number, as {datatype} takes")
        if not low <= value <= high:
            raise BadRequestError(f"{where}.data: {shown(value)} is out of range for {datatype} ({low} to {high})")
    if _NONE in types:
        return np.array(values, dtype=np.float64)
    return np.array([int(v) for v in values], dtype=np.uint64 if datatype == "UINT64" else np.int64)


def _offender(values: list[Any], datatype: str) -> str:
    allowed = {"BYTES": TEXTS, "BOOL": BOOLEANS}.get(datatype, NUMBERS)
    value = next((v for v in values if type(v) not in allowed), values[0] if values else None)
    return shown(value)


def encode_data(array: Array) -> list[Any]:
    """Return an array as flat row-major JSON data; the encoder writes NaN and infinity as null."""
    data: list[Any] = array.ravel().tolist()
    return data
