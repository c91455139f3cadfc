"""Where a fitted model changes its answer by a step, in terms of its input columns.

Trees split, binarizers and bins cut, encoders know some values and no others. A step is known in an input column
where nothing, or something that can be undone column by column (a scaler, an imputer), stands between the two.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill_runtime.frameworks.scikit_learn.estimators import is_collection
from tidemill_runtime.frameworks.scikit_learn.selections import places
from tidemill_runtime.model.frame import Array

_UNDONE = frozenset(
    {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PowerTransformer", "QuantileTransformer"}
)
_UNCHANGED = frozenset({"SimpleImputer", "KNNImputer", "IterativeImputer"})  # but for what was missing
_DEPTH = 8


@dataclass(frozen=True)
class _Source:
    """A column of numbers inside a model: the input column that it is made of, and the way back to its values."""

    index: int
    back: Callable[[Array], Array]


_Sources = Sequence[_Source | None]


def thresholds(estimator: Any, names: Sequence[str]) -> list[Array]:
    """Return for each input column the values at which a step of the model lies, sorted and each once."""
    found: list[list[Array]] = [[] for _ in names]
    sources = [_Source(index, lambda values: values) for index in range(len(names))]
    with np.errstate(all="ignore"):
        for source, values in _walk(estimator, sources, names, _DEPTH):
            numbers = np.asarray(source.back(np.asarray(values, dtype=np.float64)), dtype=np.float64)
            found[source.index].append(numbers[np.isfinite(numbers)])
    return [np.unique(np.concatenate(values)) if values else np.empty(0) for values in found]


def _walk(model: Any, sources: _Sources, names: Sequence[str], depth: int) -> Iterator[tuple[_Source, Any]]:
    """Yield columns with the values at which a part of the model has a step in them."""
    if depth == 0 or model is None or isinstance(model, str):
        return
    if hasattr(model, "transformers_"):
        for _, inner, columns in model.transformers_:
            chosen = [sources[i] for i in places(columns, names, len(sources))]
            yield from _walk(inner, chosen, names_of(columns, names), depth - 1)
        return
    if hasattr(model, "steps"):
        for _, step in model.steps:
            yield from _walk(step, sources, names, depth - 1)
            sources = _after(step, sources, names)
        return
    own = list(_own(model))
    for column, values in own:
        if column < len(sources) and (source := sources[column]) is not None and len(values):
            yield source, values
    if not own:
        for inner in inside(model, len(sources)):
            yield from _walk(inner, sources, names, depth - 1)


def _after(step: Any, sources: _Sources, names: Sequence[str]) -> _Sources:
    """Return what the columns behind a step are made of."""
    if step is None or isinstance(step, str):
        return sources
    if hasattr(step, "transformers_"):
        found: list[_Source | None] = [None] * max(s.stop for s in step.output_indices_.values())
        for name, inner, columns in step.transformers_:
            place = step.output_indices_.get(name, slice(0, 0))
            chosen = [sources[i] for i in places(columns, names, len(sources))]
            made = chosen if inner == "passthrough" else _after(inner, chosen, names_of(columns, names))
            if len(made) == place.stop - place.start:
                found[place] = made
        return found
    if hasattr(step, "steps"):
        for _, inner in step.steps:
            sources = _after(inner, sources, names)
        return sources
    kind = type(step).__name__
    if kind in _UNCHANGED and not getattr(step, "add_indicator", False) and step.n_features_in_ == len(sources):
        return _kept(step, sources)
    if kind in _UNDONE:
        return [source and _Source(source.index, _undone(step, i, source.back)) for i, source in enumerate(sources)]
    return [None] * len(sources)


def _kept(step: Any, sources: _Sources) -> _Sources:
    """Return the columns behind an imputer, which drops those that were empty at training."""
    given = getattr(step, "feature_names_in_", [f"x{i}" for i in range(len(sources))])
    known = {str(name): place for place, name in enumerate(given)}
    return [sources[known[str(name)]] for name in step.get_feature_names_out()]


def _undone(step: Any, column: int, back: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def undo(values: Array) -> Array:
        rows = np.zeros((len(values), step.n_features_in_))
        rows[:, column] = values
        return back(np.asarray(step.inverse_transform(rows))[:, column])

    return undo


def names_of(columns: Any, names: Sequence[str]) -> list[str]:
    """Return the names of the columns that a column transformer selects."""
    return [names[i] for i in places(columns, names, len(names))]


def _own(model: Any) -> Iterator[tuple[int, Array]]:
    """Yield the columns of one estimator that is no container, with the values at which it has a step."""
    if hasattr(model, "_predictors"):  # histogram gradient boosting
        nodes = np.concatenate([tree.nodes for stage in model._predictors for tree in stage])
        nodes = nodes[nodes["is_leaf"] == 0]
        yield from _by_column(nodes["feature_idx"], nodes["num_threshold"])
    elif hasattr(model, "tree_"):
        yield from _of_trees([(model.tree_, None)])
    elif (members := _members(model)) and all(hasattr(tree, "tree_") for tree in members):
        chosen = getattr(model, "estimators_features_", None)
        trees = [tree.tree_ for tree in members]
        yield from _of_trees(list(zip(trees, chosen if chosen is not None else [None] * len(trees), strict=True)))
    elif type(model).__name__ == "Binarizer":
        yield from ((column, np.array([model.threshold])) for column in range(model.n_features_in_))
    elif type(model).__name__ == "BernoulliNB":
        if model.binarize is not None:
            yield from ((column, np.array([model.binarize])) for column in range(model.n_features_in_))
    elif hasattr(model, "bin_edges_"):
        yield from enumerate(model.bin_edges_)
    elif hasattr(model, "categories_"):
        for column, known in enumerate(model.categories_):
            if np.asarray(known).dtype.kind in "iuf":
                yield column, np.asarray(known)


def _members(model: Any) -> list[Any]:
    """Return the fitted estimators of an ensemble in their order.

    They are kept in a list or in an object array [stages, classes]. numpy must not look at the estimators themselves:
    of pipelines and forests, which have a length, it would make arrays.
    """
    found: list[Any] = []
    waiting = [getattr(model, "estimators_", [])]
    while waiting:
        item = waiting.pop()
        if is_collection(item):
            waiting.extend(reversed(item))
        else:
            found.append(item)
    return found


def _of_trees(trees: list[tuple[Any, Any]]) -> Iterator[tuple[int, Array]]:
    features, values = [], []
    for tree, chosen in trees:
        inner = tree.feature >= 0
        features.append(tree.feature[inner] if chosen is None else np.asarray(chosen)[tree.feature[inner]])
        values.append(tree.threshold[inner])
    yield from _by_column(np.concatenate(features), np.concatenate(values))


def _by_column(features: Array, values: Array) -> Iterator[tuple[int, Array]]:
    for column in np.unique(features):
        yield int(column), np.unique(values[features == column])


def inside(model: Any, width: int) -> Iterator[Any]:
    """Yield the fitted estimators in an ensemble that take all of its columns."""
    waiting: list[Any] = list(vars(model).values()) if hasattr(model, "__dict__") else []
    while waiting:
        item = waiting.pop()
        if is_collection(item):
            waiting.extend(item)
        elif getattr(item, "n_features_in_", None) == width or type(item).__name__ == "_CalibratedClassifier":
            yield item
