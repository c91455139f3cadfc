"""ONNX graphs run on rows of a DataFrame, as the trainer does, and compared with the model that they were made of.

Convention: all-numeric models have one input `X` [rows, columns] in the order of the signature; others have one input
per column, [rows, 1], numbers or STRING, a missing string being "". Outputs are those of the signature, in its order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill_contracts.artifact import PROBABILITIES, ParityReport
from tidemill_runtime.frameworks.base import FittedModel
from tidemill_runtime.frameworks.onnx.tensor_types import NUMPY
from tidemill_runtime.model.agreement import TOLERANCE, agrees, usual_sizes
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.model.frame import Array

if TYPE_CHECKING:
    import pandas as pd

MATRIX_INPUT = "X"


def session(content: bytes) -> Any:
    """Return an ONNX Runtime session that computes on one thread, so that sums have one order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def feed(names: tuple[str, ...], rows: pd.DataFrame, inputs: list[Any]) -> dict[str, Array]:
    """Return the ONNX inputs for some rows, by the convention above.

    `inputs` are the session's: by name where all are columns, as servers pair them, else in the order of the columns.
    """
    if _is_matrix(names, inputs):
        return {inputs[0].name: _as_taken(rows[list(names)], inputs[0])}
    fed: dict[str, Array] = {}
    own = [given.name for given in inputs]
    for given, name in zip(inputs, own if set(own) <= set(names) else names, strict=True):
        values = rows[name]
        taken = _texts(values) if datatype(values.dtype) == "BYTES" else _as_taken(values, given)
        fed[given.name] = taken if len(given.shape) == 1 else taken.reshape(-1, 1)
    return fed


def _is_matrix(names: tuple[str, ...], inputs: list[Any]) -> bool:
    """Return whether a graph takes all columns at once; one input may as well be the only column that it reads."""
    if len(inputs) > 1 or len(names) == 1:
        return len(inputs) == 1 and inputs[0].name == MATRIX_INPUT
    return inputs[0].name not in names or list(inputs[0].shape[1:]) != [1]


def _as_taken(values: pd.DataFrame | pd.Series[Any], given: Any) -> Array:
    if given.type == "tensor(string)":
        return _texts(values)
    taken: Array = values.to_numpy(dtype=NUMPY.get(given.type, np.float32))
    return taken


def _texts(values: pd.DataFrame | pd.Series[Any]) -> Array:
    texts: Array = values.to_numpy(dtype=object, na_value="")
    return texts


def compared(model: FittedModel, rows: pd.DataFrame, content: bytes) -> ParityReport:
    """Return how a graph's outputs for some rows compare with the model's; what either raises is raised.

    The first look, at the bare forms and at known rows, with counts for the record; `parity.check` then asks both as
    servers do, for rows of many kinds, and names the first row that differs. What agrees is one rule for both.
    """
    runtime = session(content)
    inputs = runtime.get_inputs()
    names = {given.name for given in inputs}
    if inputs[0].name != MATRIX_INPUT and len(inputs) != len(model.columns) and not names <= set(model.columns):
        return ParityReport(passed=False, rows=0, reason="the converter dropped inputs")
    expected = model.outputs(rows)
    found = runtime.run(None, feed(model.columns, rows, inputs))
    if len(found) != len(expected):
        return ParityReport(passed=False, rows=0, reason=f"the graph has {len(found)} of {len(expected)} outputs")
    return _report(expected, [_shaped(a, e) for a, e in zip(found, expected.values(), strict=True)])


def _shaped(found: Any, expected: Array) -> Array:
    array = np.asarray(found)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and expected.ndim == 1 else array


def _report(expected: dict[str, Array], found: list[Array]) -> ParityReport:
    names, answers = list(expected), list(expected.values())
    if answers[0].shape != found[0].shape:
        reason = f"{names[0]} has shape {found[0].shape}, expected {answers[0].shape}"
        return ParityReport(passed=False, rows=len(answers[0]), reason=reason)
    if names[0] == "value":
        report = _values("value", answers[0], found[0])
    else:
        with_probabilities = len(names) > 1 and names[1] == PROBABILITIES
        more = (answers[1], found[1]) if with_probabilities else (None, None)
        report = _labels(answers[0], found[0], *more)
    for name, wanted, given in zip(names[1:], answers[1:], found[1:], strict=True):
        if report.passed and name != PROBABILITIES:
            one = _values(name, wanted, given)
            largest = max(report.max_abs_difference or 0.0, one.max_abs_difference or 0.0)
            report = one.model_copy(update={"max_abs_difference": largest, "label_mismatches": report.label_mismatches})
    return report


def _values(name: str, expected: Array, found: Array) -> ParityReport:
    rows = len(expected)
    if found.shape != expected.shape:
        return ParityReport(passed=False, rows=rows, reason=f"{name}: shape {found.shape}, expected {expected.shape}")
    if expected.dtype.kind not in "fiub":
        return _labels(expected, found, None, None)
    expected, found = expected.astype(float), found.astype(float)
    difference = np.where(np.isnan(expected) & np.isnan(found), 0.0, np.abs(found - expected))
    largest = float(difference.max())
    finite = largest if np.isfinite(largest) else None
    # Infinite answers of both are no agreement here: a signature's ranges end where numbers do.
    differs = ~agrees(name, expected, found, usual_sizes(expected)) | np.isinf(expected)
    if differs.any():
        reason = f"{int(differs.sum())} of {expected.size} {name}s differ by more than {TOLERANCE:g} relative"
        return ParityReport(passed=False, rows=rows, max_abs_difference=finite, reason=reason)
    return ParityReport(passed=True, rows=rows, max_abs_difference=finite)


def _labels(expected: Array, found: Array, probabilities: Array | None, given: Any) -> ParityReport:
    rows = len(expected)
    same = agrees("label", expected, found, 0.0)
    mismatches = int((~same).sum())
    largest, is_same = None, probabilities is None
    if probabilities is not None and given is not None and np.shape(given) == probabilities.shape:
        numbers = np.asarray(given, dtype=float)
        largest = float(np.abs(numbers - probabilities).max())
        is_same = bool(np.isfinite(largest) and agrees(PROBABILITIES, probabilities, numbers, 0.0).all())
    if mismatches:
        return ParityReport(
            passed=False,
            rows=rows,
            label_mismatches=mismatches,
            max_abs_difference=largest,
            reason=f"{mismatches} of {same.size} labels differ",
        )
    if not is_same:
        reason = f"probabilities differ by up to {largest}, allowed {TOLERANCE:g}"
        return ParityReport(passed=False, rows=rows, label_mismatches=0, max_abs_difference=largest, reason=reason)
    return ParityReport(passed=True, rows=rows, label_mismatches=0, max_abs_difference=largest)
