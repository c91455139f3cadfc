"""Judging a table: what was expected of it, and whether the target is there and usable.

Every finding names the column, how many values, and the first row; rows count from 1, the header not
included. All findings are reported at once, so that data is fixed once and not finding by finding.
"""

import difflib
import math
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts.counts import are, counted
from tidemill_contracts.reference import category_text
from tidemill_contracts.training import ColumnExpectation, Expectations
from tidemill_runtime.datasets.errors import DataError

_MAX_FINDINGS = 10
_BOOLEANS = frozenset({"true", "false", "0", "1"})


def check(name: str, table: pd.DataFrame, expectations: Expectations | None) -> None:
    """Hold a table against what is expected of it.

    Raises:
        DataError: ExpectationFailed, with every finding.
    """
    if expectations is None:
        return
    findings: list[str] = []
    if expectations.min_rows is not None and len(table) < expectations.min_rows:
        findings.append(f"{counted(len(table), 'row')}, expected at least {expectations.min_rows}")
    for expected in expectations.columns:
        if expected.name in table.columns:
            findings.extend(f"column {expected.name!r}: {found}" for found in _column(table[expected.name], expected))
        else:
            findings.append(absent(expected.name, table))
    if findings:
        more = len(findings) - _MAX_FINDINGS
        text = "; ".join(findings[:_MAX_FINDINGS]) + (f"; and {more} more" if more > 0 else "")
        raise DataError("ExpectationFailed", f"input {name!r}: {text}")


def absent(column: str, *tables: pd.DataFrame) -> str:
    """Return the sentence for a column that is not there: what there is, and the closest name."""
    names = [str(name) for table in tables for name in table.columns]
    close = difflib.get_close_matches(column, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"there is no column {column!r}; there are {listed}" + (f"; did you mean {close[0]!r}?" if close else "")


def find_target(target: str, tables: dict[str, pd.DataFrame]) -> str:
    """Return the name of the one input that holds the target column.

    Raises:
        DataError: MissingTarget, AmbiguousTarget, or TargetAllMissing.
    """
    holders = [name for name, table in tables.items() if target in table.columns]
    if not holders:
        raise DataError("MissingTarget", f"target: {absent(target, *tables.values())}")
    if len(holders) > 1:
        raise DataError("AmbiguousTarget", f"target: column {target!r} is in several inputs: {', '.join(holders)}")
    if bool(tables[holders[0]][target].isna().all()):
        rows = len(tables[holders[0]])
        raise DataError("TargetAllMissing", f"target: column {target!r} has no value in any of {counted(rows, 'row')}")
    return holders[0]


def check_finite_target(values: "pd.Series[Any]") -> None:
    """Refuse an infinite target; missing ones are the caller's to drop.

    Raises:
        DataError: TargetNotFinite.
    """
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        infinite = np.isinf(values.to_numpy(dtype=float, na_value=np.nan))
        if infinite.any():
            found = _first(pd.Series(infinite, index=values.index), "infinite")
            raise DataError("TargetNotFinite", f"target: column {values.name!r}: {found}")


def _column(values: "pd.Series[Any]", expected: ColumnExpectation) -> list[str]:
    findings = []
    missing = values.isna()
    if expected.max_missing_ratio is not None and float(missing.mean()) > expected.max_missing_ratio:
        share = f"{are(int(missing.sum()), len(values), 'value')} missing ({float(missing.mean()):.4g})"
        findings.append(f"{share}, expected at most {expected.max_missing_ratio:g}")
    present = values[~missing]
    findings.extend(_type(present, expected))
    if expected.min is not None or expected.max is not None:
        findings.extend(_range(_numbers(present), expected))
    if expected.allowed is not None:
        texts = present.map(category_text)
        bad = ~texts.isin(expected.allowed)
        if bad.any():
            strange = ", ".join(repr(value) for value in sorted(set(texts[bad]))[:5])
            findings.append(f"{_first(bad, 'not allowed')}; found {strange}, allowed {', '.join(expected.allowed)}")
    return findings


def _type(present: "pd.Series[Any]", expected: ColumnExpectation) -> list[str]:
    if expected.type == "Number":
        numbers = _numbers(present)
        findings = []
        if numbers.isna().any():
            bad = numbers.isna()
            findings.append(f"{_first(bad, 'not a number')}, found {_shown(present[bad].iloc[0])}")
        infinite = pd.Series(np.isinf(numbers.to_numpy(dtype=float)), index=numbers.index)
        return findings + ([_first(infinite, "infinite")] if infinite.any() else [])
    if expected.type == "Boolean":
        bad = ~present.map(category_text).str.lower().isin(_BOOLEANS)
        return [f"{_first(bad, 'not a boolean')}, found {_shown(present[bad].iloc[0])}"] if bad.any() else []
    if expected.type == "Text":
        bad = ~present.map(lambda value: isinstance(value, str)).astype(bool)
        return [f"{_first(bad, 'not text')}, found {_shown(present[bad].iloc[0])}"] if bad.any() else []
    return []


def _range(numbers: "pd.Series[Any]", expected: ColumnExpectation) -> list[str]:
    findings = []
    if expected.min is not None and (numbers < expected.min).any():
        findings.append(_first(numbers < expected.min, f"below min {_number(expected.min)}"))
    if expected.max is not None and (numbers > expected.max).any():
        findings.append(_first(numbers > expected.max, f"above max {_number(expected.max)}"))
    return findings


def _numbers(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return values as floats, NaN where one is not a number; booleans are no numbers."""
    booleans = values.map(lambda value: isinstance(value, (bool, np.bool_))).astype(bool)
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    return numbers.mask(booleans)


def _first(bad: "pd.Series[Any]", what: str) -> str:
    count = int(bad.sum())
    row = int(bad.index[int(bad.to_numpy().argmax())]) + 1
    if count == 1:
        return f"1 value {what}, at row {row}"
    return f"{count} values {what}, first at row {row}"


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
