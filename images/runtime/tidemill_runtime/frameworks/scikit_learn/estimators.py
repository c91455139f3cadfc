"""What is inside a scikit-learn estimator and what it gives. Knows no library but numpy.

The trainer writes signatures by it and the native server answers by it, so that both mean the same outputs.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tidemill_contracts.artifact import DISTANCES, PROBABILITIES, SCORE, Task

_FIRST: dict[Task, str] = {"classification": "label", "outlier-detection": "label", "clustering": "cluster"}
_UNKNOWN_CATEGORIES = re.compile(r"unknown categories \[(.*)\] in column", re.DOTALL)  # scikit-learn's words


def refused_categories(error: Exception) -> str | None:
    """Return the values that an encoder refused as scikit-learn lists them, None for any other error."""
    found = _UNKNOWN_CATEGORIES.search(str(error))
    return found[1] if found else None


def is_collection(item: object) -> bool:
    """Return whether something may hold estimators one after the other: a list, a tuple, an array of objects."""
    return isinstance(item, (list, tuple)) or (isinstance(item, np.ndarray) and item.dtype == object and item.ndim > 0)


def parts(root: object) -> Iterator[Any]:
    """Yield an estimator and every estimator inside it, fitted ones included, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif is_collection(item):
            waiting.extend(item)
        elif hasattr(item, "get_params") and hasattr(item, "__dict__"):
            yield item
            waiting.extend(vars(item).values())


def output_methods(estimator: Any, task: Task) -> dict[str, str]:
    """Return the outputs of an estimator, the prediction first: their names and the methods that give them.

    `probabilities` stands for all targets here; `named` splits them.
    """
    found = {_FIRST.get(task, "value"): "transform" if task == "transformation" else "predict"}
    if task in ("classification", "clustering") and hasattr(estimator, "predict_proba"):
        found[PROBABILITIES] = "predict_proba"
    elif task == "clustering" and hasattr(estimator, "transform"):
        found[DISTANCES] = "transform"
    elif task == "outlier-detection" and hasattr(estimator, "decision_function"):
        found[SCORE] = "decision_function"
    return found


def named(name: str, values: Any) -> dict[str, Any]:
    """Return what a method gave as arrays [rows] or [rows, n] by output name; a list has one array for each target."""
    if isinstance(values, list):
        return {f"{name}_{target}": np.asarray(array) for target, array in enumerate(values)}
    if hasattr(values, "toarray"):  # sparse
        values = values.toarray()
    array = np.asarray(values)
    return {name: array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and name != PROBABILITIES else array}
