"""When the same output of two forms of a model is the same: the one rule for every comparison of ONNX and native.

Labels must be equal, probabilities within 1e-4, other numbers within 1e-4 of their size or of the usual size. What is
not a number in both is the same.
"""

import numpy as np

from tidemill_contracts.artifact import PROBABILITIES
from tidemill_runtime.model.frame import Array

TOLERANCE = 1e-4
LABELS = ("label", "cluster")


def agrees(name: str, first: Array, second: Array, usual: Array | float) -> Array:
    """Return for each value of an output, of one shape in both forms, whether the forms agree.

    `name`: the output's name. `usual`: its `usual_sizes`, by which small numbers are judged.
    """
    if first.dtype.kind not in "fiub" or second.dtype.kind not in "fiub":
        found: Array = np.asarray(first.astype(object) == second.astype(object), dtype=bool)
        return found
    with np.errstate(all="ignore"):
        same: Array = (first == second) | (np.isnan(first) & np.isnan(second))
        if name in LABELS:
            return same
        a, b = first.astype(np.float64), second.astype(np.float64)
        is_probability = name.startswith(PROBABILITIES)
        allowed = TOLERANCE if is_probability else TOLERANCE * np.maximum(np.abs(a), usual)
        near: Array = same | (np.isfinite(a) & np.isfinite(b) & (np.abs(a - b) <= allowed))
    return near


def usual_sizes(values: Array) -> Array:
    """Return for each column of an output [rows] or [rows, n] the mean size of its finite numbers."""
    if values.dtype.kind not in "fiu":
        return np.zeros(values.shape[1:])
    sizes = np.abs(values.astype(np.float64))
    is_number = np.isfinite(sizes)
    found: Array = np.where(is_number, sizes, 0.0).sum(axis=0) / np.maximum(is_number.sum(axis=0), 1)
    return found
