"""What is requested: retraining and rollback, each with a cause, a cooldown, a daily limit and an id.

Every request names its evidence, and the same evidence leads to no other request of that type (`evidence`). The id is
derived from the monitor, the cause and the evidence, so that a pass that is repeated after a crash requests the
same thing. Nothing is requested while a rollout is under way: what was measured must be what is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from tidemill.api.v1alpha1.model_monitor import ActionStatus, Evidence, Retrain, Rollback
from tidemill.core import hashing
from tidemill.core.conditions import Condition
from tidemill.core.plan import Event
from tidemill.monitoring.policy import evidence, holds
from tidemill.monitoring.policy.holds import Hold
from tidemill.monitoring.snapshot import Served, Snapshot
from tidemill.monitoring.state import ACTIONS_HELD, CONDITION_OF, Cause, Evaluation

Type = Literal["Retrain", "Rollback"]
MAX_ACTIONS = 20
_DAY = timedelta(hours=24)
_ORDER: tuple[Cause, ...] = (
    "Performance",
    "EstimatedPerformance",
    "Quality",
    "Drift",
)  # consequence before explanation


@dataclass(frozen=True, slots=True)
class Decision:
    """What is requested now, and what would be if nothing held it."""

    requests: tuple[ActionStatus, ...] = ()
    held: tuple[tuple[ActionStatus, Hold], ...] = ()

    @property
    def condition(self) -> Condition | None:
        """Present only while something is held; its reason is that of the first."""
        if not self.held:
            return None
        texts = [f"{a.type} of {a.target} ({a.cause}) is not requested: {hold.message}" for a, hold in self.held]
        return Condition(ACTIONS_HELD, "True", self.held[0][1].reason, "; ".join(texts))


def decide(snapshot: Snapshot, evaluated: Evaluation) -> Decision:
    """The new requests of this pass, at most one of each type; what is held stays new until nothing holds it."""
    served, wanted = snapshot.served, snapshot.spec.actions
    if wanted is None or snapshot.spec.suspend or not _is_settled(served):
        return Decision()
    assert served is not None  # noqa: S101  _is_settled checked
    requests, held = [], []
    for kind, spec in (("Retrain", wanted.retrain), ("Rollback", wanted.rollback)):
        action = _request("Retrain" if kind == "Retrain" else "Rollback", spec, snapshot, served, evaluated)
        if action is None:
            continue
        hold = holds.of(snapshot, served, action)
        if hold is None:
            requests.append(action)
        else:
            held.append((action, hold))
    return Decision(tuple(requests), tuple(held))


def _is_settled(served: Served | None) -> bool:
    return served is not None and served.version is not None and served.candidate is None


def _request(
    kind: Type, spec: Retrain | Rollback | None, snapshot: Snapshot, served: Served, evaluated: Evaluation
) -> ActionStatus | None:
    if spec is None:
        return None
    if not _is_allowed(kind, spec, snapshot):
        return None
    causes = (c for c in _ORDER if c in spec.causes and evaluated.is_true(CONDITION_OF[c]))
    based = ((c, basis) for c in causes if (basis := evidence.of(snapshot, c)) is not None)
    cause, basis = next((b for b in based if evidence.is_new(snapshot, kind, *b)), (None, None))
    if cause is None or basis is None:
        return None
    found = evaluated.get(CONDITION_OF[cause])
    return ActionStatus(
        id=_identity(kind, cause, snapshot, basis),
        type=kind,
        cause=cause,
        target=_target(kind, snapshot, served),
        version=served.version or "",
        message=(found.message if found else cause)[:1024],
        time=snapshot.now,
        evidence=basis,
    )


def _target(kind: Type, snapshot: Snapshot, served: Served) -> str:
    """Whose action is requested; a version of no pipeline stands for itself, and its retrain is held."""
    return snapshot.spec.deployment if kind == "Rollback" else served.pipeline or served.version or ""


def _is_allowed(kind: Type, spec: Retrain | Rollback, snapshot: Snapshot) -> bool:
    """Whether cooldown and daily limit let another request pass."""
    times = [a.time for a in snapshot.status.actions if a.type == kind]
    if times and snapshot.now - max(times) < timedelta(seconds=spec.cooldown_seconds):
        return False
    return sum(snapshot.now - t < _DAY for t in times) < spec.max_per_day


def _identity(kind: Type, cause: Cause, snapshot: Snapshot, basis: Evidence) -> str:
    served, uid = snapshot.served, snapshot.object["metadata"]["uid"]
    end = int(basis.end.timestamp())
    return hashing.short([uid, kind, cause, served.digest if served else None, end], 16)


def remember(old: list[ActionStatus], new: list[ActionStatus]) -> list[ActionStatus]:
    """The list to record, newest last; the last of each type and sort of evidence stays whatever came after it."""
    found = [*old, *new]
    last = {(a.type, evidence.SORT[a.cause]): a.id for a in found}
    surplus = len(found) - MAX_ACTIONS
    gone = [a.id for a in found if a.id not in last.values()][: max(surplus, 0)]
    return [a for a in found if a.id not in gone]


def event(action: ActionStatus) -> Event:
    """What people see of a request."""
    if action.type == "Retrain":
        what = f"requested a training run of TrainingPipeline {action.target}"
    else:
        what = f"requested a rollback of ModelDeployment {action.target}"
    message = f"{what} (request {action.id}, {action.cause}): {action.message}"
    return Event("Warning", f"{action.type}Requested", message, action.type)
