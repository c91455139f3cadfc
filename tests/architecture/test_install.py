"""What the shipped manifests may and may not contain, read as kustomize renders them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack import install
from hack.tools.kubectl import Kubectl

from tidemill.app import Operator
from tidemill.config import OperatorConfig, unknown_settings
from tidemill.kube import registry, rights
from tidemill.kube.access import Access

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("cluster-wide", "namespaces", "one-namespace", "openshift")
READ = {"get", "list", "watch"}
Obj = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Obj, ...]:
    return tuple(yaml.safe_load_all(Kubectl().run("kustomize", str(ROOT / "manifests" / "overlays" / overlay))))


def the(overlay: str, kind: str, name: str = "tidemill-operator") -> Obj:
    return next(o for o in rendered(overlay) if o["kind"] == kind and o["metadata"]["name"] == name)


def rules(overlay: str = "cluster-wide") -> list[Obj]:
    found: list[Obj] = the(overlay, "ClusterRole")["rules"]
    return found


def verbs(group: str, resource: str) -> set[str]:
    return {v for r in rules() if group in r["apiGroups"] and resource in r["resources"] for v in r["verbs"]}


def test_the_operator_cannot_touch_secrets_roles_or_the_cluster() -> None:
    for rule in rules():
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"serviceaccounts", "nodes", "customresourcedefinitions"} & set(rule["resources"])
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
    assert verbs("", "secrets") == {"create"}, "random values for servers and monitors"
    assert verbs("", "namespaces") == {"get"}, "the label that switches actions off"


NEVER_WRITTEN = {
    "tidemill.io": {"trainingpipelines", "modelimports", "modeldeployments", "modelmonitors"},
    "": {"pods"},
}


@pytest.mark.parametrize("kind", sorted(NEVER_WRITTEN["tidemill.io"]))
def test_what_people_own_is_read_only_but_for_its_status(kind: str) -> None:
    assert verbs("tidemill.io", kind) == READ
    assert verbs("tidemill.io", f"{kind}/status") == {"patch"}


def test_models_are_never_deleted() -> None:
    assert "delete" not in verbs("", "persistentvolumeclaims")


WRITES = {"create", "patch", "update", "delete"}


def test_write_rights_are_those_that_the_client_uses() -> None:
    """What is written once is never patched, but for a ModelVersion's owner references; the rest is applied."""
    for resource in registry.BY_KIND.values():
        found = verbs(resource.group, resource.plural) & WRITES
        if not found or resource.plural in NEVER_WRITTEN.get(resource.group, ()):
            continue
        is_patched = not resource.write_once or resource.kind == "ModelVersion"
        assert ("patch" in found) is is_patched, resource.kind
        assert "create" in found
        assert "update" not in found
    assert verbs("", "pods") & WRITES == {"patch"}


def listed(rights_: Iterable[rights.Right]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(r.group, r.resources, r.verbs) for r in rights_]


def test_the_role_holds_what_the_table_of_rights_holds_and_nothing_else() -> None:
    role = [(r["apiGroups"][0], tuple(r["resources"]), tuple(r["verbs"])) for r in rules()]
    assert role == listed(rights.OPERATOR)
    assert all(r["apiGroups"] == [group] for r, (group, _, _) in zip(rules(), role, strict=True))
    leases = the("cluster-wide", "Role", "tidemill-operator-leases")["rules"]
    assert [(r["apiGroups"][0], tuple(r["resources"]), tuple(r["verbs"])) for r in leases] == listed(rights.LEASES)


def test_the_table_of_the_docs_is_the_table_of_rights() -> None:
    assert rights.table() in (ROOT / "docs" / "operator.md").read_text(), "put the output of rights.table() there"


def test_what_the_operator_may_write_is_bounded_by_the_admission_policy() -> None:
    for overlay in ("cluster-wide", "namespaces", "openshift"):
        policy = the(overlay, "ValidatingAdmissionPolicy")["spec"]
        rules_ = policy["matchConstraints"]["resourceRules"]
        bounded = {(r["apiGroups"][0], plural) for r in rules_ for plural in r["resources"]}
        written = {
            (right.group, plural)
            for right in rights.OPERATOR
            for plural in right.resources
            if set(right.verbs) & rights.WRITTEN and "/" not in plural
        }
        assert written <= bounded
        operations = {o for r in rules_ if r["resources"] != ["events"] for o in r["operations"]}
        assert operations == {"CREATE", "UPDATE", "DELETE"}
        (condition,) = policy["matchConditions"]
        account = the(overlay, "ServiceAccount")["metadata"]
        assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]
        binding = the(overlay, "ValidatingAdmissionPolicyBinding")["spec"]
        assert binding == {"policyName": "tidemill-operator", "validationActions": ["Deny"]}


