"""When a failed import is tried again: by itself where another try may help, else when a person asks for it.

Only the category Infrastructure counts, as for runs (store away, volume full, node lost). A new spec is a new attempt.
"""

from __future__ import annotations

from datetime import datetime

from tidemill.api.v1alpha1.model_import import ImportAttempts
from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.core import labels
from tidemill.core.request_annotations import new_value, still_handled
from tidemill.training import retry_pauses
from tidemill.training.imports.snapshot import ImportSnapshot


def requested(snapshot: ImportSnapshot) -> str | None:
    """The new value of the annotation tidemill.io/retry, as it is to be recorded; None without one."""
    annotations = snapshot.object["metadata"].get("annotations") or {}
    return new_value(annotations, labels.RETRY, snapshot.model_import.status.last_handled_retry)


def handled(snapshot: ImportSnapshot) -> str | None:
    """The value that was served before; None where the annotation was removed since."""
    annotations = snapshot.object["metadata"].get("annotations") or {}
    return still_handled(annotations, labels.RETRY, snapshot.model_import.status.last_handled_retry)


def waits_until(snapshot: ImportSnapshot) -> datetime | None:
    """When the next attempt is due, where one is; None: now, or never (`is_over`)."""
    found = snapshot.attempts
    return found.next_time if found is not None and requested(snapshot) is None else None


def is_over(snapshot: ImportSnapshot) -> bool:
    """Whether nothing follows before the spec changes or somebody asks."""
    found = snapshot.attempts
    return found is not None and found.next_time is None and requested(snapshot) is None


def after(snapshot: ImportSnapshot, why: RunFailure, ended: datetime) -> ImportAttempts:
    """The attempts, with the one that has just failed."""
    before = snapshot.attempts
    failed = (before.failed if before is not None else 0) + 1
    again = None
    if retry_pauses.is_retried(why.category, why.reason):
        pause = retry_pauses.pause(failed, str(snapshot.object["metadata"]["uid"]))
        again = (ended + pause).replace(microsecond=0)
    return ImportAttempts(generation=snapshot.generation, failed=failed, last_time=ended, next_time=again)
