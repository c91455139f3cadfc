"""What a user can change about pods is exactly what the digest on their Deployment is taken of."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from tests.support import documents
from tests.unit.monitoring import make as monitors
from tests.unit.serving.make import NOW, TWO, ago, snapshot, stable, version

from tidemill.core import hashing, staged_updates
from tidemill.core.conditions import format_time
from tidemill.core.plan import Key, Turn
from tidemill.core.staged_updates import INPUTS, Fleet
from tidemill.monitoring import plan as monitoring
from tidemill.monitoring.builders import workload
from tidemill.serving import plan
from tidemill.serving.builders import router, server
from tidemill.serving.snapshot import Settings, Snapshot

Obj = dict[str, Any]
SERVER_CHANGES: dict[str, Obj] = {
    "runtime": {"server": {"runtime": "Native"}},
    "allowPickle": {"server": {"allowPickle": True}},
    "allowCode": {"server": {"allowCode": True}},
    "extraColumns": {"server": {"extraColumns": "Ignore"}},
    "grpc": {"server": {"grpc": False}},
    "resources": {"server": {"resources": {"requests": {"cpu": "2"}}}},
    "workers": {"server": {"workers": 3}},
    "batching": {"server": {"batching": {"maxRows": 8}}},
    "batching off": {"server": {"batching": {"enabled": False}}},
    "maxInFlight": {"server": {"maxInFlight": 5}},
    "maxBodyBytes": {"server": {"maxBodyBytes": 2048}},
    "requestTimeoutSeconds": {"server": {"requestTimeoutSeconds": 40}},
    "accessLogRatio": {"server": {"accessLogRatio": 0.5}},
    "tracing": {"server": {"tracing": {"endpoint": "http://otel.team.svc:4318"}}},
    "pod": {"server": {"pod": {"labels": {"team": "risk"}}}},
    "sampleRatio": {"logging": {"sampleRatio": 0.5}},
    "objective": {"rollout": documents.FULL_DEPLOYMENT["rollout"]},
}
PICKLED = version(1, formats=("joblib", "skops-code"))


def template(unit: staged_updates.Unit) -> str:
    return hashing.short(unit.deployment["spec"]["template"])


@pytest.mark.parametrize("change", SERVER_CHANGES)
def test_what_changes_the_servers_pods_is_asked_by_the_user(change: str) -> None:
    before, after = (server.unit(snapshot(spec), PICKLED) for spec in ({}, SERVER_CHANGES[change]))
    assert template(before) != template(after), "so the table says something"
    assert before.inputs != after.inputs


def test_every_field_of_the_server_is_in_that_table() -> None:
    fields = server.spec.Server.model_json_schema(by_alias=True)["properties"]
    assert set(fields) <= set(SERVER_CHANGES)


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 4},
        {"rollout": {"strategy": "Immediate"}},
        {"suspend": True},
        {"rollout": {"steps": [{"weight": 9}]}},
    ],
)
def test_what_changes_no_pod_is_no_reason_to_pull_an_update_forward(change: Obj) -> None:
    before, after = snapshot(), snapshot(change)
    assert server.unit(before, version(1)).inputs == server.unit(after, version(1)).inputs
    assert router.unit(before, router.config(before, [])).inputs == router.unit(after, router.config(after, [])).inputs


def test_the_router_and_another_content_of_a_version() -> None:
    before, after = snapshot(), snapshot({"server": {"requestTimeoutSeconds": 40}})
    first, second = (router.unit(s, router.config(s, [])) for s in (before, after))
    assert template(first) != template(second)
    assert first.inputs != second.inputs
    assert server.unit(before, version(1)).inputs != server.unit(before, version(1, uri="pvc://other/1")).inputs
    labelled = snapshot({"router": {"pod": {"labels": {"team": "risk"}}}})
    third = router.unit(labelled, router.config(labelled, []))
    assert template(first) != template(third) and first.inputs != third.inputs
    assert server.unit(before, version(1)) == server.unit(labelled, version(1)), "the servers are not the router"


MONITOR_CHANGES = {**documents.FULL_MONITOR, "pod": {"labels": {"team": "risk"}}}


@pytest.mark.parametrize("field", sorted(MONITOR_CHANGES.keys() - {"deployment"}))
def test_what_changes_the_monitors_pod_is_asked_by_the_user(field: str) -> None:
    changed = {"deployment": "churn", field: MONITOR_CHANGES[field]}
    before, after = (workload.unit(monitors.snapshot(spec)) for spec in ({"deployment": "churn"}, changed))
    assert template(before) != template(after)
    assert before.inputs != after.inputs


def test_the_digests_of_what_is_asked_stay_as_they_are_from_version_to_version() -> None:
    """Otherwise every object would look like changed by its user after an upgrade: then raise `staged_updates.RULE`."""
    units = {
        "server": server.unit(snapshot(), version(1)),
        "server, full": server.unit(snapshot(documents.FULL_DEPLOYMENT), version(1)),
        "router": router.unit(snapshot(), router.config(snapshot(), [])),
        "monitor": workload.unit(monitors.snapshot({"deployment": "churn"})),
        "monitor, full": workload.unit(
            monitors.snapshot(documents.FULL_MONITOR, served=monitors.served(has_feedback_keys=False))
        ),
    }
    assert staged_updates.RULE == "1"
    assert {name: hashing.short(unit.inputs, 16) for name, unit in units.items()} == GOLDEN


GOLDEN = {
    "server": "2af5b9db0f551445",
    "server, full": "184bd63797fe0355",
    "router": "2e38d5bf3b00ff24",
    "monitor": "a6d9d56c0b960da5",
    "monitor, full": "d496ac14c0f17a7a",
}


# -- the plans ---------------------------------------------------------------------------------------------------------

KEY, OTHER = Key("ModelDeployment", "team", "churn"), Key("ModelDeployment", "team", "other")
TAKEN = Fleet(1, frozenset({OTHER}))


def live(manifest: Obj) -> Obj:
    """A Deployment whose pods are ready."""
    obj = copy.deepcopy(manifest)
    obj["metadata"] |= {"generation": 1, "uid": f"uid-{obj['metadata']['name']}"}
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), obj["spec"].setdefault("replicas", 1))
    return {**obj, "status": {"observedGeneration": 1, **counts}}


def served(image: str, deployments: dict[str, Obj], spec: Obj | None = None, fleet: Fleet = TAKEN) -> Snapshot:
    found = snapshot(spec, {"stable": stable(1), "observed_generation": 1}, **TWO)
    return replace(found, settings=Settings(image, "router:1"), deployments=deployments, fleet=fleet)


def of_before(spec: Obj | None = None) -> dict[str, Obj]:
    """The Deployments that an operator with the image server:1 made."""
    made = plan.plan(served("server:1", {}, spec)).apply
    return {m["metadata"]["name"]: live(m) for m in made if m["kind"] == "Deployment"}


def images(made: Any) -> dict[str, str]:
    found = [m for m in made.apply if m["kind"] == "Deployment"]
    return {m["metadata"]["name"]: m["spec"]["template"]["spec"]["containers"][0]["image"] for m in found}


def pods_current(made: Any) -> tuple[str, str] | None:
    found = [c for c in made.status["conditions"] if c["type"] == "PodsCurrent"]
    return (found[0]["status"], found[0]["reason"]) if found else None


def test_a_deployment_waits_with_its_pods_while_its_routes_go_on() -> None:
    before = of_before()
    assert len(before) == 2 and all(INPUTS in d["metadata"]["annotations"] for d in before.values())
    made = plan.plan(served("server:2", before))
    assert images(made) == {"churn-router": "router:1"}
    assert {m["kind"] for m in made.apply} >= {"ConfigMap"}
    assert (pods_current(made), made.turn) == (("False", "WaitingForTurn"), Turn("waits", 1))
    assert made.requeue_after is not None and made.requeue_after <= staged_updates.LOOK_SECONDS


def test_in_its_turn_and_on_the_users_own_change_the_pods_are_replaced() -> None:
    before = of_before()
    made = plan.plan(served("server:2", before, fleet=Fleet(1)))
    assert "server:2" in images(made).values()
    assert (pods_current(made), made.turn) == (("Unknown", "Updating"), Turn("updates", 1))
    made = plan.plan(served("server:2", before, {"server": {"maxInFlight": 9}}))
    assert "server:2" in images(made).values()
    assert (pods_current(made), made.turn) == (None, None)
    assert pods_current(plan.plan(served("server:1", before))) is None


def test_a_monitor_waits_with_its_pod_and_comes_before_deployments() -> None:
    def monitored(image: str, deployments: dict[str, Obj], fleet: Fleet = TAKEN) -> Any:
        found = monitors.snapshot(status={"observedGeneration": 1}, deployments=deployments, fleet=fleet)
        return monitoring.plan(replace(found, settings=replace(found.settings, image=image)))

    before = {m["metadata"]["name"]: live(m) for m in monitored("monitor:1", {}).apply if m["kind"] == "Deployment"}
    made = monitored("monitor:2", before)
    assert (images(made), pods_current(made), made.turn) == ({}, ("False", "WaitingForTurn"), Turn("waits", 0))
    made = monitored("monitor:2", before, Fleet(1))
    assert (list(images(made).values()), pods_current(made)) == (["monitor:2"], ("Unknown", "Updating"))


def test_late_pods_are_an_event_and_a_condition() -> None:
    before = of_before()
    name = next(n for n in before if n != "churn-router")
    before[name]["status"]["readyReplicas"] = 0
    found = served("server:1", before)
    mark = {"type": "PodsCurrent", "status": "Unknown", "reason": "Updating", "message": "…", "observedGeneration": 1}
    mark["lastTransitionTime"] = format_time(ago(10_000))
    found.object["status"]["conditions"] = [mark]
    made = plan.plan(found)
    assert pods_current(made) == ("False", "NotReadyInTime")
    assert [e.reason for e in made.events if e.type == "Warning"] == ["NotReadyInTime"]
    assert made.turn == Turn("updates", 1)
    mark["lastTransitionTime"] = format_time(NOW)
    assert pods_current(plan.plan(found)) == ("Unknown", "Updating")


@pytest.mark.parametrize("part", ["server", "router"])
def test_a_changed_pod_section_replaces_the_pods_once_whoever_waits(part: str) -> None:
    before, said = of_before(), {part: {"pod": {"labels": {"team": "risk"}, "env": [{"name": "A", "value": ""}]}}}
    made = plan.plan(served("server:1", before, said))
    changed = {n for n, d in deployments(made).items() if d["spec"]["template"] != before[n]["spec"]["template"]}
    assert changed == {n for n in before if (n == "churn-router") == (part == "router")}, "both versions, or the router"
    assert made.turn is None, "a user waits for nobody"

    after = {name: live(manifest) for name, manifest in deployments(made).items()}
    again = plan.plan(served("server:1", after, said))
    assert deployments(again) == deployments(made), "the same bytes, which the engine does not write again"
    equal = {part: {"pod": {**said[part]["pod"], "annotations": {}, "tolerations": []}}}
    assert deployments(plan.plan(served("server:1", after, equal))) == deployments(made), "as if it were not there"


def deployments(made: Any) -> dict[str, Obj]:
    return {m["metadata"]["name"]: m for m in made.apply if m["kind"] == "Deployment"}
