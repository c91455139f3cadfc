"""KServe V1 over JSON: `instances` (rows) or `inputs` (rows or columns) to a frame, labels back.

Rows are lists in the model's column order, objects by column name, or bare values for a model of one
column. Columns that the model does not use may be there and are not read; those that are logged lie beside the rows.

Class probabilities come on request: `"parameters": {"probabilities": true}`. The protocol has no name for
them; keys that it does not know either (`signature_name`) are ignored.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from tidemill_contracts.artifact import PROBABILITIES
from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, Schema, array_of, frame_of_values, quoted, shown
from tidemill_runtime.model.logged_columns import scalars
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.protocol import parameters
from tidemill_runtime.server.protocol.parameters import Parameters
from tidemill_runtime.server.protocol.v2 import load_json


@dataclass(slots=True)
class Request:
    """One decoded request; `probabilities` says that the client wants those of the classes too."""

    frame: Frame
    probabilities: bool
    parameters: Parameters


def decode(body: bytes, schema: Schema) -> Request:
    """Return the request in a body.

    Raises:
        BadRequestError: names the field and what it takes.
    """
    document = load_json(body)
    given, wanted = document.get("parameters"), False
    if given is None:
        given = parameters.NONE
    else:
        given = parameters.decode(given, "parameters")
        wanted = parameters.flag(given, "probabilities", "parameters") or False
    return Request(_frame(document, schema), wanted, given)


def _frame(document: dict[str, Any], schema: Schema) -> Frame:
    where = "instances" if "instances" in document else "inputs"
    if where == "inputs" and "inputs" not in document:
        raise BadRequestError("instances: missing; expected a list of rows")
    if "instances" in document and "inputs" in document:
        raise BadRequestError("instances: give either instances or inputs, not both")
    value = document[where]
    if where == "inputs" and type(value) is dict:
        frame = _from_columns(value, schema)
        for name in schema.known.logged:
            _put_beside(frame, name, value.get(name), where)
        return frame
    if type(value) is not list or not value:
        raise BadRequestError(f"{where}: expected a list of at least one row, got {shown(value)}")
    first = type(value[0])
    if any(type(row) is not first for row in value) and (first in (list, dict) or schema.width > 1):
        raise BadRequestError(f"{where}: expected all rows as lists or all as objects")
    if first is dict:
        frame = _from_records(value, schema, where)
        for name in schema.known.logged:
            _put_beside(frame, name, [row.get(name) for row in value], where)
        return frame
    if first is not list and schema.width == 1:
        value = [[item] for item in value]
        first = list
    if first is not list:
        raise BadRequestError(
            f"{where}: row 0: expected a list of {counted(schema.width, 'value')} or an object, got {shown(value[0])}"
        )
    return _from_rows(value, schema, where)


def _put_beside(frame: Frame, name: str, values: Any, where: str) -> None:
    """Keep the values of one logged column; None: it was not sent."""
    if values is None:
        return
    if type(values) is not list or len(values) != frame.rows:
        wanted = f"a list of {counted(frame.rows, 'value')}"
        raise BadRequestError(f"{where}: column {name!r}: expected {wanted}, got {shown(values)}")
    frame.beside = {**(frame.beside or {}), name: scalars(values, name, where)}


def encode(answer: Prediction, request: Request) -> bytes:
    """Return the response body; NaN and infinity become null.

    Raises:
        BadRequestError: probabilities are wanted of a model that has none.
    """
    if not request.probabilities:
        return orjson.dumps({"predictions": answer.prediction.tolist()})
    return orjson.dumps({"predictions": answer.prediction.tolist(), "probabilities": _probabilities(answer)})


def _probabilities(answer: Prediction) -> list[Any]:
    """Return for each row the probabilities of its classes, or such a list for each target of a model of several."""
    if answer.probabilities is not None:
        rows: list[Any] = answer.probabilities.tolist()
        return rows
    targets = [array.tolist() for name, _, array in answer.tensors() if name.startswith(f"{PROBABILITIES}_")]
    if not targets:
        raise BadRequestError("parameters.probabilities: this model gives no probabilities")
    return [list(row) for row in zip(*targets, strict=True)]


def _from_rows(rows: list[list[Any]], schema: Schema, where: str) -> Frame:
    known = schema.known
    width = known.width if len(rows[0]) == known.width else schema.width
    for i, row in enumerate(rows):
        if len(row) != width:
            more = f", or {known.width} with those that it does not use" if known.unused else ""
            raise BadRequestError(
                f"{where}: row {i} has {counted(len(row), 'value')}; the model takes {schema.width}: "
                f"{quoted(schema.names)}{more}"
            )
    if width > schema.width:
        rows = [known.of_used(row) for row in rows]
    if schema.is_numeric:
        flat = rows[0] if len(rows) == 1 else [value for row in rows for value in row]
        return frame_of_values(flat, len(rows), schema, where)
    columns = zip(schema.columns, zip(*rows, strict=True), strict=True)
    return Frame(schema, len(rows), arrays=[array_of(list(values), column, where) for column, values in columns])


def _from_records(rows: list[dict[str, Any]], schema: Schema, where: str) -> Frame:
    for i, row in enumerate(rows):
        if row.keys() != schema.index.keys():
            schema.check_names(row, f"{where}: row {i}")
    names = schema.names
    if schema.is_numeric:
        flat = [row[name] for row in rows for name in names]
        return frame_of_values(flat, len(rows), schema, where)
    return Frame(schema, len(rows), arrays=[array_of([row[c.name] for row in rows], c, where) for c in schema.columns])


def _from_columns(columns: dict[str, Any], schema: Schema) -> Frame:
    schema.check_names(columns, "inputs")
    rows = -1
    for name in schema.names:
        values = columns[name]
        if type(values) is not list or not values:
            raise BadRequestError(
                f"inputs: column {name!r}: expected a list of at least one value, got {shown(values)}"
            )
        if rows not in (-1, len(values)):
            raise BadRequestError(f"inputs: column {name!r} has {counted(len(values), 'value')}, others have {rows}")
        rows = len(values)
    return Frame(schema, rows, arrays=[array_of(columns[c.name], c, "inputs") for c in schema.columns])
