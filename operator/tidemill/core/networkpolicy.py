"""The NetworkPolicy of a component's pods, from the table of ports: each port for its callers, everything else refused.

Only what comes in: where pods may go to depends on stores and collectors that a namespace's own policies know
(docs/network-policies.md). Policies add up, so such a policy opens more where that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core import children, names
from tidemill.core import labels as keys
from tidemill_contracts.ports import Caller, Port

Obj = dict[str, Any]

OPERATOR = "tidemill-operator"
"""`app.kubernetes.io/name` of the operator's pods, as manifests/base has it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's configuration says about callers that are not of the model's namespace."""

    operator_namespace: str = "tidemill-system"
    scraper_namespace_labels: tuple[tuple[str, str], ...] = ()
    """Labels of the namespaces that scrape metrics; empty: all namespaces."""


def build(
    owner: Mapping[str, Any],
    component: str,
    pods: Mapping[str, str],
    ports: Iterable[Port],
    deployment: str,
    settings: Settings,
) -> Obj:
    """The policy of an owner's pods of a component with these ports, for which `pods` is the selector.

    `deployment`: the ModelDeployment that they belong to or watch.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": children.metadata(name_of(owner["metadata"]["name"], component), owner, _labels(owner, component)),
        "spec": {
            "podSelector": {"matchLabels": dict(pods)},
            "policyTypes": ["Ingress"],
            "ingress": [_rule(port, deployment, settings) for port in ports],
        },
    }


def name_of(owner: str, component: str) -> str:
    """The name of the policy of an owner's component."""
    return names.child_name(owner, f"{component}-callers")


def _labels(owner: Mapping[str, Any], component: str) -> dict[str, str]:
    meta = owner["metadata"]
    key = {"ModelDeployment": keys.DEPLOYMENT, "ModelMonitor": keys.MONITOR}[owner["kind"]]
    return children.labels(component, meta["name"], {key: meta["name"]})


def _rule(port: Port, deployment: str, settings: Settings) -> Obj:
    rule: Obj = {"ports": [{"port": port.number, "protocol": "TCP"}]}
    if "Everybody" not in port.callers:
        rule["from"] = [_peer(caller, deployment, settings) for caller in port.callers]
    return rule


def _peer(caller: Caller, deployment: str, settings: Settings) -> Obj:
    """One kind of caller; without a namespaceSelector it is one of the policy's own namespace."""
    if caller == "Operator":
        # By a label that the API server sets and nobody chooses.
        here = _namespaces({"kubernetes.io/metadata.name": settings.operator_namespace})
        return {**here, **_pods({keys.NAME: OPERATOR})}
    if caller == "Scrapers":
        return _namespaces(dict(settings.scraper_namespace_labels))
    if caller == "BatchPredictions":
        return {"podSelector": {"matchExpressions": [{"key": keys.BATCH_PREDICTION, "operator": "Exists"}]}}
    if caller == "Namespace":
        return {"podSelector": {}}
    component = {"Router": "router", "Servers": "server"}[caller]
    return _pods({keys.MANAGED_BY: keys.MANAGED_BY_VALUE, keys.COMPONENT: component, keys.DEPLOYMENT: deployment})


def _namespaces(labels: dict[str, str]) -> Obj:
    return {"namespaceSelector": {"matchLabels": labels} if labels else {}}


def _pods(labels: dict[str, str]) -> Obj:
    return {"podSelector": {"matchLabels": labels}}
