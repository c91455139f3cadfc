"""Latency counters: fixed edges, so that histograms add up over pods and windows, and quantiles read from them.

Edges lie where people put objectives (5, 10, 20, 25, 50, 100, 200, 250, 500 ms …), so that "share within the
objective" is exact for those. Must not change without a new column name: stored counts refer to these edges.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES_SECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0),
)
BINS: Final = len(EDGES_SECONDS) + 1
LATENCY: Final = "latency"
"""Counters of this name are latencies; features are "feature:<name>"."""
_EDGES = np.array(EDGES_SECONDS)


def count(seconds: list[float]) -> NDArray[np.int64]:
    """Return counts, int64[BINS]; bin i holds edge[i-1] < x <= edge[i], as Prometheus' `le`. NaN is left out."""
    values = np.array(seconds, dtype=np.float64)
    values = values[~np.isnan(values)]
    return np.bincount(_EDGES.searchsorted(values, side="left"), minlength=BINS).astype(np.int64)


def quantile(counts: NDArray[np.int64], q: float) -> float | None:
    """Return the q-quantile in seconds, linear inside a bin as Prometheus' histogram_quantile; None without values."""
    total = int(counts.sum())
    if total == 0:
        return None
    rank = q * total
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, rank, side="left"))
    if index >= len(EDGES_SECONDS):
        return EDGES_SECONDS[-1]
    lower = EDGES_SECONDS[index - 1] if index else 0.0
    before = int(cumulative[index - 1]) if index else 0
    inside = int(counts[index])
    return lower + (EDGES_SECONDS[index] - lower) * ((rank - before) / inside if inside else 0.0)
