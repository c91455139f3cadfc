"""ReplicaSets as the API server would show them to a reconciler: for tests that make pods without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tidemill.core.plan import ObjectRef
from tidemill.core.podfailure import ObjectEvent

Obj = dict[str, Any]


class ReplicaSets:
    """The reading part of a client: each Deployment that was requested has one ReplicaSet."""

    def deployment(self, name: str, owner: Obj) -> Obj:
        """A Deployment of `owner`, as the cache holds it."""
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        meta = {"name": name, "uid": f"u-Deployment-{name}", "ownerReferences": [reference]}
        spec = {"template": {"spec": {"containers": []}}}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}

    def owners(self, deployment: str) -> list[Obj]:
        """What a pod of the Deployment names as its controller."""
        name = f"{deployment}-abc"
        return [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"u-{name}", "controller": True}]

    said: Mapping[str, list[ObjectEvent]] = MappingProxyType({})
    """Events by the uid of what they are about."""

    async def events_about(self, namespace: str, uid: str) -> list[ObjectEvent]:
        """What a test has set."""
        del namespace
        return self.said.get(uid, [])

    async def get_metadata(self, ref: ObjectRef) -> Obj | None:
        """The ReplicaSet that `owners` names, owned by the Deployment of its name."""
        deployment = ref.name.removesuffix("-abc")
        if ref.uid != f"u-{ref.name}" or deployment == ref.name:
            return None
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "controller": True}
        owner["uid"] = f"u-Deployment-{deployment}"
        return {"metadata": {"name": ref.name, "uid": ref.uid, "ownerReferences": [owner]}}
