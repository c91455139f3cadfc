"""What is inside a scikit-learn estimator, and which unknown categories its errors name. Imports numpy alone."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

_UNKNOWN_CATEGORIES = re.compile(r"unknown categories \[(.*)\] in column", re.DOTALL)  # scikit-learn's words


def refused_categories(error: Exception) -> str | None:
    """Return the values that an encoder refused as scikit-learn lists them, None for any other error."""
    found = _UNKNOWN_CATEGORIES.search(str(error))
    return found[1] if found else None


def is_collection(item: object) -> bool:
    """Return whether something may hold estimators one after the other: a list, a tuple, an array of objects."""
    return isinstance(item, (list, tuple)) or (isinstance(item, np.ndarray) and item.dtype == object and item.ndim > 0)


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
        elif is_collection(item):
            waiting.extend(item)
        elif hasattr(item, "get_params") and hasattr(item, "__dict__"):
            yield item
            waiting.extend(vars(item).values())


def known_categories(estimator: Any) -> set[str]:
    """Return every text that an encoder inside an estimator knows."""
    arrays = [array for part in parts(estimator) for array in getattr(part, "categories_", ())]
    return {str(value) for array in arrays for value in np.asarray(array).ravel() if isinstance(value, str)}
