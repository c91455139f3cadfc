"""The description of the server's HTTP interface, for people, generated clients and fuzzers.

Made for the one model that the server has: paths carry its name and version, requests its columns, with an
example that can be sent as it is. Describes what `app` and `inference` answer; answers nothing itself.
"""

from typing import Any

from tidemill_contracts.artifact import ColumnSpec, ModelManifest, Signature, kind_of
from tidemill_runtime.server.protocol.ids import MAX_ID
from tidemill_runtime.server.protocol.json_tensors import DATATYPES

Json = dict[str, Any]

_NUMERIC = [d for d in DATATYPES if d not in ("BYTES", "FP16")]
_PARAMETERS: Json = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_ERROR: Json = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_DESCRIPTIONS = {
    200: "done",
    202: "stored",
    400: "the request is at fault; the error names the field and what it takes",
    404: "unknown model or version",
    405: "wrong method",
    408: "the body did not arrive in time",
    409: "another label is stored for this prediction",
    413: "the body is too large",
    500: "a fault of the model",
    503: "not ready, overloaded or out of time: the same request may work soon",
}


def describe(title: str, name: str, number: str, manifest: ModelManifest, server_version: str) -> Json:
    """Return the OpenAPI 3.1 document of a server that has version `number` of model `name`."""
    signature = manifest.signature
    infer, predict = _v2_request(signature), _v1_request(signature)
    v1_example, v2_example = _v1_example(signature.used_inputs), _v2_example(signature.used_inputs)
    paths: Json = {
        "/": _get("Alive", _object(status={"type": "string"})),
        "/v2": _get("Server metadata", _server_metadata()),
        "/v2/health/live": _get("Server live", _object(live={"type": "boolean"})),
        "/v2/health/ready": _get("Server ready", _object(ready={"type": "boolean"}), 503),
        "/v2/models": _get("Models", _object(models=_strings())),
        "/v1/models": _get("Models (V1)", _object(models=_strings())),
        f"/v1/models/{name}": _get("Model ready (V1)", _readiness(), 503),
        f"/v1/models/{name}:predict": _post("Predict (V1)", predict, _v1_answer(), v1_example),
    }
    explanations = {"type": "array", "items": {"type": "object"}}
    paths[f"/v1/models/{name}:explain"] = _post("Explain (V1)", predict, _object(explanations=explanations), v1_example)
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{number}"):
        paths[path] = _get("Model metadata", _model_metadata())
        paths[f"{path}/ready"] = _get("Model ready", _readiness(), 503)
        paths[f"{path}/infer"] = _post("Infer", infer, _v2_answer(), v2_example)
        paths[f"{path}/explain"] = _post("Explain", infer, _v2_answer(), v2_example)
    for path in (f"/v2/models/{name}/feedback", f"/v1/models/{name}:feedback"):
        paths[path] = _feedback()
    return {"openapi": "3.1.0", "info": {"title": title, "version": server_version}, "paths": paths}


def _get(summary: str, schema: Json, *refusals: int) -> Json:
    return {"get": {"summary": summary, "responses": _responses(schema, 200, refusals)}}


def _post(summary: str, body: Json, answer: Json, example: Json) -> Json:
    content = {"application/json": {"schema": body, "example": example}}
    responses = _responses(answer, 200, (400, 408, 413, 500, 503))
    return {"post": {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}}


def _feedback() -> Json:
    entry = _object(id={"type": "string"}, label={"type": ["string", "number", "boolean", "null"]})
    body = {"oneOf": [entry, {"type": "array", "items": entry}]}
    described = _post("Feedback", body, {"type": "object"}, {"id": "order-9", "label": 1})
    described["post"]["responses"] |= _responses({"type": "object"}, 202, (409,))
    return described


