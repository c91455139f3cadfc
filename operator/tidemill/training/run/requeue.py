"""When to look again at a run, in seconds."""

from __future__ import annotations

from datetime import datetime

from tidemill.training.run.snapshot import RunSnapshot

FIRST_LOOK_SECONDS = 1.0
"""After the Job was created: whoever has once seen a Job takes its absence for a deletion."""


def seconds(snapshot: RunSnapshot, *moments: datetime | None) -> float | None:
    """Seconds to the first of these moments, at least one; None when there is none."""
    ahead = [m for m in moments if m is not None]
    return max((min(ahead) - snapshot.now).total_seconds(), 1.0) if ahead else None
