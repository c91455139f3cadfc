"""The ONNX form of a model: converted by skl2onnx, and published only when it answers as the native form does.

Convention for servers: all-numeric models have one FLOAT input `X` [rows, columns] in the order of the
signature; where that cannot be (text columns, columns chosen by name) there is one input per column,
[rows, 1], FLOAT or STRING, a missing string being "". Outputs: `label` and `probabilities`
[rows, classes], or `value`. ONNX is optional: nothing here fails a run.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts.artifact import ParityReport
from tidemill_runtime.trainer.inspection import Model, Values, datatype

MATRIX_INPUT = "X"
PARITY_ROWS = 1000
TOLERANCE = 1e-4  # absolute for probabilities, relative for regression
_OPSET = {"": 18, "ai.onnx.ml": 3}  # pinned: the library's newest would change bytes with every release


@dataclass(frozen=True)
class Converted:
    """ONNX bytes that passed the parity check, or None; the report says why."""

    content: bytes | None
    report: ParityReport


def convert(model: Model, holdout: pd.DataFrame) -> Converted:
    """Return the ONNX form of a model, held against the native form on up to 1,000 held-out rows."""
    rows = holdout.head(PARITY_ROWS)
    reason = ""
    for by_column in _layouts(model, rows):
        try:
            content = _convert(model, rows, by_column=by_column)
            report = _parity(model, rows, content, by_column=by_column)
        except Exception as error:  # converters and ONNX Runtime raise anything; each means "no ONNX form"
            # The first sentence is skl2onnx's; what follows is usually a page of advice to its developers.
            said = (str(error).strip().splitlines() or [""])[0][:200]
            reason = reason or f"{type(error).__name__}: {said}"
            continue
        return Converted(content if report.passed else None, report)
    return Converted(None, ParityReport(passed=False, rows=0, reason=reason or "there is no converter"))


def feed(names: tuple[str, ...], rows: pd.DataFrame, inputs: list[str]) -> dict[str, Values]:
    """Return the ONNX inputs for some rows, by the convention above; `inputs` are the graph's input names in order."""
    if len(inputs) == 1 and (len(names) > 1 or inputs[0] == MATRIX_INPUT):
        return {inputs[0]: rows[list(names)].to_numpy(dtype=np.float32)}
    fed: dict[str, Values] = {}
    for given, name in zip(inputs, names, strict=True):
        values = rows[name]
        if datatype(values.dtype) == "BYTES":
            fed[given] = values.astype(object).where(values.notna(), "").to_numpy(dtype=object).reshape(-1, 1)
        else:
            fed[given] = values.to_numpy(dtype=np.float32).reshape(-1, 1)
    return fed