def test_the_policy_of_records_knows_the_operator_by_the_full_name_of_its_account() -> None:
    for overlay in ("cluster-wide", "namespaces", "openshift"):
        (condition,) = the(overlay, "ValidatingAdmissionPolicy", "tidemill-records")["spec"]["matchConditions"]
        account = the(overlay, "ServiceAccount")["metadata"]
        assert f"'system:serviceaccount:{account['namespace']}:{account['name']}'" in condition["expression"]
        assert "tidemill.io/operator" not in the(overlay, "Namespace", account["namespace"])["metadata"]["labels"]
    home = the("one-namespace", "ServiceAccount")["metadata"]["namespace"]
    assert the("one-namespace", "Namespace", home)["metadata"]["labels"]["tidemill.io/operator"] == "own"


def test_a_list_of_namespaces_is_bound_one_by_one_and_told_to_the_operator() -> None:
    documents = list(yaml.safe_load_all(install.render(ROOT / "manifests/overlays/namespaces", ("team-a", "team-b"))))
    assert not [d for d in documents if d["kind"] == "ClusterRoleBinding"]
    bound = {
        d["metadata"]["namespace"]
        for d in documents
        if d["kind"] == "RoleBinding" and d["roleRef"] == {**d["roleRef"], "kind": "ClusterRole"}
    }
    assert bound == {"team-a", "team-b"}
    (deployment,) = [d for d in documents if d["kind"] == "Deployment"]
    env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["TIDEMILL_WATCH_NAMESPACES"] == "team-a,team-b"


def test_what_is_watched_may_be_watched_and_nothing_else() -> None:
    operator = Operator(OperatorConfig(), Access("http://127.0.0.1:1"))
    watched = {(s.resource.group, s.resource.plural) for s in operator.handler.sources.values()}
    allowed = {(r["apiGroups"][0], plural) for r in rules() for plural in r["resources"] if "watch" in r["verbs"]}
    assert allowed == watched


def test_every_kind_of_a_rule_is_one_that_the_client_knows() -> None:
    known = {(r.group, r.plural) for r in registry.BY_KIND.values()}
    for rule in rules():
        for resource in rule["resources"]:
            assert (rule["apiGroups"][0], resource.partition("/")[0]) in known


def test_one_namespace_has_no_rights_outside_it() -> None:
    kinds = {o["kind"] for o in rendered("one-namespace")}
    assert "ClusterRoleBinding" not in kinds
    namespaces = {o["metadata"]["namespace"] for o in rendered("one-namespace") if "namespace" in o["metadata"]}
    assert namespaces == {"tidemill"}
    for binding in (o for o in rendered("one-namespace") if o["kind"] == "RoleBinding"):
        assert {s["namespace"] for s in binding["subjects"]} == {"tidemill"}
    env = the("one-namespace", "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert any(e["name"] == "TIDEMILL_WATCH_NAMESPACES" for e in env)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operators_pod_is_restricted_and_its_settings_exist(overlay: str) -> None:
    pod = the(overlay, "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    names = {e["name"]: e.get("value", "x" * 32) for e in container["env"]}
    assert unknown_settings(names) == []
    OperatorConfig.from_env(names)


def test_where_users_are_given_by_namespace_the_operator_names_none() -> None:
    usual, given = (the(overlay, "Deployment")["spec"]["template"]["spec"] for overlay in ("cluster-wide", "openshift"))
    assert {"runAsUser", "runAsGroup"} == usual["securityContext"].keys() - given["securityContext"].keys()
    env = {e["name"]: e.get("value") for e in given["containers"][0]["env"]}
    assert env["TIDEMILL_RUN_AS_USER"] == "FromNamespace"
    kinds = [
        [(o["kind"], o["metadata"]["name"]) for o in rendered(overlay)] for overlay in ("cluster-wide", "openshift")
    ]
    assert kinds[0] == kinds[1], "and all else is the same"


def test_people_get_rights_by_aggregation_and_records_stay_evidence() -> None:
    by_name = {o["metadata"]["name"]: o for o in rendered("cluster-wide") if o["kind"] == "ClusterRole"}
    labels = {n: by_name[n]["metadata"]["labels"] for n in ("tidemill-view", "tidemill-edit", "tidemill-admin")}
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    got = {n: {k.removeprefix(prefix) for k in found if k.startswith(prefix)} for n, found in labels.items()}
    assert got == {
        "tidemill-view": {"view", "edit", "admin"},
        "tidemill-edit": {"edit", "admin"},
        "tidemill-admin": {"admin"},
    }
    writes = {v for r in by_name["tidemill-view"]["rules"] for v in r["verbs"]} - READ
    assert not writes
    deletes = [r for r in by_name["tidemill-edit"]["rules"] if "delete" in r["verbs"]]
    assert not any({"trainingruns", "modelversions"} & set(r["resources"]) for r in deletes)
    on_versions = {
        v for r in by_name["tidemill-edit"]["rules"] if "modelversions" in r["resources"] for v in r["verbs"]
    }
    assert on_versions == {"patch"}, "annotations; nobody but the operator makes records"
