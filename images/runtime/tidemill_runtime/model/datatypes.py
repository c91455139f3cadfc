"""Names of data types of the Open Inference Protocol."""

from typing import Any

import numpy as np


def datatype(dtype: Any) -> str:
    """Return the Open Inference Protocol's name of a numpy dtype; everything that is no number is BYTES."""
    kind = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FP64"}
    return kind.get(np.dtype(dtype).kind, "BYTES") if isinstance(dtype, (np.dtype, type)) else "BYTES"
