"""A clock that stands still and an API server of one dict, for the engine's unit tests."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.core.plan import ObjectRef
from tidemill.errors import ApiError

Obj = dict[str, Any]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(eq=False)
class FakeTimer:
    """One call that is due."""

    due: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Time that moves only by `advance`."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.timers: list[FakeTimer] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self) -> float:
        return self.seconds

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.seconds + seconds, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Calls what is due on the way, in its order."""
        end = self.seconds + seconds
        while due := [t for t in self.timers if not t.cancelled and t.due <= end]:
            first = min(due, key=lambda t: t.due)
            self.timers.remove(first)
            self.seconds = max(self.seconds, first.due)
            first.callback()
        self.seconds = end


async def pass_time(clock: FakeClock, seconds: float) -> None:
    """Moves the clock from one call that is due to the next; whoever waited goes on before time does."""
    end = clock.seconds + seconds
    await settle()
    while due := [t.due for t in clock.timers if not t.cancelled and t.due <= end]:
        clock.advance(min(due) - clock.seconds)
        await settle()
    clock.advance(end - clock.seconds)
    await settle()


async def settle() -> None:
    """Lets all tasks run until they wait for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class FakeApi:
    """Objects by (kind, namespace, name), resourceVersions, and a log of writes.

    `fail` makes the next calls fail, `refused` every write of the objects with these names.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str | None, str], Obj] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.fail: list[ApiError] = []
        self.refused: dict[str, ApiError] = {}
        self._version = 0

    async def get(
        self, ref: ObjectRef | str, kind: str = "", namespace: str | None = None, name: str = ""
    ) -> Obj | None:
        self._maybe_fail()
        key = (ref.kind, ref.namespace, ref.name) if isinstance(ref, ObjectRef) else (kind, namespace, name)
        return copy.deepcopy(self.objects.get(key))

    async def apply(self, manifest: Obj) -> Obj:
        return self._store("apply", manifest, merge=True)

    async def create(self, manifest: Obj) -> Obj:
        if _key(manifest) in self.objects:
            raise ApiError(409, "AlreadyExists", "there already")
        return self._store("create", manifest)

    async def replace(self, obj: Obj) -> Obj:
        live = self.objects.get(_key(obj))
        if live is None or live["metadata"]["resourceVersion"] != obj["metadata"].get("resourceVersion"):
            raise ApiError(409, "Conflict", "changed")
        return self._store("replace", obj)

    async def replace_status(self, obj: Obj, status: Obj) -> Obj:
        live = self.objects.get(_key(obj))
        if live is None:
            raise ApiError(404, "NotFound", "gone")
        if live["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "changed")
        return self._store("status", {**live, "status": status})

    async def patch_merge(self, ref: ObjectRef, body: Obj, subresource: str | None = None) -> Obj:
        live = self.objects.get((ref.kind, ref.namespace, ref.name))
        if live is None:
            raise ApiError(404, "NotFound", "gone")
        return self._store("patch", {**live, **{k: v for k, v in body.items() if k != "metadata"}})

    async def delete(self, ref: ObjectRef) -> bool:
        self.writes.append(("delete", ref.kind, ref.name))
        return self.objects.pop((ref.kind, ref.namespace, ref.name), None) is not None

    def put(self, obj: Obj) -> Obj:
        """Stores an object as somebody else would; nothing is logged."""
        stored = self._store("put", obj)
        self.writes.pop()
        return stored

    def _store(self, verb: str, obj: Obj, merge: bool = False) -> Obj:
        self._maybe_fail()
        if obj["metadata"]["name"] in self.refused:
            raise self.refused[obj["metadata"]["name"]]
        self._version += 1
        old = self.objects.get(_key(obj)) or {}
        stored = copy.deepcopy({**old, **obj} if merge else obj)
        meta = stored["metadata"] = {**old.get("metadata", {}), **stored["metadata"]}
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("uid", f"uid-{self._version}")
        self.objects[_key(obj)] = stored
        self.writes.append((verb, obj["kind"], meta["name"]))
        return copy.deepcopy(stored)

    def _maybe_fail(self) -> None:
        if self.fail:
            raise self.fail.pop(0)


def _key(obj: Obj) -> tuple[str, str | None, str]:
    return obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]
