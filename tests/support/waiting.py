"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

_LOOK_SECONDS = 0.02


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it is not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(_LOOK_SECONDS)
