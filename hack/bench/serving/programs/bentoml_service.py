"""A BentoML service around a joblib file, as its documentation writes one. Run in BentoML's environment, not ours.

MODEL_FILE names the file; COLUMNS=1 is for a model that takes a DataFrame; BATCHING=1 turns its adaptive batching on.
"""

import os

import bentoml
import joblib
import numpy as np
import pandas as pd

Labels = np.ndarray
_BATCHING = os.environ.get("BATCHING") == "1"

if os.environ.get("COLUMNS") == "1":

    @bentoml.service
    class Classifier:
        """Takes records."""

        def __init__(self) -> None:
            self._estimator = joblib.load(os.environ["MODEL_FILE"])

        @bentoml.api(batchable=_BATCHING)  # type: ignore[untyped-decorator]
        def predict(self, rows: pd.DataFrame) -> Labels:
            """Return labels."""
            labels: Labels = self._estimator.predict(rows)
            return labels

else:

    @bentoml.service
    class Classifier:  # type: ignore[no-redef]
        """Takes a matrix."""

        def __init__(self) -> None:
            self._estimator = joblib.load(os.environ["MODEL_FILE"])

        @bentoml.api(batchable=_BATCHING)  # type: ignore[untyped-decorator]
        def predict(self, rows: np.ndarray) -> Labels:
            """Return labels."""
            labels: Labels = self._estimator.predict(rows)
            return labels
