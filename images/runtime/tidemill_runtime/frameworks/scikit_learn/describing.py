"""What a fitted scikit-learn estimator is and takes: its task, its columns, its classes."""

from typing import Any

import numpy as np

from tidemill_contracts.artifact import Task
from tidemill_contracts.counts import counted
from tidemill_runtime.frameworks.base import Description, FrameworkError


def describe(estimator: Any, given: tuple[str, ...]) -> Description:
    """Return what an estimator is; `given` are the columns of the data.

    Raises:
        FrameworkError: NotAnEstimator, NotFitted, or ColumnsDiffer (it takes columns that the data has not).
    """
    _check_fitted(estimator)
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
    frame = names is not None or _passes_frames_on(estimator, columns)
    return Description(estimator, task, columns, frame, plain)


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
        raise FrameworkError("NotFitted", text) from error
    except (TypeError, AttributeError) as error:
        text = f"train returned {type(estimator).__name__}, expected a fitted scikit-learn estimator: {error}"
        raise FrameworkError("NotAnEstimator", text) from error
