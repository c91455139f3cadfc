"""Which rows are held out without `spec.evaluation.split`: decided by each row's content, in exact shares.

A row's rank is a hash of its values and the seed; the lowest ranks are held out, per class where there
are classes. Appending rows or shuffling them moves only rows at the margin, so a champion that was
trained earlier on the same data is not judged on rows that it has learned.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import value_hashes

MAX_CLASSES = 100


def holdout(table: pd.DataFrame, target: str | None, ratio: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the rows to hold out, [rows].

    Rows are held out in each class by themselves when the target has at most 100 classes and each has a
    row for both sides; otherwise over all rows. At least one row is on each side.

    Raises:
        DataError: TooFewRows, fewer than two rows.
    """
    rows = len(table)
    if rows < 2:
        raise DataError(
            "TooFewRows", f"{rows} row cannot be split into a training and a holdout part: at least 2 are needed"
        )
    ranks = _hash(table, seed)
    by_class = _classes(table[target], ratio) if target is not None else None
    groups: NDArray[np.int64] = np.zeros(rows, dtype=np.int64) if by_class is None else by_class
    mask = np.zeros(rows, dtype=bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        count = min(max(round(len(members) * ratio), 1), len(members) - 1)
        # A stable sort: equal rows keep their order, so the mask is the same in every process.
        mask[members[np.argsort(ranks[members], kind="stable")][:count]] = True
    return mask


def classes(target: "pd.Series[Any]") -> tuple[NDArray[np.int64], Sequence[Any]] | None:
    """Return a class number per row and the values of the classes, None where the target does not look like classes.

    It does with at most 100 values, at least two rows for each on average, and no fractions.
    """
    codes, values = pd.factorize(target, sort=False)
    is_fraction = target.dtype.kind == "f" and not bool((target == target.round()).all())
    if is_fraction or len(values) > MAX_CLASSES or len(values) > len(target) / 2:
        return None
    return codes.astype(np.int64), list(values)


def _classes(target: "pd.Series[Any]", ratio: float) -> NDArray[np.int64] | None:
    """Return a class number per row, or None when the target has no classes that can be split one by one."""
    found = classes(target)
    if found is None:
        return None
    codes, values = found
    if np.bincount(codes).min() < 2 or round(len(target) * ratio) < len(values):
        return None
    return codes


def _hash(table: pd.DataFrame, seed: int) -> NDArray[np.uint64]:
    hashes = np.asarray(pd.util.hash_pandas_object(table, index=False), dtype=np.uint64)
    return value_hashes.seeded(hashes, seed)
