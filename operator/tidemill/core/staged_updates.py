"""Staged updates: pods that only a new operator or image changes are replaced for a few objects at a time. Pure.

A new operator or image makes other pods for every object at once. What a user changed is applied at once; pods that
only the operator would make otherwise stay as they are until it is the object's turn: some at a time, each watched
until its pods are ready, and nobody's turn any more once one does not get ready in time.

On every Deployment two digests say what its pods were made of: what the user requested, and the pod template. An object
whose template did not change is left alone, whatever version of the operator looks at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from tidemill.api.base import GROUP
from tidemill.core import conditions, hashing
from tidemill.core.conditions import Condition, parse_time
from tidemill.core.plan import Event, Key, ObjectRef, Patch, Turn
from tidemill.core.subset import includes

Obj = dict[str, Any]

INPUTS: Final = f"{GROUP}/asked"
"""Digest of what a user can change about these pods, with the number of the rule by which it is taken."""
TEMPLATE: Final = f"{GROUP}/template"
"""Digest of the pod template as it was applied."""
RULE: Final = "1"
"""Which parts `INPUTS` is a digest of; one more whenever the `inputs` of a unit change their form."""

PODS_CURRENT: Final = "PodsCurrent"
UPDATING, WAITING, STOPPED, LATE = "Updating", "WaitingForTurn", "UpdatesStopped", "NotReadyInTime"
REASONS: Final = frozenset({UPDATING, WAITING, STOPPED, LATE})

DEFAULT_DEADLINE_SECONDS = 600.0
LOOK_SECONDS = 60.0
"""How often one that waits looks by itself; it is woken when its turn has come."""

Cause = Literal["nobody", "user", "operator"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who updates pods because of the operator, and who waits for that, in order: one picture for everybody."""

    limit: int = 1
    updating: frozenset[Key] = frozenset()
    late: frozenset[Key] = frozenset()
    """Those of `updating` whose pods did not get ready in time."""
    waiting: tuple[Key, ...] = ()

    def has_turn(self, key: Key) -> bool:
        """Whether an object may update its pods now; goes on being true until it is through."""
        if key in self.updating:
            return True
        return key in self.next or len(self.waiting) < self._free

    @property
    def next(self) -> tuple[Key, ...]:
        """Those of `waiting` whose turn it is; found without a look at all others, who may be thousands."""
        return self.waiting[: self._free]

    @property
    def _free(self) -> int:
        return 0 if self.late else max(self.limit - len(self.updating), 0)


ALONE = Fleet()
"""What an object sees that no other updates or waits beside."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A Deployment, and what a user can change about its pods (JSON)."""

    deployment: Obj
    inputs: Any
    others: tuple[Obj, ...] = ()
    """Children that change together with the pods; one that is missing is made at once."""
    fitting: tuple[Obj, ...] = ()
    """Children that only the new pods fit: not even made before them."""


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """What is known before it is decided what is applied."""

    key: Key
    object: Obj
    now: datetime
    fleet: Fleet
    live: Mapping[str, Obj]
    """The object's Deployments by name."""
    children: Collection[tuple[str, str]] = ()
    """Kind and name of the children that exist."""


@dataclass(frozen=True, slots=True)
class StagedUpdate:
    """What is applied of the units now, and what is said about it."""

    apply: tuple[tuple[Obj, ...], ...]
    """For each unit, in their order."""
    patches: tuple[Patch, ...] = ()
    turn: Turn | None = None
    condition: Condition | None = None
    requeue_after: float | None = None


def stage(ctx: UpdateContext, units: Iterable[Unit], rank: int) -> StagedUpdate:
    """Decide for each unit. `rank`: objects of a lower one have their turn first."""
    made = [(unit, _stamped(unit)) for unit in units]
    causes = [_cause(ctx, manifest) for _, manifest in made]
    before = update_record(ctx.object)
    has_turn = "operator" in causes and ctx.fleet.has_turn(ctx.key)
    apply: list[tuple[Obj, ...]] = []
    patches: list[Patch] = []
    for (unit, manifest), cause in zip(made, causes, strict=True):
        if cause != "operator" or has_turn:
            apply.append((*unit.others, *unit.fitting, manifest))
            continue
        apply.append(tuple(m for m in unit.others if (m["kind"], m["metadata"]["name"]) not in ctx.children))
        patches += _recorded(ctx, manifest)
    if "operator" in causes and not has_turn:
        reason = STOPPED if ctx.fleet.late else WAITING
        return StagedUpdate(tuple(apply), tuple(patches), Turn("waits", rank), _pending(reason), LOOK_SECONDS)
    is_ready = all(map(ready, ctx.live.values()))
    if has_turn and (is_ready or before is not None):
        return StagedUpdate(tuple(apply), turn=Turn("updates", rank), condition=_pending(UPDATING))
    if has_turn:  # it did not serve before either: whether it gets ready now says nothing about the operator's pods
        return StagedUpdate(tuple(apply), turn=Turn("updates", rank))
    if before is None or is_ready or "user" in causes:
        return StagedUpdate(tuple(apply))
    left = deadline(ctx.live.values()) - (ctx.now - before.since).total_seconds()
    reason = LATE if before.late or left <= 0 else UPDATING
    return StagedUpdate(
        tuple(apply), turn=Turn("updates", rank), condition=_pending(reason), requeue_after=max(left, 0.0) + 1.0
    )


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """An object's own record that it updates its pods in its turn."""

    since: datetime
    late: bool


