"""The ONNX form of a model: converted by skl2onnx, and published only when it answers as the native form does.

Inputs and outputs follow the convention of `frameworks.onnx.graphs`: one matrix, or, where that cannot be (text
columns, columns chosen by name), one input per column. Numbers are FLOAT, or DOUBLE where single precision could change
an answer: for trees, which compare, and for models that fail the check in single precision.
ONNX is optional: nothing here fails a run.
"""

import warnings
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pandas as pd

from tidemill_contracts.artifact import PROBABILITIES, ParityReport
from tidemill_runtime.frameworks.base import Converted, FittedModel, Verify
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.frameworks.onnx.graphs import MATRIX_INPUT
from tidemill_runtime.frameworks.scikit_learn.onnx_form import nodes, steps, tree_ensembles
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.redaction import summary

PARITY_ROWS = 1000
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


def convert(model: FittedModel, holdout: pd.DataFrame, verify: Verify | None = None) -> Converted:
    """Return the ONNX form of a model, compared with the native form on up to 1,000 held-out rows.

    A graph that passes there is given to `verify`, which decides.
    """
    rows = holdout.head(PARITY_ROWS)
    failed: tuple[Precision, ParityReport] | None = None
    reasons: dict[bool, str] = {}  # by layout: an error with one input per column is reported before one with a matrix
    for plan in _plans(model, rows):
        if failed is not None and plan.precision <= failed[0]:
            continue  # a difference may be cured by more precision; with less, to pass would be luck
        try:
            content = _convert(model, rows, plan)
            report = graphs.compared(model, rows, content)
            if report.passed and verify is not None:
                report = verify(content)
        except nodes.NoFormError as error:  # the rows of the check may miss what other converters do wrongly
            return Converted(None, ParityReport(passed=False, rows=0, reason=f"there is no exact converter: {error}"))
        except Exception as error:  # converters and ONNX Runtime raise anything; each means "no ONNX form"
            reasons.setdefault(plan.by_column, summary(error))
            continue
        if report.passed:
            return Converted(content, report)
        failed = (plan.precision, failed[1] if failed else report)
    if failed is not None:
        return Converted(None, failed[1])
    reason = reasons.get(True) or reasons.get(False) or "there is no converter"
    return Converted(None, ParityReport(passed=False, rows=0, reason=reason))


def _plans(model: FittedModel, rows: pd.DataFrame) -> list["_Plan"]:
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


def _convert(model: FittedModel, rows: pd.DataFrame, plan: "_Plan") -> bytes:
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
    ours = tree_ensembles.converters(exact=plan.precision >= Precision.TREES) | steps.converters()
    plain = {id(model.estimator): {"zipmap": False}} if model.task == "classification" else None
    settings = {
        "name": "tidemill", "initial_types": types, "target_opset": _OPSET, "custom_conversion_functions": ours
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = convert_sklearn(model.estimator, options=plain, **settings)
        except NameError:  # what skl2onnx raises for an option that a converter has not, as some without probabilities
            graph = convert_sklearn(model.estimator, **settings)
    wanted = list(model.outputs(rows.head(1)))
    if len(wanted) > 1 and wanted[1] == f"{PROBABILITIES}_0":
        _split_targets(graph.graph, len(wanted) - 1)
    _name_outputs(graph.graph, wanted)
    if plan.by_column:
        _drop_unread_inputs(graph.graph)
    # The converter lists operator sets in the order of a Python set.
    operators = sorted((item.domain, item.version) for item in graph.opset_import)
    del graph.opset_import[:]
    for domain, version in operators:
        graph.opset_import.add(domain=domain, version=version)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _drop_unread_inputs(graph: Any) -> None:
    """Take out the inputs that nothing reads, columns that the model does not use, so that nobody has to feed them."""
    read = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(kept)


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
