"""Which input columns a fitted estimator selects, where column transformers decide that before anything else looks."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_HANDED_ON = {
    "sklearn.model_selection._search.GridSearchCV": "best_estimator_",
    "sklearn.model_selection._search.RandomizedSearchCV": "best_estimator_",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV": "best_estimator_",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV": "best_estimator_",
    "sklearn.calibration.CalibratedClassifierCV": "calibrated_classifiers_",
    "sklearn.calibration._CalibratedClassifier": "estimator",
    "sklearn.compose._target.TransformedTargetRegressor": "regressor_",
    "sklearn.ensemble._voting.VotingClassifier": "estimators_",
    "sklearn.ensemble._voting.VotingRegressor": "estimators_",
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier": "estimator_",
    "sklearn.model_selection._classification_threshold.TunedThresholdClassifierCV": "estimator_",
}
"""Where estimators keep those that they give their whole input to, as it is, without a look at it themselves."""
_PIPELINE = "sklearn.pipeline.Pipeline"
_COLUMNS = "sklearn.compose._column_transformer.ColumnTransformer"


def unused(estimator: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of the columns `names`, in which an estimator was fitted, that nothing in it selects.

    No column where that is not certain: by exact class only, as a subclass may do anything, and only as far as classes
    are listed here that look at nothing but what a column transformer gives them.
    """
    selected: set[int] = set()
    for transformer in _first(estimator):
        if transformer is None:
            return ()
        for _, inner, columns in transformer.transformers_:
            if isinstance(inner, str) and inner == "drop":
                continue
            if not _is_known(columns, names):
                return ()
            selected.update(places(columns, names, len(names)))
    return tuple(name for place, name in enumerate(names) if place not in selected)


def _first(estimator: Any) -> Iterator[Any]:
    """Yield the column transformers that get the input; None for anything else that does."""
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    if kind == _COLUMNS:
        yield estimator
    elif kind == _PIPELINE:
        steps = (step for _, step in estimator.steps)
        yield from _first(next((step for step in steps if step is not None and not isinstance(step, str)), None))
    elif kind in _HANDED_ON:
        inner = getattr(estimator, _HANDED_ON[kind])
        for one in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _first(one)
    else:
        yield None


def _is_known(columns: Any, names: Sequence[str]) -> bool:
    """Return whether `places` gives every column of a selection."""
    if isinstance(columns, slice):
        return not any(isinstance(end, str) for end in (columns.start, columns.stop))
    chosen = [columns] if isinstance(columns, str) else columns
    return not callable(columns) and all(
        not isinstance(one, str) or one in names for one in (chosen if np.iterable(chosen) else [])
    )


def places(columns: Any, names: Sequence[str], width: int) -> list[int]:
    """Return the places of a column transformer's selection: names, places, a mask, a slice, or one of them.

    Names that `names` has not are left out.
    """
    if isinstance(columns, (str, int, np.integer)):
        columns = [columns]
    if isinstance(columns, slice):
        return list(range(width))[columns]
    chosen = list(columns)
    if chosen and isinstance(chosen[0], (bool, np.bool_)):
        return [i for i, taken in enumerate(chosen) if taken]
    known = {name: i for i, name in enumerate(names)}
    return [known[c] if isinstance(c, str) else int(c) % width for c in chosen if not isinstance(c, str) or c in known]