def _responses(schema: Json, status: int, refusals: tuple[int, ...]) -> Json:
    schemas = {status: schema} | dict.fromkeys(refusals, _ERROR)
    return {
        str(code): {"description": _DESCRIPTIONS[code], "content": {"application/json": {"schema": content}}}
        for code, content in schemas.items()
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _strings() -> Json:
    return {"type": "array", "items": {"type": "string"}}


def _server_metadata() -> Json:
    return _object(name={"type": "string"}, version={"type": "string"}, extensions=_strings())


def _readiness() -> Json:
    return _object(name={"type": "string"}, ready={"type": "boolean"})


def _model_metadata() -> Json:
    shape = {"type": "array", "items": {"type": "integer", "minimum": -1}}
    tensor = _object(name={"type": "string"}, datatype={"enum": list(DATATYPES)}, shape=shape)
    tensors = {"type": "array", "items": tensor}
    metadata = _object(name={"type": "string"}, platform={"type": "string"}, inputs=tensors, outputs=tensors)
    more = _object(runtime={"enum": ["ONNX", "Native"]}, reason={"type": "string"})
    more["properties"]["classes"] = {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
    more["properties"]["unused_inputs"] = _strings()
    metadata["properties"] |= {"versions": _strings(), "parameters": more}
    return metadata


def _v2_request(signature: Signature) -> Json:
    """One tensor for each column, of those that are not used as well, or one for all where all are numbers."""
    known, used = signature.inputs, signature.used_inputs
    columns = [_tensor({"const": c.name}, _datatypes(c), {"type": "integer", "minimum": 1}, _values(c)) for c in known]
    forms: list[Json] = [{"type": "array", "items": {"oneOf": columns}, "minItems": len(used), "maxItems": len(known)}]
    if all(kind_of(c.datatype) == "number" for c in used):
        matrix = _tensor({"type": "string"}, _NUMERIC, {"type": "integer", "minimum": 1}, {"type": ["number", "null"]})
        forms.insert(0, {"type": "array", "items": matrix, "minItems": 1, "maxItems": 1})
    wanted = _object(name={"enum": [o.name for o in signature.outputs]})
    wanted["properties"]["parameters"] = _PARAMETERS
    request = _object(inputs={"anyOf": forms})
    request["properties"] |= {
        "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID},
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": wanted},
    }
    return request


def _tensor(name: Json, datatypes: list[str], length: Json, values: Json) -> Json:
    tensor = _object(
        name=name,
        shape={"type": "array", "items": length, "minItems": 1, "maxItems": 2},
        datatype={"enum": datatypes},
        data={"type": "array", "items": {"anyOf": [values, {"type": "array", "items": values}]}},
    )
    tensor["properties"]["parameters"] = _PARAMETERS
    return tensor


def _datatypes(column: ColumnSpec) -> list[str]:
    return ["BYTES"] if column.datatype == "BYTES" else _NUMERIC


def _values(column: ColumnSpec) -> Json:
    kind = kind_of(column.datatype)
    if kind == "text" and column.categories:
        return {"anyOf": [{"enum": [*column.categories]}, {"type": ["string", "null"]}]}
    return {"type": [{"text": "string", "boolean": "boolean", "number": "number"}[kind], "null"]}


def _v2_answer() -> Json:
    data = {"type": "array", "items": {"type": ["number", "string", "boolean", "null"]}}
    tensor = _object(
        name={"type": "string"},
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
        datatype={"enum": list(DATATYPES)},
        data=data,
    )
    answer = _object(model_name={"type": "string"}, outputs={"type": "array", "items": tensor})
    answer["properties"] |= {"model_version": {"type": "string"}, "id": {"type": "string"}}
    return answer


def _v1_request(signature: Signature) -> Json:
    known, used = signature.inputs, signature.used_inputs
    values = [_values(column) for column in known]
    row = {"type": "array", "items": {"anyOf": values}, "minItems": len(used), "maxItems": len(known)}
    record = _object(**{column.name: value for column, value in zip(known, values, strict=True)})
    record["required"] = [column.name for column in used]
    return _object(instances={"type": "array", "items": {"anyOf": [row, record]}, "minItems": 1})


def _v1_answer() -> Json:
    return _object(predictions={"type": "array"})


def _example_of(column: ColumnSpec) -> Any:
    if column.datatype == "BYTES":
        return column.categories[0] if column.categories else "text"
    return False if column.datatype == "BOOL" else 1


def _v1_example(inputs: tuple[ColumnSpec, ...]) -> Json:
    return {"instances": [{column.name: _example_of(column) for column in inputs}]}


def _v2_example(inputs: tuple[ColumnSpec, ...]) -> Json:
    return {
        "id": "order-9",
        "inputs": [{"name": c.name, "shape": [1], "datatype": c.datatype, "data": [_example_of(c)]} for c in inputs],
    }
