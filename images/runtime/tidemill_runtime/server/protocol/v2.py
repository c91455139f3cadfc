"""Open Inference Protocol V2 over REST: request bytes to a frame, an answer to response bytes.

Tensors are JSON or, after it, binary; both ways in one request are fine. The differences between public
servers, and which side this one takes, are listed in docs/serving-protocol.md.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, Frame, Schema, quoted, shown
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import (
    binary_tensors,
    json_tensors,
    parameters,
    tensors_to_frame,
    v2_fast_path,
)
from tidemill_runtime.server.protocol.ids import MAX_ID
from tidemill_runtime.server.protocol.json_tensors import Tensor
from tidemill_runtime.server.protocol.parameters import Parameters

_NO_NAMES: frozenset[str] = frozenset()
_PLACES = tuple(f"inputs[{i}]" for i in range(64))
_dumps = orjson.dumps


@dataclass(slots=True)
class Request:
    """One decoded request.

    `outputs` are the names that the client wants, None for all of them; `binary` are those that it wants as binary
    data. `parameters` are the request's own.
    """

    id: str | None
    frame: Frame
    outputs: frozenset[str] | None
    binary: frozenset[str]
    parameters: Parameters


class Head:
    """What every answer of one server begins with."""

    __slots__ = ("model_name", "model_version")

    def __init__(self, model_name: str, model_version: str) -> None:
        self.model_name = model_name
        self.model_version = model_version


def load_json(body: bytes | memoryview) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadRequestError: no JSON, or no object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; JSON has no NaN or Infinity, send null for a missing value" if _has_nan(bytes(body)) else ""
        raise BadRequestError(f"the body is not valid JSON: {error}{hint}") from None
    if type(document) is not dict:
        raise BadRequestError(f"the body must be a JSON object, got {shown(document)}")
    return document


def _has_nan(body: bytes) -> bool:
    return b"NaN" in body or b"Infinity" in body


def decode(body: bytes, schema: Schema, output_names: tuple[str, ...], json_length: int | None = None) -> Request:
    """Return the request in a body; `json_length` is what its header says, None when it has none.

    Raises:
        BadRequestError: names the field and what it takes.
    """
    rest = None
    if json_length is None:
        document = load_json(body)
    elif json_length:
        head, rest = binary_tensors.split(body, json_length)
        document = load_json(head)
    else:
        return Request(None, binary_tensors.raw_matrix(body, schema), None, frozenset(output_names), parameters.NONE)
    get = document.get
    request_id = get("id")
    if request_id is not None:
        request_id = _identifier(request_id)
    given = get("parameters")
    given = parameters.NONE if given is None else parameters.decode(given, "parameters")
    inputs, outputs = get("inputs"), get("outputs")
    frame = None
    if type(inputs) is list and inputs and not rest and v2_fast_path.is_usual(given):
        frame = v2_fast_path.frame_of_usual(inputs, schema)
    if frame is None:
        frame = tensors_to_frame.frame_of(_tensors(inputs, given, rest), schema)
    if outputs is None and not given:
        return Request(request_id, frame, None, _NO_NAMES, given)
    return Request(request_id, frame, *_outputs(outputs, output_names, given), given)


def _identifier(value: object) -> str | None:
    if type(value) is not str or len(value) > MAX_ID:
        raise BadRequestError(f"id: expected a string of at most {MAX_ID} characters, got {shown(value)}")
    return value or None


def _outputs(value: object, known: tuple[str, ...], given: Parameters) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the names that are wanted (None: all of them), and which of them as binary data."""
    is_binary = parameters.flag(given, "binary_data_output", "parameters") or False
    if value is None or value == []:
        return None, frozenset(known) if is_binary else _NO_NAMES
    if type(value) is not list:
        raise BadRequestError(f"outputs: expected a list, got {shown(value)}")
    wanted: dict[str, bool] = {}
    for i, entry in enumerate(value):
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str or name not in known:
            raise BadRequestError(f"outputs[{i}].name: expected one of {quoted(known)}, got {shown(name)}")
        place = f"outputs[{i}].parameters"
        own = parameters.flag(parameters.decode(entry.get("parameters"), place), "binary_data", place)
        wanted[name] = is_binary if own is None else own
    return frozenset(wanted), frozenset(name for name, as_binary in wanted.items() if as_binary)


