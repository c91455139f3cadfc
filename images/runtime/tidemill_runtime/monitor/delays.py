"""How long labels take: a sketch of the delays from prediction to label, of 109 counters.

Bins grow by 2^(1/4), so every quantile is right to 9 % of its value, and sketches add up: DDSketch (Masson, Rim and
Lee, DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees, 2019).
"""

import math
from collections.abc import Mapping
from typing import Final

DELAY: Final = "label delay"
"""The name of the counters."""
BINS: Final = 109
_EACH: Final = 4  # bins for each doubling; bin 0 is below a second, the last begins at 2**27 s, four years


def place(seconds: float) -> int:
    """Return the bin of a delay; a label before its prediction has none."""
    return 0 if seconds < 1 else min(1 + math.floor(_EACH * math.log2(seconds)), BINS - 1)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the delay in seconds that so large a share of the labels does not exceed; None without labels."""
    total = sum(counts.values())
    if not total:
        return None
    rank, below = share * (total - 1), 0
    for number in sorted(counts):
        below += counts[number]
        if below > rank:
            return _middle(number)
    return _middle(max(counts))


def _middle(number: int) -> float:
    """Return the value that is nearest to both ends of a bin in proportion to them."""
    if number == 0:
        return 0.0
    low, high = 2 ** ((number - 1) / _EACH), 2 ** (number / _EACH)
    return 2 * low * high / (low + high)
