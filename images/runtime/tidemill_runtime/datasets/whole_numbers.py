"""Whole numbers beyond 2^53, as ids are: kept to the last digit, as int64 or as text of digits, never as float64.

A float64 holds whole numbers up to 2^53 only; beyond, neighbours are one value, and two customers one group.
"""

import decimal
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

LARGEST = 2**53
"""Up to it, and from its negative on, float64 holds every whole number."""
_INT64 = np.iinfo(np.int64)
_EXACT = (int, np.integer, decimal.Decimal)
_DIGITS = re.compile(r"[+-]?[0-9]+", re.ASCII)


def is_beyond(values: "pd.Series[Any]") -> bool:
    """Return whether a column of whole numbers, by its type, has one that float64 does not hold."""
    if not pd.api.types.is_integer_dtype(values.dtype):
        return False
    present = values.dropna()
    return len(present) > 0 and (int(present.max()) > LARGEST or int(present.min()) < -LARGEST)


def plain(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column for which `is_beyond` holds as int64, or as digits where that has a gap or a larger number."""
    fits = int(values.dropna().max()) <= _INT64.max
    return values.astype("int64") if fits and not values.isna().any() else digits(values)


def digits(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return whole numbers (or texts of them) as text: digits without leading zeros, and a minus."""
    return values.map(_canonical, na_action="ignore").astype("str")


def _canonical(value: Any) -> str:
    if isinstance(value, str):  # of any length: int() takes 4,300 digits
        sign, bare = "-" if value.startswith("-") else "", value.lstrip("+-").lstrip("0")
        return f"{sign}{bare}" if bare else "0"
    whole = decimal.Decimal(int(value)) if not isinstance(value, decimal.Decimal) else value
    return f"{whole.to_integral_value():f}"


def are_digits(present: Sequence[Any]) -> bool:
    """Return whether values are all whole and one is beyond 2^53, in a type that holds it to the last digit."""
    exact: list[Any] = [value for value in present if isinstance(value, _EXACT)]
    return any(abs(value) > LARGEST for value in exact) and all(_is_whole(value) for value in present)


def _is_whole(value: Any) -> bool:
    if isinstance(value, decimal.Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return float(value).is_integer() if isinstance(value, (float, np.floating)) else True


def apart(frames: Iterable[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return tables as they may be stacked: another table's gaps would make a column of whole numbers float64."""
    found = list(frames)
    for name in {str(name) for frame in found for name in frame.columns if is_beyond(frame[name])}:
        if len({frame[name].dtype for frame in found}) > 1:
            found = [frame.astype({name: object}) for frame in found]
    return found


def of_csv(text: str, frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Return a parsed CSV file with the columns read again, as text, that lost digits when they were parsed as numbers.

    `options`: those of `pandas.read_csv` by which the file was parsed.
    """
    lossy = [place for place, name in enumerate(frame.columns) if _may_have_lost(frame[name])]
    if not lossy:
        return frame
    again = pd.read_csv(io.StringIO(text), usecols=lossy, dtype=str, **options)
    changed: dict[Any, pd.Series[Any]] = {}
    for name in again.columns:
        texts = again[name].str.strip()
        present = texts.dropna()
        if len(present) and present.map(lambda value: _DIGITS.fullmatch(value) is not None).all():
            changed[name] = digits(texts)
        elif frame[name].dtype.kind not in "fu":
            changed[name] = again[name]
    return frame.assign(**changed)


def _may_have_lost(values: "pd.Series[Any]") -> bool:
    if values.dtype.kind == "f":
        return bool((values.abs() >= LARGEST).any())
    if values.dtype.kind == "u":
        return True
    # Numbers of more than 64 bits: pandas makes them objects, or text in which a gap is an empty text.
    return bool((values == "").any()) or (values.dtype == object and any(type(value) is int for value in values))
