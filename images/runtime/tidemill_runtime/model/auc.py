"""The area under the ROC curve from counts of labels by bin of the positive class's probability, and its error.

Bins are in ascending order of the probability; rows of one bin count as tied, so half of their pairs are in the right
order, as scikit-learn counts equal scores. Sums add up over windows. The error is the larger one of two: that of
DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver operating characteristic
curves (1988), which few labels often show far too small, and that of Hanley and McNeil (1982) for an area of this
value, in the form of Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic,
part 2 (2006), method 5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
METRIC: Final = "roc_auc"
ORDER: Final = "order "
_LABELS: Final = {"0": False, "1": True}


def name(place: int, *, positive: bool) -> str:
    """Return the name of the sum of labels of one bin; `positive`: whether the label is the positive class."""
    return f"{ORDER}{int(positive)} {place}"


@dataclass(frozen=True)
class ByBin:
    """Labels of each bin that has any, bins in ascending order of the probability. Each array is [bins]."""

    places: tuple[int, ...]
    positives: Floats
    negatives: Floats

    @classmethod
    def of(cls, sums: Mapping[str, float]) -> "ByBin":
        """Take the counts by bin from the sums of labels."""
        found: dict[int, list[float]] = {}
        for key, rows in sums.items():
            if key.startswith(ORDER):
                label, place = key.removeprefix(ORDER).split(" ")
                found.setdefault(int(place), [0.0, 0.0])[_LABELS[label]] += rows
        places = tuple(sorted(found))
        table = np.array([found[place] for place in places], dtype=np.float64).reshape(-1, 2)
        return cls(places, table[:, 1], table[:, 0])

    @property
    def fewest(self) -> float:
        """Labels of the class that has fewer."""
        return float(min(self.positives.sum(), self.negatives.sum()))

    @property
    def above(self) -> Floats:
        """Share of the negatives that a positive of each bin is above; ties count half. NaN without negatives."""
        return _shares_below(self.negatives)

    @property
    def below(self) -> Floats:
        """Share of the positives that a negative of each bin is below; ties count half. NaN without positives."""
        return 1.0 - _shares_below(self.positives)

    def area(self) -> float:
        """Return the area under the curve: the share of pairs in the right order; NaN without labels of both."""
        positives = float(self.positives.sum())
        return float(self.positives @ self.above) / positives if self.fewest > 0 and positives else math.nan

    def standard_error(self) -> float | None:
        """Return the standard error of the area; None where it is not defined.

        A class with one label shows no variance: then the largest that an area of this value can have, area ×
        (1 - area) / labels of the smaller class (Birnbaum and Klose, Bounds for the variance of the Mann-Whitney
        statistic, 1957).
        """
        value, fewest = self.area(), self.fewest
        if not math.isfinite(value):
            return None
        if fewest < 2:
            return math.sqrt(max(value * (1 - value), 0.0) / fewest)
        return math.sqrt(max(self.observed_variance(), self._expected_variance()))

    def observed_variance(self) -> float:
        """Return the variance of the area of DeLong et al.; two labels of each class at least."""
        value, spread = self.area(), 0.0
        for rows, shares in ((self.positives, self.above), (self.negatives, self.below)):
            count = float(rows.sum())
            spread += float(rows @ (shares - value) ** 2) / (count - 1) / count
        return spread

    def _expected_variance(self) -> float:
        """Return the variance that an area of this value has where scores are distributed exponentially."""
        value = self.area()
        first, second = float(self.positives.sum()), float(self.negatives.sum())
        others = (first + second) / 2 - 1
        terms = 1 + others * (1 - value) / (2 - value) + others * value / (1 + value)
        return max(value * (1 - value), 0.0) * terms / (first * second)

    def influences(self) -> tuple[Floats, Floats]:
        """Return the influence on the area of one more positive of each bin, and of one more negative."""
        value = self.area()
        return (self.above - value) / self.positives.sum(), (self.below - value) / self.negatives.sum()


def _shares_below(rows: Floats) -> Floats:
    total = float(rows.sum())
    return (np.cumsum(rows) - rows / 2) / total if total else np.full(len(rows), math.nan)
