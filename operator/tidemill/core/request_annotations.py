"""Annotations by which a person requests something once: the status records the last value that was served.

Whoever may annotate an object may write 256 KiB, and a status with several of them would be copied with every event. So
a long value is recorded by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.core import hashing

LIMIT = 512
"""Characters of a value that is recorded as it is."""


def recorded(value: str | None) -> str | None:
    """The value as a status records it; also of a recorded value. None for none and for an empty one."""
    if not value:
        return None
    return value if len(value) <= LIMIT else hashing.digest(value)


def still_handled(annotations: Mapping[str, str], name: str, handled: str | None) -> str | None:
    """What stays recorded as served: nothing where the annotation was removed, so that the same value is new again."""
    return handled if annotations.get(name) else None


def new_value(annotations: Mapping[str, str], name: str, handled: str | None) -> str | None:
    """What is to be recorded as served, where the annotation requests something new; else None."""
    found = recorded(annotations.get(name))
    return None if found == recorded(handled) else found
