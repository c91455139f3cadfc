"""A list of namespaces becomes RoleBindings, and an earlier list's go."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hack import installscope
from hack.installscope import ScopeError, bound, names, stale

Obj = dict[str, Any]
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tidemill-operator"}


def manifests(*more: Obj, home: str = "tidemill-system") -> str:
    env = [{"name": "TIDEMILL_WATCH_NAMESPACES", "value": home}]
    pod = {"containers": [{"env": env}]}
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "tidemill-operator", "namespace": home},
        "spec": {"template": {"spec": pod}},
    }
    leases = binding("RoleBinding", home, name="leases", role={**ROLE, "kind": "Role", "name": "leases"})
    return yaml.safe_dump_all([deployment, leases, *more])


def binding(
    kind: str = "RoleBinding",
    namespace: str | None = "team-a",
    *,
    name: str = "tidemill-operator",
    role: Obj = ROLE,
    home: str = "tidemill-system",
) -> Obj:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    subjects = [{"kind": "ServiceAccount", "name": "tidemill-operator", "namespace": home}]
    return {"kind": kind, "metadata": meta, "roleRef": role, "subjects": subjects}


def test_a_list_is_split_and_checked() -> None:
    assert names("") == ()
    assert names("team-b, team-a,,team-b") == ("team-b", "team-a")
    for wrong in ("Team", "a_b", "-a", "a.b", "a" * 64, "a;rm"):
        with pytest.raises(ScopeError, match="no name of a namespace"):
            names(f"team-a,{wrong}")


def test_each_namespace_gets_the_role_for_the_operators_own_account() -> None:
    found = list(yaml.safe_load_all(bound(manifests(home="ops"), ("team-a", "team-b"))))
    made = [d for d in found if d["kind"] == "RoleBinding" and d["roleRef"] == ROLE]
    assert [d["metadata"]["namespace"] for d in made] == ["team-a", "team-b"]
    assert all(d["subjects"][0]["namespace"] == "ops" for d in made)
    assert found[0]["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == "team-a,team-b"


def test_an_overlay_that_has_bound_its_role_is_left_as_it_is() -> None:
    text = manifests(binding("ClusterRoleBinding", None))
    assert bound(text, ()) == text
    with pytest.raises(ScopeError, match="OVERLAY=manifests/overlays/namespaces"):
        bound(text, ("team-a",))


def test_an_open_overlay_needs_the_list() -> None:
    with pytest.raises(ScopeError, match="NAMESPACES=team-a,team-b"):
        bound(manifests(), ())


def test_bindings_of_an_earlier_choice_are_stale_and_no_others() -> None:
    text = bound(manifests(), ("team-a",))
    live = [
        binding(),
        binding(namespace="team-b"),
        binding("ClusterRoleBinding", None),
        binding(namespace="team-c", home="another-operators"),
        binding(namespace="team-d", name="leases", role={**ROLE, "kind": "Role", "name": "leases"}),
    ]
    gone = {("RoleBinding", "team-b", "tidemill-operator"), ("ClusterRoleBinding", "", "tidemill-operator")}
    assert set(stale(text, live)) == gone
    assert set(stale(text, live, is_removed=True)) == {*gone, ("RoleBinding", "team-a", "tidemill-operator")}
    assert installscope.SELECTOR == "app.kubernetes.io/name=tidemill-operator"
