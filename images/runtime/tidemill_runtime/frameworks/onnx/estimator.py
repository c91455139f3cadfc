"""A model that exists as ONNX only, with the methods of an estimator, so that it is judged like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill_runtime.frameworks.base import Description, FrameworkError
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.model.frame import Array
from tidemill_runtime.redaction import redact

if TYPE_CHECKING:
    import pandas as pd


class OnnxRegressor:
    """Answers with the graph's first output."""

    def __init__(self, session: Any, names: tuple[str, ...]) -> None:
        self._session = session
        self._names = names
        self._inputs = session.get_inputs()

    def predict(self, rows: pd.DataFrame) -> Array:
        """Return the first output, [rows]."""
        return self._outputs(rows)[0]

    def _outputs(self, rows: pd.DataFrame) -> list[Array]:
        found = self._session.run(None, graphs.feed(self._names, rows, self._inputs))
        return [np.asarray(value) for value in found]


class OnnxClassifier(OnnxRegressor):
    """Answers with labels of the target's own type."""

    def __init__(self, session: Any, names: tuple[str, ...], classes: Array) -> None:
        super().__init__(session, names)
        self.classes_ = classes

    def predict(self, rows: pd.DataFrame) -> Array:
        """Return the labels, [rows]."""
        labels = self._outputs(rows)[0].reshape(len(rows))
        return labels.astype(self.classes_.dtype) if self.classes_.dtype.kind in "biuf" else labels


class OnnxProbabilisticClassifier(OnnxClassifier):
    """Answers with probabilities as well."""

    def predict_proba(self, rows: pd.DataFrame) -> Array:
        """Return the second output, [rows, classes]."""
        return self._outputs(rows)[1]


def describe(content: bytes, features: pd.DataFrame, target: pd.Series[Any] | None) -> Description:
    """Return the model in an ONNX graph; it answered the first rows of `features`.

    A graph whose first output is no float is a classifier of the target's classes.

    Raises:
        FrameworkError: Unservable; the graph does not load or does not take the columns of the data.
    """
    names = tuple(str(name) for name in features.columns)
    classes, probabilities = None, None
    try:
        session = graphs.session(content)
        outputs = session.get_outputs()
        if target is None or outputs[0].type in ("tensor(float)", "tensor(double)"):
            estimator = OnnxRegressor(session, names)
        else:
            classes = np.unique(np.asarray(target))
            kind = OnnxProbabilisticClassifier if len(outputs) > 1 else OnnxClassifier
            estimator = kind(session, names, classes)
        estimator.predict(features.head(2))
        if isinstance(estimator, OnnxProbabilisticClassifier):
            probabilities = np.asarray(estimator.predict_proba(features.head(2)), dtype=float)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        said = (redact(str(error)).splitlines() or [""])[0][:300]
        text = f"the ONNX model does not answer rows with columns {', '.join(names[:10])}: {said}"
        raise FrameworkError("Unservable", text) from error
    if classes is not None and probabilities is not None and probabilities.shape != (2, len(classes)):
        shape = f"[rows, {len(classes)}], one for each class of the target"
        raise FrameworkError("Unservable", f"the ONNX model's second output is not {shape}; convert without ZipMap")
    return Description(estimator, "regression" if classes is None else "classification", names, True, classes)
