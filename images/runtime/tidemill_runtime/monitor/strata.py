"""In which bin of the calibration tables a row lies, by what the model answered. Counts nothing itself.

The bins of all tables of a version follow one another; a row of a class or of a score that no table has lies in none.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tidemill_contracts.calibration import MAX_BINS, CalibrationTable
from tidemill_contracts.inference import Value
from tidemill_runtime.model import label_sums

NONE: Final = -1
"""The place of a row that lies in no bin."""
MAX_SUMS: Final = 1_000  # names of one table
Places = NDArray[np.int64]
Floats = NDArray[np.float64]


class Strata:
    """The bins of a version's calibration tables."""

    def __init__(
        self,
        tables: Sequence[CalibrationTable],
        *,
        text: Callable[[Value], str] | None,
        numbers: Callable[[Sequence[Value]], Floats],
    ) -> None:
        """`text`: of a predicted class, None where predictions are numbers; `numbers`: NaN for what is no number.

        Raises:
            ValueError: tables contradict themselves, or have names that no sum has.
        """
        self._text, self._numbers = text, numbers
        self.tables = tuple(tables)
        for table in tables:
            _check(table)
        if sum(len(table.rows) for table in tables) > MAX_BINS:
            raise ValueError(f"profile.calibration: must have at most {MAX_BINS} bins")
        self._by_class = {table.predicted: number for number, table in enumerate(tables)}
        if len(self._by_class) != len(tables) or (None in self._by_class and len(tables) > 1):
            raise ValueError("profile.calibration: one table for each predicted class, or one for all")
        self._edges = [np.array(table.edges, dtype=np.float64) for table in tables]
        self.offsets = np.cumsum([0, *(len(table.rows) for table in tables)])
        self.size = int(self.offsets[-1])
        self.rows: Places = np.array([rows for table in tables for rows in table.rows], dtype=np.int64)
        """[size]: held-out rows of each bin."""

    def places(self, predictions: Sequence[Value], scores: Sequence[float | None] | None) -> Places:
        """Return the bin of each row, NONE where it lies in none."""
        found = np.full(len(predictions), NONE, dtype=np.int64)
        answers = predictions if self._text is None else scores
        if answers is None:
            return found
        values = self._numbers(answers)
        groups = self._groups(predictions)
        for number, edges in enumerate(self._edges):
            mine = (groups == number) & ~np.isnan(values)
            found[mine] = self.offsets[number] + edges.searchsorted(values[mine], side="right")
        return found

    def _groups(self, predictions: Sequence[Value]) -> Places:
        """Return the table of each row."""
        if self._text is None or None in self._by_class:
            return np.zeros(len(predictions), dtype=np.int64)
        known: dict[Value, int] = {}  # True and 1 are one key, but a batch has one of the two
        for value in set(predictions):
            known[value] = NONE if value is None else self._by_class.get(self._text(value), NONE)
        return np.array([known[value] for value in predictions], dtype=np.int64)


def _check(table: CalibrationTable) -> None:
    where = f"profile.calibration of {table.predicted!r:.100}"
    if len(table.rows) != len(table.edges) + 1 or any(len(v) != len(table.rows) for v in table.sums.values()):
        raise ValueError(f"{where}: rows and sums must have one entry more than edges")
    if not np.isfinite(table.edges).all() or not all(a < b for a, b in pairwise(table.edges)):
        raise ValueError(f"{where}: edges must be finite and strictly increasing")
    if min(table.rows) < 0:
        raise ValueError(f"{where}: rows must not be negative")
    if len(table.sums) > MAX_SUMS or not all(map(label_sums.is_name, table.sums)):
        raise ValueError(f"{where}: sums must be at most {MAX_SUMS} and have the names of sums of labels")
    for name, values in table.sums.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{where}: sums must be finite")
        if name.startswith(label_sums.CELL) and not all(0 <= v <= n for v, n in zip(values, table.rows, strict=True)):
            raise ValueError(f"{where}: rows with a label must not be negative or more than rows")
