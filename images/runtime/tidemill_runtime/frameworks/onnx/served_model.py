"""A version served by ONNX Runtime: no scikit-learn, no pandas, threads as the container's CPU limit says.

Reads the graph's inputs to find out how the model was converted: one matrix, or one [rows, 1] tensor
per column. Values are cast to what the graph takes, and a value that does not fit is the client's error,
never a silent wrap-around. One small row is the usual case, so what is done once per call is counted in tenths
of a microsecond here; `rules` says how.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tidemill_contracts.artifact import PROBABILITIES, ColumnSpec, ModelManifest
from tidemill_runtime.frameworks.onnx.tensor_types import NUMPY
from tidemill_runtime.model.errors import BadRequestError, StartError
from tidemill_runtime.model.frame import Array, Frame, Schema, quoted
from tidemill_runtime.model.prediction import Prediction, class_columns
from tidemill_runtime.model.rules import Rules, total

_FLOAT32, _OBJECT = np.dtype(np.float32), np.dtype(object)
_UNKNOWN_CATEGORY = "Unknown Category"  # ONNX Runtime's words; it has no exception of its own for this
_MISSING_TEXT = ""  # what a missing string is in ONNX, which has no null


class OnnxModel:
    """See the module; `predict` is safe from several threads at once."""

    platform = "onnxruntime_onnx"

    def __init__(self, path: Path, schema: Schema, manifest: ModelManifest, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors are raised; logged too, every refused request would write a line
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise StartError("ModelLoadFailed", f"{path.name}: {error}") from error
        self._run = self._session.run
        self._schema = schema
        self._classes = manifest.classes
        self._plan_outputs(path.name, manifest)
        self._plan_inputs(path.name)

    def _plan_outputs(self, file: str, manifest: ModelManifest) -> None:
        """Pair the graph's first outputs with the signature's, in order; what more a graph has is not computed."""
        outputs, graph = manifest.signature.outputs, self._session.get_outputs()
        if len(graph) < len(outputs):
            names = [o.name for o in graph]
            raise StartError("ModelLoadFailed", f"{file}: the signature has outputs {quoted(names)} has not")
        self._names = [(o.name, o.datatype) for o in outputs]
        self._class_columns = class_columns(manifest)
        self._rules = Rules(self._schema, self._names)
        self._wide = {i for i, o in enumerate(outputs) if len(o.shape) > 1}
        self._wanted = [node.name for node in graph[: len(outputs)]]
        self._has_probabilities = len(outputs) > 1 and outputs[1].name == PROBABILITIES
        self._is_plain = all(_is_plain(node, o) for node, o in zip(graph, outputs, strict=False))

    def _plan_inputs(self, file: str) -> None:
        schema, inputs = self._schema, self._session.get_inputs()
        for node in inputs:
            if node.type not in NUMPY:
                raise StartError("FormatUnsupported", f"{file}: input {node.name!r} has type {node.type}")
        names = [node.name for node in inputs]
        first = inputs[0]
        self._matrix: tuple[str, Any] | None = None
        self._groups: list[_Group] = []
        is_wide = len(first.shape) == 2 and first.shape[1] in (schema.width, schema.known.width)
        self._is_widened = is_wide and first.shape[1] > schema.width  # it was fitted on columns that it does not use
        if len(inputs) == 1 and (is_wide or first.name not in schema.index):
            self._matrix = (first.name, NUMPY[first.type])
        elif set(names) <= schema.index.keys():
            self._groups = _groups(inputs, [schema.index[name] for name in names])
        elif len(names) == schema.width:  # a converter that renames columns keeps their order
            self._groups = _groups(inputs, list(range(schema.width)))
        else:
            raise StartError("ModelLoadFailed", f"{file}: inputs {quoted(names)} are no columns of the signature")

    @np.errstate(all="ignore")  # values out of range are judged by their results, not by warnings
    def predict(self, frame: Frame) -> Prediction:
        """Return the prediction for every row.

        Raises:
            BadRequestError: a value does not fit the graph, or the rules refuse it or its answer.
        """
        self._rules.check(frame)
        if self._matrix is not None:
            name, dtype = self._matrix
            values = self._feed_matrix(frame, dtype)
            feed = {name: self._schema.known.widened(values) if self._is_widened else values}
        else:
            feed = self._feed_columns(frame)
        try:
            results = self._run(self._wanted, feed)
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":
                raise BadRequestError("inputs: the model refused the input") from error
            if _UNKNOWN_CATEGORY in str(error):  # what an encoder with handle_unknown="error" became
                found = frame.unseen_category() or "the model refused the input: a category that training did not see"
                raise BadRequestError(f"inputs: {found}") from error
            raise
        return self._rules.confirm(frame, self._answer(results))

    def _feed_matrix(self, frame: Frame, dtype: Any) -> Array:
        if dtype is np.object_:
            values = frame.objects()
            values[values == None] = _MISSING_TEXT  # noqa: E711  element-wise
            return values
        if frame.matrix is None and dtype in (np.int64, np.int32):  # a float64 matrix between them would round
            names = self._schema.names
            return np.column_stack([_cast(frame.column(i), dtype, lambda _, i=i: names[i]) for i in range(len(names))])
        numbers = frame.numbers()
        if dtype is np.float64:
            return numbers
        if dtype is np.float32:
            single: Array = numbers.astype(np.float32)
            if math.isfinite(total(single)):  # nothing is missing and nothing overflowed, seen in one pass
                frame.is_complete = True
                return single
        return _cast(numbers, dtype, lambda at: self._schema.names[at[1]])

    def _feed_columns(self, frame: Frame) -> dict[str, Array]:
        """Return the graph's inputs; those of one type are views of one array, made for little more than one alone."""
        feed: dict[str, Array] = {}
        for group in self._groups:
            together = _together(frame, group)
            if together is None:
                places = zip(group.names, group.places, strict=True)
                feed |= {name: self._feed_column(frame, index, group) for name, index in places}
            else:
                shape = (len(group.names), frame.rows)
                parts = together.reshape((*shape, 1) if group.rank == 2 else shape)
                feed.update(zip(group.names, parts, strict=False))  # strict doubles its time
        return feed

    def _feed_column(self, frame: Frame, index: int, group: "_Group") -> Array:
        column, dtype = frame.column(index), group.dtype
        if dtype is np.object_:
            values = np.array([_MISSING_TEXT if v is None else str(v) for v in column], dtype=object)
        else:
            values = _cast(column, dtype, lambda _: self._schema.names[index])
        return values.reshape(-1, 1) if group.rank == 2 else values

    def _answer(self, results: list[Any]) -> Prediction:
        if not self._is_plain:
            results = [self._shaped(value, i) for i, value in enumerate(results)]
        if not self._has_probabilities:
            return Prediction(self._names, results[0], None, results[1:])
        return Prediction(self._names, results[0], results[1], results[2:], self._class_columns)

    def _shaped(self, value: Any, index: int) -> Array:
        """Return one output as the signature has it."""
        if type(value) is list:  # probabilities converted with ZipMap: one dictionary per row
            classes = self._classes or tuple(value[0])
            value = np.array([[row[c] for c in classes] for row in value])
        array: Array = value
        if array.ndim == 2 and array.shape[1] == 1 and index not in self._wide:
            array = array[:, 0]
        datatype, kind = self._names[index][1], array.dtype.kind
        if datatype == "BOOL" and kind != "b":  # classes true and false, or 0.0 and 1.0, leave ONNX as integers
            array = array.astype(np.bool_)
        elif datatype == "FP64" and kind == "i":
            array = array.astype(np.float64)
        return array


