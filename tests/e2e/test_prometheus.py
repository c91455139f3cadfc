"""A real Prometheus finds the pods by their annotations, and the generated rules are ones that it accepts."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, is_true, wait_for
from tests.e2e.conftest import wait_condition
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


def ask(namespace: Kubectl, value: float) -> None:
    """Send one request with 40 rows."""
    rows = [[5.1 + i % 5 * 0.3, 3.5, 1.4 * value, 0.2 * value] for i in range(40)]
    url = f"/api/v1/namespaces/{namespace.namespace}/services/flowers:80/proxy/v1/models/flowers:predict"
    Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"instances": rows}))


def test_prometheus_finds_servers_router_and_monitor_by_their_annotations(namespace: Kubectl, tmp_path: Path) -> None:
    namespace.apply([code("flowers-code"), pipeline("flowers"), deployment("flowers"), monitor("flowers", drift=DRIFT)])
    wait_condition(namespace, "modeldeployment", "flowers", lambda md: is_true(md, "Ready"), 180)
    wait_condition(namespace, "modelmonitor", "flowers", lambda mm: is_true(mm, "Ready"), 120)

    with prometheus.running(tmp_path, namespace.list("pod")) as server:

        def series(expression: str) -> list[dict[str, Any]]:
            ask(namespace, 1.0)
            return server.query(expression)

        predictions = wait_for("predictions counted", lambda: series("tidemill_predictions_total > 0"), 60)
        assert predictions[0]["metric"]["deployment"] == "flowers"
        wait_for("router figures", lambda: series("envoy_cluster_upstream_rq_total > 0"), 60)
        scores = wait_for("a drift score", lambda: series("tidemill_drift_score"), 120)
        assert {s["metric"]["feature"] for s in scores} >= {"sepal length (cm)", "petal width (cm)"}
        assert [t for t in server.targets() if t["health"] == "down"] == []


@pytest.mark.timeout(780)
def test_where_the_prometheus_operator_is_known_it_gets_objects_that_promtool_accepts(
    namespace: Kubectl, cluster: Kubectl, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    crds = [stub_crd("PrometheusRule", "prometheusrules"), stub_crd("ServiceMonitor", "servicemonitors")]
    stubs = [crd for crd in crds if cluster.get("crd", crd["metadata"]["name"]) is None]
    if stubs:
        cluster.apply(stubs)
    request.addfinalizer(lambda: [cluster.run("delete", "crd", crd["metadata"]["name"]) for crd in stubs])
    asked = monitor("flowers", drift=DRIFT, prometheus={"labels": {"release": "prometheus", "team": "risk"}})
    namespace.apply([code("flowers-code"), pipeline("flowers"), deployment("flowers"), asked])

    # The operator looks for kinds that were missing every five minutes.
    rule = wait_for("the PrometheusRule", lambda: namespace.list("prometheusrules.monitoring.coreos.com"), 360)[0]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(rule["spec"]))
    checked = subprocess.run(
        [prometheus.binary("promtool"), "check", "rules", rules], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(namespace.list("servicemonitors.monitoring.coreos.com")) > 0
    wait_condition(namespace, "modelmonitor", "flowers", lambda mm: is_true(mm, "PrometheusReady"), 60)

    # Nobody has ever sent a row: silence is a fault after two minutes, and the rule says what the condition says.
    wait_condition(namespace, "modelmonitor", "flowers", lambda mm: is_true(mm, "Ready"), 180)
    mine = f'tidemill_operator_resource_condition{{namespace="{namespace.namespace}",kind="ModelMonitor"}}'
    operator = Kubectl("tidemill-system").list("pod")
    with prometheus.running(tmp_path, operator, rule["spec"]["groups"]) as server:
        fired = wait_for("the alert", lambda: server.firing().get("TidemillDataNotArriving"), 200)
        assert (fired["team"], fired["name"], fired["severity"]) == ("risk", "flowers", "ticket")
        assert [s for s in server.query(f"count by (name, type) ({mine})") if s["value"][1] != "1"] == []
        assert set(server.firing()) == {"TidemillDataNotArriving"}

        def ended() -> bool:
            ask(namespace, 1.0)
            return "TidemillDataNotArriving" not in server.firing()

        wait_for("its end", ended, 240)
