"""The methods by which fitted models are asked, and the outputs that they give; those of scikit-learn's estimators.

The trainer writes signatures by it and native models answer by it, so that both mean the same outputs. Knows no library
but numpy.
"""

from typing import Any

import numpy as np

from tidemill_contracts.artifact import DISTANCES, PROBABILITIES, SCORE, Task

_FIRST: dict[Task, str] = {"classification": "label", "outlier-detection": "label", "clustering": "cluster"}


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
    """Return what a method gave as arrays [rows] or [rows, n] by output name; a list has an array for each target."""
    if isinstance(values, list) and values and all(isinstance(one, np.ndarray) for one in values):
        return {f"{name}_{target}": np.asarray(array) for target, array in enumerate(values)}
    if hasattr(values, "toarray"):  # sparse
        values = values.toarray()
    array = np.asarray(values)
    return {name: array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and name != PROBABILITIES else array}
