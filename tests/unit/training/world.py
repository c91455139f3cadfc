"""A cluster in memory for the four reconcilers: real gather, real plans; the test plays user, kubelet and clock.

It carries out plans as the engine does (write once, status skipped when equal) and counts every write. Every status
is held against the invariants.
"""

from __future__ import annotations

import asyncio
import atexit
import marshal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tests.support import builders_training as make
from tests.support.documented import check_reasons
from tests.support.invariants import DEFAULT_STATUS, check_status

from tidemill.config import OperatorConfig
from tidemill.core.children import controller_of
from tidemill.core.conditions import format_time
from tidemill.core.plan import Event, Key, ObjectRef, Plan
from tidemill.core.podfailure import ObjectEvent
from tidemill.engine import status as statuses
from tidemill.engine.contract import Deps, Reconciler
from tidemill.kube.cache import Cache
from tidemill.kube.transform import identity
from tidemill.training import reconcilers

Obj = dict[str, Any]
_RUNNER = asyncio.Runner()  # one loop for all worlds: a loop a pass would be most of the time of these tests
atexit.register(_RUNNER.close)
OURS = ("TrainingPipeline", "TrainingRun", "ModelImport", "ModelVersion")


def copied(document: Obj) -> Obj:
    """A copy of JSON, by marshal: `copy.deepcopy` was a fifth of the time of these tests."""
    copy: Obj = marshal.loads(marshal.dumps(document))
    return copy


