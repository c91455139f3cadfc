"""The reference profile: what a monitor compares current data with.

Bins are fixed at training time, so that a monitor keeps exact integer counters that add up over
pods and hours. Numeric bins: `k` inner edges make `k + 1` bins, bin `i` holds edge[i-1] <= x < edge[i];
the first and last are open, and out-of-range counts are kept apart by `minimum` and `maximum`.
Categorical bins: one per category, then `other`. Missing values are counted on their own.

Version 2 (a profile of version 1 is read as before; its readers ignore what is new):
- edges lie between values, also after these were rounded to 32-bit floats, in a wide gap where there is one; a value
  that holds as many rows as a bin has a bin of its own; at most 21 bins;
- categories beyond the most frequent: chosen on one half of the rows, counted on the other, so that being chosen
  does not raise a count. `counts` and `missing` are then of that half;
- `distinct`, `role`, and `as_categories` of columns of whole numbers;
- `calibration`: labels of the holdout by score or prediction, where it has labels.
- `importance`: by how much the model's score on held-out rows falls when the values of the column are shuffled.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from tidemill_contracts.base import Document
from tidemill_contracts.calibration import CalibrationTable

Role = Literal["Value", "Code", "Identifier"]
"""What a column appears to be: a quantity or text; a number that names something (a postal code); one value a row."""


class _Column(Document):
    """A column of one kind or the other; its kind is always written, also where it is the default of its class."""

    kind: str
    name: str
    counts: tuple[int, ...]
    missing: int

    @property
    def present(self) -> int:
        """How many rows with a value `counts` are of: the size of the reference sample."""
        return sum(self.counts)

    @property
    def missing_share(self) -> float:
        """Share of rows without a value, from 0 to 1; 0 of no rows."""
        rows = self.present + self.missing
        return self.missing / rows if rows else 0.0

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


class CategoricalProfile(_Column):
    """Reference of a categorical column; values are compared as text."""

    kind: Literal["categorical"] = "categorical"
    name: str
    categories: tuple[str, ...]
    counts: tuple[int, ...]  # len(categories) + 1, the last is `other`
    missing: int
    distinct: int | None = None  # how many values differ, over all rows; None: the profile has version 1
    role: Role = "Value"
    importance: float | None = None  # in units of the profile's `importance_metric`; None: not measured


class NumericProfile(_Column):
    """Reference of a numeric column."""

    kind: Literal["numeric"] = "numeric"
    name: str
    edges: tuple[float, ...]  # strictly increasing inner edges
    counts: tuple[int, ...]  # len(edges) + 1
    missing: int
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    std: float | None = None  # ddof 0
    bin_means: tuple[float | None, ...] = ()  # mean of the reference values of each bin
    distinct: int | None = None  # how many values differ; None: the profile has version 1
    role: Role = "Value"
    importance: float | None = None  # as above
    as_categories: CategoricalProfile | None = None  # the same values as categories, of whole numbers only


Profile = NumericProfile | CategoricalProfile

Ability = Literal[
    "drift of features",
    "drift of features without that of rounding to FP32",
    "types of columns",
    "drift of predictions",
    "data quality",
    "performance",
    "estimated performance",
]
"""What a monitor can judge by a profile."""

CURRENT = 2
"""The version of profiles that the trainer writes; one more whenever they get what monitors lacked."""

SINCE: Mapping[Ability, int] = {
    "drift of features": 1,
    "drift of features without that of rounding to FP32": 2,
    "types of columns": 2,
    "drift of predictions": 1,
    "data quality": 1,
    "performance": 1,
    "estimated performance": 2,
}
"""The version of profiles from which each is possible."""


def lacking(version: int, requested: Iterable[Ability]) -> tuple[Ability, ...]:
    """Return what of `requested` a profile of that version is too old for."""
    return tuple(ability for ability in requested if SINCE[ability] > version)


def category_text(value: float | int | str | bool) -> str:
    """Return the text by which a category or class is counted: 1 and 1.0 are "1", True is "True".

    Trainer, server and monitor must agree on it, whatever type a value had on its way (JSON keeps 1.0 and 1 apart
    or not, as the writer likes).
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class ReferenceProfile(Document):
    """The content of `reference.json`: features from the training split, predictions from the holdout.

    A monitor reads profiles of every version, older and newer ones: what an older one lacks is in `SINCE`.
    """

    schema_version: int = Field(default=1, ge=1)
    rows: int
    features: tuple[Profile, ...]
    prediction: Profile | None = None  # label (categorical) or value (numeric)
    score: NumericProfile | None = None  # probability of the predicted class
    prediction_rows: int = 0
    classes: tuple[str, ...] = ()  # of the model, as text, in its order; empty: not a classifier, or not recorded
    metrics: dict[str, float | None] = Field(default_factory=dict)
    calibration: tuple[CalibrationTable, ...] = ()  # empty: the holdout has no labels, or the model no probabilities
    importance_metric: str | None = None  # a built-in metric; None: importance was not measured

    def importance(self) -> dict[str, float]:
        """Return each feature's share of all importance, from 0 to 1; empty where it was not measured.

        Below 0 it is chance, and counts as 0.
        """
        found = {p.name: max(0.0, p.importance) for p in self.features if p.importance is not None}
        total = sum(found.values())
        return {name: value / total for name, value in found.items()} if 0 < total < math.inf else {}
