"""A version served by scikit-learn itself, from skops or, by explicit opt-in only, from joblib.

Loading is refused for any type that is not vetted: an archive is data, and what it may construct is
decided here. Estimators are set to one thread (a process pool per request costs more than any
small model), and a DataFrame is built only for models that were fitted on one.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tidemill_contracts.artifact import PROBABILITIES, ModelManifest
from tidemill_runtime import expansion
from tidemill_runtime.frameworks import version_code
from tidemill_runtime.frameworks.estimator_methods import named, output_methods
from tidemill_runtime.frameworks.scikit_learn import forests, skops_archives
from tidemill_runtime.frameworks.scikit_learn.estimators import parts, refused_categories
from tidemill_runtime.model.errors import BadRequestError, StartError
from tidemill_runtime.model.frame import Array, Frame, Schema
from tidemill_runtime.model.prediction import Prediction, class_columns
from tidemill_runtime.model.rules import Rules
from tidemill_runtime.redaction import redact

_BY_SCORE = frozenset({"sklearn.ensemble._iforest.IsolationForest", "sklearn.neighbors._lof.LocalOutlierFactor"})


def import_without_pandas() -> None:
    """Import scikit-learn without pandas, for models that were not fitted on frames: 29 MiB and 0.23 s of a start less.

    scikit-learn imports pandas where it finds it, to know that it is there. Whoever needs pandas later imports it as
    ever.
    """
    if "pandas" in sys.modules or "sklearn" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # makes the import fail
    try:
        importlib.import_module("sklearn.utils.fixes")
    finally:
        del sys.modules["pandas"]


def load_skops(path: Path, *, has_code: bool = False) -> Any:
    """Return the estimator in a skops archive; `has_code`: with the code beside it, which the caller saw to be allowed.

    Raises:
        StartError: ModelLoadFailed (broken archive), FormatUnsupported (it would construct an unvetted type).
    """
    try:
        expansion.check_zip(path, path.name)
        if not has_code:
            return skops_archives.load(path)
        code = version_code.read(path.parent)
        version_code.install(code)
        return skops_archives.load(path, code.modules)
    except StartError:
        raise
    except skops_archives.RefusedTypesError as error:
        raise StartError("FormatUnsupported", f"{path.name} holds types that are not vetted: {error}") from error
    except Exception as error:  # an archive that was verified and still does not load: report its message
        raise StartError("ModelLoadFailed", f"{path.name}: {type(error).__name__}: {error}") from error


def load_joblib(path: Path) -> Any:
    """Return the estimator in a pickle; the caller has checked that a person allowed it.

    Raises:
        StartError: ModelLoadFailed.
    """
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # unpickling runs anybody's code
        raise StartError("ModelLoadFailed", f"{path.name}: {type(error).__name__}: {error}") from error


def use_one_thread(root: object) -> None:
    """Set `n_jobs` to 1 on an estimator and on every estimator inside it, fitted ones included."""
    for part in parts(root):
        if "n_jobs" in vars(part):
            part.n_jobs = 1


class NativeModel:
    """See the module; `predict` is safe from several threads at once."""

    platform = "sklearn"

    def __init__(self, estimator: Any, schema: Schema, manifest: ModelManifest) -> None:
        use_one_thread(estimator)
        self.estimator = estimator
        self._schema = schema
        outputs = manifest.signature.outputs
        self._names = [(o.name, o.datatype) for o in outputs]
        self._class_columns = class_columns(manifest)
        self._rules = Rules(schema, self._names)
        self._as_frame = manifest.signature.frame
        self._head, self._model = _split(estimator)
        self._has_probabilities = any(o.name == PROBABILITIES for o in outputs)
        self._methods = list(output_methods(self._model, manifest.task).items())
        self._others = [o.name for o in outputs[1:] if o.name != PROBABILITIES]
        self._is_forest = forests.is_classifier(self._model)
        self._is_by_score = _is_by_score(self._model)
        forests.use_trees(self._model)
        method = self._methods[0][1]
        if not hasattr(self._model, method):
            raise StartError("FormatUnsupported", f"{type(estimator).__name__} has no {method} method")

    @np.errstate(all="ignore")  # absurd numbers are no reason to write to the log: they are judged by their results
    def predict(self, frame: Frame) -> Prediction:
        """Return the prediction for every row.

        Raises:
            BadRequestError: the estimator refused the values (scikit-learn says so with ValueError or TypeError), or
                the rules do.
        """
        self._rules.check(frame)
        features = self._data_frame(frame) if self._as_frame else self._matrix(frame)
        try:
            answer = self._answer(features)
        except (ValueError, TypeError) as error:
            reason = redact(str(error)).strip().partition("\n")[0]
            refused = refused_categories(error)
            unseen = frame.unseen_category(refused) if refused is not None else None
            if unseen is not None:  # scikit-learn knows the column only by its place in the encoder
                raise BadRequestError(f"inputs: {unseen}") from error
            raise BadRequestError(f"inputs: the model refused the input: {reason[:300]}") from error
        return self._rules.confirm(frame, answer)

    def _answer(self, features: Any) -> Prediction:
        model = self._model
        if self._head is not None:
            features = self._head.transform(features)
        if self._others:
            return self._all(features)
        probabilities = model.predict_proba(features) if self._has_probabilities else None
        if probabilities is not None and self._is_forest:  # its predict is this very argmax, at the same cost
            prediction = model.classes_.take(np.argmax(probabilities, axis=1), axis=0)
        else:
            name, method = self._methods[0]
            prediction = named(name, getattr(model, method)(features))[name]
        return Prediction(self._names, prediction, probabilities, (), self._class_columns)

    def _all(self, features: Any) -> Prediction:
        """Return the answer of a model with outputs beside prediction and probabilities."""
        if self._is_by_score:  # its predict asks for the score, too
            score = self._model.decision_function(features)
            return Prediction(self._names, np.where(score < 0, -1, 1), None, [score])
        found: dict[str, Array] = {}
        for name, method in self._methods:
            found |= named(name, getattr(self._model, method)(features))
        others = [found[name] for name in self._others]
        return Prediction(
            self._names, next(iter(found.values())), found.get(PROBABILITIES), others, self._class_columns
        )

    def _matrix(self, frame: Frame) -> Array:
        """Return the matrix that the model was fitted on, also with columns that it does not use: it has places."""
        known = self._schema.known
        found = frame.objects() if known.has_text else self._numbers(frame)
        return known.widened(found) if known.unused else found

    def _numbers(self, frame: Frame) -> Array:
        integers = frame.integers() if self._schema.has_wide else None
        return frame.numbers() if integers is None else integers

    def _data_frame(self, frame: Frame) -> Any:
        """Return the used columns: a model that was fitted on names does not ask for those that it does not use."""
        import pandas as pd

        text = pd.StringDtype("python", na_value=np.nan)  # "str", the same with and without pyarrow
        columns: dict[str, Any] = {}
        for index, column in enumerate(self._schema.columns):
            values = frame.column(index)
            if column.kind == "text":
                columns[column.name] = pd.Series(values, dtype=text)  # missing is NaN, as it was in training
            else:
                columns[column.name] = _as_trained(values, column.datatype)
        return pd.DataFrame(columns, copy=False)


def _as_trained(values: Array, datatype: str) -> Array:
    """Return numbers with the column's own dtype where no missing value or fraction forbids it."""
    if datatype == "BOOL" and bool(np.isin(values, (0, 1)).all()):
        return values.astype(np.bool_)
    is_integer = datatype.startswith(("INT", "UINT"))
    if is_integer and values.dtype.kind == "f" and bool((np.abs(values) < 2**53).all()):
        whole: Array = values.astype(np.int64)
        return whole if bool((whole == values).all()) else values
    return values


def _is_by_score(model: Any) -> bool:
    """Return whether a model is an outlier detector whose labels are the sign of its score."""
    kind = type(model)
    return f"{kind.__module__}.{kind.__name__}" in _BY_SCORE


def _split(estimator: Any) -> tuple[Any | None, Any]:
    """Return a pipeline's transformers and its last step, so that two methods of the last share one transform."""
    steps = getattr(estimator, "steps", None)
    if (
        type(estimator).__name__ == "Pipeline"
        and steps
        and len(steps) > 1
        and steps[-1][1] not in (None, "passthrough")
    ):
        return estimator[:-1], steps[-1][1]
    return None, estimator
