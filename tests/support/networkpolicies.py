"""What NetworkPolicies let through, judged as the API's documentation defines it.

Stands in for a network that enforces them: the local cluster's does not (decision 0101). A flow passes when the
policies that select its source allow it out and those that select its target allow it in; where none selects, all pass.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a flow: a pod in a namespace, or (`namespace` None) an address outside the cluster's pods."""

    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """Names of container ports."""


class Network:
    """The policies of a cluster, and the labels of its namespaces."""

    def __init__(self, policies: Iterable[Obj], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        """Every policy names its namespace; every namespace has the label that Kubernetes gives it."""
        self.policies = list(policies)
        self.namespaces = {n: {"kubernetes.io/metadata.name": n, **more} for n, more in namespaces.items()}

    def allows(self, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection from `source` to `port` of `target` is let through."""
        return self._one_way("Egress", source, target, target, port, protocol) and self._one_way(
            "Ingress", target, source, target, port, protocol
        )

    def _one_way(self, direction: str, own: End, peer: End, target: End, port: int, protocol: str) -> bool:
        selecting = [p for p in self.policies if self._selects(p, own) and direction in _types(p["spec"])]
        if not selecting:
            return True
        key, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        return any(
            _port(rule.get("ports"), target, port, protocol) and self._peers(rule.get(peers), policy, peer)
            for policy in selecting
            for rule in policy["spec"].get(key) or ()
        )

    def _selects(self, policy: Obj, end: End) -> bool:
        here = end.namespace is not None and policy["metadata"]["namespace"] == end.namespace
        return here and matches(policy["spec"].get("podSelector") or {}, end.labels)

    def _peers(self, peers: list[Obj] | None, policy: Obj, end: End) -> bool:
        return not peers or any(self._peer(peer, policy, end) for peer in peers)

    def _peer(self, peer: Obj, policy: Obj, end: End) -> bool:
        if "ipBlock" in peer:
            # Whether a block may mean a pod is left to the network (Cilium: never), so here it never does.
            return end.namespace is None and _in_block(peer["ipBlock"], end.address)
        if end.namespace is None:
            return False
        if "namespaceSelector" in peer:
            in_namespace = matches(peer["namespaceSelector"], self.namespaces[end.namespace])
        else:
            in_namespace = policy["metadata"]["namespace"] == end.namespace
        return in_namespace and matches(peer.get("podSelector") or {}, end.labels)


def matches(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches; an empty one matches everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(e, labels) for e in selector.get("matchExpressions") or ())


def _expression(expression: Obj, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    return {
        "In": key in labels and labels[key] in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]


def _types(spec: Obj) -> list[str]:
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])])


def _port(rules: list[Obj] | None, target: End, port: int, protocol: str) -> bool:
    if not rules:
        return True
    for rule in rules:
        wanted = rule.get("port")
        low = target.ports.get(wanted) if isinstance(wanted, str) else wanted
        if rule.get("protocol", "TCP") == protocol and (wanted is None or low == port):
            return True
        if rule.get("protocol", "TCP") == protocol and low is not None and low <= port <= rule.get("endPort", low):
            return True
    return False


def _in_block(block: Obj, address: str) -> bool:
    def inside(network: str) -> bool:
        found, ip = ipaddress.ip_network(network), ipaddress.ip_address(address)
        return found.version == ip.version and ip in found

    return inside(block["cidr"]) and not any(inside(network) for network in block.get("except") or ())
