"""The shipped NetworkPolicies let every flow of the product through and no other, between pods as they are built."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from hack.tools.kubectl import Kubectl
from tests.support import builders_training as training
from tests.support.networkpolicies import End, Network, matches
from tests.unit.monitoring import make as monitoring
from tests.unit.serving import make as serving
from tests.unit.training.world import World

from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.config import OperatorConfig
from tidemill.core import labels as keys
from tidemill.monitoring.builders import workload
from tidemill.serving.builders import envoy, router, server
from tidemill_contracts import ports
from tidemill_contracts.inference import SERVER_CONFIG_ENV
from tidemill_contracts.ports import (
    ADMIN_PORT,
    FEEDBACK_PORT,
    GRPC_PORT,
    HTTP_PORT,
    MONITOR_PORT,
    REPORT_PORT,
    ROUTER_STATS_PORT,
)
from tidemill_contracts.schemes import SCHEMES

pytestmark = pytest.mark.slow

Obj = dict[str, Any]
MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
TEAM, OTHER, SYSTEM, METRICS, DNS = "team", "team-b", "tidemill-system", "observability", "kube-system"
COMPONENTS = ("trainer", "probe", "importer", "records", "server", "router", "monitor")


@cache
def rendered(folder: str) -> tuple[Obj, ...]:
    return tuple(yaml.safe_load_all(Kubectl().run("kustomize", str(MANIFESTS / folder))))


def policies(folder: str, namespace: str | None = None) -> list[Obj]:
    found = [o for o in rendered(folder) if o["kind"] == "NetworkPolicy"]
    return [{**p, "metadata": {**p["metadata"], **({"namespace": namespace} if namespace else {})}} for p in found]


def namespace_labels(folder: str) -> dict[str, str]:
    (found,) = [o["metadata"]["labels"] for o in rendered(folder) if o["kind"] == "Namespace"]
    return dict(found)


@cache
def templates() -> dict[str, Obj]:
    """The pod template of each component, as the operator's builders make it."""
    deployed, watched = serving.snapshot(), monitoring.snapshot()
    wanted = router.config(deployed, [])
    pipeline = training.Pipeline().data("s3://lake/rows").triggers(dataChange={"pollSeconds": 60})
    recording = OperatorConfig(record_keys=("k" * 32,))
    world = World(pipeline.obj(), training.ConfigMap().obj(), config=recording)
    world.settle()
    jobs = [world.get("Job", name) for name in world.names("Job")]
    world.train()
    jobs += [world.get("Job", name) for name in world.names("Job")]
    importing = World(training.Import().obj())
    importing.settle()
    jobs += [importing.get("Job", name) for name in importing.names("Job")]
    owners = {
        "server": server.deployment(deployed, serving.version(1)),
        "router": router.deployment(deployed, wanted),
        "monitor": workload.deployment(watched),
        **{j["spec"]["template"]["metadata"]["labels"][keys.COMPONENT]: j for j in jobs},
    }
    return {component: owner["spec"]["template"] for component, owner in owners.items()}


def pod(component: str, namespace: str = TEAM) -> End:
    template = templates()[component]
    ports = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c.get("ports") or ()}
    return End("10.0.0.1", namespace, template["metadata"]["labels"], ports)


def operator(namespace: str = SYSTEM, overlay: str = "overlays/cluster-wide") -> End:
    (found,) = [o for o in rendered(overlay) if o["kind"] == "Deployment"]
    return End("10.0.0.2", namespace, found["spec"]["template"]["metadata"]["labels"])


def stranger(namespace: str = TEAM, **labels: str) -> End:
    return End("10.0.0.3", namespace, {"app": "something", **labels})


@cache
def network() -> Network:
    """The shipped policies in two teams' namespaces and the operator's own. kubectl renders them: not at import."""
    return Network(
        [*policies("namespace", TEAM), *policies("namespace", OTHER), *policies("overlays/cluster-wide")],
        {
            TEAM: {},
            OTHER: {},
            SYSTEM: namespace_labels("overlays/cluster-wide"),
            METRICS: {"metrics": "enabled"},
            DNS: {},
            "storage": {},
        },
    )


SCRAPER = End("10.0.0.4", METRICS, {"app.kubernetes.io/name": "prometheus"})
NAMES = End("10.0.0.5", DNS, {"k8s-app": "kube-dns"})
MINIO = End("10.0.0.6", "storage", {"app": "minio"})
INTERNET = End("93.184.216.34")
INTERNET_6 = End("2606:2800:220:1::1")
METADATA = [  # AWS, Google and most others; tasks and EKS; AWS by IPv6; Alibaba; Azure's wire server
    End(address)
    for address in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
]


