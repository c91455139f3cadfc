"""Columns of known distributions: ten kinds on which monitors raise false alarms, and shifts of known size."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Values = NDArray[np.generic]
Draw = Callable[[np.random.Generator, int], Values]


def _zip_codes(random: np.random.Generator, rows: int) -> Values:
    return np.char.add("zip ", random.integers(0, 1_000, rows).astype(str))


def _mostly_zero(random: np.random.Generator, rows: int) -> Values:
    return np.where(random.random(rows) < 0.9, 0.0, random.lognormal(size=rows))


def _half_missing(random: np.random.Generator, rows: int) -> Values:
    return np.where(random.random(rows) < 0.5, np.nan, random.normal(size=rows))


def _skewed_categories(random: np.random.Generator, rows: int) -> Values:
    return np.minimum(random.geometric(0.15, rows), 40).astype(str)


KINDS: Final[Mapping[str, Draw]] = {
    "normal": lambda random, rows: random.normal(size=rows),
    "heavy tail": lambda random, rows: random.standard_t(2, rows),
    "as 32-bit floats": lambda random, rows: random.gamma(2.0, size=rows).astype(np.float32).astype(np.float64),
    "whole numbers": lambda random, rows: random.poisson(4, rows),
    "90 % zeros": _mostly_zero,
    "half missing": _half_missing,
    "one value": lambda _, rows: np.ones(rows),
    "flag of 1 %": lambda random, rows: np.where(random.random(rows) < 0.01, "yes", "no"),
    "40 skewed categories": _skewed_categories,
    "1,000 categories": _zip_codes,
}


def table(random: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return a column of each kind."""
    return pd.DataFrame({name: draw(random, rows) for name, draw in KINDS.items()})


def features(random: np.random.Generator, rows: int, columns: int, shift: float = 0.0) -> pd.DataFrame:
    """Return four fifths numbers and one fifth categories; `shift`: of the first number, in standard deviations."""
    numbers = columns - columns // 5
    found = {f"n{i}": random.normal(shift if i == 0 else 0.0, 1.0, rows) for i in range(numbers)}
    plans = np.array(["basic", "plus", "pro", "free", "trial", "school", "team", "other"])
    found |= {f"c{i}": plans[random.integers(0, len(plans), rows)] for i in range(columns // 5)}
    return pd.DataFrame(found)
