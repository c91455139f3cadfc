"""A real Prometheus finds the pods by their annotations, accepts the generated rules, and fires what conditions say.

One namespace for the file: one version serves twice. `flowers` is asked; `quiet` is left in silence meanwhile.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import DRIFT, code, deployment, monitor, pipeline
from tests.support import prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]


def stub_crd(kind: str, plural: str) -> dict[str, Any]:
    """Return the CRD of one of the Prometheus operator's kinds, with an open schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def ask(namespace: Kubectl, name: str) -> None:
    """Send one request with 40 rows."""
    rows = [[5.1 + i % 5 * 0.3, 3.5, 1.4, 0.2] for i in range(40)]
    url = f"/api/v1/namespaces/{namespace.namespace}/services/{name}:80/proxy/v1/models/{name}:predict"
    Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"instances": rows}))


@pytest.fixture(scope="module")
def namespace(cluster: Kubectl) -> Iterator[Kubectl]:
    """Both deployments and their monitors, in a cluster that knows the kinds of the Prometheus operator.

    Only the monitor of `quiet` asks for objects of these kinds: the pod of the other one keeps its annotations.
    """
    crds = [stub_crd("PrometheusRule", "prometheusrules"), stub_crd("ServiceMonitor", "servicemonitors")]
    stubs = [crd for crd in crds if cluster.get("crd", crd["metadata"]["name"]) is None]
    if stubs:
        cluster.apply(stubs)
    asked = {"labels": {"release": "prometheus", "team": "risk"}}
    with shared_namespace(cluster, "e2e-prometheus") as kubectl:
        quiet = deployment("quiet", model={"version": "flowers-1"})
        watched = [monitor("flowers", drift=DRIFT), monitor("quiet", drift=DRIFT, prometheus=asked)]
        kubectl.apply([code("flowers-code"), pipeline("flowers"), deployment("flowers"), quiet, *watched])
        wait_condition(kubectl, "modeldeployment", "flowers", lambda md: is_true(md, "Ready"), 180)
        for name in ("flowers", "quiet"):
            wait_condition(kubectl, "modelmonitor", name, lambda mm: is_true(mm, "Ready"), 120)
        yield kubectl
    for crd in stubs:
        cluster.run("delete", "crd", crd["metadata"]["name"])


def test_prometheus_finds_servers_router_and_monitor_by_their_annotations(namespace: Kubectl, tmp_path: Path) -> None:
    with prometheus.running(tmp_path, namespace.list("pod")) as server:

        def series(expression: str) -> list[dict[str, Any]]:
            ask(namespace, "flowers")
            return server.query(expression)

        predictions = wait_for("predictions counted", lambda: series("tidemill_predictions_total > 0"), 60)
        assert predictions[0]["metric"]["deployment"] == "flowers"
        wait_for("router figures", lambda: series("envoy_cluster_upstream_rq_total > 0"), 60)
        scores = wait_for("a drift score", lambda: series("tidemill_drift_score"), 120)
        assert {s["metric"]["feature"] for s in scores} >= {"sepal length (cm)", "petal width (cm)"}
        assert [t for t in server.targets() if t["health"] == "down"] == []


def test_where_the_prometheus_operator_is_known_it_gets_objects_that_promtool_accepts(
    namespace: Kubectl, tmp_path: Path
) -> None:
    # An operator that has looked for the kinds in vain looks again after five minutes.
    mine = "tidemill.io/monitor=quiet"
    rule = wait_for("the PrometheusRule", lambda: namespace.list("prometheusrules.monitoring.coreos.com", mine), 360)[0]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(rule["spec"]))
    checked = subprocess.run(
        [prometheus.binary("promtool"), "check", "rules", rules], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(namespace.list("servicemonitors.monitoring.coreos.com", mine)) > 0
    wait_condition(namespace, "modelmonitor", "quiet", lambda mm: is_true(mm, "PrometheusReady"), 60)


def test_silence_fires_as_long_as_the_condition_says_so(namespace: Kubectl, tmp_path: Path) -> None:
    """Nobody has ever sent a row to `quiet`: silence is a fault after two minutes."""
    (rule,) = namespace.list("prometheusrules.monitoring.coreos.com", "tidemill.io/monitor=quiet")
    # Two minutes bridge a change of the leader, and an alert ends that much later. Unit tests prove it; nobody waits.
    groups = json.loads(json.dumps(rule["spec"]["groups"]).replace("[2m]", "[10s]"))
    labels = f'namespace="{namespace.namespace}",kind="ModelMonitor",name="quiet"'
    by_type = f"count by (type) (tidemill_operator_resource_condition{{{labels}}})"
    with prometheus.running(tmp_path, Kubectl("tidemill-system").list("pod"), groups) as server:
        fired = wait_for("the alert", lambda: server.firing().get("TidemillDataNotArriving"), 200)
        assert (fired["team"], fired["name"], fired["severity"]) == ("risk", "quiet", "ticket")
        assert {s["value"][1] for s in server.query(by_type)} == {"1"}
        assert set(server.firing()) == {"TidemillDataNotArriving"}

        def ended() -> bool:
            ask(namespace, "quiet")
            return "TidemillDataNotArriving" not in server.firing()

        wait_for("its end", ended, 120)
