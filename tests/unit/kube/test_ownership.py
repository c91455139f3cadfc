"""Pod → ReplicaSet → Deployment: what proves that a pod is ours, and what that costs."""

from __future__ import annotations

from typing import Any

from tidemill.core.plan import ObjectRef
from tidemill.kube import ownership
from tidemill.kube.ownership import PodOwners

Obj = dict[str, Any]
DEPLOYMENT: Obj = {"metadata": {"name": "d", "namespace": "ns", "uid": "d1"}}


class Client:
    """ReplicaSets by name: uid and controller."""

    def __init__(self, **live: tuple[str, Obj]) -> None:
        self.live = live
        self.asked: list[str] = []

    async def get_metadata(self, ref: ObjectRef) -> Obj | None:
        self.asked.append(ref.name)
        uid, owner = self.live.get(ref.name, ("", {}))
        if uid != ref.uid:
            return None
        return {"metadata": {"name": ref.name, "uid": uid, "ownerReferences": [owner]}}


def owner(kind: str, name: str, uid: str, **changes: Any) -> Obj:
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True, **changes}


def pod(name: str, reference: Obj) -> Obj:
    return {"metadata": {"name": name, "namespace": "ns", "ownerReferences": [reference]}}


OURS = owner("ReplicaSet", "d-1", "r1")


async def test_a_pod_is_ours_when_both_steps_lead_to_the_live_deployment() -> None:
    client = Client(**{"d-1": ("r1", owner("Deployment", "d", "d1"))})
    owners = PodOwners(client)  # type: ignore[arg-type]
    own = pod("own", OURS)
    strangers = [
        pod("none", {}),
        pod("of a ReplicaSet that is gone", owner("ReplicaSet", "d-0", "r0")),
        pod("with a uid that is made up", owner("ReplicaSet", "d-1", "r9")),
        pod("not its controller", {**OURS, "controller": False}),
        pod("of another group", {**OURS, "apiVersion": "evil.example/v1"}),
        pod("of a Job", owner("Job", "d-1", "r1")),
    ]
    assert await owners.of(DEPLOYMENT, [*strangers, own]) == [own]
    assert await owners.of(None, [own]) == []


async def test_a_replica_set_must_belong_to_the_deployment_that_is_there_now() -> None:
    live = {
        "d-1": ("r1", owner("Deployment", "d", "d0")),  # of a Deployment of that name that was deleted
        "d-2": ("r2", owner("Rollout", "d", "d1")),
        "d-3": ("r3", owner("Deployment", "d", "d1", apiVersion="evil.example/v1")),
        "d-4": ("r4", owner("Deployment", "d", "d1", controller=False)),
    }
    owners = PodOwners(Client(**live))  # type: ignore[arg-type]
    pods = [pod(name, owner("ReplicaSet", name, uid)) for name, (uid, _) in live.items()]
    assert await owners.of(DEPLOYMENT, pods) == []


async def test_a_forged_name_for_a_true_uid_does_not_hide_the_true_pod() -> None:
    owners = PodOwners(Client(**{"d-1": ("r1", owner("Deployment", "d", "d1"))}))  # type: ignore[arg-type]
    forged, own = pod("forged", owner("ReplicaSet", "elsewhere", "r1")), pod("own", OURS)
    assert await owners.of(DEPLOYMENT, [forged, own]) == [own]


async def test_answers_are_remembered_for_a_while() -> None:
    now = 0.0
    client = Client()
    owners = PodOwners(client, lambda: now)  # type: ignore[arg-type]
    own = pod("own", OURS)
    assert await owners.of(DEPLOYMENT, [own]) == []
    client.live["d-1"] = ("r1", owner("Deployment", "d", "d1"))
    assert await owners.of(DEPLOYMENT, [own]) == []
    now += ownership.UNKNOWN_SECONDS
    for _ in range(3):
        assert await owners.of(DEPLOYMENT, [own]) == [own]
    assert len(client.asked) == 2
    now += ownership.KNOWN_SECONDS
    assert await owners.of(DEPLOYMENT, [own]) == [own] and len(client.asked) == 3


async def test_made_up_owners_cost_few_requests_and_hide_nobody_for_long() -> None:
    client = Client(**{"d-1": ("r1", owner("Deployment", "d", "d1"))})
    owners = PodOwners(client)  # type: ignore[arg-type]
    pods = [*(pod(f"p{i}", owner("ReplicaSet", f"x{i}", f"x{i}")) for i in range(20)), pod("own", OURS)]
    rounds = [len(await owners.of(DEPLOYMENT, pods)) for _ in range(3)]
    assert rounds == [0, 0, 1] and len(client.asked) == 21
