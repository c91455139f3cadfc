"""Values of annotations by which a person asks for something once: a status notes the last one that was served.

Whoever may annotate an object may write 256 KiB, and a status with several of them would be copied with every event. So
a long value is noted by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.core import hashing

LIMIT = 512
"""Characters of a value that is noted as it is."""


def noted(value: str | None) -> str | None:
    """The value as a status notes it; also of what was noted before. None for none and for an empty one."""
    if not value:
        return None
    return value if len(value) <= LIMIT else hashing.digest(value)


def new_value(annotations: Mapping[str, str], name: str, handled: str | None) -> str | None:
    """What is to be noted as served, where the annotation asks for something new; else None."""
    found = noted(annotations.get(name))
    return None if found == noted(handled) else found
