"""Conditions as kstatus, `kubectl wait`, Argo CD and Flux read them.

Why: three conditions (Ready, Reconciling, Stalled) decide what every tool of the cluster believes about an object.
Rules held here: Reconciling and Stalled are present only while True, never both; `observedGeneration` is on every
condition; `lastTransitionTime` moves only when the status value changes
(default conditions of the schema, decision 0093, have been so since the object's creation).
Meaning of Ready: True = the newest generation is in force; Unknown = on the way; False = not, see reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from tidemill.core.text import clean

Status = Literal["True", "False", "Unknown"]

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
_FIRST = (READY, RECONCILING, STALLED)
_MESSAGE_LIMIT = 2048  # metav1.Condition allows 32768; people and events do not


def format_time(when: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The inverse of `format_time`; also takes fractions of a second (metav1.MicroTime)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass(frozen=True, slots=True)
class Condition:
    """One metav1.Condition. The two fields that depend on history may stay None until `merge` fills them."""

    type: str
    status: Status
    reason: str
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON form; fields that are None are left out."""
        out: dict[str, Any] = {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": clean(self.message[:_MESSAGE_LIMIT]),
        }
        if self.observed_generation is not None:
            out["observedGeneration"] = self.observed_generation
        if self.last_transition_time is not None:
            out["lastTransitionTime"] = format_time(self.last_transition_time)
        return out

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Condition:
        """Reads the JSON form; KeyError when type or status is missing."""
        when = raw.get("lastTransitionTime")
        return cls(
            type=raw["type"],
            status=raw["status"],
            reason=raw.get("reason", ""),
            message=raw.get("message", ""),
            observed_generation=raw.get("observedGeneration"),
            last_transition_time=parse_time(when) if when else None,
        )


def of(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions of an object of ours.

    Default conditions come from the schema, which cannot know when the object was made and says 1970: here they have
    the creation time, so that a status that stays the same is one since then.
    """
    made = obj["metadata"].get("creationTimestamp")
    found = (obj.get("status") or {}).get("conditions") or ()
    return [{**c, "lastTransitionTime": made} if made and _is_default(c) else dict(c) for c in found]


def has_default_status(obj: Mapping[str, Any]) -> bool:
    """Whether nobody has written the object's status yet."""
    return bool((obj.get("status") or {}).get("observedGeneration", -1) == -1)


def _is_default(condition: Mapping[str, Any]) -> bool:
    return str(condition.get("lastTransitionTime", "")).startswith("1970-01-01")


def merge(
    old: Sequence[Mapping[str, Any]], new: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The condition list to write: exactly the types of `new` (types only in `old` disappear).

    Order: Ready, Reconciling, Stalled, then the others by name. Every condition gets `generation` as its
    observedGeneration and keeps the old lastTransitionTime while its status is the same. A later duplicate wins.
    `old`: the object's conditions as `of` gives them.
    """
    before = {c["type"]: c for c in old}
    by_type = {c.type: c for c in new}
    out = []
    for kind in sorted(by_type, key=lambda t: (_FIRST.index(t) if t in _FIRST else len(_FIRST), t)):
        condition = replace(by_type[kind], observed_generation=generation, last_transition_time=now)
        previous = before.get(kind)
        same = previous is not None and previous.get("status") == condition.status
        if previous and same and previous.get("lastTransitionTime") and not _is_default(previous):
            condition = replace(condition, last_transition_time=parse_time(previous["lastTransitionTime"]))
        out.append(condition.to_json())
    return out


def trio(
    *,
    ready: Status | bool | None,
    reason: str,
    message: str,
    reconciling: tuple[str, str] | None = None,
    stalled: tuple[str, str] | None = None,
) -> list[Condition]:
    """Ready, and Reconciling or Stalled when given as (reason, message).

    `ready` may be True, False or None (Unknown) for short. Raises ValueError for what kstatus would misread: both
    Reconciling and Stalled, or Ready=True together with either.
    """
    if not isinstance(ready, str):
        ready = "Unknown" if ready is None else ("True" if ready else "False")
    if reconciling and stalled:
        raise ValueError("an object is either Reconciling or Stalled, never both")
    if ready == "True" and (reconciling or stalled):
        raise ValueError("Ready=True must not stand beside Reconciling or Stalled; use Available for 'still serving'")
    out = [Condition(READY, ready, reason, message)]
    if reconciling:
        out.append(Condition(RECONCILING, "True", *reconciling))
    if stalled:
        out.append(Condition(STALLED, "True", *stalled))
    return out


def get(conditions: Iterable[Mapping[str, Any]], type: str) -> dict[str, Any] | None:
    """The condition of that type in JSON form, None when absent."""
    return next((dict(c) for c in conditions if c.get("type") == type), None)


def is_true(conditions: Iterable[Mapping[str, Any]], type: str) -> bool:
    """Whether the condition is there and True."""
    found = get(conditions, type)
    return bool(found and found.get("status") == "True")


def unready(obj: Mapping[str, Any]) -> str:
    """What keeps one of our objects from being Ready, as `reason: message`; empty when it is, or nobody has looked."""
    found = get((obj.get("status") or {}).get("conditions") or (), READY)
    if found is None or found.get("status") == "True" or has_default_status(obj):
        return ""
    return f"{found.get('reason')}: {found.get('message')}"


def with_trio(
    old: Sequence[Mapping[str, Any]], trio_: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """`old` with only the three summary conditions replaced: for failures, where nothing else was computed."""
    kept = [Condition.from_json(c) for c in old if c["type"] not in _FIRST]
    return merge(old, [*trio_, *kept], generation, now)
