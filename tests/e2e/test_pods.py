"""The `pod` section of every kind, on a cluster: pods have it, a change replaces them once, no request is lost."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, KubectlError, is_true, wait_for
from tests.e2e.client import Client
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import DRIFT, code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

COMPONENTS = ("trainer", "server", "router", "monitor")


def section(component: str, **labels: str) -> dict[str, Any]:
    """Return a section that says for which pods it is."""
    return {
        "labels": {"team": component, **labels},
        "annotations": {"example.com/owner": "risk"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "models", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "serviceAccountName": "models",
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "NOTE", "value": "5 $ $(HOME)"}],
    }


def pods(kubectl: Kubectl, component: str) -> list[dict[str, Any]]:
    """Return the pods that are not on their way out."""
    found = kubectl.list("pod", f"app.kubernetes.io/component={component}")
    return [p for p in found if not p["metadata"].get("deletionTimestamp")]


def replica_sets(kubectl: Kubectl, component: str) -> set[str]:
    """Return the names of the templates that its pods ever had."""
    return {r["metadata"]["name"] for r in kubectl.list("replicaset", f"app.kubernetes.io/component={component}")}


def test_a_section_is_on_the_pods_and_a_change_replaces_them_once(namespace: Kubectl) -> None:
    client = Client(namespace).start()
    namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "models"}})
    served = {"server": {"pod": section("server")}, "router": {"pod": section("router")}, "replicas": 1}
    namespace.apply(
        [
            code("owned-code"),
            pipeline("owned", pod=section("trainer")),
            deployment("owned", **served),
            monitor("owned", drift=DRIFT, pod=section("monitor")),
        ]
    )
    wait_condition(namespace, "modeldeployment", "owned", lambda md: is_true(md, "Ready"), 240)
    wait_condition(namespace, "modelmonitor", "owned", lambda mm: is_true(mm, "Ready"), 120)
    for component in COMPONENTS:
        found = pods(namespace, component)
        assert found, component
        for pod in found:
            meta, spec = pod["metadata"], pod["spec"]
            assert meta["labels"]["team"] == component and meta["annotations"]["example.com/owner"] == "risk"
            assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
            assert spec["serviceAccountName"] == "models"
            env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
            assert env["OMP_NUM_THREADS"] == "1"
            assert not any(v["name"].startswith("kube-api-access") for v in spec["volumes"]), "no token"
    (server,) = pods(namespace, "server")
    generation = {c: replica_sets(namespace, c) for c in ("server", "router", "monitor")}
    assert all(len(names) == 1 for names in generation.values()), generation

    # The section of the servers changes while requests come: no rollout, no lost request, one new template.
    with client.streaming("owned", {"instances": [[5.1, 3.5, 1.4, 0.2]]}) as stream:
        changed = {**served, "server": {"pod": section("server", tier="gold")}}
        namespace.apply(deployment("owned", **changed))

        def replaced() -> bool:
            found = pods(namespace, "server")
            return len(found) == 1 and found[0]["metadata"]["labels"].get("tier") == "gold" and ready(found[0])

        wait_for("a server with the new label", replaced, 120)
    assert stream.failed() == []
    status = (namespace.get("modeldeployment", "owned") or {})["status"]
    assert "candidate" not in status and status["stable"]["version"] == "owned-1"
    after = {c: replica_sets(namespace, c) for c in generation}
    assert len(after["server"]) == 2 and generation["server"] < after["server"]
    assert {c: after[c] for c in ("router", "monitor")} == {c: generation[c] for c in ("router", "monitor")}
    assert pods(namespace, "server")[0]["metadata"]["name"] != server["metadata"]["name"]
    assert len(namespace.list("trainingrun")) == 1, "and nothing is trained again"


def ready(pod: dict[str, Any]) -> bool:
    """Tell whether a pod is ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"labels": {"tidemill.io/deployment": "other"}}, "spec.server.pod.labels"),
        ({"annotations": {"tidemill.io/bootstrap": "x"}}, "spec.server.pod.annotations"),
        ({"env": [{"name": "LD_PRELOAD", "value": "/x.so"}]}, "spec.server.pod.env[0].name"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "spec.server.pod.env[0].valueFrom"),
    ],
)
def test_what_a_section_may_not_say_is_refused_with_its_field(
    cluster: Kubectl, said: dict[str, Any], field: str
) -> None:
    written = json.dumps(deployment("refused", server={"pod": said}))
    with pytest.raises(KubectlError, match=re.escape(field)):
        cluster.run("apply", "--dry-run=server", "--namespace=default", "-f", "-", stdin=written)
