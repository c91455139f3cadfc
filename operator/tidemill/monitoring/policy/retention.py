"""Whether predictions are kept until their labels are due: what the monitor measured against what spec gives.

A label whose prediction is gone joins nothing. So while the store is too small no condition blames the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot, child, storage_bytes
from tidemill.monitoring.state import RETENTION
from tidemill_contracts import retention
from tidemill_contracts.counts import counted, does

_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20))
_BLAME_LABELS = frozenset({"NotEnoughLabels", "NoLabels"})


def too_small(snapshot: Snapshot) -> Condition | None:
    """The condition, with the sizes and the field to change; None while predictions are kept for as long as needed."""
    performance, window = snapshot.spec.performance, snapshot.spec.window
    if performance is None:
        return None
    delay = performance.label_delay_seconds
    if retention.windows_needed(delay, window.seconds) > retention.MAX_WINDOWS:
        shortest = -(-delay // (retention.MAX_WINDOWS - retention.NEWEST_WINDOWS))
        text = (
            f"labels are due after {delay} s (spec.performance.labelDelaySeconds), and at most {retention.MAX_WINDOWS}"
            f" windows are kept, which is {retention.MAX_WINDOWS * window.seconds} s: set spec.window.seconds to"
            f" {shortest} or more"
        )
        return Condition(RETENTION, "True", "WindowsTooShort", text)
    measured = snapshot.reading.report.retention if snapshot.reading.report else None
    if measured is None:
        return None
    given = min(measured.storage_bytes, storage_bytes(snapshot.spec.storage.size))
    if measured.rows <= retention.rows_that_fit(given, measured.prediction_bytes):
        return None
    needed = shown(retention.storage_needed(measured.rows, measured.prediction_bytes))
    text = (
        f"labels are due after {delay} s, and the {counted(measured.rows, 'prediction')} of that time, of"
        f" {counted(measured.prediction_bytes, 'byte')} each, need {needed}; spec.storage.size is"
        f" {snapshot.spec.storage.size}, and the volume has {shown(measured.storage_bytes)}. Set spec.storage.size to"
        f" {needed} or more and let the claim {child(snapshot.name)} grow to it, or lower spec.logging.sampleRatio of"
        f" ModelDeployment {snapshot.spec.deployment}{_discarded(snapshot)}"
    )
    return Condition(RETENTION, "True", "StorageTooSmall", text)


def without_blame(conditions: Sequence[Condition], problem: Condition | None) -> list[Condition]:
    """The conditions about labels; Unknown where too few labels joined and too small a store may be why."""
    if problem is None:
        return list(conditions)
    text = "predictions are not kept until their labels are due, see the condition RetentionTooSmall"
    return [
        replace(c, status="Unknown", reason="RetentionTooSmall", message=text) if c.reason in _BLAME_LABELS else c
        for c in conditions
    ]


def shown(size: int) -> str:
    """A number of bytes as a quantity that is not less, with at most three digits before the unit."""
    suffix, unit = next(((s, u) for s, u in _UNITS if size >= u), _UNITS[-1])
    tenths = -(-size * 10 // unit)
    return f"{tenths // 10}{suffix}" if tenths % 10 == 0 else f"{tenths / 10:.1f}{suffix}"


def _discarded(snapshot: Snapshot) -> str:
    report = snapshot.version_report
    if report is None or not report.discarded:
        return ""
    return f"; {does(report.discarded, 'prediction', 'was', 'were')} discarded before a label came"
