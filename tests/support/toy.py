"""A reconciler that the engine's tests drive: one ConfigMap per ModelMonitor, and whatever the test wants to go wrong.

Its instructions are annotations of the reconciled object, so that a test says with kubectl's means what shall happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemill.app import Slices
from tidemill.core import children, conditions, names
from tidemill.core.labels import MANAGED_SELECTOR
from tidemill.core.plan import Event, Key, Plan
from tidemill.engine.contract import Deps, Watch, controller_keys
from tidemill.errors import Stalled, Waiting

Obj = dict[str, Any]

RAISE = "toy/raise"
"""`stalled`, `waiting`, `error`, `invalid`: what the plan does instead of succeeding."""
DATA = "toy/data"
"""What the child shall hold."""


@dataclass(frozen=True)
class ToySnapshot:
    """One monitor and the time."""

    object: Obj
    now: datetime


class ToyReconciler:
    """Keeps `<name>-toy` in step with an annotation; counts its passes."""

    kind = "ModelMonitor"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.passes: list[Key] = []

    async def gather(self, key: Key) -> ToySnapshot | None:
        self.passes.append(key)
        obj = await self._deps.read(key)
        return None if obj is None else ToySnapshot(obj, self._deps.clock.now())

    def plan(self, snapshot: ToySnapshot) -> Plan:
        obj = snapshot.object
        annotations = obj["metadata"].get("annotations") or {}
        match annotations.get(RAISE):
            case "stalled":
                raise Stalled("Misconfigured", "toy/raise says stalled; allowed is nothing")
            case "waiting":
                raise Waiting("NotYet", "toy/raise says waiting", 0.2)
            case "error":
                raise RuntimeError("toy/raise says error")
        data = "x" * (2 << 20) if annotations.get(RAISE) == "invalid" else annotations.get(DATA, "one")
        trio = conditions.trio(ready=True, reason="Kept", message=f"the child holds {data[:20]}")
        old = obj.get("status") or {}
        merged = conditions.merge(old.get("conditions") or (), trio, obj["metadata"]["generation"], snapshot.now)
        is_new = not conditions.is_true(old.get("conditions") or (), "Ready")
        return Plan(
            apply=(child(obj, data),),
            status={"conditions": merged},
            events=(Event("Normal", "Kept", f"the child holds {data[:20]}", "Keep"),) if is_new else (),
        )


def child(obj: Obj, data: str) -> Obj:
    """The one child."""
    labels = children.labels("toy", obj["metadata"]["name"])
    name = names.child_name(obj["metadata"]["name"], "toy")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": children.metadata(name, obj, labels),
        "data": {"value": data},
    }


WATCHES = (Watch("v1", "ConfigMap", MANAGED_SELECTOR, controller_keys("ModelMonitor")),)


def load(deps: Deps) -> Slices:
    """What an Operator gets instead of the product's slices."""
    return Slices([ToyReconciler(deps)], WATCHES)
