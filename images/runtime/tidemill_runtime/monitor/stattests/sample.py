"""What all drift tests share: counts on bins, their shares, and where the bins lie."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Where the bins of a numeric column lie: one position a bin, ascending, and the reference's deviation.

    Categorical columns have no positions and no spread.
    """

    positions: Shares
    std: float


NO_POSITIONS = Bins(np.zeros(0), math.nan)


def shares(counts: Counts) -> Shares:
    """Return counts divided by their sum; the sum must not be zero."""
    return np.asarray(counts / counts.sum(), dtype=np.float64)
