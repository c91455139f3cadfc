"""How long is waited before what the infrastructure has failed is tried again: the same for runs and imports."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from tidemill_contracts.failures import FINAL, RETRIED

FIRST = timedelta(minutes=1)
LONGEST = timedelta(hours=1)
SPREAD = 0.2
"""Share of the pause that is added by `share`: a store that is back is not asked by all objects at once."""
_MOST_DOUBLINGS = 10


def is_retried(category: str | None, reason: str | None) -> bool:
    """Whether another try may help without anybody changing anything (store away, volume full, node lost)."""
    return category in RETRIED and reason not in FINAL  # decision 77


def pause(number: int, key: str, least: timedelta = timedelta(0)) -> timedelta:
    """The pause before a try: 1, 2, 4, … 60 minutes, or `least` where that is longer, and up to a fifth more.

    `number`: 1 for the try after the first failure; `key`: what is tried, which always gets the same share.
    """
    doubled = min(FIRST * (1 << min(number - 1, _MOST_DOUBLINGS)), LONGEST)
    return max(doubled, least) * (1 + SPREAD * share(key))


def share(key: str) -> float:
    """0 to 1, always the same for one key."""
    return hashlib.sha256(key.encode()).digest()[0] / 255
