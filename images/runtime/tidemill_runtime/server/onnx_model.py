"""A version served by ONNX Runtime: no scikit-learn, no pandas, threads as the container's CPU limit says.

Reads the graph's inputs to find out how the model was converted: one matrix, or one [rows, 1] tensor
per column. Values are cast to what the graph takes, and a value that does not fit is the client's error,
never a silent wrap-around.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tidemill_contracts.artifact import ModelManifest
from tidemill_runtime.server.answer import Answer
from tidemill_runtime.server.errors import BadRequestError, StartError
from tidemill_runtime.server.frame import Array, Frame, Schema, quoted

_NUMPY: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_sum = np.add.reduce
_UNKNOWN_CATEGORY = "Unknown Category"  # ONNX Runtime's words; it has no exception of its own for this
_MISSING_TEXT = ""  # what a missing string is in ONNX, which has no null


class OnnxModel:
    """See the module; `predict` is safe from several threads at once."""

    platform = "onnxruntime_onnx"

    def __init__(self, path: Path, schema: Schema, manifest: ModelManifest, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise StartError("ModelLoadFailed", f"{path.name}: {error}") from error
        self._run = self._session.run
        self._schema = schema
        self._classes = manifest.classes
        outputs = manifest.signature.outputs
        self._names = [(o.name, o.datatype) for o in outputs]
        graph_outputs = [o.name for o in self._session.get_outputs()]
        self._wanted = graph_outputs[: 2 if len(outputs) > 1 else 1]
        if len(self._wanted) < min(2, len(outputs)):
            raise StartError(
                "ModelLoadFailed", f"{path.name}: the signature has outputs {quoted(graph_outputs)} has not"
            )
        self._plan_inputs(path.name)

    def _plan_inputs(self, file: str) -> None:
        schema, inputs = self._schema, self._session.get_inputs()
        for node in inputs:
            if node.type not in _NUMPY:
                raise StartError("FormatUnsupported", f"{file}: input {node.name!r} has type {node.type}")
        names = [node.name for node in inputs]
        first = inputs[0]
        self._matrix: tuple[str, Any] | None = None
        self._columns: list[tuple[str, Any, int, int]] = []  # input name, dtype, index of the column, rank
        is_wide = len(first.shape) == 2 and first.shape[1] == schema.width
        if len(inputs) == 1 and (is_wide or first.name not in schema.index):
            self._matrix = (first.name, _NUMPY[first.type])
        elif set(names) <= schema.index.keys():
            self._columns = [(n.name, _NUMPY[n.type], schema.index[n.name], len(n.shape)) for n in inputs]
        elif len(names) == schema.width:  # a converter that renames columns keeps their order
            self._columns = [(n.name, _NUMPY[n.type], i, len(n.shape)) for i, n in enumerate(inputs)]
        else:
            raise StartError("ModelLoadFailed", f"{file}: inputs {quoted(names)} are no columns of the signature")

    def predict(self, frame: Frame) -> Answer:
        """Return the answer for every row.

        Raises:
            BadRequestError: a value does not fit the graph, or the model has no answer for missing values.
        """
        frame.check_missing()
        if self._matrix is not None:
            name, dtype = self._matrix
            feed = {name: self._feed_matrix(frame, dtype)}
        else:
            feed = {name: self._feed_column(frame, i, dtype, rank) for name, dtype, i, rank in self._columns}
        try:
            results = self._run(self._wanted, feed)
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":
                raise BadRequestError("inputs: the model refused the input") from error
            if _UNKNOWN_CATEGORY in str(error):  # what an encoder with handle_unknown="error" became
                found = frame.unseen_category() or "the model refused the input: a category that training did not see"
                raise BadRequestError(f"inputs: {found}") from error
            raise
        return self._answer(frame, results)

    def _feed_matrix(self, frame: Frame, dtype: Any) -> Array:
        if dtype is np.object_:
            values = frame.objects()
            values[values == None] = _MISSING_TEXT  # noqa: E711  element-wise
            return values
        numbers = frame.numbers()
        if dtype is np.float64:
            return numbers
        return _cast(numbers, dtype, lambda at: self._schema.names[at[1]])

    def _feed_column(self, frame: Frame, index: int, dtype: Any, rank: int) -> Array:
        column = frame.column(index)
        if dtype is np.object_:
            values = np.array([_MISSING_TEXT if v is None else str(v) for v in column], dtype=object)
        else:
            values = _cast(column, dtype, lambda _: self._schema.names[index])
        return values.reshape(-1, 1) if rank == 2 else values

    def _answer(self, frame: Frame, results: list[Any]) -> Answer:
        prediction: Array = results[0]
        if prediction.ndim == 2 and prediction.shape[1] == 1:
            prediction = prediction[:, 0]
        datatype, kind = self._names[0][1], prediction.dtype.kind
        if datatype == "BOOL" and kind != "b":  # classes true and false, or 0.0 and 1.0, leave ONNX as integers
            prediction = prediction.astype(np.bool_)
        elif datatype == "FP64" and kind == "i":
            prediction = prediction.astype(np.float64)
        probabilities = results[1] if len(results) > 1 else None
        if type(probabilities) is list:  # converted with ZipMap: one dictionary per row
            classes = self._classes or tuple(probabilities[0])
            probabilities = np.array([[row[c] for c in classes] for row in probabilities])
        if probabilities is not None and (total := _sum(probabilities, None)) != total:
            missing = frame.missing_columns()
            raise BadRequestError(f"inputs: the model gives no probabilities for missing values in {quoted(missing)}")
        return Answer(self._names, prediction, probabilities)


def _cast(values: Array, dtype: Any, name_of: Any) -> Array:
    if dtype is np.float64:
        return values.astype(dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        result: Array = values.astype(dtype)
        total = _sum(result, None)
    if dtype is np.float32:
        # A finite sum proves that nothing overflowed, in one pass; NaN and infinity are looked at closely.
        if math.isfinite(total) or not (bad := np.isinf(result) & np.isfinite(values)).any():
            return result
    elif not (bad := result != values).any():  # NaN differs from everything: no integer is a missing value
        return result
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    value = values[at]
    problem = "missing value" if np.isnan(value) else repr(value.item())
    takes = "at most ±3.4e38" if dtype is np.float32 else "whole numbers without null"
    raise BadRequestError(f"inputs: row {at[0]}: column {name_of(at)!r} takes {takes}, got {problem}")
