"""A skops archive that was made elsewhere: the estimator, and the columns that it takes, without data to look at.

An estimator knows its columns' names, or only how many there are; what its encoders, imputers and vectorizers learned
says which of them hold text, and which values are known. Every other column holds numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidemill_contracts.formats import Format
from tidemill_runtime import expansion
from tidemill_runtime.frameworks.base import FileColumn, FileModel, FrameworkError
from tidemill_runtime.frameworks.scikit_learn import storing
from tidemill_runtime.frameworks.scikit_learn.thresholds import inside, names_of

_DEPTH = 8
_Values = tuple[Any, ...]


def read(form: Format, path: Path) -> FileModel:
    """Return the model in an archive; constructs vetted types only.

    Raises:
        FrameworkError: UntrustedType, or Unservable (an estimator that does not say what it takes).
        ExpansionError: it becomes too large.
        Exception: it is broken; of any type.
    """
    expansion.check_zip(path, path.name)
    estimator = storing.load(form, path.read_bytes(), ())
    names, has_names = _names(estimator)
    known = _known(estimator, names, _DEPTH)
    columns = tuple(_column(name, known.get(name)) for name in names)
    return FileModel(estimator, columns, has_names=has_names)


def _names(estimator: Any) -> tuple[list[str], bool]:
    """Return the columns' names and whether they are the model's own; those of a matrix are as scikit-learn has them.

    Raises:
        FrameworkError: Unservable.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return [str(name) for name in names], True
    width = getattr(estimator, "n_features_in_", None)
    if not width:
        text = f"the {type(estimator).__name__} does not say how many columns it takes: fit it on a DataFrame"
        raise FrameworkError("Unservable", text)
    return [f"x{place}" for place in range(width)], False


def _column(name: str, values: _Values | None) -> FileColumn:
    """Return a column of text where texts are known of it, or it takes any text; else of numbers."""
    if values is None:
        return FileColumn(name, "FP64")
    texts = tuple(value for value in values if isinstance(value, str))
    if texts or not values:
        return FileColumn(name, "BYTES", texts)
    if all(isinstance(value, bool) for value in values):
        return FileColumn(name, "BOOL", values)
    return FileColumn(name, "FP64", tuple(float(value) for value in values))


def _known(model: Any, names: Sequence[str], depth: int) -> Mapping[str, _Values]:
    """Return what is known of columns: the values that an encoder knows, () for any text; absent is any number."""
    if depth == 0 or model is None or isinstance(model, str):
        return {}
    if hasattr(model, "transformers_"):
        found: dict[str, _Values] = {}
        for _, inner, columns in model.transformers_:
            found |= _known(inner, names_of(columns, names), depth - 1)
        return found
    if hasattr(model, "steps"):
        return _of_steps(model, names, depth)
    own = _own(model, names)
    if own is not None:
        return own
    found = {}
    for inner in inside(model, len(names)):
        found |= _known(inner, names, depth - 1)
    return found


def _of_steps(pipeline: Any, names: Sequence[str], depth: int) -> Mapping[str, _Values]:
    """Return what the steps know, up to the first behind which the columns are others."""
    found: dict[str, _Values] = {}
    for _, step in pipeline.steps:
        found = {**found, **_known(step, names, depth - 1)}
        keeps = step is None or isinstance(step, str) or hasattr(step, "statistics_")
        if not keeps or len(getattr(step, "statistics_", names)) != len(names):
            break
    return found


def _own(model: Any, names: Sequence[str]) -> Mapping[str, _Values] | None:
    """Return what one estimator that is no container has learned of its columns; None where that says nothing."""
    if hasattr(model, "vocabulary_"):  # of a text; () is any
        return dict.fromkeys(names, ())
    if hasattr(model, "categories_") and len(model.categories_) == len(names):
        return {name: _values(known) for name, known in zip(names, model.categories_, strict=True)}
    statistics = getattr(model, "statistics_", None)
    if statistics is not None and len(statistics) == len(names):
        return {name: () for name, value in zip(names, statistics, strict=True) if isinstance(value, str)}
    return None


def _values(known: Any) -> _Values:
    """Return an encoder's categories without what is missing."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in np.asarray(known).ravel()]
    return tuple(v for v in plain if isinstance(v, (str, int)) or (isinstance(v, float) and not math.isnan(v)))
