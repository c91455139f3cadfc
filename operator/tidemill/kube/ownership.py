"""Which pods belong to a Deployment of ours: by controller references, pod → ReplicaSet → Deployment.

Labels do not tell: anybody who may make a pod may give it any. References may be written as well, so each step is held
against the live object and its uid. What is left is somebody who makes a pod or a ReplicaSet with a true reference: the
cluster's own controllers count such a one and remove the surplus (docs/security.md says what that amounts to).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from tidemill.core.children import controller_of
from tidemill.core.plan import ObjectRef
from tidemill.kube.client import KubeClient

Obj = dict[str, Any]
_ReplicaSet = tuple[str, str, str]  # namespace, name and uid: a reference with a true uid and another name is no proof

KNOWN_SECONDS = 300.0
UNKNOWN_SECONDS = 60.0
LOOKUPS = 8
"""ReplicaSets that one call asks for: made-up ones cost a bounded number of requests; the next call goes on."""
_REMEMBERED = 10_000


class PodOwners:
    """Remembers for a while to which Deployment a ReplicaSet belongs."""

    def __init__(self, client: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Reads nothing yet."""
        self._client = client
        self._monotonic = monotonic
        self._deployments: OrderedDict[_ReplicaSet, tuple[str | None, float]] = OrderedDict()

    async def of(self, deployment: Obj | None, pods: Iterable[Obj]) -> list[Obj]:
        """Those of `pods` that the Deployment's ReplicaSets control; none without a Deployment."""
        if deployment is None:
            return []
        uid, own, looked_up = deployment["metadata"]["uid"], list[Obj](), 0
        for pod in pods:
            reference = controller_of(pod)
            if reference.get("kind") != "ReplicaSet" or reference.get("apiVersion") != "apps/v1":
                continue
            replica_set = (pod["metadata"]["namespace"], reference["name"], reference["uid"])
            known, until = self._deployments.get(replica_set, (None, 0.0))
            if until <= self._monotonic():
                if looked_up == LOOKUPS:
                    continue
                looked_up += 1
                known = await self._look_up(replica_set)
            if known == uid:
                own.append(pod)
        return own

    async def _look_up(self, replica_set: _ReplicaSet) -> str | None:
        found = await self._client.get_metadata(ObjectRef("apps/v1", "ReplicaSet", *replica_set))
        owner = controller_of(found) if found is not None else {}
        is_ours = owner.get("kind") == "Deployment" and owner.get("apiVersion") == "apps/v1"
        uid = str(owner["uid"]) if is_ours else None
        lasts = UNKNOWN_SECONDS if uid is None else KNOWN_SECONDS
        self._deployments[replica_set] = (uid, self._monotonic() + lasts)
        self._deployments.move_to_end(replica_set)
        while len(self._deployments) > _REMEMBERED:
            self._deployments.popitem(last=False)
        return uid
