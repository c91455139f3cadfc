"""What is remembered belongs to one object, not to its name."""

from __future__ import annotations

from tidemill.core.plan import Key
from tidemill.engine.memory import Memory

KEY = Key("ModelMonitor", "ns", "m")


def test_an_object_that_is_made_again_starts_anew() -> None:
    memory = Memory[int]()
    memory.put(KEY, "first", 1)
    assert memory.get(KEY, "first") == 1
    assert memory.get(KEY, "second") is None
    memory.put(KEY, "second", 2)
    assert (memory.get(KEY, "first"), memory.get(KEY, "second")) == (None, 2)
    memory.forget(KEY)
    memory.forget(KEY)
    assert memory.get(KEY, "second") is None
