"""What a fitted scikit-learn estimator is and takes: its task, its columns, its classes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill_contracts.artifact import Task
from tidemill_contracts.counts import counted
from tidemill_runtime.frameworks.base import Description, FrameworkError
from tidemill_runtime.frameworks.scikit_learn.estimators import parts

if TYPE_CHECKING:
    import pandas as pd


def describe(estimator: Any, features: pd.DataFrame) -> Description:
    """Return what an estimator is; `features` are rows of the data, of which it may be asked one.

    Raises:
        FrameworkError: NotAnEstimator, NotFitted, or ColumnsDiffer (it takes columns that the data has not).
    """
    _check_fitted(estimator)
    given = tuple(str(name) for name in features.columns)
    names = getattr(estimator, "feature_names_in_", None)
    columns = given
    if names is not None:
        columns = tuple(str(name) for name in names)
        unknown = [name for name in columns if name not in given]
        if unknown:
            text = f"the model was fitted on columns that the data has not: {', '.join(unknown[:10])}"
            hint = "do the work inside a Pipeline, or define features(data), which gives what the model takes"
            raise FrameworkError("ColumnsDiffer", f"{text}; {hint}")
    else:
        expected = getattr(estimator, "n_features_in_", len(columns))
        if expected != len(columns):
            text = f"the model was fitted on a matrix of {counted(expected, 'column')}, the data has {len(columns)}"
            raise FrameworkError("ColumnsDiffer", f"{text}; fit it on the DataFrame, so that columns have names")
    task = task_of(estimator)
    classes = getattr(estimator, "classes_", None) if task == "classification" else None
    plain = None if classes is None or isinstance(classes, list) else np.asarray(classes)
    return Description(estimator, task, columns, names is not None or _takes_frames(estimator, features), plain)


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


def _takes_frames(estimator: Any, features: pd.DataFrame) -> bool:
    """Return whether an estimator that kept no names is to be given DataFrames, as `train` was.

    One that noted how many columns it had, as scikit-learn's do, and of which no part saw the data's names, was given a
    matrix. Where a part saw some, or the first step is a class of somebody's own that noted nothing, it was most likely
    given the DataFrame: so unless it answers for a matrix only.
    """
    if hasattr(estimator, "n_features_in_") and not _saw_names(estimator, set(map(str, features.columns))):
        return False
    rows = features.head(2)
    answered = _answered(estimator, rows)
    if answered == len(rows):
        return True
    return answered is None and _answered(estimator, rows.to_numpy()) != len(rows)


def _saw_names(estimator: Any, names: set[str]) -> bool:
    seen = (getattr(part, "feature_names_in_", None) for part in parts(estimator))
    return any(columns is not None and not names.isdisjoint(map(str, columns)) for columns in seen)


def _answered(estimator: Any, rows: Any) -> int | None:
    """Return for how many of some rows an estimator gives an answer, None if it refuses them."""
    ask = getattr(estimator, "predict", None) or estimator.transform
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answer = ask(rows)
        return int(answer.shape[0]) if hasattr(answer, "shape") else len(answer)
    except Exception:  # an estimator may be anybody's code
        return None


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        text = f"train returned a {type(estimator).__name__} that is not fitted: call fit before returning it"
        raise FrameworkError("NotFitted", text) from error
    except (TypeError, AttributeError) as error:
        text = f"train returned {type(estimator).__name__}, expected a fitted scikit-learn estimator: {error}"
        raise FrameworkError("NotAnEstimator", text) from error
