"""A model that exists as ONNX only, with the face of an estimator, so that it is judged like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidemill_runtime.redaction import redact
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model.inspection import Model, Values
from tidemill_runtime.trainer.onnx import convert


class OnnxRegressor:
    """Answers with the graph's first output."""

    def __init__(self, session: Any, names: tuple[str, ...]) -> None:
        self._session = session
        self._names = names
        self._inputs = session.get_inputs()

    def predict(self, rows: pd.DataFrame) -> Values:
        """Return the first output, [rows]."""
        return self._outputs(rows)[0]

    def _outputs(self, rows: pd.DataFrame) -> list[Values]:
        found = self._session.run(None, convert.feed(self._names, rows, self._inputs))
        return [np.asarray(value) for value in found]


class OnnxClassifier(OnnxRegressor):
    """Answers with labels of the target's own type."""

    def __init__(self, session: Any, names: tuple[str, ...], classes: Values) -> None:
        super().__init__(session, names)
        self.classes_ = classes

    def predict(self, rows: pd.DataFrame) -> Values:
        """Return the labels, [rows]."""
        labels = self._outputs(rows)[0].reshape(len(rows))
        return labels.astype(self.classes_.dtype) if self.classes_.dtype.kind in "biuf" else labels


class OnnxProbabilisticClassifier(OnnxClassifier):
    """Answers with probabilities as well."""

    def predict_proba(self, rows: pd.DataFrame) -> Values:
        """Return the second output, [rows, classes]."""
        return self._outputs(rows)[1]


def load(content: bytes, features: pd.DataFrame, target: "pd.Series[Any] | None", root: Path) -> Model:
    """Return the model in an ONNX graph; it answered the first rows of `features`.

    A graph whose first output is no float is a classifier of the target's classes.

    Raises:
        RunError: UserError, Unservable; the graph does not load or does not take the columns of the data.
    """
    names = tuple(str(name) for name in features.columns)
    try:
        session = convert.session(content)
        outputs = session.get_outputs()
        if target is None or outputs[0].type in ("tensor(float)", "tensor(double)"):
            model = Model(OnnxRegressor(session, names), "regression", names, True, None, root)
        else:
            classes = np.unique(np.asarray(target))
            kind = OnnxProbabilisticClassifier if len(outputs) > 1 else OnnxClassifier
            model = Model(kind(session, names, classes), "classification", names, True, classes, root)
        model.predict(features.head(2))
        probabilities = model.probabilities(features.head(2))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        said = (redact(str(error)).splitlines() or [""])[0][:300]
        text = f"the ONNX model does not answer rows with columns {', '.join(names[:10])}: {said}"
        raise RunError("UserError", "Unservable", text) from error
    if probabilities is not None and model.classes is not None and probabilities.shape != (2, len(model.classes)):
        shape = f"[rows, {len(model.classes)}], one for each class of the target"
        raise RunError(
            "UserError", "Unservable", f"the ONNX model's second output is not {shape}; convert without ZipMap"
        )
    return model
