"""Whether the two sides of a split can be trained and judged on, with sentences that name the field and the numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.counts import are, counted
from tidemill_contracts.holdout import FEW_ROWS, HoldoutSplit
from tidemill_contracts.reference import category_text
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import holdout_split

LEAST_ROWS = 2
"""Rows that each side of a split needs."""
_SIDES = {False: "training", True: "holdout"}
_SHOWN = 5


def field(split: HoldoutSplit) -> str:
    """Return the field of the spec that a sentence is about, with its value."""
    by = "" if split.column is None else f", column {split.column!r}"
    return f"evaluation.split (type {split.type}{by})"


def enough_rows(table: pd.DataFrame, name: str) -> None:
    """Refuse a table that cannot have enough rows on both sides.

    Raises:
        DataError: TooFewRows.
    """
    if len(table) < 2 * LEAST_ROWS:
        text = f"{counted(len(table), 'row')} cannot be divided: at least {LEAST_ROWS} are needed on each side"
        raise DataError("TooFewRows", f"{name}: {text}")


def sides(mask: NDArray[np.bool_], target: "pd.Series[Any] | None", name: str, advice: str) -> None:
    """Refuse sides that are empty or too small, and one with a single class of a target of several classes.

    `advice`: what would give an empty side rows.

    Raises:
        DataError: OneSided, TooFewRows, OneClass.
    """
    for is_held_out, side in _SIDES.items():
        rows = int((mask == is_held_out).sum())
        if rows == 0:
            text = f"all {counted(len(mask), 'row')} are on the {_SIDES[not is_held_out]} side"
            raise DataError("OneSided", f"{name}: {text}; {advice}")
        if rows < LEAST_ROWS:
            text = f"{are(rows, len(mask), 'row')} on the {side} side; at least {LEAST_ROWS} are needed"
            raise DataError("TooFewRows", f"{name}: {text}")
    if target is None:
        return
    found = holdout_split.classes(target)
    if found is None or len(found[1]) < 2:
        return
    codes, values = found
    for is_held_out, side in _SIDES.items():
        present = np.unique(codes[mask == is_held_out])
        if len(present) == 1:
            only = repr(category_text(values[present[0]])[:50])
            rows = int((mask == is_held_out).sum())
            text = f"all {counted(rows, 'row')} of the {side} side are of class {only} of {str(target.name)!r}"
            raise DataError("OneClass", f"{name}: {text}; of all rows {_counts(codes, values)}")


def odd_share(mask: NDArray[np.bool_], ratio: float | None, name: str) -> tuple[str, ...]:
    """Return a warning where less than half or more than twice the wanted share is held out."""
    share = float(mask.mean())
    if ratio is None or ratio / 2 <= share <= 2 * ratio:
        return ()
    text = f"{are(int(mask.sum()), len(mask), 'row')} held out ({share:.1%})"
    return (f"{name}: {text}, holdoutRatio is {ratio:g}",)


def few_rows(classes: Mapping[str, int], held_out: int, positive: str | None) -> str | None:
    """Return a warning where the holdout has fewer than 20 rows of a class, else None.

    `classes`: rows of each class, at least of the rarest; `positive`: the positive one, None unless there are two.
    """
    few = sorted((rows, name) for name, rows in classes.items() if rows < FEW_ROWS)
    if not few:
        return None
    what = "positives" if [name for _, name in few] == [positive] else "rows of a class"
    shown = [f"{are(rows, held_out, 'row')} of class {name!r}" for rows, name in few[:_SHOWN]]
    more = " and of others" if len(few) > _SHOWN else ""
    known = min(0.98 / math.sqrt(max(few[0][0], 1)), 1)  # half of the 95 % interval, at a rate of 0.5
    listed = f"{', '.join(shown)}{more}, so a rate among them is known to about ±{known:.2f}"
    return f"the holdout has fewer than {FEW_ROWS} {what}: {listed}"


def _counts(codes: NDArray[np.int64], values: Sequence[Any]) -> str:
    counts = np.bincount(codes, minlength=len(values))
    shown = [f"{count} are of {category_text(values[code])[:50]!r}" for code, count in enumerate(counts[:_SHOWN])]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} more classes" if len(values) > _SHOWN else "")
