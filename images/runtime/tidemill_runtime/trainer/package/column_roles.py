"""What the values of a column appear to be: quantities, codes that name something, or one identifier a row. Pure.

A guess by name and values, which is told where columns are judged; the ModelMonitor may state otherwise.
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.reference import Role

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAMES: Final = frozenset(
    {"code", "ean", "gtin", "guid", "id", "ids", "isbn", "plz", "postcode", "sku", "uuid", "zip", "zipcode"}
)  # last words of the names of columns whose numbers have no order
_MANY_ROWS: Final = 100  # fewer rows may have a value each by chance
_DIFFERENT: Final = 0.99  # of the rows: one value a row, but for a few rows that came twice
_DENSE: Final = 1.5  # times as many numbers in the range as rows: they were counted up
_EXACT: Final = 2.0**53  # up to which 64-bit floats hold every whole number


def of_numbers(name: str, numbers: NDArray[np.float64]) -> Role:
    """Return the role of a numeric column; NaN is missing.

    Identifier: whole numbers, one a row, that count up or whose name says so. Code: other whole numbers whose name
    says so, as `shop_id`, `zipCode`.
    """
    if not are_whole(numbers):
        return "Value"
    present = numbers[~np.isnan(numbers)]
    named = is_name_of_codes(name)
    if _one_a_row(len(np.unique(present)), len(present)):
        dense = present.max() - present.min() < _DENSE * len(present)
        return "Identifier" if named or dense else "Value"
    return "Code" if named else "Value"


def of_texts(distinct: int, present: int) -> Role:
    """Return the role of a column of texts with so many rows and distinct values."""
    return "Identifier" if _one_a_row(distinct, present) else "Value"


def are_whole(numbers: NDArray[np.float64]) -> bool:
    """Return whether there are numbers, and all are whole and exact; NaN is missing."""
    present = numbers[~np.isnan(numbers)]
    return bool(len(present) and (np.abs(present) <= _EXACT).all() and (present == np.floor(present)).all())


def is_name_of_codes(name: str) -> bool:
    """Return whether the last word of a name says that its numbers name something: `shop_id`, `zipCode`, `plz`."""
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in _NAMES


def _one_a_row(distinct: int, present: int) -> bool:
    return present >= _MANY_ROWS and distinct >= _DIFFERENT * present
