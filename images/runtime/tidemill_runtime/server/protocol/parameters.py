"""The `parameters` of a request: checked at every level, used where the protocol or a codec gives them a meaning.

Names that mean nothing here are ignored, as the protocol has it. Content types are the hints that
MLServer's clients send with a tensor: how to read its values, beyond the datatype.
"""

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, shown

Parameters = Mapping[str, Any]
NONE: Parameters = MappingProxyType({})
CONTENT_TYPE = "content_type"
_VALUES = frozenset({str, int, float, bool})
_OF_TEXT = frozenset({"str", "base64", "datetime", "pd_json"})  # what MLServer's codecs of these names give is BYTES
_SHARED_MEMORY = "shared_memory_region"


def decode(value: object, where: str) -> Parameters:
    """Return parameters; null, for all of them or for one, is as good as absent.

    Raises:
        BadRequestError: no object, or a value that is no string, number or boolean.
    """
    if value is None:
        return NONE
    if type(value) is not dict:
        raise BadRequestError(f"{where}: expected an object, got {shown(value)}")
    for name, item in value.items():
        if type(item) not in _VALUES and item is not None:
            place = f"{where}.{name if len(name) <= 60 else name[:59] + '…'}"
            raise BadRequestError(f"{place}: expected a string, a number or a boolean, got {shown(item)}")
    if _SHARED_MEMORY in value and value[_SHARED_MEMORY] is not None:
        raise BadRequestError(f"{where}.{_SHARED_MEMORY}: shared memory is not supported; send the data")
    return value


def flag(parameters: Parameters, name: str, where: str) -> bool | None:
    """Return a boolean parameter, None when it is not there.

    Raises:
        BadRequestError: not true or false.
    """
    value = parameters.get(name)
    if value is None or type(value) is bool:
        return value
    raise BadRequestError(f"{where}.{name}: expected true or false, got {shown(value)}")


def content_type(parameters: Parameters, datatype: str, where: str, place: str) -> str | None:
    """Return the hint how to read a tensor, None without one. `where` names the tensor, `place` the parameters.

    Raises:
        BadRequestError: the hint and the datatype contradict each other.
    """
    hint = parameters.get(CONTENT_TYPE)
    if hint is None:
        return None
    if type(hint) is not str:
        raise BadRequestError(f"{place}.{CONTENT_TYPE}: expected a string, got {shown(hint)}")
    if hint in _OF_TEXT and datatype != "BYTES":
        raise BadRequestError(f"{place}.{CONTENT_TYPE}: {hint!r} is for BYTES, but {where}.datatype is {datatype}")
    return hint


def read(values: Array, hint: str, where: str) -> Array | None:
    """Return text values as a content type says they are to be read, None when it says nothing.

    Raises:
        BadRequestError: a value that is not what the content type says.
    """
    reader = {"base64": _base64, "pd_json": _json}.get(hint)
    if reader is None:
        return None
    found = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        if value is not None:
            try:
                found[index] = reader(value)
            except ValueError:
                raise BadRequestError(f"{where}: element {index} is not what content type {hint!r} says") from None
    return found


def _base64(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except binascii.Error as error:
        raise ValueError from error


def _json(value: str) -> Any:
    return orjson.loads(value)
