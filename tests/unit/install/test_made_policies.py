"""The NetworkPolicies that the operator makes, alone, as in a namespace where nobody applied any: who reaches what."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.networkpolicies import End, Network
from tests.unit.install.test_network_policies import (
    INTERNET,
    METRICS,
    OTHER,
    SYSTEM,
    TEAM,
    operator,
    pod,
    router,
    server,
    serving,
    stranger,
    templates,
    workload,
)
from tests.unit.install.test_network_policies import monitoring as watched

from tidemill.core import labels as keys
from tidemill.core import networkpolicy
from tidemill.monitoring import plan as monitor_plan
from tidemill.serving import plan as deployment_plan
from tidemill_contracts.ports import PORTS

Obj = dict[str, Any]
DOCS = Path(__file__).resolve().parents[3] / "docs"
KIND = "NetworkPolicy"


def made(settings: networkpolicy.Settings | None = None) -> Network:
    """What is in force once the operator has made its own for one deployment and its monitor."""
    deployed, monitor = serving.snapshot(), watched.snapshot()
    if settings is not None:
        deployed = replace(deployed, settings=replace(deployed.settings, network=settings))
        monitor = replace(monitor, settings=replace(monitor.settings, network=settings))
    policies = [server.network_policy(deployed), workload.network_policy(monitor)]
    return Network(policies, {TEAM: {}, OTHER: {}, SYSTEM: {}, METRICS: {"metrics": "enabled"}})


def other(component: str) -> End:
    """A pod of the same namespace that belongs to another deployment."""
    found = pod(component)
    return replace(found, labels={**found.labels, keys.DEPLOYMENT: "fraud", keys.MONITOR: "fraud"})


FALSE_OPERATOR = stranger(OTHER, **{keys.NAME: "tidemill-operator", keys.PART_OF: "tidemill"})
EVERYWHERE = {("server", 8081), ("monitor", 8081)}  # metrics, for Prometheus wherever it runs
HERE = EVERYWHERE | {("monitor", 8082)}  # and labels, from the namespace
REACH: dict[str, tuple[End, set[tuple[str, int]]]] = {
    "its router": (pod("router"), HERE | {("server", 8080), ("server", 8001)}),
    "its server": (pod("server"), HERE | {("monitor", 8080)}),
    "a batch prediction": (stranger(**{keys.BATCH_PREDICTION: "nightly"}), HERE | {("monitor", 8080)}),
    "another deployment's router": (other("router"), HERE),
    "another deployment's server": (other("server"), HERE),
    "another monitor": (other("monitor"), HERE),
    "its trainer": (pod("trainer"), HERE),
    "a stranger in the namespace": (stranger(), HERE),
    "the operator": (operator(), EVERYWHERE | {("monitor", 8083)}),
    "a pod beside the operator": (stranger(SYSTEM), EVERYWHERE),
    "a false operator": (FALSE_OPERATOR, EVERYWHERE),
    "a stranger elsewhere": (stranger(OTHER), EVERYWHERE),
    "a false batch prediction elsewhere": (stranger(OTHER, **{keys.BATCH_PREDICTION: "x"}), EVERYWHERE),
    "a router elsewhere": (pod("router", OTHER), EVERYWHERE),
    "a server elsewhere": (pod("server", OTHER), EVERYWHERE),
    "the internet": (INTERNET, set()),
}
ASKED = sorted({port.number for ports in PORTS.values() for port in ports} | {80, 443, 9000, 22})


@pytest.mark.parametrize("who", REACH)
def test_each_caller_reaches_its_own_ports_and_no_other(who: str) -> None:
    source, expected = REACH[who]
    network = made()
    found = {(t, p) for t in ("server", "monitor") for p in ASKED if network.allows(source, pod(t), p)}
    assert found == expected


def test_stats_are_for_the_namespaces_that_the_operator_was_given() -> None:
    network = made(networkpolicy.Settings(SYSTEM, (("metrics", "enabled"),)))
    for target in ("server", "monitor"):
        assert network.allows(End("10.0.0.4", METRICS, {"app": "prometheus"}), pod(target), 8081)
        for source in (stranger(), stranger(OTHER), FALSE_OPERATOR):
            assert not network.allows(source, pod(target), 8081)


def test_the_operator_asks_servers_which_form_they_serve_and_monitors_for_their_report() -> None:
    network = made(networkpolicy.Settings(SYSTEM, (("metrics", "enabled"),)))
    found = {(t, p) for t in ("server", "monitor") for p in ASKED if network.allows(operator(), pod(t), p)}
    assert found == {("server", 8081), ("monitor", 8083)}


def test_an_operator_of_another_namespace_reads_the_report() -> None:
    network = made(networkpolicy.Settings(OTHER))
    assert network.allows(operator(OTHER), pod("monitor"), 8083)
    assert not network.allows(operator(SYSTEM), pod("monitor"), 8083)


def test_predictions_stay_open_to_everybody_and_go_out_as_before() -> None:
    """The policies say what reaches servers and monitors; where routers and others stand is for the namespace's own."""
    for source in (stranger(), stranger(OTHER), INTERNET):
        assert made().allows(source, pod("router"), 8080)
    for source in ("router", "server", "monitor", "trainer"):
        assert made().allows(pod(source), INTERNET, 443)


