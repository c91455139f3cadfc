"""Held-out rows with their labels, by what the model answered: what a monitor estimates performance from, unlabelled.

A table has bins of the score (the probability of the predicted class) of the rows of one predicted class, or bins of
a predicted number. For each bin it has what the labels of its held-out rows add up to, by the names of
`tidemill_runtime.model.label_sums`; the mean of a bin is what one more row of that bin is expected to add, as long as
labels depend on the answer as they did on the holdout.
"""

from typing import Final

from tidemill_contracts.base import Document

MIN_ROWS: Final = 30
"""A bin of fewer held-out rows says too little about its rows."""
MAX_UNSUPPORTED: Final = 0.05
"""When a larger share of a window's rows lies in such bins, or in none, its estimate is not trusted."""
CLASSES: Final = 20
"""A model of more classes has one table for all predicted classes, which says whether a row is right."""
RIGHT: Final = "right"
"""The sum of such a table: rows whose label is the predicted class."""
MAX_BINS: Final = 1_000
"""Of all tables of a profile."""


class CalibrationTable(Document):
    """Bins of one predicted class, or of predicted numbers. `rows` and each entry of `sums` have one figure a bin."""

    predicted: str | None = None  # class as text; None: of any class, or numbers
    edges: tuple[float, ...]  # strictly increasing inner edges; bin i holds edge[i-1] <= x < edge[i]
    rows: tuple[int, ...]  # len(edges) + 1; the outer bins, beyond all held-out rows, have none
    sums: dict[str, tuple[float, ...]]
