"""Which columns a model does not use, by a look at what it selects and by asking it.

A column counts as unused only where the model's family says that nothing selects it, and the model then gives the same
answers without it and whatever is in it. Servers do not ask clients for such a column, and nobody watches it.
"""

from dataclasses import replace
from typing import Any

import pandas as pd

from tidemill_contracts.artifact import Signature
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model

_ROWS = 200


def empty(kind: str) -> str | bool | int:
    """Return what stands in a column of a datatype that is not used, as servers fill a matrix: zero, or empty text."""
    values: dict[str, str | bool] = {"BYTES": "", "BOOL": False}
    return values.get(kind, 0)


def noted(signature: Signature, model: Model, rows: pd.DataFrame) -> Signature:
    """Return the signature with `used` False for the columns that the model does not use; it answers `rows`."""
    unused = frozenset(model.framework.unused(model.estimator, model.columns))
    if not unused or len(unused) == len(model.columns) or not _is_so(model, rows.head(_ROWS), unused):
        return signature
    inputs = (
        column.model_copy(update={"used": False}) if column.name in unused else column for column in signature.inputs
    )
    return signature.model_copy(update={"inputs": tuple(inputs)})


def _is_so(model: Model, rows: pd.DataFrame, unused: frozenset[str]) -> bool:
    """Return whether a model answers rows alike as they are, twice, without some columns, and with others in them."""
    emptied = {name: empty(datatype(rows[name].dtype)) for name in unused}
    turned = {name: rows[name].to_numpy()[::-1] for name in unused}
    changed = [rows, *(rows.assign(**_as_before(values, rows)) for values in (emptied, turned))]
    asked = [(model, given) for given in changed]
    if model.frame:
        asked.append((replace(model, columns=tuple(c for c in model.columns if c not in unused)), rows))
    try:
        expected = model.outputs(rows)
        return all(_is_same(one.outputs(given), expected) for one, given in asked)
    except Exception:  # an estimator may be anybody's code: one that refuses uses them
        return False


def _as_before(values: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    return {name: pd.Series(given, index=rows.index).astype(rows[name].dtype) for name, given in values.items()}


def _is_same(found: dict[str, inspection.Values], expected: dict[str, inspection.Values]) -> bool:
    return found.keys() == expected.keys() and all(inspection.same(found[name], expected[name]) for name in expected)