def _tensors(inputs: object, given: Parameters, rest: memoryview | None) -> list[Tensor]:
    if type(inputs) is not list or not inputs:
        raise BadRequestError(f"inputs: expected a list of tensors, got {shown(inputs) if inputs != [] else 'none'}")
    if rest is None:
        if len(inputs) == 1:
            return [_tensor(inputs[0], "inputs[0]", given, None)]
        return [_tensor(entry, _place(i), given, None) for i, entry in enumerate(inputs)]
    found: list[Tensor] = []
    for i, entry in enumerate(inputs):
        size = _binary_size(entry, _place(i), len(rest))
        found.append(_tensor(entry, _place(i), given, None if size is None else rest[:size]))
        rest = rest[size or 0 :]
    if rest:
        raise BadRequestError(
            f"inputs: the body has {counted(len(rest), 'byte')} more than the JSON "
            "and all parameters.binary_data_size say"
        )
    return found


def _place(index: int) -> str:
    return _PLACES[index] if index < 64 else f"inputs[{index}]"


def _binary_size(entry: object, where: str, left: int) -> int | None:
    """Return how many bytes of binary data belong to a tensor, None when its data is JSON."""
    given = entry.get("parameters") if type(entry) is dict else None
    size = given.get("binary_data_size") if type(given) is dict else None
    if size is None:
        return None
    place = f"{where}.parameters.binary_data_size"
    if type(size) is not int or size < 0:
        raise BadRequestError(f"{place}: expected a number of bytes, got {shown(size)}")
    if size > left:
        raise BadRequestError(f"{place}: {counted(size, 'byte')}, but the body has only {left} left")
    return size


def _tensor(entry: object, where: str, inherited: Parameters, raw: memoryview | None) -> Tensor:
    if type(entry) is not dict:
        raise BadRequestError(f"{where}: expected an object, got {shown(entry)}")
    get = entry.get
    name, datatype = get("name"), get("datatype")
    if type(name) is not str:
        raise BadRequestError(f"{where}.name: expected a string, got {shown(name)}")
    if type(datatype) is not str:
        raise json_tensors.unknown_datatype(datatype, where)
    own, hint = get("parameters"), None
    if own is not None or inherited:
        hint = _hint(own, inherited, datatype, where)
    shape = json_tensors.decode_shape(get("shape"), where)
    data = get("data")
    if raw is None:
        if data is None and own and own.get("binary_data_size") is not None:
            raise BadRequestError(
                f"{where}.parameters.binary_data_size: binary data needs the header {binary_tensors.HEADER}"
            )
        values, is_complete = json_tensors.decode_data(data, shape, datatype, where)
    elif data is not None:
        raise BadRequestError(f"{where}: give either data or parameters.binary_data_size, not both")
    else:
        values, is_complete = binary_tensors.decode(raw, shape, datatype, where)
    if datatype == "BYTES":
        return _text_tensor(name, shape, values, is_complete, where, hint)
    return Tensor(name, shape, "number" if values.dtype.kind != "O" else "any", values, is_complete, where)


def _hint(own: object, inherited: Parameters, datatype: str, where: str) -> str | None:
    """Return a tensor's content type: its own, else the request's."""
    place = f"{where}.parameters"
    given = parameters.decode(own, place)
    if given.get(parameters.CONTENT_TYPE) is None:
        if parameters.CONTENT_TYPE not in inherited:
            return None
        given, place = inherited, "parameters"
    return parameters.content_type(given, datatype, where, place)


def _text_tensor(name: str, shape: list[int], values: Array, is_complete: bool, where: str, hint: str | None) -> Tensor:
    read = None if hint is None else parameters.read(values, hint, where)
    if read is None:
        return Tensor(name, shape, "text", values, is_complete, where)
    return Tensor(name, shape, "any", read, None not in read.tolist(), where)


def encode(request_id: str, answer: Prediction, request: Request, head: Head) -> tuple[bytes, int | None]:
    """Return the response body, and the length of its JSON when binary data follows, else None.

    Raises:
        BadRequestError: an output has no JSON form.
    """
    wanted, as_binary = request.outputs, request.binary
    entries: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, datatype, array in answer.tensors():
        if wanted is not None and name not in wanted:
            continue
        if name in as_binary:
            raw.append(binary_tensors.encode(array, datatype))
            size = {"binary_data_size": len(raw[-1])}
            entries.append({"name": name, "shape": array.shape, "datatype": datatype, "parameters": size})
        elif datatype != "FP16":
            data = json_tensors.encode_data(array)
            entries.append({"name": name, "shape": array.shape, "datatype": datatype, "data": data})
        else:
            raise BadRequestError(f"outputs: {name!r} is FP16, which has no JSON form; ask for it as binary_data")
    body = _dumps(
        {"model_name": head.model_name, "model_version": head.model_version, "id": request_id, "outputs": entries}
    )
    return (b"".join((body, *raw)), len(body)) if raw else (body, None)
