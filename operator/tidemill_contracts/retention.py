"""How long a monitor keeps predictions until their labels come, and how much room that takes.

One formula for both sides: the monitor discards by it, and the operator says by it what is too small. The bytes of a
prediction are measured on the monitor's table with its index of ids, at 60,000 to 1,000,000 rows: 47 to 56 besides the
id, which is stored twice, and the value (`docs/monitoring-statistics.md`, "Room for predictions").
"""

import math
from typing import Final

STORAGE_BYTES: Final = 2**30
"""The default size of a monitor's claim, in bytes."""
PREDICTIONS_SHARE: Final = 0.6
"""Of the claim, for predictions that wait; the rest is for counters, the log of transactions, and free pages."""
PREDICTION_BYTES: Final = 60
"""Of a stored prediction, besides its id and value."""
USUAL_PREDICTION_BYTES: Final = 180.0
"""With an id of 58 characters, as a server makes it, and a class of up to four: before any was measured."""
MAX_WINDOWS: Final = 100_000
"""Windows of one version that are kept."""
NEWEST_WINDOWS: Final = 24
"""Windows of a report."""
DEFAULT_LABEL_DELAY: Final = 86_400
"""In seconds, where no performance is watched."""


def prediction_bytes(id_bytes: float, value_bytes: float) -> float:
    """Return the bytes of a stored prediction; both arguments are means in bytes, the value as JSON."""
    return PREDICTION_BYTES + 2 * id_bytes + value_bytes


def rows_that_fit(storage_bytes: int, bytes_each: float) -> int:
    """Return how many predictions a claim of this size holds."""
    return max(1, int(PREDICTIONS_SHARE * storage_bytes / bytes_each))


def storage_needed(rows: float, bytes_each: float) -> int:
    """Return the size of the claim, in bytes, that holds so many predictions."""
    return math.ceil(rows * bytes_each / PREDICTIONS_SHARE)


def due_seconds(label_delay: int, window_seconds: int) -> int:
    """Return for how long a prediction must be kept: until its label is due and its window is judged."""
    return label_delay + window_seconds


def wait_seconds(label_delay: int, window_seconds: int) -> int:
    """Return for how long a prediction is kept where there is room: for late labels twice the delay."""
    return max(2 * label_delay, 600) + window_seconds


def windows_needed(label_delay: int, window_seconds: int) -> int:
    """Return how many windows lie between a prediction and the time at which its window is judged, and are reported."""
    return math.ceil(label_delay / window_seconds) + NEWEST_WINDOWS
