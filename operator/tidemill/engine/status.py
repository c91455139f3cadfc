"""The status as it is written: completed, compared, and made for passes that failed before they had one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tidemill.core import conditions
from tidemill.core.plan import Event
from tidemill.errors import ApiError, Stalled, Waiting

Obj = dict[str, Any]

RECONCILE_ERROR = "ReconcileError"
RETRYING = "ProgressingWithRetry"


def complete(wanted: Obj, obj: Obj) -> Obj:
    """`wanted` without None values and with observedGeneration."""
    out: Obj = _without_none(wanted)
    out.setdefault("observedGeneration", obj["metadata"].get("generation", 0))
    return out


def is_same(old: Any, new: Obj) -> bool:
    """Whether a write would change nothing (numbers by value: JSON 1.0 comes back as 1)."""
    return bool(_without_none(old or {}) == new)


def stalled(obj: Obj, verdict: Stalled | Waiting, now: datetime, planned: Obj | None = None) -> Obj:
    """The planned (else the old) status with Stalled=True, Ready=False for the present generation."""
    why = (verdict.reason, verdict.message)
    return _with(obj, conditions.trio(ready="False", reason=why[0], message=why[1], stalled=why), now, planned)


def waiting(obj: Obj, verdict: Stalled | Waiting, now: datetime, planned: Obj | None = None) -> Obj:
    """The planned (else the old) status with Reconciling=True, Ready=False for the present generation."""
    why = (verdict.reason, verdict.message)
    return _with(obj, conditions.trio(ready="False", reason=why[0], message=why[1], reconciling=why), now, planned)


def failing(obj: Obj, error: Exception, now: datetime, planned: Obj | None = None) -> Obj:
    """The planned (else the old) status with Reconciling=True, Ready=False and the error; it is retried."""
    text = f"the API server refused: {error.message}" if isinstance(error, ApiError) else _describe(error)
    trio = conditions.trio(ready="False", reason=RECONCILE_ERROR, message=text, reconciling=(RETRYING, text))
    return _with(obj, trio, now, planned)


def was_stalled_alike(obj: Obj, verdict: Stalled | Waiting) -> bool:
    """Whether the object was Stalled for this reason and generation already: then nobody needs a second event."""
    before = conditions.get((obj.get("status") or {}).get("conditions") or (), conditions.STALLED)
    generation = obj["metadata"].get("generation", 0)
    return bool(before and before.get("reason") == verdict.reason and before.get("observedGeneration") == generation)


def stalled_event(verdict: Stalled | Waiting) -> Event:
    """The warning that goes with a newly Stalled object."""
    return Event("Warning", verdict.reason, verdict.message, "Reconcile")


def _with(obj: Obj, trio: list[conditions.Condition], now: datetime, planned: Obj | None) -> Obj:
    """Times of transitions are those of the live conditions: a plan's own verdict was never written."""
    old = obj.get("status") or {}
    base = old if planned is None else planned
    generation = obj["metadata"].get("generation", 0)
    summary = (conditions.READY, conditions.RECONCILING, conditions.STALLED)
    live = conditions.of(obj)
    before = [c for c in live if c["type"] in summary]
    shown = live if planned is None else planned.get("conditions") or ()
    others = [c for c in shown if c["type"] not in summary]
    merged = conditions.with_trio([*before, *others], trio, generation, now)
    return {**base, "observedGeneration": generation, "conditions": merged}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(v) for v in value]
    return value
