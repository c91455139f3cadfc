"""Asks server pods which form they serve, where a version's record does not say; each pod once in its life.

Bounded like all asking of pods (decision 0165). What a pod may say is a runtime and one of two words, so the worst
that a false pod can do is to have a status say the one instead of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tidemill.core import children, references
from tidemill.core import labels as keys
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps
from tidemill.engine.memory import Memory
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Limits, pod_url
from tidemill.serving import observe
from tidemill.serving.requeue import FORM_SECONDS
from tidemill.serving.snapshot import Version, Workload, is_checked_on_load
from tidemill_contracts.inference import FORM_PATH, ServedForm
from tidemill_contracts.ports import ADMIN_PORT
from tidemill_contracts.runtimes import RequestedRuntime

Obj = dict[str, Any]

LIMITS = Limits(seconds=2.0, bytes=1 << 16)
"""What asking the servers of a deployment may take; an answer is 130 bytes."""
PODS = 8
"""Pods of one version that are asked: they have the same files and the same rule."""
_Answers = dict[str, tuple[ServedForm | None, float]]  # by container of a pod: what it reported, and when it was asked


class RuntimeProbe:
    """Remembers what each pod said. Losing it costs one request a pod."""

    def __init__(self, deps: Deps, owners: PodOwners) -> None:
        """Asks nobody yet."""
        self._deps = deps
        self._owners = owners
        self._memory = Memory[_Answers]()

    def forget(self, key: Key) -> None:
        """Drops what is known of the pods of a deployment."""
        self._memory.forget(key)

    async def observed(
        self, key: Key, obj: Obj, requested: RequestedRuntime, workloads: tuple[Workload, ...]
    ) -> tuple[Workload, ...]:
        """The workloads with what their pods serve, for those of which only the pods can say it."""
        uid = obj["metadata"]["uid"]
        before, pods = self._memory.get(key, uid) or {}, dict[str, list[Obj]]()
        for workload in workloads:
            if is_checked_on_load(requested, workload.version, allow_pickle=True):
                pods[workload.name] = await self._pods(obj, workload)
        if not pods:
            self._memory.forget(key)
            return workloads
        known = await self._answers(obj, before, [pod for found in pods.values() for pod in found])
        self._memory.put(key, uid, known)
        return tuple(
            replace(w, forms=_forms(w.version, known, pods[w.name])) if w.name in pods else w for w in workloads
        )

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
        return own[:PODS]

    async def _answers(self, obj: Obj, before: _Answers, pods: list[Obj]) -> _Answers:
        now, meta = self._deps.clock.monotonic(), obj["metadata"]
        known = {c: before[c] for c in map(_container, pods) if c in before}
        due = {
            _container(pod): url
            for pod in pods
            if _is_due(known.get(_container(pod)), now)
            and (url := pod_url(str(pod["status"].get("podIP") or ""), ADMIN_PORT, FORM_PATH)) is not None
        }
        # Under a name of its own: servers that are late must not keep the router's statistics from being read.
        owner = f"{meta['uid']} servers"
        answers = await self._deps.scraper.read(meta["namespace"], owner, [*due.values()], LIMITS, _read) if due else []
        return known | {c: (answer.value, now) for c, answer in zip(due, answers, strict=True)}


def _container(pod: Obj) -> str:
    """What answers the same until it ends: one run of the server in one pod."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = next((s.get("restartCount") for s in statuses if s.get("name") == observe.SERVER_CONTAINER), 0)
    return f"{pod['metadata']['uid']} {restarts or 0}"


def _is_due(known: tuple[ServedForm | None, float] | None, now: float) -> bool:
    return known is None or (known[0] is None and now - known[1] >= FORM_SECONDS)


def _read(body: bytearray) -> ServedForm | None:
    """What a pod said; None where that is nothing a server says, as of an image from before."""
    try:
        return ServedForm.from_json(bytes(body))
    except ValidationError:
        return None


def _forms(version: Version, known: _Answers, pods: Iterable[Obj]) -> frozenset[ServedForm]:
    """What pods serve of this version by the rule of now: one of `runtime: Native` is about to be replaced."""
    said = (known[c][0] for c in map(_container, pods) if c in known)
    return frozenset(
        form
        for form in said
        if form is not None and form.digest == version.digest and (form.runtime == "Native") == bool(form.surprise)
    )
