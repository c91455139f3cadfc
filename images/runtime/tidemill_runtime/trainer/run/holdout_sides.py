"""The side of each row by `spec.evaluation.split`, and what is written down of it.

With Hash and Group, a row's side follows from its values (without the target) or its group, the seed and the ratio, and
from no other row: rows that are added or removed move none. Without a split see `holdout_split`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.counts import counted, does
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.holdout import SIDES, Holdout, HoldoutReport, HoldoutSplit
from tidemill_contracts.reference import category_text
from tidemill_runtime.datasets import expectations
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import holdout_checks, holdout_split, time_cut, value_hashes

Mask = NDArray[np.bool_]
_BY_HASH = "more {}, another holdoutRatio or another seed would divide them"
_ADVICE = {
    "Hash": _BY_HASH.format("rows"),
    "Group": _BY_HASH.format("groups"),
    "Time": "rows of other times would divide them",
    "Column": f"the column must have both values, {SIDES[0]} and {SIDES[1]}",
}
"""What gives an empty side rows, by type."""


@dataclass(frozen=True)
class Sides:
    """Which rows are held out, and what is written down of it."""

    mask: Mask  # [rows]
    holdout: Holdout  # for the version
    report: HoldoutReport | None = None  # for the run; None without a split in the spec
    warnings: tuple[str, ...] = ()


def divide(table: pd.DataFrame, target: str | None, split: HoldoutSplit | None, ratio: float, seed: int) -> Sides:
    """Return the side of every row.

    Raises:
        DataError: MissingSplitColumn, InvalidSplitColumn; TooFewRows, OneSided or OneClass, by the rows of each side.
    """
    if split is None:
        columns = _digest([[str(name), str(dtype)] for name, dtype in table.dtypes.items()])
        mask = holdout_split.holdout(table, target, ratio, seed)
        return Sides(mask, Holdout(type="Stratified", ratio=ratio, columns=columns))
    field = holdout_checks.field(split)
    holdout_checks.enough_rows(table, field)
    if split.column is not None and split.column not in table.columns:
        raise DataError("MissingSplitColumn", f"{field}: {expectations.absent(split.column, table)}")
    names = [str(name) for name in table.columns if name not in (target, split.column)]
    if split.type == "Hash":
        found = _by_rows(table, names, ratio, seed)
    else:
        values = table[split.column]
        if split.type == "Group":
            found = _by_group(table, values, names, ratio, seed, field)
        else:
            found = _by_time(values, ratio, field) if split.type == "Time" else _by_column(table, values, names, field)
    holdout_checks.sides(found.mask, None if target is None else table[target], field, _ADVICE[split.type])
    odd = holdout_checks.odd_share(found.mask, found.holdout.ratio, field)
    return Sides(found.mask, found.holdout, found.report, (*found.warnings, *odd))


def _by_rows(table: pd.DataFrame, names: list[str], ratio: float, seed: int) -> Sides:
    mask = value_hashes.below(value_hashes.of_rows(table, names), seed, ratio)
    holdout = Holdout(type="Hash", ratio=ratio, columns=_digest(sorted(names)))
    return Sides(mask, holdout, HoldoutReport(type="Hash"))


def _by_group(
    table: pd.DataFrame, values: "pd.Series[Any]", names: list[str], ratio: float, seed: int, field: str
) -> Sides:
    """A row without a group is a group of its own: its side follows from its values, as with Hash."""
    hashes, alone = value_hashes.of_column(values), values.isna().to_numpy()
    number = int(values.nunique())
    if alone.all():
        raise DataError("InvalidSplitColumn", f"{field}: no value in any of {counted(len(values), 'row')}")
    if number == 1 and not alone.any():
        text = f"all {counted(len(values), 'row')} are of one group; at least 2 groups are needed"
        raise DataError("OneSided", f"{field}: {text}")
    warnings: tuple[str, ...] = ()
    if alone.any():
        hashes = np.where(alone, value_hashes.of_rows(table, names), hashes)
        what = "has no value and is a group of its own", "have no value and are each a group of their own"
        warnings = (f"{field}: {does(int(alone.sum()), 'row', *what)}",)
    mask = value_hashes.below(hashes, seed, ratio)
    held_out = int(values[mask].nunique())
    holdout = Holdout(
        type="Group", ratio=ratio, column=str(values.name), columns=_digest(sorted(names)) if alone.any() else None
    )
    report = HoldoutReport(type="Group", groups={"train": number - held_out, "holdout": held_out})
    return Sides(mask, holdout, report, warnings)


def _by_time(values: "pd.Series[Any]", ratio: float, field: str) -> Sides:
    found = time_cut.cut(values, ratio, field)
    holdout = Holdout(type="Time", ratio=ratio, column=str(values.name), cut=found.first)
    return Sides(found.mask, holdout, HoldoutReport(type="Time", cut=found.first))


def _by_column(table: pd.DataFrame, values: "pd.Series[Any]", names: list[str], field: str) -> Sides:
    train, test = SIDES
    texts = values.map(category_text, na_action="ignore")
    other = ~texts.isin(SIDES)
    if other.any():
        counts = texts[other].map(lambda text: repr(text[:50]), na_action="ignore").fillna("no value").value_counts()
        shown = ", ".join(f"{text} ({counted(int(count), 'row')})" for text, count in counts.head(5).items())
        more = f" and {len(counts) - 5} more values" if len(counts) > 5 else ""
        text = f"{counted(int(other.sum()), 'row')} of {len(values)} with another value than {train!r} or {test!r}"
        raise DataError("InvalidSplitColumn", f"{field}: {text}: {shown}{more}")
    mask = (texts == test).to_numpy(dtype=bool)
    hashes = np.sort(value_hashes.of_rows(table.loc[mask], names))
    holdout = Holdout(type="Column", column=str(values.name), rows=sha256(hashes.astype("<u8").tobytes()))
    return Sides(mask, holdout, HoldoutReport(type="Column"))


def _digest(names: list[Any]) -> str:
    return sha256(canonical_json(names))
