"""The reference profile and the sample: what a monitor and a server compare a model in service with.

Bins are fixed here: of numbers by `profile_bins`, of categories by the most frequent ones. Any later value falls into
exactly one bin.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.artifact import Sample
from tidemill_contracts.calibration import CalibrationTable
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
from tidemill_runtime.trainer.package import column_roles, profile_bins
from tidemill_runtime.trainer.package.importance import NO_IMPORTANCE, Importance

CATEGORIES = 50
TEXT_LENGTH = 200  # a longer text is no category; it counts as other
RARE_SHARE = 0.02  # of rows whose category occurs once: about the share that categories new to the model will have
MANY_ROWS = 200  # fewer rows are not halved for the sake of rare categories
SECOND_VIEWS = 500  # columns of whole numbers that appear to be quantities and have a profile as categories, too
CLASSES = 1000
SAMPLE_ROWS = 16
Floats = NDArray[np.float64]


def profile(
    model: Model,
    training: pd.DataFrame,
    predicted: Values,
    probabilities: Values | None,
    metrics: Metrics,
    calibration: tuple[CalibrationTable, ...] = (),
    importance: Importance = NO_IMPORTANCE,
) -> ReferenceProfile:
    """Return the profile of the training rows and of the predictions on the holdout.

    `training` has the columns that are watched: those that the model uses. `importance` is that of these.
    """
    score = None
    if probabilities is not None and len(probabilities):
        score = numeric(probabilities.max(axis=1), "score")
    return ReferenceProfile(
        schema_version=CURRENT,
        rows=len(training),
        features=tuple(p.model_copy(update={"importance": importance.columns.get(p.name)}) for p in features(training)),
        importance_metric=importance.metric,
        prediction=_prediction(model, predicted),
        score=score,
        prediction_rows=len(predicted),
        classes=_classes(model),
        metrics=metrics,
        calibration=calibration,
    )


def features(training: pd.DataFrame) -> tuple[Profile, ...]:
    """Return the profile of each column."""
    found: list[Profile] = []
    views = SECOND_VIEWS
    for name in training.columns:
        feature = _column(training[name], name, whole_as_categories=views > 0)
        views -= isinstance(feature, NumericProfile) and feature.as_categories is not None and feature.role == "Value"
        found.append(feature)
    return tuple(found)


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
    edges = profile_bins.edges(finite)
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
        distinct=len(np.unique(present)),
    )


def categorical(values: "pd.Series[Any]", name: str, *, whole: bool = False) -> CategoricalProfile:
    """Return the profile of categories: the 50 most frequent by text, equal counts in text order.

    A category that is chosen since it was frequent in these rows will be less frequent in others, and one that they
    lack may come. Where that matters, a random half of the rows chooses and the other half counts; `whole`: only where
    there are more categories than are kept.
    """
    texts = _texts(values)
    chosen, counted = texts, texts
    sizes = texts.value_counts()
    rows = int(sizes.sum())
    many_rare = rows >= MANY_ROWS and (sizes == 1).sum() > RARE_SHARE * rows
    if len(sizes) > CATEGORIES or (many_rare and not whole):
        chooses = np.random.default_rng(0).permutation(len(texts)) < len(texts) // 2
        chosen, counted = texts[chooses], texts[~chooses]
    kept = _most_frequent(chosen)
    counts = counted.value_counts()
    found = [int(counts.get(text, 0)) for text in kept]
    return CategoricalProfile(
        name=name,
        categories=kept,
        counts=(*found, int(counts.sum()) - sum(found)),
        missing=int(counted.isna().sum()),
        distinct=len(sizes),
    )


def _texts(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the text of each value, None or NaN where it is missing. Of numbers each different one is written once."""
    if values.dtype.kind not in "iuf":
        return values.astype(object).map(category_text, na_action="ignore")
    codes, found = pd.factorize(values)
    written = np.array([*map(category_text, found.tolist()), None], dtype=object)
    return pd.Series(written[codes], dtype=object)  # the code of a missing value is -1


def _most_frequent(texts: "pd.Series[Any]") -> tuple[str, ...]:
    counts = [(str(text), int(count)) for text, count in texts.value_counts().items() if len(str(text)) <= TEXT_LENGTH]
    return tuple(text for text, _ in sorted(counts, key=lambda item: (-item[1], item[0]))[:CATEGORIES])


def _column(values: "pd.Series[Any]", name: str, *, whole_as_categories: bool) -> Profile:
    if values.dtype.kind not in "iuf":
        found = categorical(values, name)
        return found.model_copy(update={"role": column_roles.of_texts(found.distinct or 0, int(values.notna().sum()))})
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    profile = numeric(numbers, name)
    role = column_roles.of_numbers(name, numbers)
    wanted = role == "Code" or (role == "Value" and whole_as_categories)
    if not wanted or not column_roles.are_whole(numbers):
        return profile.model_copy(update={"role": role})
    return profile.model_copy(update={"role": role, "as_categories": categorical(values, name)})


def _prediction(model: Model, predicted: Values) -> Profile | None:
    if predicted.ndim != 1 or len(predicted) == 0:
        return None
    if model.task in ("regression", "transformation", "unknown") and predicted.dtype.kind in "iuf":
        return numeric(predicted.astype(np.float64), "prediction")
    # As Python objects: numpy's own text of a class ("np.True_") would differ from what a server sends.
    return categorical(pd.Series([plain(value) for value in predicted], dtype=object), "prediction", whole=True)


def _classes(model: Model) -> tuple[str, ...]:
    """Return what labels may name: every class of the model, also those that it predicts for no row of the holdout."""
    if model.classes is None or len(model.classes) > CLASSES:
        return ()
    return tuple(dict.fromkeys(category_text(plain(value)) for value in model.classes))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and np.isnan(value)
