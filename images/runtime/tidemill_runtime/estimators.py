"""What is inside a scikit-learn estimator. Knows no library but numpy, so that both planes of the runtime may ask."""

from collections.abc import Iterator
from typing import Any

import numpy as np


def parts(root: object) -> Iterator[Any]:
    """Yield an estimator and every estimator inside it, fitted ones included, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)) or (isinstance(item, np.ndarray) and item.dtype == object):
            waiting.extend(item)
        elif hasattr(item, "get_params") and hasattr(item, "__dict__"):
            yield item
            waiting.extend(vars(item).values())