def _is_plain(node: Any, output: ColumnSpec) -> bool:
    """Return whether an output leaves the graph as the signature has it, seen before any answer."""
    kinds = {"BOOL": ("tensor(bool)",), "FP64": ("tensor(float)", "tensor(double)"), "BYTES": ("tensor(string)",)}
    is_wide = len(node.shape) == 2 and isinstance(node.shape[1], int) and node.shape[1] > 1
    return node.type in kinds.get(output.datatype, ("tensor(int64)",)) and (len(node.shape) == 1 or is_wide)


@dataclass(frozen=True, slots=True)
class _Group:
    """Inputs of a graph that are of one type and rank: their names, and the places of their columns in the schema."""

    names: list[str]
    places: list[int]
    dtype: Any
    rank: int


def _groups(inputs: list[Any], places: list[int]) -> list[_Group]:
    groups: dict[tuple[Any, int], _Group] = {}
    for node, place in zip(inputs, places, strict=True):
        alike = (NUMPY[node.type], len(node.shape))
        group = groups.setdefault(alike, _Group([], [], *alike))
        group.names.append(node.name)
        group.places.append(place)
    return list(groups.values())


def _together(frame: Frame, group: _Group) -> Array | None:
    """Return a group's columns, one behind the other, in one array; None where each must be looked at by itself."""
    row, dtype = frame.row, group.dtype
    if dtype is np.float32:
        places = group.places
        values = np.array([frame.column(i) for i in places] if row is None else [row[i] for i in places], _FLOAT32)
        return values if math.isfinite(total(values)) else None
    if row is not None and dtype is np.object_:
        return np.array([str(row[index]) for index in group.places], _OBJECT)
    return None


def _cast(values: Array, dtype: Any, name_of: Any) -> Array:
    """Return values as the graph takes them; runs where numpy keeps quiet about casts.

    Raises:
        BadRequestError: one does not fit; names row and column.
    """
    if dtype is np.float64:
        return values.astype(dtype, copy=False)
    result: Array = values.astype(dtype)
    if dtype is np.float32:
        if math.isfinite(total(result)):
            return result
        if not (bad := np.isinf(result) & np.isfinite(values)).any():
            return result
    elif not (bad := result != values).any():  # NaN differs from everything: no integer is a missing value
        return result
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    value = values[at]
    problem = "missing value" if np.isnan(value) else repr(value.item())
    takes = "at most ±3.4e38" if dtype is np.float32 else "whole numbers without null"
    raise BadRequestError(f"inputs: row {at[0]}: column {name_of(at)!r} takes {takes}, got {problem}")