@dataclass(frozen=True)
class Write:
    """One write of the operator."""

    verb: str
    kind: str
    name: str


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = make.NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class Client:
    """Reads of the world as the API server would answer them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gets: list[ObjectRef] = []

    async def get(self, ref: ObjectRef) -> Obj | None:
        self.gets.append(ref)
        await asyncio.sleep(0)
        return self.world.objects.get((ref.kind, ref.namespace or "", ref.name))

    async def list(self, _: str, kind: str, namespace: str, selector: str, each: Callable[[Obj], Obj]) -> list[Obj]:
        key, _, value = selector.partition("=")
        found = [o for (k, n, _), o in self.world.objects.items() if (k, n) == (kind, namespace)]
        return [each(o) for o in found if (o["metadata"].get("labels") or {}).get(key) == value]

    async def events_about(self, namespace: str, uid: str) -> list[ObjectEvent]:
        return self.world.said.get(uid, [])

    async def changed_since(
        self, _: str, kind: str, namespace: str, name: str, resource_version: str, owner_uid: str
    ) -> bool | None:
        since = int(resource_version)
        if since < self.world.compacted:
            return None
        changes = self.world.history.get((kind, namespace, name), ())
        return any(version > since and owner == owner_uid for version, owner in changes)

    async def pod_logs(self, namespace: str, pod: str, container: str, tail_lines: int, limit_bytes: int = 0) -> str:
        return self.world.logs.get(pod, "")


class World:
    """Objects, clock, and the operator's reconcilers."""

    def __init__(self, *objects: Obj, config: OperatorConfig | None = None, settle_seconds: float = 0) -> None:
        self.objects: dict[tuple[str, str, str], Obj] = {}
        self.logs: dict[str, str] = {}
        self.said: dict[str, list[ObjectEvent]] = {}
        """Events by the uid of what they are about."""
        self.writes: list[Write] = []
        self.events: list[Event] = []
        self.clock = Clock()
        self.client = Client(self)
        # A ConfigMap that has changed settles at once, unless a test is about that: passes are all at one time.
        self.config = replace(config or OperatorConfig(), config_map_settle_seconds=settle_seconds)
        self.crash_before_status = False
        self.requeue: dict[Key, float | None] = {}
        self._version = 10
        self.history: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
        """Versions and controllers of all that ever had that name."""
        self.compacted = 0
        """Changes before this resourceVersion are not remembered by the API server any more."""
        self.restart()
        for obj in objects:
            self.put(obj)

    def restart(self) -> None:
        """A new operator process: what it remembered is lost, what the API server holds is not."""
        self.cache = Cache()
        for obj in self.objects.values():
            self._show(obj)
        self.deps = Deps(self.client, self.cache, self.config, self.clock)  # type: ignore[arg-type]
        self.reconcilers: dict[str, Reconciler] = {r.kind: r for r in reconcilers.build(self.deps)}

    # -- what others do -----------------------------------------------------------------------------------------

    def put(self, obj: Obj) -> Obj:
        """Create or replace an object, as somebody else than the operator."""
        obj = copied(obj)
        meta = obj["metadata"]
        slot = (obj["kind"], meta.get("namespace", ""), meta["name"])
        old = self.objects.get(slot)
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("uid", make.uid_of(obj["kind"], f"{meta['name']}-{self._version}"))
        meta.setdefault("creationTimestamp", format_time(self.clock.time))
        if old is not None and old.get("spec") != obj.get("spec") and obj["kind"] in OURS:
            meta["generation"] = old["metadata"].get("generation", 1) + 1
        meta.setdefault("generation", 1)
        if obj["kind"] in OURS and "status" not in obj:
            obj["status"] = old["status"] if old is not None else copied(DEFAULT_STATUS[obj["kind"]])
        self._record(slot, obj)
        self.objects[slot] = obj
        self._show(obj)
        return obj

    def remove(self, kind: str, name: str, namespace: str = make.NAMESPACE) -> None:
        """Delete an object, and what has no other owner, as the garbage collector does."""
        gone = self.objects.pop((kind, namespace, name), None)
        if gone is None:
            return
        self._version += 1
        self._record((kind, namespace, name), gone)
        self.cache.remove(kind, namespace, name, gone["metadata"]["uid"])
        for child in list(self.objects.values()):
            owners = child["metadata"].get("ownerReferences") or []
            left = [o for o in owners if o["uid"] != gone["metadata"]["uid"]]
            if owners and not left:
                self.remove(child["kind"], child["metadata"]["name"], namespace)
            elif left != owners:
                self.put({**child, "metadata": {**child["metadata"], "ownerReferences": left}})

    def change(self, kind: str, name: str, change: Callable[[Obj], None], namespace: str = make.NAMESPACE) -> Obj:
        """Change an object, as somebody else than the operator."""
        obj = copied(self.objects[kind, namespace, name])
        change(obj)
        return self.put(obj)

    def advance(self, **parts: float) -> None:
        """Let time pass."""
        self.clock.time += timedelta(**parts)

    def says(self, kind: str, name: str, reason: str, note: str, *, is_warning: bool = True) -> None:
        """Somebody posts an event about an object."""
        self._version += 1
        event = ObjectEvent(self._version, is_warning, reason, note)
        self.said.setdefault(self.get(kind, name)["metadata"]["uid"], []).append(event)

    def kubelet_starts(self, run: str) -> None:
        """The run's pod starts."""
        job = self.get("Job", run)
        pod = make.pod(job, running={"startedAt": format_time(self.clock.time)})
        pod["metadata"]["creationTimestamp"] = format_time(self.clock.time)
        self.put(pod)

    def kubelet_finishes(self, run: str, message: Obj | str, exit_code: int = 0, *, started: str | None = None) -> None:
        """The run's pod ends with a termination message, and its Job with it; `started` just now unless said."""
        job = self.get("Job", run)
        ended = {**make.terminated(exit_code, message), "startedAt": started or format_time(self.clock.time)}
        self.put(make.pod(job, terminated=ended))
        kind, reason = ("Complete", "CompletionsReached") if exit_code == 0 else ("Failed", "PodFailurePolicy")
        self.ends(run, kind, reason)

    def ends(self, run: str, kind: str, reason: str) -> None:
        """The Job controller says how the Job ended."""

        def end(job: Obj) -> None:
            found = make.job_condition(kind, reason)
            found[0]["lastTransitionTime"] = format_time(self.clock.time)
            job["status"] = {"conditions": found}

        self.change("Job", run, end)

    # -- what the operator does ---------------------------------------------------------------------------------

    def settle(self, rounds: int = 20) -> None:
        """Reconcile everything until nothing is written any more."""
        for _ in range(rounds):
            before = len(self.writes)
            for kind, namespace, name in sorted(self.objects):
                if kind in self.reconcilers:
                    self.reconcile(Key(kind, namespace, name))
            if len(self.writes) == before:
                return
        raise AssertionError(f"does not settle; last writes {self.writes[-6:]}")

    def reconcile(self, key: Key) -> Plan | None:
        """One pass."""
        snapshot = self._gather(key)
        if snapshot is None:
            return None
        plan = self.reconcilers[key.kind].plan(snapshot)
        for begin in self.deps.begun:
            begin(snapshot.object, plan)
        for manifest in plan.apply:
            self._apply(manifest)
        for patch in plan.patches:
            self.writes.append(Write("patch", patch.ref.kind, patch.ref.name))
            self.change(
                patch.ref.kind, patch.ref.name, lambda o, body=patch.body: _merge(o["metadata"], body["metadata"])
            )
        for ref in plan.delete:
            self.writes.append(Write("delete", ref.kind, ref.name))
            self.remove(ref.kind, ref.name)
        self.requeue[key] = plan.requeue_after
        if plan.status is not None and not self.crash_before_status:
            self._write_status(snapshot.object, plan)
        return plan

    def plan(self, key: Key) -> Plan:
        """What a pass would do."""
        return self.reconcilers[key.kind].plan(self._gather(key))

    def _gather(self, key: Key) -> Any | None:
        # Not Runner.run: its handlers of signals cost as much as the pass (their repr holds the whole snapshot).
        return _RUNNER.get_loop().run_until_complete(self.reconcilers[key.kind].gather(key))

    def _write_status(self, obj: Obj, plan: Plan) -> None:
        assert plan.status is not None
        wanted = statuses.complete(plan.status, obj)
        meta = obj["metadata"]
        check_status({**obj, "status": wanted})
        check_reasons({**obj, "status": wanted})
        if not statuses.is_same(obj.get("status"), wanted):
            self.writes.append(Write("status", obj["kind"], meta["name"]))
            self.change(obj["kind"], meta["name"], lambda o: o.update(status=copied(wanted)))
        self.events += plan.events
        self.writes += [Write("event", obj["kind"], e.reason) for e in plan.events]

    def _apply(self, manifest: Obj) -> None:
        meta = manifest["metadata"]
        if (manifest["kind"], meta["namespace"], meta["name"]) in self.objects:
            return
        self.writes.append(Write("apply", manifest["kind"], meta["name"]))
        self.put(manifest)

    def _record(self, slot: tuple[str, str, str], obj: Obj) -> None:
        self.history.setdefault(slot, []).append((self._version, controller_of(obj).get("uid", "")))

    def _show(self, obj: Obj) -> None:
        self.cache.put(identity(obj) if obj["kind"] == "ConfigMap" else obj)

    # -- what a test asks ---------------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str = make.NAMESPACE) -> Obj:
        """An object; KeyError when there is none."""
        return self.objects[kind, namespace, name]

    def names(self, kind: str) -> list[str]:
        """Names of all objects of a kind, by creation."""
        found = [o for o in self.objects.values() if o["kind"] == kind]
        return [o["metadata"]["name"] for o in sorted(found, key=_age)]

    def pipeline(self, name: str = "churn") -> Obj:
        """The pipeline's status."""
        return self.get("TrainingPipeline", name).get("status") or {}

    def run(self, name: str) -> Obj:
        """A run's status."""
        return self.get("TrainingRun", name).get("status") or {}

    def condition(self, kind: str, name: str, type_: str = "Ready") -> tuple[str, str]:
        """Status and reason of a condition; ("", "") when absent."""
        found = (self.get(kind, name).get("status") or {}).get("conditions") or ()
        return next(((c["status"], c["reason"]) for c in found if c["type"] == type_), ("", ""))

    def written(self) -> list[str]:
        """The writes since the last call, as `verb Kind`."""
        found = [f"{w.verb} {w.kind}" for w in self.writes]
        self.writes.clear()
        return found

    def train(self, letter: str = "d", name: str | None = None, **report: Any) -> str:
        """Settle, let the newest run end well, settle again; returns the run's name."""
        self.settle()
        run = name or self.names("TrainingRun")[-1]
        self.advance(seconds=5)
        self.kubelet_finishes(run, make.result(letter, run=self.get("TrainingRun", run), **report))
        self.settle()
        return run


def _merge(into: Obj, patch: Obj) -> None:
    """As a JSON merge patch does: maps key by key, all else as a whole."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _age(obj: Obj) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]
