"""The time from which on rows are held out, so that a model is judged on what came after its training rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.counts import counted
from tidemill_contracts.reference import category_text
from tidemill_runtime.datasets.errors import DataError


@dataclass(frozen=True)
class Cut:
    """Rows from `first` on are held out."""

    mask: NDArray[np.bool_]  # [rows]
    first: str  # a number, or ISO 8601 in UTC


def cut(values: "pd.Series[Any]", ratio: float, field: str) -> Cut:
    """Return the newest rows: of all times that rows can be cut at, the one that comes nearest to the share.

    All rows of one time are on the same side, and each side has at least one. Of two cuts that come equally near, the
    earlier one. Newer rows never move the cut back.

    Raises:
        DataError: InvalidSplitColumn, a value that is missing or no time; OneSided, one time only.
    """
    keys = _keys(values, field)
    times, counts = np.unique(keys, return_counts=True)
    if len(times) == 1:
        text = f"{field}: all {counted(len(values), 'row')} have the same time {_text(times[0])}, so none is newer"
        raise DataError("OneSided", text)
    held_out = len(values) - np.cumsum(counts)[:-1]  # by the place of the newest time to train on
    first = times[int(np.argmin(np.abs(held_out - len(values) * ratio))) + 1]
    return Cut(keys >= first, _text(first))


def is_later(one: str, other: str) -> bool | None:
    """Return whether one cut lies after another; None where they cannot be compared."""
    try:
        return float(one) > float(other)
    except ValueError:
        pass
    try:
        return bool(pd.Timestamp(one) > pd.Timestamp(other))
    except (ValueError, TypeError):
        return None


def _keys(values: "pd.Series[Any]", field: str) -> NDArray[Any]:
    """Return the times as numbers or as numpy's times in UTC; text without a zone is taken to be UTC."""
    missing = int(values.isna().sum())
    if missing:
        text = f"{field}: {counted(missing, 'row')} of {len(values)} without a time; every row needs one"
        raise DataError("InvalidSplitColumn", text)
    if values.dtype.kind in "iuf":
        infinite = ~np.isfinite(values.to_numpy(dtype=float))
        _refuse(values, infinite, field)
        return values.to_numpy()
    if values.dtype.kind == "b":
        _refuse(values, np.ones(len(values), dtype=bool), field)
    times = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    _refuse(values, times.isna().to_numpy(), field)
    return times.dt.tz_localize(None).to_numpy()


def _refuse(values: "pd.Series[Any]", bad: NDArray[np.bool_], field: str) -> None:
    if bad.any():
        shown = ", ".join(repr(category_text(value)[:50]) for value in values[bad].unique()[:5])
        text = f"{field}: {counted(int(bad.sum()), 'row')} of {len(values)} with a value that is no time: {shown}"
        raise DataError("InvalidSplitColumn", f"{text}; expected finite numbers, or times in ISO 8601 format")


def _text(time: Any) -> str:
    if isinstance(time, np.datetime64):
        return pd.Timestamp(time).tz_localize("UTC").isoformat()
    return repr(time.item())
