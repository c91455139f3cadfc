"""The built-in metrics on the holdout, and those of the user's `evaluate`.

A metric that cannot be computed is absent and a warning says why; it is never a made-up number. The metrics are
those of `tidemill_contracts.model_metrics`, their formulas are in `model.metric_formulas`.
"""

import math
import numbers
import warnings
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts import model_metrics
from tidemill_contracts.model_metrics import MetricTask
from tidemill_contracts.reference import category_text
from tidemill_contracts.training import CLASSES_LIMIT, NAME_LIMIT, is_name
from tidemill_runtime.model.metric_formulas import FORMULAS, Holdout
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model.inspection import Model, Values, plain
from tidemill_runtime.trainer.usercode import function
from tidemill_runtime.trainer.usercode.function import UserCode

Metrics = dict[str, float | None]
_CLASS_LENGTH = 100


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
        return _computed("classification", _classified(model, features, np.asarray(target)))
    if model.task != "regression":
        return {}, [f"no built-in metrics for {model.task} models: define evaluate(model, data, target)"]
    predicted = model.predict(features)
    if predicted.ndim != 1:
        return {}, ["no built-in metrics for models of several outputs"]
    return _computed("regression", Holdout(np.asarray(target), predicted, np.zeros(0), None, lambda: None))


def _classified(model: Model, features: pd.DataFrame, truth: Values) -> Holdout:
    classes = model.classes
    assert classes is not None  # noqa: S101  the caller asked
    return Holdout(
        truth=as_classes(classes, truth),
        predicted=model.predict(features),
        classes=classes,
        probabilities=model.probabilities(features),
        decisions=lambda: model.scores(features),
    )


def as_classes(classes: Values, truth: Values) -> Values:
    """Return labels [rows] with the type of the classes, where both are numbers."""
    are_numbers = classes.dtype.kind in "biuf" and truth.dtype.kind in "biuf"
    return truth.astype(classes.dtype) if are_numbers else truth


def _computed(task: MetricTask, holdout: Holdout) -> tuple[Metrics, list[str]]:
    found: Metrics = {}
    absent: dict[str, list[str]] = {}
    for name in model_metrics.names(task):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a metric that is not defined comes back as NaN and is noted below
                value = float(FORMULAS[name].on_holdout(holdout))
        except (ValueError, TypeError) as error:
            absent.setdefault(str(error), []).append(name)
            continue
        if math.isfinite(value):
            found[name] = value
        else:
            absent.setdefault("not defined on this holdout", []).append(name)
    return found, [f"{_metrics(names)} absent: {why}" for why, names in absent.items()]


def _metrics(names: list[str]) -> str:
    return f"metric {names[0]} is" if len(names) == 1 else f"metrics {', '.join(names[:-1])} and {names[-1]} are"


def rows_by_class(model: Model, target: "pd.Series[Any] | None") -> dict[str, int]:
    """Return the rows of each class that a classifier knows, 0 included, the CLASSES_LIMIT rarest first.

    Empty where there are no classes or no target. Names are those of predictions, as one short printable line.
    """
    if model.classes is None or target is None:
        return {}
    labels = pd.Series(as_classes(model.classes, np.asarray(target))).value_counts().to_dict()
    counts = sorted((labels.get(value, 0), place) for place, value in enumerate(model.classes))
    found: dict[str, int] = {}
    for rows, place in counts[:CLASSES_LIMIT]:
        found.setdefault(_class_name(model.classes[place]), int(rows))
    return found


def positive_class(model: Model) -> str | None:
    """Return the name of the positive class as `rows_by_class` has it; None unless there are two classes."""
    return _class_name(model.classes[1]) if model.classes is not None and len(model.classes) == 2 else None


def _class_name(value: Any) -> str:
    return _short(category_text(plain(value)))


def _short(text: str) -> str:
    """Return a class's name with which a result is accepted."""
    short = text[:_CLASS_LENGTH]
    return short if is_name(short) else ascii(text)[:_CLASS_LENGTH]


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
