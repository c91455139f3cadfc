"""A fixed hash of values and rows: the same in every process, release, order of rows and type of the column.

A column that gets a first gap or a first text becomes another type for all of its rows. So 1, 1.0, "1", "1.0" and true
have one hash, and the hash depends on no library: a row that was held out stays so for as long as its values stay.
Whole numbers beyond 2^53, as ids are, are read as int64 or as text of digits, and hashed by their digits in either.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.reference import category_text
from tidemill_runtime.datasets import whole_numbers

Hashes = NDArray[np.uint64]

MISSING = np.uint64(0)
"""The hash of a missing value."""
_ODD = 0x9E3779B97F4A7C15  # the odd constant of splitmix64
_WHOLE = re.compile(r"([+-]?)0*([0-9]+)", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}


def of_column(values: "pd.Series[Any]") -> Hashes:
    """Return the hash of each value of a column as tables have it (numbers, booleans or text), [rows]."""
    if values.dtype.kind in "iu" and whole_numbers.is_beyond(values):
        values = values.astype(object)
    if values.dtype.kind in "biuf":
        numbers = values.to_numpy(dtype=np.float64)
        return np.where(np.isnan(numbers), MISSING, _of_numbers(numbers))
    codes, known = pd.factorize(values, sort=False)
    found = [_of_text(category_text(value)) for value in known]
    return np.array([*found, int(MISSING)], dtype=np.uint64)[codes]  # the code of a missing value is -1: the last one


def of_rows(table: pd.DataFrame, names: Iterable[str]) -> Hashes:
    """Return the hash of each row's values in some columns, [rows].

    It does not depend on the order of the columns, and a missing value adds nothing: a new column that is empty in old
    rows does not change their hashes.
    """
    total: Hashes = np.zeros(len(table), dtype=np.uint64)
    for name in names:
        values = of_column(table[name])
        named = _mixed(values ^ np.uint64(_of_text(f"column {name}")))
        total += np.where(values == MISSING, MISSING, named)
    return total


def below(hashes: Hashes, seed: int, ratio: float) -> NDArray[np.bool_]:
    """Return which hashes, mixed with a seed, lie below a share of all values: about `ratio` of different ones.

    A larger ratio holds for all that a smaller one holds for.
    """
    found: NDArray[np.bool_] = seeded(hashes, seed) < np.uint64(int(ratio * 2**64))
    return found


def seeded(hashes: Hashes, seed: int) -> Hashes:
    """Return hashes mixed with a seed: another seed gives another order of the same rows."""
    return _mixed(hashes ^ np.uint64((seed * _ODD + _ODD) % 2**64))


def _of_numbers(numbers: NDArray[np.float64]) -> Hashes:
    bits = (numbers + 0.0).view(np.uint64)  # + 0.0: zero has one sign
    return _mixed(bits ^ np.uint64(_ODD))


def _of_text(text: str) -> int:
    whole = _WHOLE.fullmatch(text)
    most = whole_numbers.LARGEST
    if whole is not None and (len(whole[2]) > len(str(most)) or int(whole[2]) > most):
        return _of_bytes(f"{whole[1].strip('+')}{whole[2]}")
    number = _number(text)
    return _of_bytes(text) if number is None else int(_of_numbers(np.array([number]))[0])


def _of_bytes(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _number(text: str) -> float | None:
    """Return the number that a text is in a column of numbers or booleans, else None."""
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _mixed(hashes: Hashes) -> Hashes:
    """Return the finaliser of splitmix64 of each hash: every bit depends on every bit."""
    mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Hashes = mixed ^ (mixed >> np.uint64(31))
    return result