def update_record(obj: Mapping[str, Any]) -> UpdateRecord | None:
    """The record in an object's status, which users cannot write; None when it is not its turn."""
    found = conditions.get((obj.get("status") or {}).get("conditions") or (), PODS_CURRENT)
    if found is None or found.get("reason") not in (UPDATING, LATE):
        return None
    return UpdateRecord(parse_time(found["lastTransitionTime"]), found["reason"] == LATE)


def ready(deployment: Mapping[str, Any]) -> bool:
    """Whether every pod of a Deployment runs the newest template and is ready."""
    meta, status = deployment["metadata"], deployment.get("status") or {}
    wanted = int(deployment["spec"].get("replicas", 1))
    counts = [int(status.get(name) or 0) for name in ("updatedReplicas", "readyReplicas")]
    seen = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
    return seen and min(counts) >= wanted >= int(status.get("replicas") or 0)


def deadline(deployments: Iterable[Mapping[str, Any]]) -> float:
    """Seconds within which pods must get ready: the longest that a Deployment allows whose pods are not."""
    late = (d["spec"].get("progressDeadlineSeconds") for d in deployments if not ready(d))
    return max((float(seconds or DEFAULT_DEADLINE_SECONDS) for seconds in late), default=DEFAULT_DEADLINE_SECONDS)


def events(obj: Mapping[str, Any], staged: StagedUpdate) -> tuple[Event, ...]:
    """A warning when an object's pods are late, once."""
    before = update_record(obj)
    if staged.condition is None or staged.condition.reason != LATE or (before is not None and before.late):
        return ()
    return (Event("Warning", LATE, staged.condition.message, "Update"),)


def earliest(*seconds: float | None) -> float | None:
    """The first of several wishes for another look."""
    return min((s for s in seconds if s is not None), default=None)


def _stamped(unit: Unit) -> Obj:
    meta = unit.deployment["metadata"]
    digests = {
        INPUTS: f"{RULE}:{hashing.short(unit.inputs, 16)}",
        TEMPLATE: hashing.short(unit.deployment["spec"]["template"], 16),
    }
    return {**unit.deployment, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **digests}}}


def _cause(ctx: UpdateContext, manifest: Obj) -> Cause:
    """Who changed the pod template, if anybody did."""
    live = ctx.live.get(manifest["metadata"]["name"])
    if live is None:
        return "user"
    has, wanted = _annotations(live), _annotations(manifest)
    if TEMPLATE in has:
        is_same = has[TEMPLATE] == wanted[TEMPLATE]
    else:  # applied by version 0.1, which took no digests
        is_same = includes(live["spec"]["template"], manifest["spec"]["template"])
    if is_same:
        return "nobody"
    if _is_by_rule(has):
        return "operator" if has[INPUTS] == wanted[INPUTS] else "user"
    observed = (ctx.object.get("status") or {}).get("observedGeneration", -1)
    return "operator" if observed == ctx.object["metadata"].get("generation") else "user"


def _recorded(ctx: UpdateContext, manifest: Obj) -> list[Patch]:
    """What the user requested, recorded on a Deployment of an earlier version that is left as it is otherwise."""
    live = ctx.live[manifest["metadata"]["name"]]
    if _is_by_rule(_annotations(live)):
        return []
    note = {INPUTS: _annotations(manifest)[INPUTS]}
    return [Patch(ObjectRef.of(live), {"metadata": {"annotations": note}})]


def _is_by_rule(annotations: Mapping[str, str]) -> bool:
    return annotations.get(INPUTS, "").startswith(f"{RULE}:")


def _annotations(obj: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return found


def _pending(reason: str) -> Condition:
    text, status = _TEXTS[reason]
    return Condition(PODS_CURRENT, status, reason, text)


_TEXTS: Mapping[str, tuple[str, conditions.Status]] = {
    UPDATING: ("the pods are being replaced after an upgrade of the operator or of an image", "Unknown"),
    WAITING: (
        "the pods are from before an upgrade of the operator or of an image and wait to be replaced; the pods of a few "
        "objects are replaced at a time (TIDEMILL_UPDATES_AT_ONCE)",
        "False",
    ),
    STOPPED: (
        "the pods are from before an upgrade of the operator or of an image and are not replaced, because the new pods "
        "of another object are not ready in time (see the metric tidemill_operator_updates and the operator's log)",
        "False",
    ),
    LATE: (
        "the new pods after an upgrade of the operator or of an image are not ready in time; no pods of other objects "
        "are replaced until these are ready, spec is changed so that they are replaced, or the object is deleted",
        "False",
    ),
}
