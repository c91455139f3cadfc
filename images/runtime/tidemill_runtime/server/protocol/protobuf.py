"""Open Inference Protocol V2 in protobuf: request messages to a frame, an answer to a response message.

Values come typed (`contents`) or raw (`raw_input_contents`), for all inputs alike; an answer has the form
that its request had. What REST refuses is refused here in the same words. Knows no gRPC and no network.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, Schema, quoted, shown
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import binary_tensors, json_tensors, parameters, tensors_to_frame
from tidemill_runtime.server.protocol.ids import MAX_ID
from tidemill_runtime.server.protocol.json_tensors import Tensor
from tidemill_runtime.server.protocol.parameters import Parameters
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb
from tidemill_runtime.server.protocol.v2 import Request

_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_NARROW = {"INT8": (-128, 127), "INT16": (-32768, 32767), "UINT8": (0, 255), "UINT16": (0, 65535)}
_FEW = 128  # up to so many values become an array sooner as a list, more by the buffer that they lie in
_NO_NAMES: frozenset[str] = frozenset()


def decode(message: pb.ModelInferRequest, schema: Schema, output_names: Sequence[str]) -> Request:
    """Return the request in a message.

    Raises:
        BadRequestError: names the field and what it takes.
    """
    if len(message.id) > MAX_ID:
        raise BadRequestError(f"id: expected a string of at most {MAX_ID} characters, got {shown(message.id)}")
    given = _parameters(message.parameters, "parameters") if message.parameters else parameters.NONE
    wanted = frozenset([_output(i, entry.name, output_names) for i, entry in enumerate(message.outputs)])
    inputs, raw = message.inputs, message.raw_input_contents
    if not inputs:
        raise BadRequestError("inputs: expected a list of tensors, got none")
    if raw and len(raw) != len(inputs):
        raise BadRequestError(
            f"raw_input_contents: expected one for each of {counted(len(inputs), 'input')}, got {len(raw)}"
        )
    found = [_tensor(entry, raw[i] if raw else None, f"inputs[{i}]", given) for i, entry in enumerate(inputs)]
    frame = tensors_to_frame.frame_of(found, schema)
    return Request(message.id or None, frame, wanted or None, frozenset(output_names) if raw else _NO_NAMES, given)


def _output(index: int, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise BadRequestError(f"outputs[{index}].name: expected one of {quoted(known)}, got {shown(name)}")
    return name


def _parameters(entries: Mapping[str, pb.InferParameter], where: str) -> Parameters:
    values = {name: getattr(entry, entry.WhichOneof("parameter_choice") or "", None) for name, entry in entries.items()}
    return parameters.decode(values, where)


def _tensor(
    entry: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, where: str, inherited: Parameters
) -> Tensor:
    datatype = entry.datatype
    shape = json_tensors.decode_shape(list(entry.shape), where)
    hint = None
    if entry.parameters or inherited:
        place = f"{where}.parameters"
        hint = parameters.content_type(_parameters(entry.parameters, place), datatype, where, place)
        hint = hint or parameters.content_type(inherited, datatype, where, "parameters")
    if raw is None:
        values, is_complete = _typed(entry.contents, shape, datatype, where)
    elif entry.HasField("contents"):
        raise BadRequestError(f"{where}.contents: must be absent where raw_input_contents is given")
    else:
        values, is_complete = binary_tensors.decode(raw, shape, datatype, where)
    if datatype != "BYTES":
        return Tensor(entry.name, shape, "number", values, is_complete, where)
    read = None if hint is None else parameters.read(values, hint, where)
    if read is None:
        return Tensor(entry.name, shape, "text", values, is_complete, where)
    return Tensor(entry.name, shape, "any", read, None not in read.tolist(), where)


def _typed(contents: pb.InferTensorContents, shape: list[int], datatype: str, where: str) -> tuple[Array, bool]:
    """Return a tensor's values, flat, and whether each is known to be there, as `binary_tensors.decode` does."""
    field = _FIELDS.get(datatype)
    if field is None:
        if datatype == "FP16":
            raise BadRequestError(f"{where}.datatype: FP16 has no typed contents; send raw_input_contents")
        raise json_tensors.unknown_datatype(datatype, where)
    values = getattr(contents, field)
    count = math.prod(shape)
    if len(values) != count:
        raise BadRequestError(
            f"{where}.contents.{field}: shape {shape} holds {counted(count, 'value')}, got {len(values)}"
        )
    if datatype == "BYTES":
        return np.array([_text(value, i, where) for i, value in enumerate(values)], dtype=object), True
    source = values[:] if count <= _FEW else values
    if datatype in ("FP32", "FP64"):
        array: Array = np.array(source, dtype=np.float64)
        return array, bool(np.isfinite(array).all())
    if datatype == "BOOL":
        return np.array(source, dtype=np.float64), True
    array = np.array(source, dtype=np.uint64 if datatype == "UINT64" else np.int64)
    if datatype in _NARROW and count:
        _check_range(array, datatype, where)
    return array, True


def _text(value: bytes, index: int, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(
            f"{where}: BYTES element {index} is no UTF-8 at its byte {error.start}; columns take text"
        ) from None


def _check_range(array: Array, datatype: str, where: str) -> None:
    low, high = _NARROW[datatype]
    outside = (array < low) | (array > high)
    if outside.any():
        value = array[int(outside.argmax())]
        raise BadRequestError(f"{where}.contents: {value} is out of range for {datatype} ({low} to {high})")


def encode(request_id: str, answer: Prediction, request: Request, model_name: str, model_version: str) -> bytes:
    """Return the response message: raw where the request was raw, or where an output has no typed form."""
    response = pb.ModelInferResponse(model_name=model_name, model_version=model_version, id=request_id)
    wanted = request.outputs
    outputs = [output for output in answer.tensors() if wanted is None or output[0] in wanted]
    is_raw = bool(request.binary) or any(datatype == "FP16" for _, datatype, _ in outputs)
    for name, datatype, array in outputs:
        entry = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            response.raw_output_contents.append(binary_tensors.encode(array, datatype))
        else:
            getattr(entry.contents, _FIELDS[datatype]).extend(_values(array, datatype))
    return response.SerializeToString()


def _values(array: Array, datatype: str) -> "list[bytes] | list[float]":
    if datatype == "BYTES":
        return [str(value).encode() for value in array.ravel().tolist()]
    values: list[float] = array.ravel().tolist()
    return values
