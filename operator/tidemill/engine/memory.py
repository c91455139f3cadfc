"""What a reconciler remembers of an object between two passes. Losing it must decide nothing: it is gone on a restart.

Why not a dict by key: an object that is deleted and made again under its name is another one, and starts anew.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tidemill.core.plan import Key

V = TypeVar("V")


class Memory(Generic[V]):
    """One value an object. Used within one event loop."""

    def __init__(self) -> None:
        """Remembers nothing."""
        self._values: dict[Key, tuple[str, V]] = {}

    def get(self, key: Key, uid: str) -> V | None:
        """What was put for the object of that name and uid, else None."""
        found = self._values.get(key)
        return found[1] if found is not None and found[0] == uid else None

    def put(self, key: Key, uid: str, value: V) -> None:
        """Remembers `value`, instead of what was known of any object of that name."""
        self._values[key] = (uid, value)

    def forget(self, key: Key) -> None:
        """Drops what is known of any object of that name."""
        self._values.pop(key, None)
