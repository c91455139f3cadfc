"""A fitted model of any family as the trainer knows it: its input columns, its signature and how to ask it.

Everything that needs to know a model goes through `Model`, so that one fitted on a DataFrame and one fitted on a matrix
look the same from outside. What it is (its task, its columns) is asked of its family.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.artifact import ColumnSpec, Signature, Task
from tidemill_contracts.reference import category_text
from tidemill_runtime import frameworks
from tidemill_runtime.frameworks.base import Framework
from tidemill_runtime.frameworks.estimator_methods import named, output_methods
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.errors import user_errors
from tidemill_runtime.trainer.usercode import function

MAX_CATEGORIES = 1000
Values = NDArray[Any]


@dataclass(frozen=True)
class Model:
    """A fitted estimator with the columns it takes, in its order."""

    estimator: Any
    task: Task
    columns: tuple[str, ...]
    frame: bool  # fitted on a DataFrame
    classes: Values | None  # of a classifier of one target
    root: Path  # of the user's code, for messages
    framework: Framework

    def take(self, features: pd.DataFrame) -> Any:
        """Return features as this model takes them: its columns, as a DataFrame or a matrix."""
        chosen = features[list(self.columns)]
        return chosen if self.frame else chosen.to_numpy()

    def predict(self, features: pd.DataFrame) -> Values:
        """Return one prediction per row, [rows] or [rows, targets]; a transformer's is what it makes of the row.

        Raises:
            RunError: UserError, CodeFailed; the model cannot answer rows like those that it was trained on.
        """
        name, method = next(iter(output_methods(self.estimator, self.task).items()))
        found: Values = named(name, self._call(method, features))[name]
        return found

    def outputs(self, features: pd.DataFrame) -> dict[str, Values]:
        """Return every output by name in the order of the signature, the prediction first."""
        found: dict[str, Values] = {}
        for name, method in output_methods(self.estimator, self.task).items():
            found |= named(name, self._call(method, features))
        return found

    def _call(self, method: str, features: pd.DataFrame) -> Any:
        return function.call(getattr(self.estimator, method), self.root, self.take(features))

    def refusal(self, features: pd.DataFrame) -> Exception | None:
        """Return the error with which the estimator refuses rows, None where it answers them."""
        given = self.take(features)
        ask = getattr(self.estimator, "predict", None) or self.estimator.transform
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                ask(given)
        except Exception as error:  # an estimator may be anybody's code, and refuses in any way
            return error
        return None

    def probabilities(self, features: pd.DataFrame) -> Values | None:
        """Return class probabilities [rows, classes] in the order of `classes`, None when the model has none."""
        if self.classes is None or not hasattr(self.estimator, "predict_proba"):
            return None
        return np.asarray(self._call("predict_proba", features), dtype=float)

    def scores(self, features: pd.DataFrame) -> Values | None:
        """Return a binary classifier's decision values [rows], None when it has none."""
        if not hasattr(self.estimator, "decision_function"):
            return None
        found = np.asarray(function.call(self.estimator.decision_function, self.root, self.take(features)), dtype=float)
        return found if found.ndim == 1 else None


def inspect(
    trained: Any,
    features: pd.DataFrame,
    root: Path,
    *,
    framework: Framework | None = None,
    target: "pd.Series[Any] | None" = None,
) -> Model:
    """Return the model in what training code returned, or in what `framework` loaded.

    `features` are rows that it takes, `target` the truth of the training rows where there is one.

    Raises:
        RunError: UserError; NotAnEstimator, NotFitted, Unservable, or ColumnsDiffer (it takes columns that `features`
            has not).
    """
    with user_errors():
        family = framework or frameworks.recognised(trained)
        found = family.describe(trained, features, target)
    model = Model(found.estimator, found.task, found.columns, found.frame, found.classes, root, family)
    if model.classes is not None and model.predict(features.head(1)).ndim == 2:  # several labels, each is yes or no
        model = replace(model, classes=None)
    return model


def signature(model: Model, features: pd.DataFrame) -> Signature:
    """Return what the model takes and gives; `features` are the rows that it was trained on."""
    inputs = tuple(_input(features[name]) for name in model.columns)
    return Signature(inputs=inputs, outputs=_outputs(model, features), frame=model.frame)


def same(found: Values, expected: Values) -> bool:
    """Return whether answers are the same, but for the last bits: arrays may lie otherwise in memory."""
    if expected.dtype.kind != "f" or found.shape != expected.shape:
        return np.array_equal(found, expected)
    return np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: int, float, bool, str, or None for what is missing or not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or value is pd.NA:
        return None
    return value if isinstance(value, (int, float, bool, str)) else str(value)


def _input(values: "pd.Series[Any]") -> ColumnSpec:
    name = str(values.name)
    kind = datatype(values.dtype)
    if kind != "BYTES":
        return ColumnSpec(name=name, datatype=kind)
    known = sorted({category_text(value) for value in values.dropna().unique()})
    return ColumnSpec(name=name, datatype=kind, categories=tuple(known) if len(known) <= MAX_CATEGORIES else None)


def _outputs(model: Model, features: pd.DataFrame) -> tuple[ColumnSpec, ...]:
    """Return the outputs as the model gives them for two rows."""
    return tuple(_output(model, name, values) for name, values in model.outputs(features.head(2)).items())


def _output(model: Model, name: str, values: Values) -> ColumnSpec:
    shape = (-1,) if values.ndim == 1 else (-1, values.shape[1])
    if name == "label" and model.classes is not None:  # the answers to two rows may be narrower than what there is
        return ColumnSpec(name=name, datatype=datatype(model.classes.dtype), shape=shape)
    is_number = values.dtype.kind in "fiu"
    kind = "FP64" if name not in ("label", "cluster") and is_number else datatype(values.dtype)
    return ColumnSpec(name=name, datatype=kind, shape=shape)
