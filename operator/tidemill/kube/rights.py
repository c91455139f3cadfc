"""What the operator may do, and what it needs each verb for: the one list that the manifests and the docs are held to.

`manifests/base/role-operator.yaml` and the table of docs/operator.md are tested against it, the watches of all slices
against its `watch`, and the integration tests, which run under that role, against every verb: one that no operator
used there is taken out, one that is missing is answered 403.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.core.labels import GROUP

READ = ("get", "list", "watch")
"""`list` and `watch` for the cache and the resync, `get` for decisions that would be wrong on old data."""
WRITTEN = {"create", "update", "patch", "delete", "deletecollection"}


@dataclass(frozen=True, slots=True)
class Right:
    """A rule of the role, with the reason for it."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    is_called: bool = True
    """False: the API server asks for it on the way; no request of ours is of that kind."""


OPERATOR = (
    Right(GROUP, ("trainingpipelines", "modeldeployments", "modelmonitors"), READ, "What people want; never written"),
    Right(
        GROUP,
        ("trainingruns",),
        (*READ, "create", "delete"),
        "Records of runs: made once, removed beyond `history`",
    ),
    Right(
        GROUP,
        ("modelversions",),
        (*READ, "create", "patch", "delete"),
        "Records of models: made once, removed beyond `history`; their owner references follow those who serve them",
    ),
    Right(
        GROUP,
        (
            "trainingpipelines/status",
            "trainingruns/status",
            "modelversions/status",
            "modeldeployments/status",
            "modelmonitors/status",
        ),
        ("patch",),
        "The status of the five kinds",
    ),
    Right(
        GROUP,
        (
            "trainingpipelines/finalizers",
            "trainingruns/finalizers",
            "modelversions/finalizers",
            "modeldeployments/finalizers",
            "modelmonitors/finalizers",
        ),
        ("update",),
        "Asked for where `OwnerReferencesPermissionEnforcement` is on (OpenShift), because children block the deletion "
        "of their owner; no finalizer is ever set",
        is_called=False,
    ),
    Right("batch", ("jobs",), (*READ, "create", "delete"), "Trainings and probes: made once, probes removed when read"),
    Right(
        "apps",
        ("deployments",),
        (*READ, "create", "patch", "delete"),
        "Servers, routers and monitors; a version's goes when it is no longer served",
    ),
    Right("", ("services",), (*READ, "create", "patch", "delete"), "As their Deployments"),
    Right(
        "policy", ("poddisruptionbudgets",), (*READ, "create", "patch", "delete"), "As their Deployments, of two pods"
    ),
    Right(
        "networking.k8s.io",
        ("networkpolicies",),
        (*READ, "create", "patch", "delete"),
        "Of servers and monitors, unless `networkPolicies: None`",
    ),
    Right(
        "autoscaling",
        ("horizontalpodautoscalers",),
        (*READ, "create", "patch", "delete"),
        "Where `spec.autoscaling` is set",
    ),
    Right(
        "",
        ("configmaps",),
        (*READ, "create", "patch"),
        "Code and data of people: read; configuration of pods: written, collected with its owner",
    ),
    Right(
        "",
        ("persistentvolumeclaims",),
        (*READ, "create"),
        "The claims of artifacts and monitors: made when absent, never changed or deleted",
    ),
    Right(
        "",
        ("pods",),
        ("list", "watch", "patch"),
        "Reasons of failures, addresses; the annotation that makes the kubelet renew a router's mounted configuration",
    ),
    Right("", ("pods/log",), ("get",), "The last lines of a training that failed"),
    Right("apps", ("replicasets",), ("get",), "Whether a pod is one of a Deployment of ours: metadata, one by one"),
    Right("events.k8s.io", ("events",), ("get", "create", "patch"), "Events, and the count of repeated ones"),
    Right(
        "monitoring.coreos.com",
        ("servicemonitors", "prometheusrules"),
        ("get", "create", "patch", "delete"),
        "Where `spec.prometheus` is set and the Prometheus operator is installed; never listed or watched",
    ),
)
"""In the namespaces that the operator serves."""

LEASES = (
    Right("coordination.k8s.io", ("leases",), ("create",), "Leader election, in the operator's own namespace"),
    Right("coordination.k8s.io", ("leases",), ("get", "update"), "The same, of the one name `tidemill-operator`"),
)


def table() -> str:
    """The Markdown table of docs/operator.md."""
    lines = ["| Resources | Verbs | What for |", "| --- | --- | --- |"]
    for right in OPERATOR:
        names = ", ".join(f"`{r}`" for r in right.resources)
        group = f" ({right.group})" if right.group not in ("", GROUP) else ""
        lines.append(f"| {names}{group} | {', '.join(right.verbs)} | {right.why} |")
    return "\n".join(lines)
