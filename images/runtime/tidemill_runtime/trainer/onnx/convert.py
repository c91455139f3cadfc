"""The ONNX form of a model: converted by skl2onnx, and published only when it answers as the native form does.

Convention for servers: all-numeric models have one input `X` [rows, columns] in the order of the signature; where
that cannot be (text columns, columns chosen by name) there is one input per column, [rows, 1], numbers or STRING, a
missing string being "". Numbers are FLOAT, or DOUBLE where single precision could change an answer: for trees, which
compare, and for models that fail the check in single precision. Outputs are those of the signature, in its order.
ONNX is optional: nothing here fails a run.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts.artifact import PROBABILITIES, ParityReport
from tidemill_runtime.redaction import redact
from tidemill_runtime.trainer.model.inspection import Model, Values, datatype
from tidemill_runtime.trainer.onnx import nodes, steps, tree_ensembles

MATRIX_INPUT = "X"
PARITY_ROWS = 1000
TOLERANCE = 1e-4  # absolute for probabilities, relative for regression
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
_OPSET = {"": 18, "ai.onnx.ml": 3}  # pinned: the library's newest would change bytes with every release


class Precision(IntEnum):
    """How a graph computes, the less exact first."""

    SINGLE = 0  # as skl2onnx does it
    DOUBLE = 1  # the same from double inputs
    TREES = 2  # single, but trees by `tree_ensembles`
    DOUBLE_TREES = 3  # double, and trees by `tree_ensembles`


_DOUBLE = (Precision.DOUBLE, Precision.DOUBLE_TREES)


@dataclass(frozen=True)
class _Plan:
    by_column: bool
    precision: Precision


@dataclass(frozen=True)
class Converted:
    """ONNX bytes that passed the parity check, or None; the report says why."""

    content: bytes | None
    report: ParityReport


def convert(model: Model, holdout: pd.DataFrame, prove: Callable[[bytes], ParityReport] | None = None) -> Converted:
    """Return the ONNX form of a model, held against the native form on up to 1,000 held-out rows.

    A graph that passes there is given to `prove`, which has the last word.
    """
    rows = holdout.head(PARITY_ROWS)
    failed: tuple[Precision, ParityReport] | None = None
    reasons: dict[bool, str] = {}  # by layout: what a model says of columns by name is told of such columns
    for plan in _plans(model, rows):
        if failed is not None and plan.precision <= failed[0]:
            continue  # a difference may be cured by more precision; with less, to pass would be luck
        try:
            content = _convert(model, rows, plan)
            report = parity(model, rows, content)
            if report.passed and prove is not None:
                report = prove(content)
        except nodes.NoFormError as error:  # the rows of the check may miss what other converters do wrongly
            return Converted(None, ParityReport(passed=False, rows=0, reason=f"there is no exact converter: {error}"))
        except Exception as error:  # converters and ONNX Runtime raise anything; each means "no ONNX form"
            reasons.setdefault(plan.by_column, told(error))
            continue
        if report.passed:
            return Converted(content, report)
        failed = (plan.precision, failed[1] if failed else report)
    if failed is not None:
        return Converted(None, failed[1])
    reason = reasons.get(True) or reasons.get(False) or "there is no converter"
    return Converted(None, ParityReport(passed=False, rows=0, reason=reason))


def told(error: Exception) -> str:
    """Return an exception's type and first sentence, without addresses: equal runs say the same.

    What follows in skl2onnx's is usually a page of advice to its developers.
    """
    said = (redact(str(error)).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {_ADDRESS.sub('', said)}"


def feed(names: tuple[str, ...], rows: pd.DataFrame, inputs: list[Any]) -> dict[str, Values]:
    """Return the ONNX inputs for some rows, by the convention above; `inputs` are the session's, in their order."""
    if len(inputs) == 1 and (len(names) > 1 or inputs[0].name == MATRIX_INPUT):
        return {inputs[0].name: rows[list(names)].to_numpy(dtype=_dtype(inputs[0]))}
    fed: dict[str, Values] = {}
    for given, name in zip(inputs, names, strict=True):
        values = rows[name]
        if datatype(values.dtype) == "BYTES":
            fed[given.name] = values.astype(object).where(values.notna(), "").to_numpy(dtype=object).reshape(-1, 1)
        else:
            fed[given.name] = values.to_numpy(dtype=_dtype(given)).reshape(-1, 1)
    return fed


