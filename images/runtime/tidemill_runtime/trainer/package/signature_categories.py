"""Which columns take only values that the model's encoders know, by asking it.

scikit-learn's encoders refuse other values unless told to ignore them; a graph may answer as if it knew them. What the
estimator itself does is recorded in the signature, so that servers do the same with every form; where a signature
cannot say it (numbers, too many categories), the parity check finds a graph that answers.
"""

from typing import Any

import pandas as pd

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.model.inspection import MAX_CATEGORIES, Model

_TEXT = "no such category"
_FAR = 10_000_019  # beyond any number that training saw


def noted(signature: Signature, model: Model, rows: pd.DataFrame) -> Signature:
    """Return the signature with `closed` True, and every known value, for the columns that refuse others.

    The model answers `rows`. A missing value is a category like any other: `nullable` is False where it is refused.
    """
    found = {name for name in refusing(model, rows) if datatype(rows[name].dtype) == "BYTES"}
    inputs = tuple(_closed(c, model, rows) if c.name in found else c for c in signature.inputs)
    return signature.model_copy(update={"inputs": inputs})


def refusing(model: Model, rows: pd.DataFrame) -> list[str]:
    """Return the columns in which an encoder refuses a value that it does not know; asked in halves."""
    names = [name for name in model.columns if datatype(rows[name].dtype) != "BOOL"]
    return _refusing(model, rows.head(1), names)


def _refusing(model: Model, row: pd.DataFrame, names: list[str]) -> list[str]:
    error = model.refusal(_with_unseen(row, names)) if names else None
    if error is None:
        return []
    if len(names) == 1:
        return names if model.framework.refused_categories(error) is not None else []
    half = len(names) // 2
    return _refusing(model, row, names[:half]) + _refusing(model, row, names[half:])


def _closed(column: ColumnSpec, model: Model, rows: pd.DataFrame) -> ColumnSpec:
    """Return a column with exactly the categories that its encoder takes, open where they are too many."""
    candidates = sorted({*model.framework.known_categories(model.estimator), *(column.categories or ())})
    error = model.refusal(_repeated(rows, column.name, [*candidates, _TEXT]))
    refused = model.framework.refused_categories(error) if error is not None else None
    known = [value for value in candidates if refused is not None and repr(value) not in refused]
    if (
        not known
        or len(known) > MAX_CATEGORIES
        or (column.categories is None and rows[column.name].nunique() > len(known))
    ):
        return column
    takes_null = model.refusal(_repeated(rows, column.name, [None])) is None
    update: dict[str, Any] = {"closed": True, "categories": tuple(known)}
    return column.model_copy(update=update if takes_null else update | {"nullable": False})


def _with_unseen(row: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    changed: dict[str, Any] = {}
    for name in names:
        kind = row[name].dtype
        changed[name] = pd.Series([_TEXT if datatype(kind) == "BYTES" else _FAR], index=row.index, dtype=kind)
    return row.assign(**changed)


def _repeated(rows: pd.DataFrame, name: str, values: list[str | None]) -> pd.DataFrame:
    """Return the first row once for each value, with that value in one column."""
    first = rows.iloc[[0] * len(values)].reset_index(drop=True)
    return first.assign(**{name: pd.Series(values, dtype=rows[name].dtype)})
