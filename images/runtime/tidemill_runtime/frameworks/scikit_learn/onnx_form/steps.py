"""Transformers for ONNX that compute from doubles what scikit-learn computes from them.

skl2onnx rounds to single precision or to whole numbers where it compares: 16,777,217 and 16,777,216 become one
category, a time stamp falls on the wrong side of a threshold, 2.5 is taken for 2. Where a model takes doubles these
converters take the place of skl2onnx's; everything else is left to those.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tidemill_runtime.frameworks.scikit_learn.estimators import parts
from tidemill_runtime.frameworks.scikit_learn.onnx_form.nodes import Converter, Graph, NoExactFormError, double, integer
from tidemill_runtime.model.frame import Array


def converters() -> dict[type, Converter]:
    """Return this module's converters by class, for skl2onnx's `custom_conversion_functions`."""
    from skl2onnx.operator_converters import (
        binariser,
        imputer_op,
        one_hot_encoder,
        ordinal_encoder,
        polynomial_features,
    )
    from sklearn import impute, preprocessing

    return {
        preprocessing.Binarizer: _chosen(_always, _binarizer, binariser.convert_sklearn_binarizer),
        preprocessing.OneHotEncoder: _chosen(
            _one_hot_is_ours, _one_hot, one_hot_encoder.convert_sklearn_one_hot_encoder
        ),
        preprocessing.OrdinalEncoder: _chosen(
            _knows_numbers, _ordinal, ordinal_encoder.convert_sklearn_ordinal_encoder
        ),
        preprocessing.PolynomialFeatures: _chosen(
            _always, _polynomial, polynomial_features.convert_sklearn_polynomial_features
        ),
        impute.SimpleImputer: _chosen(_imputes_doubles, _imputer, imputer_op.convert_sklearn_imputer),
    }


def holds_categories(estimator: Any) -> bool:
    """Return whether single precision holds every number that an encoder in a model knows."""
    known = [np.asarray(values) for part in parts(estimator) for values in getattr(part, "categories_", ())]
    numbers = [values.astype(np.float64) for values in known if values.dtype.kind in "iuf"]
    with np.errstate(over="ignore"):
        return all(np.array_equal(v, v.astype(np.float32).astype(np.float64), equal_nan=True) for v in numbers)


def _chosen(is_ours: Callable[[Any], bool], converter: Callable[[Graph], None], original: Converter) -> Converter:
    """Return a converter: ours where all inputs are doubles and it knows the estimator's settings."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType
        from skl2onnx.operator_converters.common import concatenate_variables

        doubles = all(isinstance(variable.type, DoubleTensorType) for variable in operator.inputs)
        if not doubles or not is_ours(operator.raw_operator):
            original(scope, operator, container)
            return
        graph = Graph(scope, operator, container)
        graph.given = [concatenate_variables(scope, operator.inputs, container)]
        converter(graph)

    return convert


def _imputes_doubles(model: Any) -> bool:
    is_plain = isinstance(model.missing_values, float) and np.isnan(model.missing_values)
    return is_plain and np.asarray(model.statistics_).dtype == np.float64


def _imputer(graph: Graph) -> None:
    values = np.asarray(graph.model.statistics_)
    if graph.model.add_indicator or np.isnan(values).any():
        raise NoExactFormError("an imputer that adds or drops columns")
    (given,) = graph.given
    graph.result(graph.node("Where", [graph.node("IsNaN", [given]), graph.constant(values), given]), 0)


def _always(_: Any) -> bool:
    return True


def _binarizer(graph: Graph) -> None:
    threshold = graph.constant(np.array([float(graph.model.threshold)]))
    graph.result(graph.node("Greater", [*graph.given, threshold]), 0)


def _polynomial(graph: Graph) -> None:
    """Write products in the order in which scikit-learn multiplies: of a term's first column with the product of the
    others.
    """
    model = graph.model
    wanted = [tuple(term) for term in _terms(model)]
    last: list[tuple[int, ...]] = [(i,) for i in range(model.n_features_in_)]
    values: dict[tuple[int, ...], tuple[str, int]] = {term: (graph.given[0], i) for i, term in enumerate(last)}
    for degree in range(2, model._max_degree + 1):
        terms = [term for term in wanted if len(term) == degree] if degree == model._max_degree else _all(model, degree)
        if not terms:
            break
        before = values[last[0]][0]
        tails = graph.node("Gather", [before, graph.constant(np.array([values[t[1:]][1] for t in terms]))], axis=1)
        heads = graph.node("Gather", [graph.given[0], graph.constant(np.array([t[0] for t in terms]))], axis=1)
        product = graph.node("Mul", [tails, heads])
        values |= {term: (product, i) for i, term in enumerate(terms)}
        last = terms
    graph.result(graph.node("Concat", _in_order(graph, wanted, values), axis=1), 0)