def _dtype(given: Any) -> Any:
    return np.float64 if given.type == "tensor(double)" else np.float32


def session(content: bytes) -> Any:
    """Return an ONNX Runtime session that computes on one thread, so that sums have one order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _plans(model: Model, rows: pd.DataFrame) -> list["_Plan"]:
    """Return what to try: models with trees in double precision first, others in single.

    Not in single where that does not hold a category: what comes behind an encoder may hide a neighbour's answer from
    the check, as a classifier without probabilities does in all rows but those near its border.
    """
    numeric = all(datatype(rows[name].dtype) != "BYTES" for name in model.columns)
    layouts = ([False] if numeric else []) + ([True] if model.frame else [])
    by_thresholds = tree_ensembles.has_trees(model.estimator)
    order: tuple[Precision, ...] = (
        (Precision.DOUBLE_TREES, Precision.TREES, Precision.SINGLE)
        if by_thresholds
        else (Precision.SINGLE, Precision.DOUBLE)
    )
    if not steps.holds_categories(model.estimator):
        order = tuple(precision for precision in order if precision in _DOUBLE)
    return [_Plan(by_column, precision) for precision in order for by_column in layouts]


def _convert(model: Model, rows: pd.DataFrame, plan: "_Plan") -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = DoubleTensorType if plan.precision in _DOUBLE else FloatTensorType
    if plan.by_column:
        types: list[tuple[str, Any]] = [
            (name, (StringTensorType if datatype(rows[name].dtype) == "BYTES" else number)([None, 1]))
            for name in model.columns
        ]
    else:
        types = [(MATRIX_INPUT, number([None, len(model.columns)]))]
    trees = tree_ensembles.exact_trees() if plan.precision >= Precision.TREES else contextlib.nullcontext()
    plain = {id(model.estimator): {"zipmap": False}} if model.task == "classification" else None
    with warnings.catch_warnings(), _integer_flags(), trees, steps.exact_steps():
        warnings.simplefilter("ignore")
        try:
            graph = convert_sklearn(
                model.estimator, name="tidemill", initial_types=types, options=plain, target_opset=_OPSET
            )
        except NameError:  # what skl2onnx raises for an option that a converter has not, as some without probabilities
            graph = convert_sklearn(model.estimator, name="tidemill", initial_types=types, target_opset=_OPSET)
    wanted = list(model.outputs(rows.head(1)))
    if len(wanted) > 1 and wanted[1] == f"{PROBABILITIES}_0":
        _split_targets(graph.graph, len(wanted) - 1)
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


def _split_targets(graph: Any, targets: int) -> None:
    """Replace the second output, the probabilities of all targets as a sequence or a stack, by one for each target."""
    from onnx import TensorProto, helper

    together = graph.output[1]
    is_sequence = together.type.HasField("sequence_type")
    given = together.type.sequence_type.elem_type if is_sequence else together.type
    kind = given.tensor_type.elem_type
    del graph.output[1:]
    for target in range(targets):
        index, name = f"target_{target}", f"of_target_{target}"
        graph.initializer.append(helper.make_tensor(index, TensorProto.INT64, [], [target]))
        operator: dict[str, Any] = {"op_type": "SequenceAt"} if is_sequence else {"op_type": "Gather", "axis": 0}
        graph.node.append(
            helper.make_node(inputs=[together.name, index], outputs=[name], name=f"take_{name}", **operator)
        )
        graph.output.append(helper.make_tensor_value_info(name, kind, [None, None]))


def _name_outputs(graph: Any, wanted: list[str]) -> None:
    """Keep the wanted outputs only (skl2onnx adds scores that are no probabilities) and give them their names.

    Numbers are cast to the type that skl2onnx declared: for double inputs it declares double, but ONNX's trees and
    linear models give single. A cast that changes nothing is dropped when the graph is loaded.
    """
    from onnx import TensorProto, helper

    del graph.output[len(wanted) :]
    taken = {value.name for value in graph.input}
    for output, name in zip(graph.output, wanted, strict=True):
        inner = f"{name}_as_computed"
        for node in graph.node:
            node.input[:] = [inner if given == output.name else given for given in node.input]
            node.output[:] = [inner if given == output.name else given for given in node.output]
        fresh = name if name not in taken else f"output_{name}"
        kind = output.type.tensor_type.elem_type
        cast: dict[str, Any] = (
            {"op_type": "Identity"} if kind == TensorProto.STRING else {"op_type": "Cast", "to": kind}
        )
        graph.node.append(helper.make_node(inputs=[inner], outputs=[fresh], name=f"name_{name}", **cast))
        output.name = fresh


def parity(model: Model, rows: pd.DataFrame, content: bytes) -> ParityReport:
    """Return how the graph's answers to some rows compare with the model's; what either raises is raised."""
    runtime = session(content)
    inputs = runtime.get_inputs()
    if inputs[0].name != MATRIX_INPUT and len(inputs) != len(model.columns):
        return ParityReport(passed=False, rows=0, reason="the converter dropped inputs")
    expected = model.outputs(rows)
    found = runtime.run(None, feed(model.columns, rows, inputs))
    if len(found) != len(expected):
        return ParityReport(passed=False, rows=0, reason=f"the graph has {len(found)} of {len(expected)} outputs")
    return _compare(expected, [_as_given(a, e) for a, e in zip(found, expected.values(), strict=True)])


def _as_given(found: Any, expected: Values) -> Values:
    array = np.asarray(found)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and expected.ndim == 1 else array


def _compare(expected: dict[str, Values], found: list[Values]) -> ParityReport:
    """Hold every output against the native one: labels exactly, probabilities absolutely, other numbers relatively."""
    names, answers = list(expected), list(expected.values())
    if answers[0].shape != found[0].shape:
        reason = f"{names[0]} has shape {found[0].shape}, expected {answers[0].shape}"
        return ParityReport(passed=False, rows=len(answers[0]), reason=reason)
    if names[0] == "value":
        report = _compare_values("value", answers[0], found[0])
    else:
        with_probabilities = len(names) > 1 and names[1] == PROBABILITIES
        more = (answers[1], found[1]) if with_probabilities else (None, None)
        report = _compare_labels(answers[0], found[0], *more)
    for name, wanted, given in zip(names[1:], answers[1:], found[1:], strict=True):
        if report.passed and name != PROBABILITIES:
            one = _compare_values(name, wanted, given)
            largest = max(report.max_abs_difference or 0.0, one.max_abs_difference or 0.0)
            report = one.model_copy(update={"max_abs_difference": largest, "label_mismatches": report.label_mismatches})
    return report


def _compare_values(name: str, expected: Values, found: Values) -> ParityReport:
    rows = len(expected)
    if found.shape != expected.shape:
        return ParityReport(passed=False, rows=rows, reason=f"{name}: shape {found.shape}, expected {expected.shape}")
    if expected.dtype.kind not in "fiub":
        return _compare_labels(expected, found, None, None)
    expected, found = expected.astype(float), found.astype(float)
    difference = np.where(np.isnan(expected) & np.isnan(found), 0.0, np.abs(found - expected))
    allowed = TOLERANCE * np.maximum(np.abs(expected), np.nanmean(np.abs(expected), axis=0))
    largest = float(difference.max())
    if not np.isfinite(largest) or (difference > allowed).any():
        count = int((~(difference <= allowed)).sum())
        reason = f"{count} of {expected.size} {name}s differ by more than {TOLERANCE:g} relative"
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
    reason=f"{mismatches} of {same.size} labels differ",
        )  # fmt: skip
    if probabilities is not None and (largest is None or not largest <= TOLERANCE):
        reason = f"probabilities differ by up to {largest}, allowed {TOLERANCE:g}"
        return ParityReport(passed=False, rows=rows, label_mismatches=0, max_abs_difference=largest, reason=reason)
    return ParityReport(passed=True, rows=rows, label_mismatches=0, max_abs_difference=largest)
