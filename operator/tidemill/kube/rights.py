"""What the operator may do, and what it needs each verb for: the one list that the manifests and the docs are held to.

`manifests/base/role-operator.yaml` and the table of docs/operator.md are tested against it, the watches of all slices
against its `watch`, and the integration tests, which run under that role, against every verb: one that no operator
used there is taken out, one that is missing is answered 403.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.api.base import GROUP

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
    Right(
        GROUP,
        ("trainingpipelines", "modelimports", "modeldeployments", "modelmonitors"),
        READ,
        "Reads the specs of users; never writes them",
    ),
    Right(
        GROUP,
        ("trainingruns",),
        (*READ, "create", "delete"),
        "Creates the records of runs and deletes those beyond `history`",
    ),
    Right(
        GROUP,
        ("modelversions",),
        (*READ, "create", "patch", "delete"),
        "Creates the records of models, deletes those beyond `history`, and keeps their owner references up to date",
    ),
    Right(
        GROUP,
        (
            "trainingpipelines/status",
            "trainingruns/status",
            "modelimports/status",
            "modelversions/status",
            "modeldeployments/status",
            "modelmonitors/status",
        ),
        ("patch",),
        "Writes the status of the six kinds",
    ),
    Right(
        GROUP,
        (
            "trainingpipelines/finalizers",
            "trainingruns/finalizers",
            "modelimports/finalizers",
            "modelversions/finalizers",
            "modeldeployments/finalizers",
            "modelmonitors/finalizers",
        ),
        ("update",),
        "Required where `OwnerReferencesPermissionEnforcement` is on (OpenShift), because created objects block the "
        "deletion of their owner; the operator sets no finalizers",
        is_called=False,
    ),
    Right(
        "batch",
        ("jobs",),
        (*READ, "create", "delete"),
        "Creates Jobs of runs, of imports, of checks for new data and of records of versions; deletes what is not "
        "needed any more",
    ),
    Right(
        "apps",
        ("deployments",),
        (*READ, "create", "patch", "delete"),
        "Servers, routers and monitors; deletes those of a version that is no longer served, and those whose pods read "
        "an object that somebody else made",
    ),
    Right("", ("services",), (*READ, "create", "patch", "delete"), "For servers, routers and monitors"),
    Right(
        "policy",
        ("poddisruptionbudgets",),
        (*READ, "create", "patch", "delete"),
        "For servers and routers with at least two pods",
    ),
    Right(
        "networking.k8s.io",
        ("networkpolicies",),
        (*READ, "create", "patch", "delete"),
        "For servers and monitors, unless `networkPolicies: None` is set",
    ),
    Right(
        "autoscaling",
        ("horizontalpodautoscalers",),
        (*READ, "create", "patch", "delete"),
        "For deployments with `spec.autoscaling`",
    ),
    Right(
        "",
        ("configmaps",),
        (*READ, "create", "patch"),
        "Reads the code and data of users; writes the configuration of pods, which is deleted with its owner",
    ),
    Right(
        "",
        ("persistentvolumeclaims",),
        (*READ, "create"),
        "Creates claims for artifacts and monitors; never changes or deletes them",
    ),
    Right(
        "",
        ("namespaces",),
        ("get",),
        "Reads the label of a served namespace that switches the actions of its monitors off",
    ),
    Right(
        "",
        ("secrets",),
        ("create",),
        "Creates the token that servers show to a monitor, and the key that they hash names of clients by; never "
        "reads, changes or deletes a Secret",
    ),
    Right(
        "",
        ("pods",),
        ("list", "watch", "patch"),
        "Reads reasons of failures and addresses; writes an annotation that makes the kubelet update the configuration "
        "of a router or a monitor",
    ),
    Right(
        "",
        ("pods/log",),
        ("get",),
        "Reads the last lines of the log of a failed run, and the log of a Job that looked for records of versions",
    ),
    Right(
        "apps",
        ("replicasets",),
        ("get",),
        "Checks that a pod belongs to a Deployment of the operator; reads metadata only",
    ),
    Right(
        "",
        ("events",),
        ("get", "list", "create", "patch"),
        "Writes events and counts repeated ones; lists those of a Job without pods or a pod that does not start, which "
        "say why. Never watches them",
    ),
    Right(
        "monitoring.coreos.com",
        ("servicemonitors", "prometheusrules"),
        ("get", "create", "patch", "delete"),
        "For monitors with `spec.prometheus`, if the Prometheus operator is installed; never lists or watches them",
    ),
)
"""In the namespaces that the operator serves."""

LEASES = (
    Right("coordination.k8s.io", ("leases",), ("create",), "Leader election, in the namespace of the operator"),
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
