"""When to look again at an import, in seconds."""

from __future__ import annotations

from datetime import datetime

from tidemill.training.imports.snapshot import ImportSnapshot

FIRST_LOOK_SECONDS = 1.0
"""After the Job was created."""
OTHERS_SECONDS = 5.0
"""While another object has to go on first."""


def seconds(snapshot: ImportSnapshot, moment: datetime | None) -> float | None:
    """Seconds to that moment, at least one; None when there is none."""
    return max((moment - snapshot.now).total_seconds(), 1.0) if moment is not None else None