def session(content: bytes) -> Any:
    """Return an ONNX Runtime session that computes on one thread, so that sums have one order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _layouts(model: Model, rows: pd.DataFrame) -> list[bool]:
    """Return the input layouts to try: False one matrix, True one input per column."""
    numeric = all(datatype(rows[name].dtype) != "BYTES" for name in model.columns)
    return ([False] if numeric else []) + ([True] if model.frame else [])


def _convert(model: Model, rows: pd.DataFrame, *, by_column: bool) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if by_column:
        types: list[tuple[str, Any]] = [
            (name, (StringTensorType if datatype(rows[name].dtype) == "BYTES" else FloatTensorType)([None, 1]))
            for name in model.columns
        ]
    else:
        types = [(MATRIX_INPUT, FloatTensorType([None, len(model.columns)]))]
    options = {id(model.estimator): {"zipmap": False}} if model.classes is not None else None
    with warnings.catch_warnings(), _integer_flags():
        warnings.simplefilter("ignore")
        graph = convert_sklearn(
            model.estimator, name="tidemill", initial_types=types, options=options, target_opset=_OPSET
        )
    wanted = ["value"] if model.task in ("regression", "unknown") else ["label"]
    if model.classes is not None and hasattr(model.estimator, "predict_proba"):
        wanted.append("probabilities")
    _name_outputs(graph.graph, wanted)
    # The converter lists operator sets in the order of a Python set.
    operators = sorted((item.domain, item.version) for item in graph.opset_import)
    del graph.opset_import[:]
    for domain, version in operators:
        graph.opset_import.add(domain=domain, version=version)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


@contextlib.contextmanager
def _integer_flags() -> Iterator[None]:
    """Let histogram gradient boosting convert: skl2onnx 1.20 writes a boolean where ONNX takes an integer."""
    from skl2onnx.common import tree_ensemble

    original = tree_ensemble.add_node

    def add_node(*args: Any, nodes_missing_value_tracks_true: Any = 0, **kwargs: Any) -> Any:
        return original(*args, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **kwargs)

    tree_ensemble.add_node = add_node
    try:
        yield
    finally:
        tree_ensemble.add_node = original


def _name_outputs(graph: Any, wanted: list[str]) -> None:
    """Keep the wanted outputs only (skl2onnx adds scores that are no probabilities) and give them their names."""
    del graph.output[len(wanted) :]
    taken = {value.name for value in graph.input}
    for output, name in zip(graph.output, wanted, strict=True):
        # A new node rather than a new name throughout: the tensor may be used inside the graph as well.
        fresh = name if name not in taken else f"output_{name}"
        if output.name != fresh:
            graph.node.add(op_type="Identity", input=[output.name], output=[fresh], name=f"name_{name}")
            output.name = fresh


def _parity(model: Model, rows: pd.DataFrame, content: bytes, *, by_column: bool) -> ParityReport:
    runtime = session(content)
    inputs = [node.name for node in runtime.get_inputs()]
    if by_column and len(inputs) != len(model.columns):
        return ParityReport(passed=False, rows=0, reason="the converter dropped inputs")
    answers = runtime.run(None, feed(model.columns, rows, inputs))
    expected = model.predict(rows)
    found = np.asarray(answers[0])
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if model.task in ("regression", "unknown"):
        return _compare_values(expected, found)
    return _compare_labels(expected, found, model.probabilities(rows), answers[1] if len(answers) > 1 else None)


def _compare_values(expected: Values, found: Values) -> ParityReport:
    rows = len(expected)
    if found.shape != expected.shape:
        return ParityReport(passed=False, rows=rows, reason=f"shape {found.shape}, expected {expected.shape}")
    expected = expected.astype(float)
    difference = np.abs(found.astype(float) - expected)
    allowed = TOLERANCE * np.maximum(np.abs(expected), np.abs(expected).mean())
    largest = float(difference.max())
    if not np.isfinite(largest) or (difference > allowed).any():
        count = int((~(difference <= allowed)).sum())
        reason = f"{count} of {rows} values differ by more than {TOLERANCE:g} relative"
        finite = largest if np.isfinite(largest) else None
        return ParityReport(passed=False, rows=rows, max_abs_difference=finite, reason=reason)
    return ParityReport(passed=True, rows=rows, max_abs_difference=largest)


def _compare_labels(expected: Values, found: Values, probabilities: Values | None, given: Any) -> ParityReport:
    rows = len(expected)
    same = found.astype(expected.dtype) == expected if expected.dtype.kind in "biuf" else found == expected
    mismatches = int((~same.astype(bool)).sum())
    largest = None
    if probabilities is not None and given is not None and np.shape(given) == probabilities.shape:
        largest = float(np.abs(np.asarray(given, dtype=float) - probabilities).max())
    if mismatches:
        return ParityReport(
            passed=False, rows=rows, label_mismatches=mismatches, max_abs_difference=largest,
            reason=f"{mismatches} of {rows} labels differ",
        )  # fmt: skip
    if probabilities is not None and (largest is None or not largest <= TOLERANCE):
        reason = f"probabilities differ by up to {largest}, allowed {TOLERANCE:g}"
        return ParityReport(passed=False, rows=rows, label_mismatches=0, max_abs_difference=largest, reason=reason)
    return ParityReport(passed=True, rows=rows, label_mismatches=0, max_abs_difference=largest)
