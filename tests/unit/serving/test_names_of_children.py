"""Two versions of one number and digest in a deployment: each has children of its own, and no Service leaves its pods.

The world applies plans as the API server does: the selector of a Deployment cannot be changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import CANARY, NOW, ago, digest, router, scrape, snapshot, version
from tests.unit.serving.test_reconciler import KEY, World

from tidemill.core.plan import ObjectRef, Plan
from tidemill.serving import plan
from tidemill.serving.builders import router as router_builder
from tidemill.serving.snapshot import Snapshot, Version, Workload, children_of

Obj = dict[str, Any]
OLD, NEW = version(5, name="live2-5"), version(5, name="live3-5")
"""Two imports of one artifact, each as number 5 of its series."""
USUAL = f"churn-5-{'0' * 8}"
SCALED = {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}
IMMEDIATE = {"rollout": {"strategy": "Immediate"}}


def record(found: Version, **more: Any) -> Obj:
    return {"version": found.name, "digest": found.digest, **more}


class Children:
    """The children of one ModelDeployment, whose pods get ready at once."""

    def __init__(self, spec: Obj) -> None:
        self.spec, self.status = spec, {"stable": record(OLD, since="2026-11-23T11:00:00Z")}
        self.live: dict[tuple[str, str], Obj] = {}
        self.refused: list[str] = []
        self.routes: tuple[str | None, float] = (None, 0)
        self.follows = OLD
        self.step()
        self.follows = NEW

    @property
    def deployments(self) -> dict[str, Obj]:
        return {name: o for (kind, name), o in self.live.items() if kind == "Deployment" and "router" not in name}

    def selected(self, name: str) -> Obj:
        """What the Service of that name selects."""
        found: Obj = self.live["Service", name]["spec"]["selector"]
        return found

    def look(self) -> Snapshot:
        workloads = []
        for name, o in self.deployments.items():
            of = next(v for v in (OLD, NEW) if v.name == o["metadata"]["labels"]["tidemill.io/version"])
            replicas = o["spec"].get("replicas", 1)
            workloads.append(Workload(name, of, replicas, replicas, True, available_since=ago(600)))
        names = {name for v in (OLD, NEW) for name in children_of("churn", v)}
        routes, age = self.routes
        scraped = replace(scrape(routes), members=dict.fromkeys(names, 1))
        return replace(
            snapshot(self.spec, workloads=tuple(workloads), versions=(self.follows,), others=(OLD,)),
            status=type(snapshot().status).model_validate(self.status),
            selectors={name: o["spec"]["selector"]["matchLabels"] for name, o in self.deployments.items()},
            children=tuple(ObjectRef.of(o) for (kind, _), o in self.live.items() if kind != "ConfigMap"),
            router=router(scraped, routes=routes, since=age),
        )

    def step(self) -> Plan:
        """One pass, carried out."""
        made = plan.plan(self.look())
        for wanted in made.apply:
            key = wanted["kind"], wanted["metadata"]["name"]
            before = self.live.get(key)
            if before and key[0] == "Deployment" and before["spec"]["selector"] != wanted["spec"]["selector"]:
                self.refused.append(key[1])
                continue
            kept = {"replicas": before["spec"].get("replicas", 1)} if before and key[0] == "Deployment" else {}
            uid = {"uid": f"u-{key[0]}-{key[1]}"}
            spec = {**kept, **wanted.get("spec", {})}
            self.live[key] = {**wanted, "metadata": {**wanted["metadata"], **uid}, "spec": spec}
        for patch in made.patches:
            if patch.ref.kind == "Deployment" and "replicas" in patch.body.get("spec", {}):
                self.live["Deployment", patch.ref.name]["spec"]["replicas"] = patch.body["spec"]["replicas"]
        for ref in made.delete:
            del self.live[ref.kind, ref.name]
        routes = self.live["ConfigMap", "churn-router"]["metadata"]["annotations"][router_builder.ROUTES_VERSION]
        self.routes = (routes, 300 if routes == self.routes[0] else 0)
        self.status = json.loads(json.dumps(made.status))
        self.holds()
        return made

    def holds(self) -> None:
        """No Deployment was refused, and whatever has a version's name selects and serves that version."""
        assert self.refused == []
        for name, deployment in self.deployments.items():
            managed = {"app.kubernetes.io/managed-by": "tidemill"}
            assert self.selected(name) == {**deployment["spec"]["selector"]["matchLabels"], **managed}
            config = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            served = next(json.loads(e["value"]) for e in config if e["name"] == "TIDEMILL_SERVER_CONFIG")
            assert served["version"] == deployment["metadata"]["labels"]["tidemill.io/version"]
        for (kind, name), o in self.live.items():
            if kind == "HorizontalPodAutoscaler":
                assert o["spec"]["scaleTargetRef"]["name"] == name and name in self.deployments
            if kind == "PodDisruptionBudget" and "router" not in name:
                assert o["spec"]["selector"] == self.deployments[name]["spec"]["selector"]