def test_policies_select_the_pods_that_exist_and_name_their_ports() -> None:
    """By number, not by name: a pod that an upgrade has not reached yet has other names."""
    for policy in (server.network_policy(serving.snapshot()), workload.network_policy(watched.snapshot())):
        component = policy["metadata"]["labels"][keys.COMPONENT]
        labels = templates()[component]["metadata"]["labels"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        numbers = [p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]]
        assert numbers == [p.number for p in PORTS[component]]
        (owner,) = policy["metadata"]["ownerReferences"]
        assert owner["controller"] is True


@pytest.mark.parametrize("value", [None, "Managed", "None"])
def test_a_policy_is_kept_unless_spec_says_none_and_then_goes(value: str | None) -> None:
    asked = {} if value is None else {"networkPolicies": value}
    # The spec of before, which says nothing, means Managed.
    deployed, monitor = serving.snapshot(asked), watched.snapshot({**watched.SPEC, **asked})
    for build, found, builder in (
        (deployment_plan.plan, deployed, server.network_policy),
        (monitor_plan.plan, monitor, workload.network_policy),
    ):
        ref = networkpolicy_ref(builder(found))
        plan = build(replace(found, children=(ref,)))  # type: ignore[operator, type-var]
        applied = [m["metadata"]["name"] for m in plan.apply if m["kind"] == KIND]
        assert applied == ([] if value == "None" else [ref.name])
        assert [r for r in plan.delete if r.kind == KIND] == ([ref] if value == "None" else [])


def networkpolicy_ref(policy: Obj) -> Any:
    from tidemill.core.plan import ObjectRef

    return ObjectRef.of({**policy, "metadata": {**policy["metadata"], "uid": "u", "resourceVersion": "1"}})


def test_who_may_call_is_not_what_is_rolled_out() -> None:
    """A version that was rolled back is not tried again because of it."""
    assert serving.snapshot({"networkPolicies": "None"}).spec_digest == serving.snapshot().spec_digest


@pytest.mark.parametrize("component", ["router", "server", "monitor"])
def test_pods_and_services_have_the_ports_of_the_table(component: str) -> None:
    wanted = {p.name: p.number for p in PORTS[component]}
    assert pod(component).ports == wanted
    services = {
        "server": server.service(serving.snapshot(), serving.version(1)),
        "monitor": workload.service(watched.snapshot()),
        "router": router.service(serving.snapshot()),
    }
    for port in services[component]["spec"]["ports"]:
        assert port["targetPort"] in wanted
        assert component == "router" or port["port"] == wanted[port["targetPort"]]


def test_what_listens_on_nothing_has_no_port() -> None:
    assert all(pod(component).ports == {} for component, ports in PORTS.items() if not ports)
    assert set(templates()) == set(PORTS)


def test_the_documents_have_the_table() -> None:
    """docs/security.md names every port with its callers, and no other."""
    rows = re.findall(
        r"^\| (\w+) \| (\d+) `(\w+)` \| (.+?) \| (.+?) \|$", (DOCS / "security.md").read_text(), re.MULTILINE
    )
    found = [(c, int(n), name, what, callers) for c, n, name, what, callers in rows]
    said = {
        "Everybody": "everybody",
        "Router": "its router",
        "Servers": "the servers of its deployment",
        "BatchPredictions": "pods labelled `tidemill.io/batch-prediction`",
        "Namespace": "all pods of its namespace",
        "Scrapers": "metrics scrapers",
        "Operator": "the operator",
    }
    assert found == [
        (component, p.number, p.name, p.what, ", ".join(said[c] for c in p.callers))
        for component, ports in PORTS.items()
        for p in ports
    ]
