"""From values to counters: one integer a bin, plus missing, mistyped, below and above the reference's range.

A layout lays all columns of one version in one flat vector, so that counting, adding and storing are vector work.
Counts are exact and add up in any order. Nothing here knows of storage, windows or verdicts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.fairness import FairnessConfig
from tidemill_contracts.inference import Value
from tidemill_contracts.monitoring import ColumnConfig, ColumnFinding, ColumnNote, ColumnType
from tidemill_contracts.reference import (
    CategoricalProfile,
    NumericProfile,
    Profile,
    ReferenceProfile,
    category_text,
)
from tidemill_runtime.monitor.class_names import ClassNames, class_order
from tidemill_runtime.monitor.groups import Groups
from tidemill_runtime.monitor.score_order import ScoreOrder
from tidemill_runtime.monitor.segments import Segments
from tidemill_runtime.monitor.strata import NONE, Strata
from tidemill_runtime.monitor.values import as_floats, category_codes, is_missing

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

# Bin numbers of what is no bin of the reference; stored as they are.
MISSING: Final = -1
MISTYPED: Final = -2
BELOW: Final = -3
ABOVE: Final = -4
_EXTRAS: Final = (MISSING, MISTYPED, BELOW, ABOVE)

FEATURE: Final = "feature:"
CATEGORY: Final = "category:"  # a numeric feature that is counted as categories: other bins, so another name
PREDICTION: Final = "prediction"
SCORE: Final = "score"  # the probability of the predicted class
OUTPUTS: Final = (PREDICTION, SCORE)
CALIBRATION: Final = "calibration"  # bins of the calibration tables

_TEXTS: Final = frozenset({str, type(None)})
_TOLERANCE: Final = 1e-6  # of the range's magnitude: a value that went through 32-bit floats is not out of range


class ColumnBins:
    """Counts the values of one column. The vector is the profile's bins, then missing, mistyped, below, above."""

    def __init__(self, profile: Profile, finding: ColumnFinding | None = None, classes: Sequence[str] = ()) -> None:
        """`finding`: what is special about how this column is judged; `classes`: of predictions, all that there are.

        Raises:
            ValueError: the profile contradicts itself.
        """
        self.profile = profile
        self.finding = finding
        self.bins = len(profile.counts)
        self.size = self.bins + len(_EXTRAS)
        self.classes: frozenset[str] = frozenset()
        """Of predictions: all that are known from the start."""
        check(profile)
        if isinstance(profile, NumericProfile):
            self._edges = np.array(profile.edges, dtype=np.float64)
            low, high = profile.minimum, profile.maximum
            slack = _TOLERANCE * max(abs(low or 0.0), abs(high or 0.0))
            self._low = -np.inf if low is None else low - slack
            self._high = np.inf if high is None else high + slack
        else:
            self._categories = profile.categories
            self._codes = category_codes(profile.categories)
            self.classes = frozenset((*classes, *profile.categories))
            self._classes = ClassNames((*classes, *profile.categories))

    def count(self, values: Sequence[Value]) -> Counts:
        """Return int64[size] for these values."""
        if isinstance(self.profile, NumericProfile):
            return self._count_numbers(values)
        return self._count_categories(values)

    @property
    def judged(self) -> bool:
        """Whether drift of the column says anything."""
        return self.finding != "Identifier"

    def names(self, label: Value) -> bool:
        """Return whether a label names a class that is known from the start."""
        return isinstance(self.profile, CategoricalProfile) and self._classes.find(label) is not None

    def label(self, value: Value) -> str:
        """Return the class that a label of a categorical column names; its own text where it names none."""
        found = self._classes.find(value)
        return self.category(value) if found is None else found

    def category(self, value: Value) -> str:
        """Return the text of one value of a categorical column, as the reference spells it where it names it."""
        text = "" if value is None else category_text(value)
        code = self._codes.get(text)
        return text if code is None else self._categories[code]

    def _count_numbers(self, values: Sequence[Value]) -> Counts:
        return self.count_numbers(*as_floats(values))

    def count_numbers(self, numbers: Floats, mistyped: int = 0) -> Counts:
        """Return int64[size] for float64[n] of a numeric column; NaN is missing, but for those that are mistyped."""
        present = numbers[~np.isnan(numbers)]
        counts = np.zeros(self.size, dtype=np.int64)
        counts[: self.bins] = np.bincount(self._edges.searchsorted(present, side="right"), minlength=self.bins)
        counts[self.bins :] = (
            len(numbers) - len(present) - mistyped,
            mistyped,
            np.count_nonzero(present < self._low),
            np.count_nonzero(present > self._high),
        )
        return counts

    def _count_categories(self, values: Sequence[Value]) -> Counts:
        texts: Iterable[str | None] = values  # type: ignore[assignment]  # true where the next line leaves it alone
        if not set(map(type, values)) <= _TEXTS:
            texts = (None if is_missing(v) else category_text(v) for v in values)  # type: ignore[arg-type]
        return self.count_texts(Counter(texts))

    def count_texts(self, texts: Mapping[str | None, int]) -> Counts:
        """Return int64[size] for the texts of a categorical column with how often each comes; None is missing."""
        counts = np.zeros(self.size, dtype=np.int64)
        for text, number in texts.items():
            counts[self.bins if text is None else self._codes.get(text, self.bins - 1)] += number
        return counts


