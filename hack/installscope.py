"""Which namespaces an installation serves: RoleBindings and the operator's setting, from one list.

Kustomize cannot repeat an object for each word of a list, so the overlay `namespaces` leaves the choice open and it is
made here, over the rendered YAML. What a cluster has from an earlier choice is found by label.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

OPERATOR = "tidemill-operator"
SELECTOR = f"app.kubernetes.io/name={OPERATOR}"
BINDING_KINDS = "rolebindings.rbac.authorization.k8s.io,clusterrolebindings.rbac.authorization.k8s.io"
WATCHED = "TIDEMILL_WATCH_NAMESPACES"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
Obj = dict[str, Any]


class ScopeError(ValueError):
    """The list of namespaces is wrong, or does not go with the overlay."""


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list; a namespace that is named twice counts once.

    Raises:
        ScopeError: a word is no name of a namespace.
    """
    found = [word for word in (part.strip() for part in text.split(",")) if word]
    wrong = next((word for word in found if not _NAME.fullmatch(word)), None)
    if wrong is not None:
        raise ScopeError(f"{wrong!r} is no name of a namespace: lower-case letters, digits and '-', at most 63")
    return tuple(dict.fromkeys(found))


def bound(text: str, namespaces: Sequence[str]) -> str:
    """Return the manifests with a RoleBinding for each namespace and the list in the operator's settings.

    Raises:
        ScopeError: a list where the overlay has made its choice, or none where it leaves it open.
    """
    documents: list[Obj] = [document for document in yaml.safe_load_all(text) if document]
    bindings = [d for d in documents if d["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    is_open = not any(d["roleRef"]["kind"] == "ClusterRole" and d["roleRef"]["name"] == OPERATOR for d in bindings)
    if not namespaces and not is_open:
        return text
    if not namespaces:
        raise ScopeError("this overlay serves the namespaces of a list: NAMESPACES=team-a,team-b")
    if not is_open:
        raise ScopeError(
            "this overlay has bound the operator's role already; a list of namespaces goes with "
            "OVERLAY=manifests/overlays/namespaces"
        )
    (deployment,) = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == OPERATOR]
    for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"] == WATCHED:
            variable["value"] = ",".join(namespaces)
    account = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": deployment["metadata"]["namespace"]}
    return yaml.safe_dump_all([*documents, *(_binding(n, account) for n in namespaces)], sort_keys=False)


def _binding(namespace: str, account: Obj) -> Obj:
    labels = {"app.kubernetes.io/name": OPERATOR, "app.kubernetes.io/part-of": "tidemill"}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": OPERATOR, "namespace": namespace, "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR},
        "subjects": [dict(account)],
    }


def stale(text: str, live: Iterable[Obj], *, is_removed: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield kind, namespace and name of live bindings of this operator's account that the manifests do not hold.

    `is_removed`: nothing is kept. Bindings of another operator's account, in another namespace, are not ours.
    """
    documents = [d for d in yaml.safe_load_all(text) if d]
    (home,) = [d["metadata"]["namespace"] for d in documents if d["kind"] == "Deployment"]
    kept = set() if is_removed else {_place(d) for d in documents}
    for binding in live:
        accounts = {(s.get("namespace"), s["name"]) for s in binding.get("subjects") or ()}
        if binding["roleRef"]["name"] == OPERATOR and accounts == {(home, OPERATOR)} and _place(binding) not in kept:
            yield _place(binding)


def _place(obj: Obj) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"].get("namespace") or "", obj["metadata"]["name"]
