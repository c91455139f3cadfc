"""Which columns a model takes no missing values in, by asking it.

scikit-learn checks its input, a graph does not: ONNX would answer where the native form refuses. What the estimator
itself does with a gap is recorded in the signature, so that servers do the same with every form. Numbers only: a
missing text is a category like any other, which the model's encoder judges.
"""

import numpy as np
import pandas as pd

from tidemill_contracts.artifact import Signature
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.model.inspection import Model


def noted(signature: Signature, model: Model, rows: pd.DataFrame) -> Signature:
    """Return the signature with `nullable` False for the columns that refuse; the model answers `rows`."""
    found = set(refusing(model, rows))
    inputs = (
        column.model_copy(update={"nullable": False}) if column.name in found else column for column in signature.inputs
    )
    return signature.model_copy(update={"inputs": tuple(inputs)})


def refusing(model: Model, rows: pd.DataFrame) -> list[str]:
    """Return the columns of numbers in which the model takes no missing value.

    A column with gaps in `rows` takes them. Columns are asked in halves: most models take gaps everywhere or nowhere.
    """
    complete = [name for name in model.columns if datatype(rows[name].dtype) != "BYTES" and not rows[name].isna().any()]
    return _refusing(model, rows.head(1), complete)


def _refusing(model: Model, row: pd.DataFrame, names: list[str]) -> list[str]:
    if not names or model.refusal(row.assign(**dict.fromkeys(names, np.nan))) is None:
        return []
    if len(names) == 1:
        return names
    half = len(names) // 2
    return _refusing(model, row, names[:half]) + _refusing(model, row, names[half:])
