"""What every kind's snapshot has: the object itself, and the time of the look.

Each slice adds what its own decisions are based on; nothing here reads or decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSnapshot:
    """An object as the API server sent it, at one moment."""

    object: dict[str, Any]
    now: datetime

    @property
    def name(self) -> str:
        """Name of the object."""
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        """Generation of its spec."""
        return int(self.object["metadata"].get("generation") or 0)