def test_all_components_that_the_operator_makes_pods_of_are_looked_at() -> None:
    assert set(templates()) == set(COMPONENTS)
    default = next(p for p in policies("namespace") if p["metadata"]["name"] == "tidemill-default-deny")
    for template in templates().values():
        assert matches(default["spec"]["podSelector"], template["metadata"]["labels"])


def test_the_prediction_path_is_open_from_everywhere_and_leads_through_the_router() -> None:
    for client in (stranger(), stranger(OTHER), INTERNET, SCRAPER):
        assert network().allows(client, pod("router"), HTTP_PORT)
    assert router.service(serving.snapshot())["spec"]["ports"][0]["targetPort"] == "http"
    assert pod("router").ports["http"] == HTTP_PORT
    for cluster in envoy.clusters([envoy.Upstream("v1", "v1.team.svc", "churn-1", 100)])["resources"]:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        port = endpoint["endpoint"]["address"]["socket_address"]["port_value"]
        assert network().allows(pod("router"), pod("server"), port)
        assert port in pod("server").ports.values()


def test_servers_reach_the_monitor_at_the_address_that_they_are_given() -> None:
    (container,) = templates()["server"]["spec"]["containers"]
    (text,) = [e["value"] for e in container["env"] if e["name"] == SERVER_CONFIG_ENV]
    service = workload.service(monitoring.snapshot())["spec"]["ports"][0]
    assert urlsplit(json.loads(text)["log"]["url"]).port == service["port"]
    assert network().allows(pod("server"), pod("monitor"), pod("monitor").ports[service["targetPort"]])
    assert service["name"] == "http"


def test_servers_alone_reach_a_collector_of_traces() -> None:
    collector = End("10.0.0.8", METRICS, {"app": "otel-collector"})
    assert {c for c in COMPONENTS if network().allows(pod(c), collector, 4318)} == {"server"}
    assert not network().allows(pod("server"), INTERNET, 4318)


def test_the_operator_reads_stats_and_reports_and_reaches_the_api_server() -> None:
    assert network().allows(operator(), pod("router"), ROUTER_STATS_PORT)
    assert network().allows(operator(), pod("monitor"), REPORT_PORT)
    for port in (443, 6443):
        assert network().allows(operator(), End("172.16.0.1"), port)


@pytest.mark.parametrize("component", ["server", "router", "monitor"])
def test_whatever_is_announced_for_scraping_can_be_scraped(component: str) -> None:
    port = int(templates()[component]["metadata"]["annotations"]["prometheus.io/port"])
    assert network().allows(SCRAPER, pod(component), port)
    assert not network().allows(End("10.0.0.7", OTHER, SCRAPER.labels), pod(component), port)
    assert network().allows(SCRAPER, operator(), 8080)


@pytest.mark.parametrize("source", [*COMPONENTS, "operator"])
def test_everything_resolves_names(source: str) -> None:
    one = operator() if source == "operator" else pod(source)
    for protocol in ("UDP", "TCP"):
        assert network().allows(one, NAMES, 53, protocol)
        assert network().allows(one, NAMES, 5353, protocol)
        assert network().allows(one, End("10.96.0.10"), 53, protocol)  # an address of the node's own cache


STORES = {port for scheme in SCHEMES for port in scheme.ports}
REACH = {
    "trainer": STORES,
    "probe": STORES,
    "importer": STORES,
    "records": STORES,
    "server": STORES,
    "router": set(),
    "monitor": set(),
}


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("target", [INTERNET, INTERNET_6, MINIO], ids=["IPv4", "IPv6", "pod"])
def test_only_what_reads_data_or_artifacts_leaves_the_namespace(component: str, target: End) -> None:
    found = {
        p for p in {22, 80, 443, 5432, 6443, 8080, 9000, 10250, *STORES} if network().allows(pod(component), target, p)
    }
    assert found == REACH[component]


HOOK = {"name": "team", "url": "https://alerts.example.com/a", "secretRef": {"name": "hook"}}


