"""Open Inference Protocol V2 over JSON: request bytes to a frame, an answer to response bytes.

Accepts one matrix tensor for all columns, or one tensor per column. The differences between public
servers, and which side this one takes, are listed in docs/serving-protocol.md.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tidemill_runtime.server import tensors
from tidemill_runtime.server.answer import Answer
from tidemill_runtime.server.errors import BadRequestError
from tidemill_runtime.server.frame import Array, Frame, Schema, check_kind, quoted, shown

MAX_ID = 256  # characters of a request id; it is a key in the monitor's database


@dataclass(slots=True)
class Request:
    """One decoded request. `outputs` is None when the client wants all of them."""

    id: str | None
    frame: Frame
    outputs: list[str] | None


def load_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadRequestError: no JSON, or no object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; JSON has no NaN or Infinity, send null for a missing value" if _has_nan(body) else ""
        raise BadRequestError(f"the body is not valid JSON: {error}{hint}") from None
    if type(document) is not dict:
        raise BadRequestError(f"the body must be a JSON object, got {shown(document)}")
    return document


def _has_nan(body: bytes) -> bool:
    return b"NaN" in body or b"Infinity" in body


def decode(body: bytes, schema: Schema, output_names: tuple[str, ...]) -> Request:
    """Return the request in a body.

    Raises:
        BadRequestError: names the field and what it takes.
    """
    document = load_json(body)
    outputs = document.get("outputs")
    parameters = document.get("parameters")
    if parameters is not None and type(parameters) is not dict:
        raise BadRequestError(f"parameters: expected an object, got {shown(parameters)}")
    return Request(
        _identifier(document.get("id")),
        _frame(document.get("inputs"), schema),
        None if outputs is None else _outputs(outputs, output_names),
    )


def encode(request_id: str, answer: Answer, outputs: list[str] | None, head: dict[str, Any]) -> bytes:
    """Return the response body. `head` holds model_name and model_version."""
    entries = []
    for name, datatype, array in answer.tensors():
        if outputs is None or name in outputs:
            entries.append(
                {"name": name, "shape": array.shape, "datatype": datatype, "data": tensors.encode_data(array)}
            )
    return orjson.dumps({**head, "id": request_id, "outputs": entries})


def _identifier(value: object) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= MAX_ID:
        raise BadRequestError(f"id: expected a string of 1 to {MAX_ID} characters, got {shown(value)}")
    return value


def _outputs(value: object, known: tuple[str, ...]) -> list[str] | None:
    if type(value) is not list:
        raise BadRequestError(f"outputs: expected a list, got {shown(value)}")
    names = []
    for i, entry in enumerate(value):
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str or name not in known:
            raise BadRequestError(f"outputs[{i}].name: expected one of {quoted(known)}, got {shown(name)}")
        names.append(name)
    return names or None


def _frame(inputs: object, schema: Schema) -> Frame:
    if type(inputs) is not list or not inputs:
        raise BadRequestError(f"inputs: expected a list of tensors, got {shown(inputs) if inputs != [] else 'none'}")
    if len(inputs) == 1:
        name, shape, array, datatype = _tensor(inputs[0], "inputs[0]")
        if len(shape) == 2 and shape[1] == schema.width and (schema.width > 1 or name not in schema.index):
            return _from_matrix(array, shape[0], datatype, schema)
        if name not in schema.index and len(shape) == 2 and shape[1] > 1:
            raise BadRequestError(
                f"inputs[0].shape: a matrix for this model has {schema.width} columns "
                f"({quoted(schema.names)}), got shape {shape}"
            )
        parsed = [(name, shape, array, datatype)]
    else:
        parsed = [_tensor(entry, f"inputs[{i}]") for i, entry in enumerate(inputs)]
    return _from_columns(parsed, schema)


def _tensor(entry: object, where: str) -> tuple[str, list[int], Array, str]:
    if type(entry) is not dict:
        raise BadRequestError(f"{where}: expected an object, got {shown(entry)}")
    name, datatype = entry.get("name"), entry.get("datatype")
    if type(name) is not str:
        raise BadRequestError(f"{where}.name: expected a string, got {shown(name)}")
    if type(datatype) is not str:
        raise BadRequestError(
            f"{where}.datatype: expected one of {', '.join(tensors.DATATYPES)}, got {shown(datatype)}"
        )
    shape = tensors.decode_shape(entry.get("shape"), where)
    return name, shape, tensors.decode_data(entry.get("data"), shape, datatype, where), datatype


def _from_matrix(array: Array, rows: int, datatype: str, schema: Schema) -> Frame:
    _check_rows(rows, "inputs[0]")
    kind = tensors.kind_of_datatype(datatype)
    if kind == "text" or schema.has_text:
        for column in schema.columns:
            check_kind(column, kind, "inputs[0]")
        matrix = array.reshape(rows, schema.width)
        return Frame(schema, rows, arrays=[matrix[:, i] for i in range(schema.width)])
    if array.dtype.kind != "f":
        array = array.astype("float64")
    return Frame(schema, rows, matrix=array.reshape(rows, schema.width))


def _from_columns(parsed: list[tuple[str, list[int], Array, str]], schema: Schema) -> Frame:
    arrays: dict[str, Array] = {}
    rows = -1
    for i, (name, shape, array, datatype) in enumerate(parsed):
        if name in arrays:
            raise BadRequestError(f"inputs[{i}].name: {shown(name)} is given twice")
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise BadRequestError(f"inputs[{i}].shape: column {shown(name)} takes [rows] or [rows, 1], got {shape}")
        if rows not in (-1, shape[0]):
            raise BadRequestError(f"inputs[{i}].shape: {shape[0]} rows, but inputs[0] has {rows}")
        rows = shape[0]
        arrays[name] = array
        if name in schema.index:
            column = schema.columns[schema.index[name]]
            check_kind(column, tensors.kind_of_datatype(datatype), f"inputs[{i}]")
    schema.check_names(arrays, "inputs")
    _check_rows(rows, "inputs[0]")
    return Frame(schema, rows, arrays=[arrays[name] for name in schema.names])


def _check_rows(rows: int, where: str) -> None:
    if rows < 1:
        raise BadRequestError(f"{where}.shape: expected at least one row")