def _in_order(graph: Graph, wanted: list[tuple[int, ...]], values: dict[tuple[int, ...], tuple[str, int]]) -> list[str]:
    """Return the matrices whose columns are the wanted terms; those of one degree stand together."""
    found: list[str] = []
    for degree in sorted({len(term) for term in wanted}):
        terms = [term for term in wanted if len(term) == degree]
        if not degree:
            missing = graph.node("IsNaN", [_column(graph, 0)])
            true = graph.node("Or", [missing, graph.node("Not", [missing])])
            found.append(graph.node("Cast", [true], to=double()))
            continue
        places = np.array([values[term][1] for term in terms])
        found.append(graph.node("Gather", [values[terms[0]][0], graph.constant(places)], axis=1))
    return found


def _terms(model: Any) -> Any:
    return model._combinations(
        n_features=model.n_features_in_, min_degree=model._min_degree, max_degree=model._max_degree,
        interaction_only=model.interaction_only, include_bias=model.include_bias,
    )  # fmt: skip


def _all(model: Any, degree: int) -> list[tuple[int, ...]]:
    found = model._combinations(
        n_features=model.n_features_in_, min_degree=degree, max_degree=degree,
        interaction_only=model.interaction_only, include_bias=False,
    )  # fmt: skip
    return [tuple(term) for term in found]


def _column(graph: Graph, index: int) -> str:
    return graph.node("Gather", [graph.given[0], graph.constant(np.array([index]))], axis=1)


def _knows_numbers(model: Any) -> bool:
    return all(np.asarray(known).dtype.kind in "iufb" for known in model.categories_)


def _one_hot_is_ours(model: Any) -> bool:
    return _knows_numbers(model) and not model._infrequent_enabled


def _flags(graph: Graph, column: int, known: Array) -> str:
    """Return which category a row has, [rows, categories] of false and true; NaN is one like any other."""
    given, numbers = _column(graph, column), known.astype(np.float64)
    flags = graph.node("Equal", [given, graph.constant(numbers.reshape(1, -1))])
    if not np.isnan(numbers).any():
        return flags
    missing = graph.node("Cast", [graph.constant(np.isnan(numbers).astype(np.int64).reshape(1, -1))], to=_boolean())
    return graph.node("Or", [flags, graph.node("And", [graph.node("IsNaN", [given]), missing])])


def _boolean() -> int:
    from onnx import TensorProto

    return int(TensorProto.BOOL)


def _number(graph: Graph, column: int, known: Array, *, refuses: bool) -> str:
    """Return the number of a row's category from 1 on, 0 for one that is not known, [rows, 1].

    Where the encoder `refuses` such values, ONNX Runtime does it: its own encoder is asked for the number.
    """
    flags = graph.node("Cast", [_flags(graph, column, known)], to=integer())
    counted = graph.node("Mul", [flags, graph.constant(np.arange(1, len(known) + 1).reshape(1, -1))])
    number = graph.node("ReduceSum", [counted, graph.constant(np.array([1]))], keepdims=1)
    if not refuses:
        return number
    seen = graph.node("OneHotEncoder", [number], cats_int64s=list(range(1, len(known) + 1)), zeros=0)
    counted = graph.node(
        "Mul", [seen, graph.constant(np.arange(1, len(known) + 1, dtype=np.float32).reshape(1, 1, -1))]
    )
    summed = graph.node("ReduceSum", [counted, graph.constant(np.array([2]))], keepdims=0)
    return graph.node("Cast", [summed], to=integer())


def _one_hot(graph: Graph) -> None:
    model = graph.model
    found = []
    for column, known in enumerate(model.categories_):
        number = _number(graph, column, known, refuses=model.handle_unknown == "error")
        dropped = None if model.drop_idx_ is None else model.drop_idx_[column]
        kept = np.array([i + 1 for i in range(len(known)) if i != dropped], dtype=np.int64)
        if len(kept):
            found.append(graph.node("Equal", [number, graph.constant(kept.reshape(1, -1))]))
    floats = [graph.node("Cast", [flags], to=double()) for flags in found]
    graph.result(graph.node("Concat", floats, axis=1), 0)


def _ordinal(graph: Graph) -> None:
    model = graph.model
    found = []
    for column, known in enumerate(model.categories_):
        mapped = getattr(model, "_default_to_infrequent_mappings", None)
        codes = np.arange(len(known)) if mapped is None or mapped[column] is None else np.asarray(mapped[column])
        values = codes.astype(np.float64)
        if np.asarray(known).dtype.kind == "f" and len(known) and np.isnan(known[-1]):
            values = np.append(values[: len(known) - 1], float(model.encoded_missing_value))
        unknown = 0.0 if model.unknown_value is None else float(model.unknown_value)
        table = graph.constant(np.insert(values, 0, unknown))
        number = _number(graph, column, known, refuses=model.handle_unknown == "error")
        found.append(graph.node("Gather", [table, number], axis=0))
    graph.result(graph.node("Concat", found, axis=1), 0)