@pytest.mark.parametrize(
    ("notify", "uri", "reached"),
    [
        ({"webhooks": [HOOK]}, None, {80, 443, 9000, 9093}),
        (None, "s3://lake/rows", {80, 443, 9000, 9093}),
        (None, "pvc://rows/kept", set()),
        (None, None, set()),
    ],
    ids=["webhook", "bucket", "claim", "neither"],
)
def test_a_monitor_leaves_the_namespace_only_to_send_alerts_or_to_write_to_a_bucket(
    notify: Obj | None, uri: str | None, reached: set[int]
) -> None:
    kept = Payloads.model_validate({"uri": uri, "purpose": "to train on"}) if uri else None
    spec = {**monitoring.SPEC, **({"notify": notify} if notify else {})}
    found = workload.deployment(monitoring.snapshot(spec, served=monitoring.served(payloads=kept)))
    monitor = End("10.0.0.1", TEAM, found["spec"]["template"]["metadata"]["labels"])
    for target in (INTERNET, MINIO):
        assert {p for p in (22, 80, 443, 5432, 6443, 9000, 9093) if network().allows(monitor, target, p)} == reached
    assert not any(network().allows(monitor, target, port) for target in METADATA for port in (80, 443))
    assert keys.OUTBOUND not in found["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("endpoint", ["http://store.internal", "https://store.internal", "http://minio.storage:9000"])
@pytest.mark.parametrize("store", [INTERNET, MINIO], ids=["address", "pod"])
def test_a_store_that_a_run_can_publish_to_can_be_served_from(endpoint: str, store: End) -> None:
    parts = urlsplit(endpoint)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    for component in ("trainer", "server"):
        assert network().allows(pod(component), store, port), component


@pytest.mark.parametrize("component", COMPONENTS)
def test_nobody_asks_the_node_for_its_credentials(component: str) -> None:
    for address in METADATA:
        assert not any(network().allows(pod(component), address, p) for p in STORES)


PORTS = sorted({port.number for ports in ports.PORTS.values() for port in ports} | STORES)
INSIDE = {  # source → {(target, port)} among the pods of one namespace
    "router": {("server", HTTP_PORT), ("server", GRPC_PORT)},
    "server": {("monitor", MONITOR_PORT)},
}


@pytest.mark.parametrize("source", COMPONENTS)
def test_between_the_pods_of_a_namespace_nothing_else_is_open(source: str) -> None:
    found = {(t, p) for t in COMPONENTS for p in PORTS if network().allows(pod(source), pod(t), p)}
    assert found == INSIDE.get(source, set())


@pytest.mark.parametrize(
    "who", ["stranger", "another team", "internet", "false operator", "their server", "their router"]
)
def test_others_reach_the_routers_serving_port_and_nothing_else(who: str) -> None:
    source = {
        "stranger": stranger(),
        "another team": stranger(OTHER),
        "internet": INTERNET,
        "false operator": stranger(OTHER, **{keys.NAME: "tidemill-operator", keys.PART_OF: "tidemill"}),
        "their server": pod("server", OTHER),
        "their router": pod("router", OTHER),
    }[who]
    found = {(t, p) for t in COMPONENTS for p in PORTS if network().allows(source, pod(t), p)}
    labels = {("monitor", FEEDBACK_PORT)} if who == "stranger" else set()  # who is of the namespace may send labels
    assert found == (set() if who.startswith("their") else {("router", HTTP_PORT)} | labels)
    assert not network().allows(source, operator(), 8080)


def test_the_operator_asks_servers_for_their_form_and_reaches_no_trainer() -> None:
    assert [p for p in PORTS if network().allows(operator(), pod("server"), p)] == [ADMIN_PORT]
    for component in ("trainer", "probe", "importer", "records"):
        assert not any(network().allows(operator(), pod(component), p) for p in PORTS)


def test_other_pods_of_the_namespace_are_not_selected() -> None:
    assert network().allows(INTERNET, stranger(), 22)
    assert network().allows(stranger(), INTERNET, 22)


def test_one_namespace_brings_the_same_policies_and_they_let_its_operator_in() -> None:
    overlay = "overlays/one-namespace"
    found = {p["metadata"]["name"]: p["spec"] for p in policies(overlay)}
    assert {p["metadata"]["name"]: p["spec"] for p in policies("namespace")}.items() <= found.items()
    one = Network(policies(overlay), {"tidemill": namespace_labels(overlay), OTHER: {}})
    own = operator("tidemill", overlay)
    assert one.allows(own, pod("router", "tidemill"), ROUTER_STATS_PORT)
    assert one.allows(own, pod("monitor", "tidemill"), REPORT_PORT)
    assert one.allows(pod("router", "tidemill"), pod("server", "tidemill"), HTTP_PORT)
    assert not one.allows(stranger("tidemill"), pod("router", "tidemill"), ROUTER_STATS_PORT)
