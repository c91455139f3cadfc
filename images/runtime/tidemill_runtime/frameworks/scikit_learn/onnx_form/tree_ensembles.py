"""Trees, forests and boosted trees for ONNX that answer as scikit-learn's do, by construction and not by luck.

skl2onnx writes trees in single precision: it adds shares of 1/n for the positive class and compares the sum with
one half. Where half of a forest votes for each class, which happens in most binary data sets, rounding decides.
Here leaves keep scikit-learn's own values and are added in double precision in the order of the trees, and the first
of the greatest sums wins. Branches hold numbers that divide all doubles as scikit-learn's thresholds do,
and missing values go where they went at training.

This module knows nodes and leaves only; which graphs are published is decided by the parity check in `convert`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill_runtime.frameworks.scikit_learn.estimators import parts
from tidemill_runtime.frameworks.scikit_learn.onnx_form.nodes import (
    Converter,
    Graph,
    NoExactFormError,
    NoFormError,
    double,
    integer,
    tensor,
)
from tidemill_runtime.model.frame import Array


@dataclass(frozen=True)
class Tree:
    """The nodes of one tree; every array but `weights` is [nodes].

    `weights` is [nodes, n], what a leaf adds to the sums `target`, `target` + 1, …
    """

    is_leaf: Array
    left: Array
    right: Array
    feature: Array
    threshold: Array  # left when x <= threshold, x being a double
    missing_left: Array
    weights: Array
    target: int = 0


def has_trees(estimator: Any) -> bool:
    """Return whether an estimator, or one inside it, is one that this module converts."""
    inside = (type(part) for part in parts(estimator))
    return any(kind.__module__.startswith("sklearn.") and kind.__name__ in _CONVERTERS for kind in inside)


def converters(*, exact: bool = True) -> dict[type, Converter]:
    """Return this module's converters by class, for skl2onnx's `custom_conversion_functions`.

    Without `exact` only those of histogram boosting, which skl2onnx 1.20 cannot convert at all: it writes a boolean
    where ONNX takes an integer.
    """
    from sklearn import ensemble, tree

    found = {getattr(tree if hasattr(tree, name) else ensemble, name): own for name, own in _CONVERTERS.items()}
    return {kind: _with_graph(own) for kind, own in found.items() if exact or kind.__name__.startswith("Hist")}


def doubles(thresholds: Array) -> Array:
    """Return for each threshold t the greatest double w: `x <= w` is `float32(x) <= t` for every double x.

    scikit-learn's trees (not its histogram boosting) round what they are given to single precision.
    """
    below = thresholds.astype(np.float32)
    below = np.where(below > thresholds, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2  # exact: neighbours in single precision
    # The middle itself rounds to that neighbour which is even.
    found: Array = np.where(middle.astype(np.float32) == below, middle, np.nextafter(middle, -np.inf))
    return found


def _forest_classifier(graph: Graph) -> None:
    model = graph.model
    if model.n_outputs_ != 1:
        raise NoExactFormError("a forest with several targets")
    trees = [_tree(part.tree_) for part in _parts(model)]
    count = len(model.classes_)
    # Of exactly two classes ONNX compares the second one's sum with a constant. A third one, which no leaf votes for,
    # makes it compare the sums with one another.
    winner, sums = _ensemble(graph, "Classifier", trees, classlabels_int64s=list(range(max(count, 3))))
    graph.labels(winner)
    votes = graph.node("Gather", [sums, graph.constant(np.arange(count))], axis=1) if count < 3 else sums
    graph.result(_mean(graph, votes, len(trees)), 1)


def _forest_regressor(graph: Graph) -> None:
    trees = [_tree(part.tree_) for part in _parts(graph.model)]
    (sums,) = _ensemble(graph, "Regressor", trees, n_targets=int(graph.model.n_outputs_))
    graph.result(_mean(graph, sums, len(trees)), 0)


def _mean(graph: Graph, sums: str, count: int) -> str:
    return graph.node("Div", [sums, graph.constant(np.array(count, dtype=np.float32))])


def _parts(model: Any) -> list[Any]:
    return list(getattr(model, "estimators_", [model]))


def _boosting_classifier(graph: Graph) -> None:
    trees, base = _boosted(graph)
    if len(base) > 1:
        numbers = list(range(len(base)))
        winner, sums = _ensemble(
            graph, "Classifier", trees, classlabels_int64s=numbers, base_values_as_tensor=tensor(base)
        )
        graph.labels(winner)
        graph.result(sums if graph.raw_scores else graph.node("Softmax", [sums], axis=1), 1)
        return
    (sums,) = _ensemble(graph, "Regressor", trees, n_targets=1, base_values_as_tensor=tensor(base))
    is_histogram = hasattr(graph.model, "_predictors")  # of a tie the one makes the first class, the other the second
    flags = graph.node("Greater" if is_histogram else "GreaterOrEqual", [sums, graph.constant(np.zeros(1, np.float32))])
    winner = graph.node("Cast", [flags], to=integer())
    graph.labels(graph.node("Reshape", [winner, graph.constant(np.array([-1]))]))
    if graph.raw_scores:  # of two classes skl2onnx's operators give one another's negative
        graph.result(graph.node("Concat", [graph.node("Neg", [sums]), sums], axis=1), 1)
        return
    scale = {"LogitLink": 1, "HalfLogitLink": 2}[type(graph.model._loss.link).__name__]
    second = graph.node("Sigmoid", [graph.node("Mul", [sums, graph.constant(np.array(scale, np.float32))])])
    first = graph.node("Sub", [graph.constant(np.array(1, np.float32)), second])
    graph.result(graph.node("Concat", [first, second], axis=1), 1)


def _boosting_regressor(graph: Graph) -> None:
    if graph.raw_scores:
        raise NoExactFormError("raw scores of a regressor")
    trees, base = _boosted(graph)
    (sums,) = _ensemble(graph, "Regressor", trees, n_targets=1, base_values_as_tensor=tensor(base))
    link = type(graph.model._loss.link).__name__
    if link not in ("IdentityLink", "LogLink"):
        raise NoExactFormError(f"the loss has link function {link}")
    graph.result(graph.node("Exp", [sums]) if link == "LogLink" else sums, 0)


def _boosted(graph: Graph) -> tuple[list[Tree], Array]:
    """Return the trees of a boosted ensemble and what its sums start from, [sums]."""
    model = graph.model
    if hasattr(model, "_predictors"):
        if model._preprocessor is not None:
            raise NoFormError("histogram boosting with categorical features")
        rounded = graph.is_single
        stages = [
            [_histogram_tree(tree.nodes, k, rounded) for k, tree in enumerate(stage)] for stage in model._predictors
        ]
        return [tree for stage in stages for tree in stage], np.ravel(model._baseline_prediction).astype(np.float64)
    if model.init not in (None, "zero"):
        raise NoExactFormError("boosting that starts from another estimator")
    rate = model.learning_rate
    stages = [[_tree(part.tree_, rate, k) for k, part in enumerate(stage)] for stage in model.estimators_]
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))
    return [tree for stage in stages for tree in stage], np.ravel(start).astype(np.float64)


def _isolation_forest(graph: Graph) -> None:
    """Write depths as leaves: an outlier is a row whose sum of depths is below a limit, to the last bit."""
    model = graph.model
    full = np.float64(len(model.estimators_) * float(_average_path_length(model)))
    if full == 0:
        raise NoExactFormError("an isolation forest of single rows")
    limit = _least_depth(full, model.offset_)
    trees = []
    for number, (part, chosen) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        tree = part.tree_
        depths = model._decision_path_lengths[number] + model._average_path_length_per_tree[number] - 1.0
        feature = np.where(tree.feature >= 0, np.asarray(chosen)[np.maximum(tree.feature, 0)], 0)
        trees.append(
            Tree(
                tree.children_left < 0, tree.children_left, tree.children_right, feature,
                doubles(tree.threshold), tree.missing_go_to_left, depths.reshape(-1, 1),
            )
        )  # fmt: skip
    (above,) = _ensemble(graph, "Regressor", trees, n_targets=1, base_values_as_tensor=tensor(np.array([-limit])))
    flags = graph.node(
        "Cast", [graph.node("GreaterOrEqual", [above, graph.constant(np.zeros(1, np.float32))])], to=integer()
    )
    twice = graph.node("Mul", [flags, graph.constant(np.array([2]))])
    labels = graph.node("Sub", [twice, graph.constant(np.array([1]))])
    graph.result(graph.node("Reshape", [labels, graph.constant(np.array([-1]))]), 0)
    share = graph.node("Div", [graph.node("Cast", [above], to=double()), graph.constant(np.array([full]))])
    power = graph.node("Neg", [graph.node("Add", [share, graph.constant(np.array([limit / full]))])])
    score = graph.node("Neg", [graph.node("Pow", [graph.constant(np.array([2.0])), power])])
    graph.result(graph.node("Sub", [score, graph.constant(np.array([float(model.offset_)]))]), 1)


def _average_path_length(model: Any) -> Any:
    from sklearn.ensemble._iforest import _average_path_length as average

    return average([model._max_samples])[0]


def _least_depth(full: Any, offset: Any) -> float:
    """Return the least sum of depths with which scikit-learn calls a row no outlier; the score grows with the sum."""

    def is_usual(depths: float) -> bool:
        scores = 2 ** (-np.divide(np.full(16, depths), full))  # as many rows as its operations take at once
        return bool((-scores - offset >= 0)[0])

    low, high = -1.0, 1.0
    while not is_usual(high) and high < 1e300:
        high *= 2
    while np.nextafter(low, high) < high:
        middle = low + (high - low) / 2
        low, high = (low, middle) if is_usual(middle) else (middle, high)
    return high


def _tree(tree: Any, rate: float = 1.0, target: int = 0) -> Tree:
    weights = rate * tree.value.reshape(tree.node_count, -1)  # of [nodes, outputs, classes] one of the two is 1
    return Tree(
        tree.children_left < 0, tree.children_left, tree.children_right, tree.feature,
        doubles(tree.threshold), tree.missing_go_to_left, weights, target,
    )  # fmt: skip


def _histogram_tree(nodes: Array, target: int, rounded: bool) -> Tree:
    """Return a tree whose thresholds are compared with doubles, or `rounded` with what was rounded to single."""
    if nodes["is_categorical"].any():
        raise NoFormError("histogram boosting with categorical features")
    thresholds = nodes["num_threshold"]
    if rounded:
        # A threshold may be a value of the data. Rounding keeps order: of `x <= t` follows `float32(x) <= float32(t)`,
        # and of `x > t` the opposite but for values that are the same number in single precision.
        thresholds = thresholds.astype(np.float32)
    return Tree(
        nodes["is_leaf"].astype(bool), nodes["left"], nodes["right"], nodes["feature_idx"],
        thresholds, nodes["missing_go_to_left"], nodes["value"].reshape(-1, 1), target,
    )  # fmt: skip


def _ensemble(graph: Graph, kind: str, trees: list[Tree], **attributes: Any) -> list[str]:
    """Add a tree ensemble that sums in double precision and return the names of its outputs."""
    x = graph.node("Cast", graph.given, to=double())
    part = "class" if kind == "Classifier" else "target"
    outputs = ["labels", "sums"] if kind == "Classifier" else ["sums"]
    names = [graph.name(f"tree_{name}") for name in outputs]
    graph.add(f"TreeEnsemble{kind}", [x], names, _attributes(trees, part) | attributes)
    return names


def _attributes(trees: list[Tree], part: str) -> dict[str, Any]:
    """Return the attributes of ONNX's tree ensembles (ai.onnx.ml 3); `part` is what leaves add to: class or target."""
    found: dict[str, list[Array]] = {}
    for number, tree in enumerate(trees):
        leaf, count = tree.is_leaf, len(tree.is_leaf)
        # Zeros change nothing, but every leaf needs an entry.
        kept = leaf[:, None] & ((tree.weights != 0) | (np.arange(tree.weights.shape[1]) == 0))
        nodes, targets = np.nonzero(kept)
        columns = {
            "nodes_treeids": np.full(count, number),
            "nodes_nodeids": np.arange(count),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_featureids": np.where(leaf, 0, tree.feature),
            "nodes_truenodeids": np.where(leaf, 0, tree.left),
            "nodes_falsenodeids": np.where(leaf, 0, tree.right),
            "nodes_missing_value_tracks_true": np.where(leaf, 0, tree.missing_left),
            "nodes_values_as_tensor": np.where(leaf, 0.0, tree.threshold),
            f"{part}_treeids": np.full(len(nodes), number),
            f"{part}_nodeids": nodes,
            f"{part}_ids": targets + tree.target,
            f"{part}_weights_as_tensor": tree.weights[nodes, targets],
        }
        for name, values in columns.items():
            found.setdefault(name, []).append(values)
    joined = {name: np.concatenate(values) for name, values in found.items()}
    return {name: tensor(all_) if name.endswith("tensor") else all_.tolist() for name, all_ in joined.items()}


def _with_graph(converter: Callable[[Graph], None]) -> Converter:
    return lambda scope, operator, container: converter(Graph(scope, operator, container))


_CONVERTERS: dict[str, Callable[[Graph], None]] = {
    "DecisionTreeClassifier": _forest_classifier,
    "DecisionTreeRegressor": _forest_regressor,
    "ExtraTreeClassifier": _forest_classifier,
    "ExtraTreeRegressor": _forest_regressor,
    "ExtraTreesClassifier": _forest_classifier,
    "ExtraTreesRegressor": _forest_regressor,
    "GradientBoostingClassifier": _boosting_classifier,
    "GradientBoostingRegressor": _boosting_regressor,
    "HistGradientBoostingClassifier": _boosting_classifier,
    "HistGradientBoostingRegressor": _boosting_regressor,
    "IsolationForest": _isolation_forest,
    "RandomForestClassifier": _forest_classifier,
    "RandomForestRegressor": _forest_regressor,
}
