"""The built-in metrics on the holdout, and those of the user's `evaluate`.

A metric that cannot be computed is absent and a warning says why; it is never a made-up number. The
formulas are scikit-learn's. F1 of two classes is that of the last class in sorted order, of more the
macro average; ROC AUC of more than two classes is one against the rest, macro average.
"""

import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts.training import NAME_LIMIT, is_name
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model.inspection import Model, Values
from tidemill_runtime.trainer.usercode import function
from tidemill_runtime.trainer.usercode.function import UserCode

Metrics = dict[str, float | None]


def score(
    model: Model, features: pd.DataFrame, given: Any, target: "pd.Series[Any] | None", code: UserCode
) -> tuple[Metrics, list[str]]:
    """Return metrics of a model on held-out rows, and warnings about those that are absent.

    `features` are the rows as the model takes them, `given` the same rows as the user's functions get them.

    Raises:
        RunError: UserError; the model or `evaluate` fails, or `evaluate` returns no numbers.
    """
    metrics, notes = built_in(model, features, target) if target is not None else ({}, [])
    if code.evaluate is not None:
        found = function.call(code.evaluate, code.root, model.estimator, given, target)
        metrics.update(_checked(found))
    return metrics, notes


def built_in(model: Model, features: pd.DataFrame, target: "pd.Series[Any]") -> tuple[Metrics, list[str]]:
    """Return the metrics of the model's task; none for tasks without a target."""
    if model.task == "classification" and model.classes is not None:
        return _classification(model, features, np.asarray(target))
    if model.task == "regression":
        return _regression(model.predict(features), np.asarray(target))
    return {}, [f"no built-in metrics for {model.task} models: define evaluate(model, data, target)"]


def _regression(predicted: Values, truth: Values) -> tuple[Metrics, list[str]]:
    from sklearn import metrics

    if predicted.ndim != 1:
        return {}, ["no built-in metrics for models of several outputs"]
    return _collect(
        {
            "rmse": lambda: metrics.root_mean_squared_error(truth, predicted),
            "mae": lambda: metrics.mean_absolute_error(truth, predicted),
            "r2": lambda: metrics.r2_score(truth, predicted),
        }
    )


def _classification(model: Model, features: pd.DataFrame, truth: Values) -> tuple[Metrics, list[str]]:
    from sklearn import metrics

    predicted = model.predict(features)
    probabilities = model.probabilities(features)
    classes = model.classes
    assert classes is not None  # noqa: S101  the caller asked
    binary = len(classes) == 2
    truth = truth.astype(classes.dtype) if classes.dtype.kind in "biuf" and truth.dtype.kind in "biuf" else truth

    def f1() -> float:
        if binary:
            return float(metrics.f1_score(truth == classes[-1], predicted == classes[-1], zero_division=0))
        return float(metrics.f1_score(truth, predicted, average="macro", zero_division=0))

    def log_loss() -> float:
        if probabilities is None:
            raise ValueError("the model has no predict_proba")
        unseen = sorted({str(value) for value in truth} - {str(value) for value in classes})
        if unseen:
            raise ValueError(f"the holdout has classes that the model has not seen: {', '.join(unseen)}")
        index = np.searchsorted(classes, truth)
        return float(metrics.log_loss(index, probabilities, labels=range(len(classes))))

    return _collect(
        {
            "accuracy": lambda: metrics.accuracy_score(truth, predicted),
            "balanced_accuracy": lambda: metrics.balanced_accuracy_score(truth, predicted),
            "f1": f1,
            "roc_auc": lambda: _roc_auc(model, features, truth, probabilities),
            "log_loss": log_loss,
        }
    )


def _roc_auc(model: Model, features: pd.DataFrame, truth: Values, probabilities: Values | None) -> float:
    from sklearn import metrics

    classes = model.classes
    assert classes is not None  # noqa: S101
    absent = [str(value) for value in classes if not (truth == value).any()]
    if absent:
        raise ValueError(f"the holdout has no row of class {', '.join(absent)}")
    if len(classes) == 2:
        scores = probabilities[:, 1] if probabilities is not None else model.scores(features)
        if scores is None:
            raise ValueError("the model has neither predict_proba nor decision_function")
        return float(metrics.roc_auc_score(truth == classes[1], scores))
    if probabilities is None:
        raise ValueError("the model has no predict_proba")
    one_against_rest = [metrics.roc_auc_score(truth == c, probabilities[:, i]) for i, c in enumerate(classes)]
    return float(np.mean(one_against_rest))


def _collect(formulas: dict[str, Callable[[], float]]) -> tuple[Metrics, list[str]]:
    found: Metrics = {}
    notes = []
    for name, formula in formulas.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a metric that is not defined comes back as NaN and is noted below
                value = float(formula())
        except (ValueError, TypeError) as error:
            notes.append(f"metric {name} is absent: {error}")
            continue
        if math.isfinite(value):
            found[name] = value
        else:
            notes.append(f"metric {name} is absent: it is not defined on this holdout")
    return found, notes


def _checked(found: Any) -> Metrics:
    if not isinstance(found, dict):
        text = f"evaluate returned {type(found).__name__}, expected a dict of metric name to number"
        raise RunError("UserError", "InvalidMetrics", text)
    result: Metrics = {}
    for name, value in found.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, numbers.Real):
            text = f"evaluate returned {name!r}: {value!r}, expected a dict of metric name to number"
            raise RunError("UserError", "InvalidMetrics", text)
        if not is_name(name):
            text = f"evaluate returned a metric named {name[:300]!r}, expected 1 to {NAME_LIMIT} printable characters"
            raise RunError("UserError", "InvalidMetrics", text)
        result[name] = finite(value)
    return result


def finite(value: Any) -> float | None:
    """Return a number as a float, None where it is none or beyond what a float holds."""
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if math.isfinite(number) else None