def routed(made: Plan) -> dict[str, int]:
    files = next(m for m in made.apply if m["kind"] == "ConfigMap")["data"]
    action = json.loads(files["routes.json"])["resources"][0]["virtual_hosts"][0]["routes"][-1]["route"]
    return {c["name"]: c["weight"] for c in action["weighted_clusters"]["clusters"]}


@pytest.mark.parametrize("more", [{}, SCALED, {"replicas": 2}])
def test_a_series_is_replaced_by_another_with_the_same_number_and_digest(more: Obj) -> None:
    world = Children({**IMMEDIATE, **more})
    assert list(world.deployments) == [USUAL]
    seen = []
    for _ in range(6):
        made = world.step()
        served = world.status["stable"]["version"]
        seen.append(served)
        most = max(routed(made), key=lambda name: routed(made)[name])
        assert world.selected(most)["tidemill.io/version"] == served
    assert seen[0] == "live2-5" and seen[-1] == "live3-5"
    (own,) = world.deployments
    assert own == children_of("churn", NEW)[1] != USUAL
    kinds = {kind for kind, name in world.live if name == own}
    assert kinds >= {"Deployment", "Service"} and not any(name == USUAL for _, name in world.live)
    if more:
        assert "PodDisruptionBudget" in kinds
    assert routed(world.step()) == {own: 100}, "it keeps its name when the other has gone"


def test_a_canary_of_it_gets_its_share_and_the_way_back_leads_to_the_pods_that_served() -> None:
    world = Children({"rollout": {**CANARY, "signatureChanges": "Allow", "analysis": {"clientErrors": "Ignore"}}})
    world.step()
    made = world.step()
    own = children_of("churn", NEW)[1]
    assert routed(made) == {USUAL: 90, own: 10}
    assert world.selected(USUAL)["tidemill.io/version"] == "live2-5"
    assert world.selected(own)["tidemill.io/version"] == "live3-5"


def test_only_where_another_version_has_the_name_it_is_another() -> None:
    found = snapshot(versions=(version(1), NEW), status={"stable": record(version(1), since=NOW)})
    assert found.child_of(NEW) == USUAL == children_of("churn", NEW)[0]
    taken = replace(found, selectors={USUAL: {"tidemill.io/version": "live2-5"}})
    assert taken.child_of(NEW) == children_of("churn", NEW)[1] == f"{USUAL}-{taken.child_of(NEW)[-6:]}"


def test_a_name_stays_while_the_version_has_children_of_it() -> None:
    own = children_of("churn", NEW)[1]
    for kind in ("Deployment", "Service"):
        found = snapshot(versions=(NEW,), children=(ObjectRef("v1", kind, "team", own),))
        assert found.child_of(NEW) == own
    budget = snapshot(versions=(NEW,), children=(ObjectRef("policy/v1", "PodDisruptionBudget", "team", own),))
    assert budget.child_of(NEW) == USUAL


def test_the_stable_version_keeps_the_name_although_its_deployment_was_deleted() -> None:
    world = Children({**IMMEDIATE})
    del world.live["Deployment", USUAL]
    found = world.look()
    assert found.child_of(OLD) == USUAL and found.child_of(NEW) != USUAL
    world.step()
    assert set(world.deployments) == {USUAL, children_of("churn", NEW)[1]}


def test_digests_that_begin_alike_are_two_versions_as_well() -> None:
    one, other = version(5), version(5, digest=digest(5)[:-4] + "ffff")
    assert children_of("churn", one)[0] == children_of("churn", other)[0]
    selector = {"tidemill.io/version": one.name, "tidemill.io/digest": "f" * 16}
    assert snapshot(selectors={USUAL: selector}).child_of(one) == children_of("churn", one)[1]
    assert children_of("churn", one)[1] != children_of("churn", other)[1]


def test_names_fit_whatever_the_deployment_and_the_number() -> None:
    for name in ("c", "c" * 63):
        names = children_of(name, version(2**31 - 1))
        assert all(len(found) <= 63 for found in names) and len(set(names)) == 2


async def test_a_deployment_that_is_being_deleted_has_its_name_still() -> None:
    world = World()
    world.deployment({})
    deployment = world.client.deployment(USUAL, snapshot().object)
    deployment["spec"]["selector"] = {"matchLabels": {"tidemill.io/version": "live2-5"}}
    deployment["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    world.put(deployment)
    found = await world.reconciler.gather(KEY)
    assert found is not None and USUAL not in found.deployments
    assert found.child_of(NEW) == children_of("churn", NEW)[1]
