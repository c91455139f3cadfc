"""Single values as numbers, categories, or nothing: how every column reads what a client sent."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.inference import Value
from tidemill_contracts.reference import category_text

Floats = NDArray[np.float64]
_NUMBERS: Final = frozenset({float, int, bool, type(None)})


def as_floats(values: Sequence[Value]) -> tuple[Floats, int]:
    """Return float64[n] with NaN for what is no number, and how many values had another type. Booleans are 0 and 1."""
    if set(map(type, values)) <= _NUMBERS:
        try:
            return np.array(values, dtype=np.float64), 0
        except OverflowError:  # an integer beyond 1e308
            pass
    mistyped = sum(isinstance(v, str) for v in values)
    return np.array([_as_float(v) for v in values], dtype=np.float64), mistyped


def _as_float(value: Value) -> float:
    if value is None or isinstance(value, str):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def is_missing(value: Value) -> bool:
    """Return whether a value is None or NaN."""
    return value is None or value != value  # NaN alone differs from itself


def category_codes(categories: Sequence[str]) -> dict[str, int]:
    """Return the bin of each category, also under its canonical spelling: a profile's "1.0" is met by 1."""
    codes = {text: number for number, text in enumerate(categories)}
    for number, text in enumerate(categories):
        try:
            codes.setdefault(category_text(float(text)), number)
        except (ValueError, OverflowError):
            continue
    return codes
