"""What a fitted estimator is and takes: its task, its input columns, its signature and how to ask it.

Everything that needs to know an estimator goes through `Model`, so that a model fitted on a DataFrame
and one fitted on a matrix look the same from outside.
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
from tidemill_runtime.frameworks.scikit_learn.estimators import named, output_methods
from tidemill_runtime.trainer.errors import RunError
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
        """Return what the estimator says against rows that it may not take, None where it answers them."""
        given = self.take(features)
        ask = getattr(self.estimator, "predict", None) or self.estimator.transform
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                ask(given)
        except Exception as error:  # an estimator may be anybody's code, and says so in any way
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


def inspect(estimator: Any, features: pd.DataFrame, root: Path) -> Model:
    """Return the model in what `train` returned.

    Raises:
        RunError: UserError; NotAnEstimator, NotFitted, or ColumnsDiffer (it takes columns that `features` has not).
    """
    methods = (getattr(estimator, name, None) for name in ("predict", "transform"))
    if isinstance(estimator, type) or not any(map(callable, methods)):
        what = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"{type(estimator).__name__}"
        wanted = "a fitted scikit-learn estimator (an object with a predict or transform method)"
        text = f"train returned {what}, expected {wanted}"
        raise RunError("UserError", "NotAnEstimator", text)
    _check_fitted(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        columns = tuple(str(name) for name in names)
        unknown = [name for name in columns if name not in features.columns]
        if unknown:
            text = f"the model was fitted on columns that the data has not: {', '.join(unknown[:10])}"
            hint = "do the work inside a Pipeline, or define features(data), which gives what the model takes"
            raise RunError("UserError", "ColumnsDiffer", f"{text}; {hint}")
    else:
        columns = tuple(str(name) for name in features.columns)
        expected = getattr(estimator, "n_features_in_", len(columns))
        if expected != len(columns):
            text = f"the model was fitted on a matrix of {expected} columns, the data has {len(columns)}"
            raise RunError("UserError", "ColumnsDiffer", f"{text}; fit it on the DataFrame, so that columns have names")
    task = task_of(estimator)
    classes = getattr(estimator, "classes_", None) if task == "classification" else None
    plain = None if classes is None or isinstance(classes, list) else np.asarray(classes)
    frame = names is not None or _passes_frames_on(estimator, columns)
    model = Model(estimator, task, columns, frame, plain, root)
    if plain is not None and model.predict(features.head(1)).ndim == 2:  # several labels at once: each is yes or no
        model = replace(model, classes=None)
    return model


def task_of(estimator: Any) -> Task:
    """Return what an estimator does, by scikit-learn's own tags."""
    from sklearn import base

    checks: tuple[tuple[Task, Any], ...] = (
        ("classification", base.is_classifier),
        ("regression", base.is_regressor),
        ("clustering", base.is_clusterer),
        ("outlier-detection", base.is_outlier_detector),
    )
    for task, check in checks:
        try:
            if check(estimator):
                return task
        except AttributeError:  # no tags: not an estimator of scikit-learn's family
            return "unknown" if hasattr(estimator, "predict") else "transformation"
    if hasattr(estimator, "predict"):
        return "clustering" if hasattr(estimator, "predict_proba") else "unknown"  # a mixture has no tag of its own
    return "transformation"


def signature(model: Model, features: pd.DataFrame) -> Signature:
    """Return what the model takes and gives; `features` are the rows that it was trained on."""
    inputs = tuple(_input(features[name]) for name in model.columns)
    return Signature(inputs=inputs, outputs=_outputs(model, features), frame=model.frame)


def datatype(dtype: Any) -> str:
    """Return the Open Inference Protocol's name of a numpy dtype; everything that is no number is BYTES."""
    kind = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FP64"}
    return kind.get(np.dtype(dtype).kind, "BYTES") if isinstance(dtype, (np.dtype, type)) else "BYTES"


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: int, float, bool, str, or None for what is missing or not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or value is pd.NA:
        return None
    return value if isinstance(value, (int, float, bool, str)) else str(value)


def _passes_frames_on(estimator: Any, columns: tuple[str, ...]) -> bool:
    """Return whether a later step of a pipeline saw the data's columns by name, though the first kept no names."""
    steps = [step for _, step in getattr(estimator, "steps", [])]
    seen = (getattr(step, "feature_names_in_", None) for step in steps)
    return any(names is not None and set(map(str, names)) <= set(columns) for names in seen)


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        text = f"train returned a {type(estimator).__name__} that is not fitted: call fit before returning it"
        raise RunError("UserError", "NotFitted", text) from error
    except (TypeError, AttributeError) as error:
        text = f"train returned {type(estimator).__name__}, expected a fitted scikit-learn estimator: {error}"
        raise RunError("UserError", "NotAnEstimator", text) from error


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