class Layout:
    """All columns of one version, in one flat vector of counters."""

    def __init__(
        self,
        profile: ReferenceProfile,
        columns: Mapping[str, ColumnConfig] | None = None,
        segments: Sequence[str] = (),
        fairness: FairnessConfig | None = None,
        *,
        joins: bool = True,
        random_sample: bool = False,
        ordered: bool = False,
    ) -> None:
        """`columns`: what is stated about features; those to ignore are not counted. `segments`: columns to split by.

        `random_sample`: whether labels are compared with what answers let one expect. `joins`: whether labels are
        looked at, so that the groups of `fairness` are kept until they come. `ordered`: whether labels are counted by
        probability, for roc_auc.

        Raises:
            ValueError: the profile contradicts itself.
        """
        self.profile = profile
        self.importance = profile.importance()
        names = {p.name for p in profile.features}
        if len(names) != len(profile.features):
            raise ValueError("profile.features: names must be unique")
        self.unknown = tuple(sorted((columns or {}).keys() - names))  # stated, but no feature
        self.columns: dict[str, ColumnBins] = {}
        for feature in profile.features:
            stated = (columns or {}).get(feature.name, ColumnConfig()).type
            if stated != "Ignore":
                bins = _bins_of(feature, stated)
                self.columns[(FEATURE if bins.profile.kind == feature.kind else CATEGORY) + feature.name] = bins
        if profile.prediction is not None:
            self.columns[PREDICTION] = ColumnBins(profile.prediction, classes=profile.classes)
        if profile.score is not None:
            self.columns[SCORE] = ColumnBins(profile.score)
        self.strata = self._strata()
        self.random_sample = random_sample
        self.order = self._order() if ordered else None
        features = {c.profile.name: c.profile for key, c in self.columns.items() if key not in OUTPUTS}
        self.segments = Segments(features, segments)
        self.groups: Groups | None = None
        """Of fairness; None: not asked for, or no predicted classes."""
        if fairness is not None and isinstance(profile.prediction, CategoricalProfile):
            self.groups = Groups(fairness, profile.prediction, joins=joins)
        self._offsets: dict[str, int] = {}
        self.slots: list[tuple[str, int]] = []  # (column, bin) of every place of the vector
        for name, column in self.columns.items():
            self._offsets[name] = len(self.slots)
            self.slots += [(name, number) for number in (*range(column.bins), *_EXTRAS)]
        if self.strata is not None:
            self._offsets[CALIBRATION] = len(self.slots)
            self.slots += [(CALIBRATION, number) for number in (*range(self.strata.size), NONE)]
        self._places = {slot: place for place, slot in enumerate(self.slots)}

    def findings(self) -> Iterable[ColumnNote]:
        """Yield what is special about columns: those that are stated and no feature, then the others as they come."""
        yield from (ColumnNote(name=name, finding="Unknown") for name in self.unknown)
        yield from (ColumnNote(name=name, finding="NoSegments") for name in self.segments.unknown)
        for bins in self.columns.values():
            if bins.finding is not None:
                yield ColumnNote(name=bins.profile.name, finding=bins.finding)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.slots)

    def count(
        self,
        columns: Mapping[str, Sequence[Value]],
        predictions: Sequence[Value],
        scores: Sequence[float | None] | None = None,
    ) -> Counts:
        """Return int64[size]. A feature that `columns` lacks is missing in every row; unknown columns are ignored."""
        total = np.zeros(self.size, dtype=np.int64)
        outputs = {PREDICTION: predictions, SCORE: scores}
        for name, column in self.columns.items():
            values = outputs[name] if name in outputs else columns.get(column.profile.name)
            offset = self._offsets[name]
            if values is None:
                total[offset + column.bins] = len(predictions)
            else:
                total[offset : offset + column.size] = column.count(values)
        if self.strata is not None:
            places = self.strata.places(predictions, scores)
            total[self._offsets[CALIBRATION] :] = np.bincount(
                np.where(places == NONE, self.strata.size, places), minlength=self.strata.size + 1
            )
        return total

    def vector(self, rows: Iterable[tuple[str, int, int]]) -> Counts:
        """Return stored (column, bin, count) rows as a vector, without those of columns it does not know."""
        total = np.zeros(self.size, dtype=np.int64)
        for name, number, value in rows:
            if (place := self._places.get((name, number))) is not None:
                total[place] += value
        return total

    def column(self, name: str, counts: Counts) -> Counts:
        """Return the part of a vector that belongs to one column."""
        offset = self._offsets[name]
        return counts[offset : offset + self.columns[name].size]

    def calibration(self, counts: Counts) -> Counts:
        """Return the part of a vector with the rows by bin of the calibration tables; the last: those in none."""
        return counts[self._offsets[CALIBRATION] :]

    def _strata(self) -> Strata | None:
        column = self.columns.get(PREDICTION)
        if column is None or not self.profile.calibration:
            return None
        text = column.category if isinstance(column.profile, CategoricalProfile) else None
        return Strata(self.profile.calibration, text=text, numbers=lambda values: as_floats(values)[0])

    def _order(self) -> ScoreOrder | None:
        """Return the order of rows by probability; None where there are not two classes."""
        column = self.columns.get(PREDICTION)
        if column is None or len(column.classes) != 2:
            return None
        negative, positive = sorted(column.classes, key=class_order)
        return ScoreOrder(negative, positive, self.profile.calibration)


