"""In which order rows are by the probability of the positive class, for roc_auc: in bins that are fixed by the version.

Bins are narrow everywhere: 200 of the logarithm of the odds, 0.1 wide from -6 to 6 and 0.25 wide beyond, refined by the
edges of the calibration tables, for models whose probabilities are all alike. Rows of one bin count as tied.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from tidemill_contracts.calibration import CalibrationTable
from tidemill_runtime.model import auc
from tidemill_runtime.model.auc import ByBin
from tidemill_runtime.model.label_sums import CELL, CLASS_LENGTH, cell
from tidemill_runtime.monitor.strata import Floats, Strata

_ODDS: Final = (*np.linspace(-16, -6, 41)[:-1], *np.linspace(-6, 6, 121), *np.linspace(6, 16, 41)[1:-1])
_EDGES: Final = tuple(1 / (1 + math.exp(-odds)) for odds in _ODDS)


class ScoreOrder:
    """The bins of one version of a model of two classes."""

    def __init__(self, negative: str, positive: str, tables: tuple[CalibrationTable, ...] = ()) -> None:
        """`tables`: the calibration tables of the version."""
        self._negative, self._positive = negative, positive
        edges = set(_EDGES)
        for table in tables:
            if table.predicted is not None:
                edges |= {edge if table.predicted == positive else 1 - edge for edge in table.edges}
        self._edges = sorted(edges)

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return len(self._edges) + 1

    def addition(self, true: str, predicted: str, score: float) -> dict[str, float]:
        """Return what one label adds; nothing where it, or the prediction, is neither class.

        `score`: the probability of the predicted class, from 0 to 1.
        """
        if not {true, predicted} <= {self._negative, self._positive}:
            return {}
        probability = score if predicted == self._positive else 1.0 - score
        return {auc.name(bisect_right(self._edges, probability), positive=true == self._positive): 1.0}


def expected(strata: Strata, rows: Floats, positive: str) -> dict[str, float]:
    """Return how many labels of each class are expected by bin of the calibration tables, where rows are so many."""
    found: dict[str, float] = {}
    ranks = _ranks(strata, positive)
    for (is_positive, places), shares in _shares(strata, positive):
        for place, share in zip(range(*places), shares.tolist(), strict=True):
            name = auc.name(ranks[place], positive=is_positive)
            found[name] = found.get(name, 0.0) + share * float(rows[place])
    return {name: value for name, value in found.items() if value}


def spreads(strata: Strata, sums: Mapping[str, float], positive: str) -> Floats:
    """Return the variance within each bin of the influence of one row on the area; `sums`: what is expected."""
    by_bin = ByBin.of(sums)
    influence = dict(zip((False, True), reversed(by_bin.influences()), strict=True))
    where = {rank: number for number, rank in enumerate(by_bin.places)}
    ranks = _ranks(strata, positive)
    first, second = np.zeros(strata.size), np.zeros(strata.size)
    for (is_positive, places), shares in _shares(strata, positive):
        for place, share in zip(range(*places), shares.tolist(), strict=True):
            one = float(influence[is_positive][where[ranks[place]]]) if ranks[place] in where else 0.0
            first[place] += share * one
            second[place] += share * one * one
    return np.maximum(second - first * first, 0.0)


def _shares(strata: Strata, positive: str) -> list[tuple[tuple[bool, tuple[int, int]], Floats]]:
    """Return, for each cell of each table, whether its label is the positive class, its bins, and its share of them."""
    found = []
    for offset, table in zip(strata.offsets.tolist(), strata.tables, strict=False):
        places = (offset, offset + len(table.rows))
        for name, values in table.sums.items():
            if name.startswith(CELL):
                shares = np.array(values, dtype=np.float64) / np.maximum(table.rows, 1)
                found.append(((cell(name)[0] == positive, places), shares))
    return found


def _ranks(strata: Strata, positive: str) -> list[int]:
    """Return the place of each bin in ascending order of the positive class's probability."""
    middles: list[float] = []
    for table in strata.tables:
        ends = [-math.inf, *table.edges, math.inf]
        own = [(low + high) / 2 for low, high in pairwise(ends)]
        is_positive = (table.predicted or "")[:CLASS_LENGTH] == positive
        middles += own if is_positive else [1 - middle for middle in own]
    order = sorted(range(len(middles)), key=middles.__getitem__)
    ranks = [0] * len(order)
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks
