"""Asks server pods what only they know of their model, each pod once in its life, and remembers the answers.

Bounded like all asking of pods (decision 0165). Only pods are asked that are proven to be of the Deployment. What they
say is judged by whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from tidemill.core import children, references
from tidemill.core import labels as keys
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Limits, pod_url
from tidemill.serving import observe
from tidemill.serving.requeue import ASK_SECONDS
from tidemill.serving.snapshot import Workload
from tidemill_contracts.ports import ADMIN_PORT

Obj = dict[str, Any]
T = TypeVar("T")

_Answers = dict[str, tuple[T | None, float]]  # by container of a pod: what it reported, and when it was asked


class PodAnswers(Generic[T]):
    """The answers to one question. Losing them costs one request a pod."""

    def __init__(
        self,
        deps: Deps,
        owners: PodOwners,
        *,
        path: str,
        limits: Limits,
        most: int,
        read: Callable[[bytearray], T | None],
    ) -> None:
        """Asks nobody yet. `most`: pods of one version that are asked; `read`: what an answer says, if anything."""
        self._deps, self._owners = deps, owners
        self._path, self._limits, self._most, self._read = path, limits, most, read
        self._memory = Memory[_Answers[T]]()

    def forget(self, key: Key) -> None:
        """Drops what is known of the pods of a deployment."""
        self._memory.forget(key)

    async def of(self, key: Key, obj: Obj, workloads: Sequence[Workload]) -> dict[str, list[T]]:
        """By the name of a workload, what its ready pods have said; without workloads everything is forgotten."""
        if not workloads:
            self._memory.forget(key)
            return {}
        uid = obj["metadata"]["uid"]
        pods = {workload.name: await self._pods(obj, workload) for workload in workloads}
        known = await self._ask(obj, self._memory.get(key, uid) or {}, [pod for own in pods.values() for pod in own])
        self._memory.put(key, uid, known)
        return {name: list(_said(known, own)) for name, own in pods.items()}

    async def _pods(self, obj: Obj, workload: Workload) -> list[Obj]:
        """Pods of a version that are ready, proven to be its Deployment's, the same ones at each pass."""
        cache, meta = self._deps.cache, obj["metadata"]
        deployment = cache.get("Deployment", meta["namespace"], workload.name)
        if deployment is None or not children.is_controlled_by(deployment, meta["uid"]):
            return []
        selector = {keys.DEPLOYMENT: meta["name"], keys.COMPONENT: "server", keys.VERSION: workload.version.name}
        pods = cache.naming("Pod", meta["namespace"], meta["name"], references.labelled_deployment, selector)
        ready = [p for p in pods if observe.is_ready(p)]
        own = await self._owners.of(deployment, sorted(ready, key=lambda p: str(p["metadata"]["name"])))
        return own[: self._most]

    async def _ask(self, obj: Obj, before: _Answers[T], pods: list[Obj]) -> _Answers[T]:
        now, meta = self._deps.clock.monotonic(), obj["metadata"]
        known = {c: before[c] for c in map(_container, pods) if c in before}
        due = {
            _container(pod): url
            for pod in pods
            if _is_due(known.get(_container(pod)), now)
            and (url := pod_url(str(pod["status"].get("podIP") or ""), ADMIN_PORT, self._path)) is not None
        }
        if not due:
            return known
        # Under a name of its own: servers that are late must not keep the router's statistics from being read.
        owner = f"{meta['uid']} servers"
        answers = await self._deps.scraper.read(meta["namespace"], owner, [*due.values()], self._limits, self._read)
        return known | {c: (answer.value, now) for c, answer in zip(due, answers, strict=True)}


def _container(pod: Obj) -> str:
    """What answers the same until it ends: one run of the server in one pod."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = next((s.get("restartCount") for s in statuses if s.get("name") == observe.SERVER_CONTAINER), 0)
    return f"{pod['metadata']['uid']} {restarts or 0}"


def _is_due(known: tuple[T | None, float] | None, now: float) -> bool:
    return known is None or (known[0] is None and now - known[1] >= ASK_SECONDS)


def _said(known: _Answers[T], pods: Iterable[Obj]) -> Iterable[T]:
    for container in map(_container, pods):
        value = known.get(container, (None, 0.0))[0]
        if value is not None:
            yield value