def _bins_of(feature: Profile, stated: ColumnType | None) -> ColumnBins:
    """Return the bins in which a feature is counted: of its categories where that is stated or it appears to be codes.

    Raises:
        ValueError: its profile contradicts itself.
    """
    if stated is None and feature.role == "Identifier":
        return ColumnBins(feature, "Identifier")
    if isinstance(feature, CategoricalProfile):
        return ColumnBins(feature, "NoNumbers" if stated == "Number" else None)
    if stated == "Category" or (stated is None and feature.role == "Code"):
        found = feature.as_categories
        if found is None:
            return ColumnBins(feature, "NoCategories" if stated else None)
        if found.name != feature.name:
            raise ValueError(f"profile of {feature.name!r}: as_categories has the name {found.name!r}")
        return ColumnBins(found, None if stated else "Code")
    return ColumnBins(feature)


def check(profile: Profile) -> None:
    """Raise ValueError, naming the column and the field, when a profile contradicts itself."""
    where = f"profile of {profile.name!r}"
    if isinstance(profile, CategoricalProfile):
        if len(profile.counts) != len(profile.categories) + 1:
            raise ValueError(f"{where}: counts must have one entry a category and one for other")
        if len(set(profile.categories)) != len(profile.categories):
            raise ValueError(f"{where}: categories must be unique")
    else:
        if len(profile.counts) != len(profile.edges) + 1:
            raise ValueError(f"{where}: counts must have one entry more than edges")
        if not all(a < b for a, b in pairwise(profile.edges)) or not np.isfinite(profile.edges).all():
            raise ValueError(f"{where}: edges must be finite and strictly increasing")
    if min(profile.counts) < 0 or profile.missing < 0:
        raise ValueError(f"{where}: counts and missing must not be negative")
