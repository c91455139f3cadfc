"""The reference profile and the sample: what a monitor and a server compare a model in service with.

Bins are fixed here. Numeric columns of few distinct values get a bin for each value, others bins of
about equal counts by quantiles; both end in inner edges, so any later value falls into exactly one bin.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.artifact import Sample
from tidemill_contracts.reference import (
    CURRENT,
    CategoricalProfile,
    NumericProfile,
    Profile,
    ReferenceProfile,
    category_text,
)
from tidemill_runtime.trainer.model.inspection import Model, Values, plain
from tidemill_runtime.trainer.model.metrics import Metrics

BINS = 10
CATEGORIES = 50
SAMPLE_ROWS = 16
Floats = NDArray[np.float64]


def profile(
    model: Model, training: pd.DataFrame, predicted: Values, probabilities: Values | None, metrics: Metrics
) -> ReferenceProfile:
    """Return the profile of the training rows and of the predictions on the holdout.

    `training` has the columns that are watched: those that the model uses.
    """
    features = tuple(_column(training[name], name) for name in training.columns)
    score = None
    if probabilities is not None and len(probabilities):
        score = numeric(probabilities.max(axis=1), "score")
    return ReferenceProfile(
        schema_version=CURRENT,
        rows=len(training),
        features=features,
        prediction=_prediction(model, predicted),
        score=score,
        prediction_rows=len(predicted),
        metrics=metrics,
    )


def sample(model: Model, holdout: pd.DataFrame) -> Sample:
    """Return up to 16 held-out rows with the model's answers; rows with infinities, which JSON has not, come last."""
    infinite = holdout.select_dtypes("number").isin([np.inf, -np.inf]).any(axis=1)
    rows = pd.concat([holdout[~infinite], holdout[infinite]]).head(SAMPLE_ROWS)
    predicted = model.predict(rows)
    columns = {name: [plain(value) for value in rows[name].astype(object)] for name in model.columns}
    columns = {name: [None if _is_nan(value) else value for value in values] for name, values in columns.items()}
    answers = [plain(v) if np.ndim(v) == 0 else [plain(each) for each in v] for v in predicted]
    return Sample(columns=columns, predictions=answers)


def numeric(values: Floats, name: str) -> NumericProfile:
    """Return the profile of numbers; NaN is missing, infinities count in the outer bins only."""
    numbers = np.asarray(values, dtype=np.float64)
    present = numbers[~np.isnan(numbers)]
    finite = present[np.isfinite(present)]
    edges = _edges(finite)
    bins = np.searchsorted(edges, present, side="right")  # edge[i-1] <= x < edge[i]
    counts = np.bincount(bins, minlength=len(edges) + 1)
    finite_bins = np.searchsorted(edges, finite, side="right")
    means = [float(finite[finite_bins == i].mean()) if (finite_bins == i).any() else None for i in range(len(counts))]
    has = len(finite) > 0
    return NumericProfile(
        name=name,
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        missing=int(np.isnan(numbers).sum()),
        minimum=float(finite.min()) if has else None,
        maximum=float(finite.max()) if has else None,
        mean=float(finite.mean()) if has else None,
        std=float(finite.std()) if has else None,
        bin_means=tuple(means),
    )


def categorical(values: "pd.Series[Any]", name: str) -> CategoricalProfile:
    """Return the profile of categories: the 50 most frequent by text, equal counts in text order."""
    present = values.dropna().map(category_text)
    counts = present.value_counts()
    ordered = sorted(((str(text), int(count)) for text, count in counts.items()), key=lambda item: (-item[1], item[0]))
    kept, rest = ordered[:CATEGORIES], ordered[CATEGORIES:]
    return CategoricalProfile(
        name=name,
        categories=tuple(text for text, _ in kept),
        counts=(*(count for _, count in kept), sum(count for _, count in rest)),
        missing=int(values.isna().sum()),
    )


def _column(values: "pd.Series[Any]", name: str) -> Profile:
    if values.dtype.kind in "iuf":
        return numeric(values.to_numpy(dtype=np.float64, na_value=np.nan), name)
    return categorical(values, name)


def _prediction(model: Model, predicted: Values) -> Profile | None:
    if predicted.ndim != 1 or len(predicted) == 0:
        return None
    if model.task in ("regression", "transformation", "unknown") and predicted.dtype.kind in "iuf":
        return numeric(predicted.astype(np.float64), "prediction")
    # As Python objects: numpy's own text of a class ("np.True_") would differ from what a server sends.
    return categorical(pd.Series([plain(value) for value in predicted], dtype=object), "prediction")


def _edges(finite: Floats) -> Floats:
    """Return strictly increasing inner edges, at most 9, so at most 10 bins."""
    distinct = np.unique(finite)
    if len(distinct) <= 1:
        return np.empty(0)
    if len(distinct) <= BINS:
        middles: Floats = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
        return np.unique(middles)
    quantiles = np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1])
    # An edge at the minimum would make a first bin that no reference value is in.
    return np.unique(quantiles[quantiles > distinct[0]])


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and np.isnan(value)
