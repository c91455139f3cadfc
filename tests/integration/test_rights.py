"""What the operator's own account may write on a real API server: its own objects, whatever its role says.

The requests are made with the account's token, as somebody would who has taken it; none is answered by RBAC, which
allows every one of these verbs on these kinds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from tests.support import builders_training, podsections
from tests.support.apiserver import connect
from tests.support.objects import MINIMAL
from tests.support.operators import Installation, wait
from tests.unit.monitoring import make as monitoring
from tests.unit.serving import make as serving
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.core.pod import ClusterSettings
from tidemill.kube import registry
from tidemill.monitoring import plan as monitoring_plan
from tidemill.serving import plan as serving_plan

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
LABEL = {"app.kubernetes.io/managed-by": "tidemill"}
CORE = "/api/v1/namespaces"
PORT = [{"port": 80}]
CONTAINER = {"name": "c", "image": "x"}


class Account:
    """kubectl's place taken by plain requests with the operator's token."""

    def __init__(self, installation: Installation, namespace: str) -> None:
        self.namespace = namespace
        self._api = connect(installation.operator_kubeconfig)
        self.http = self._api.__enter__().http

    def close(self) -> None:
        self._api.__exit__(None, None, None)

    def path(self, plural: str, name: str = "", root: str = CORE) -> str:
        return f"{root}/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, body: Obj, plural: str, root: str = CORE) -> tuple[int, str]:
        return self._answer(self.http.post(self.path(plural, root=root), json=body))

    def patch(self, body: Obj, plural: str, name: str, root: str = CORE) -> tuple[int, str]:
        headers = {
            "content-type": "application/strategic-merge-patch+json"
            if plural == "pods"
            else "application/merge-patch+json"
        }
        return self._answer(self.http.patch(self.path(plural, name, root), headers=headers, content=json.dumps(body)))

    def delete(self, plural: str, name: str, root: str = CORE) -> tuple[int, str]:
        return self._answer(self.http.delete(self.path(plural, name, root)))

    @staticmethod
    def _answer(answer: Any) -> tuple[int, str]:
        return answer.status_code, str(answer.json().get("message", ""))


def metadata(name: str, owner: Obj | None = None, labels: Obj | None = LABEL, **more: Any) -> Obj:
    owners = {"ownerReferences": [owner]} if owner else {}
    return {"name": name, **({"labels": labels} if labels else {}), **owners, **more}


def service(meta: Obj) -> Obj:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": PORT, "selector": {"a": "b"}}}


def pod(name: str, **labels: str) -> Obj:
    meta = {"name": name, "labels": labels, "annotations": {"theirs": "kept"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [CONTAINER]}}


@pytest.fixture
def account(installation: Installation, namespace: str) -> Iterator[Account]:
    """The account, once the policy is in force (the API server takes a moment to compile it)."""
    installation.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce-")
    found = Account(installation, namespace)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "canary"}}

    def in_force() -> bool:
        code, _ = Account._answer(found.http.post(found.path("configmaps") + "?dryRun=All", json=body))
        return code == 403

    wait(in_force, 20, "the policy is in force")
    yield found
    found.close()


@pytest.fixture
def owner(installation: Installation, namespace: str) -> Obj:
    """A controller reference to a ModelMonitor (a namespace of its own has one)."""
    kind, name = "ModelMonitor", "watched"
    head = {"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    monitor = {**head, "spec": {"deployment": "nothing", "quality": {"maxMissingRatio": 0.5}}}
    installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(monitor))
    uid = installation.get(kind, name, "-n", namespace)["metadata"]["uid"]
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": True}


def test_what_it_makes_has_its_label_and_an_owner_of_ours(account: Account, owner: Obj) -> None:
    assert account.create(service(metadata("no-label", owner, labels=None)), "services")[0] == 403
    code, message = account.create(service(metadata("no-owner")), "services")
    assert code == 403 and "makes nothing without an object of tidemill.io as controller" in message
    foreign = {**owner, "apiVersion": "v1", "kind": "ConfigMap"}
    assert account.create(service(metadata("foreign-owner", foreign)), "services")[0] == 403
    assert account.create(service(metadata("no-controller", {**owner, "controller": False})), "services")[0] == 403
    assert account.create(service(metadata("ours", owner)), "services")[0] == 201
    assert account.patch({"spec": {"selector": {"a": "b"}}}, "services", "ours")[0] == 200
    assert account.patch({"metadata": {"ownerReferences": []}}, "services", "ours")[0] == 403
    assert account.patch({"metadata": {"labels": {next(iter(LABEL)): None}}}, "services", "ours")[0] == 403
    assert account.delete("services", "ours")[0] == 200


def test_what_others_made_stays_as_it_is(installation: Installation, account: Account, namespace: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
    selector = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    job = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
    theirs: list[tuple[Obj, str, str]] = [
        (service(metadata("theirs", labels=None)), "services", CORE),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("theirs")}, "configmaps", CORE),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("theirs"), "spec": selector},
            "deployments",
            "/apis/apps/v1/namespaces",
        ),
        (
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata("theirs"), "spec": job},
            "jobs",
            "/apis/batch/v1/namespaces",
        ),
        (
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata("theirs"),
                "spec": {"minAvailable": 1},
            },
            "poddisruptionbudgets",
            "/apis/policy/v1/namespaces",
        ),
    ]
    installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(o for o, _, _ in theirs))
    for _, plural, root in theirs:
        for code, message in (
            account.patch({"metadata": {"annotations": {"x": "y"}}}, plural, "theirs", root),
            account.delete(plural, "theirs", root),
        ):
            assert code == 403, (plural, message)
    installation.kubectl("annotate", "-n", namespace, "service", "theirs", "x=y")  # people are not looked at


def test_of_a_pod_it_changes_one_annotation_of_a_router_or_a_monitor(
    installation: Installation, account: Account, namespace: str
) -> None:
    ours = {**LABEL, "app.kubernetes.io/component": "router"}
    watching = {**ours, "app.kubernetes.io/component": "monitor"}
    serving = {**ours, "app.kubernetes.io/component": "server"}
    pods = [
        pod("router", **ours),
        pod("monitor", **watching),
        pod("server", **serving),
        pod("theirs"),
    ]
    account_ = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    for obj in (account_, *pods):
        installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))
    refresh = {"metadata": {"annotations": {"tidemill.io/refreshed-at": "abc.1"}}}
    assert account.patch(refresh, "pods", "router")[0] == 200
    assert account.patch(refresh, "pods", "monitor")[0] == 200
    for name in ("server", "theirs"):
        code, message = account.patch(refresh, "pods", name)
        assert code == 403 and "nothing of a pod but the annotation" in message
    for change in (
        {"metadata": {"annotations": {"other": "x"}}},
        {"metadata": {"annotations": {"theirs": None}}},
        {"metadata": {"annotations": {"theirs": "changed"}}},
        {"metadata": {"labels": {"app": "victim"}}},
        {"metadata": {"finalizers": ["evil.example/stuck"]}},
        {"spec": {"containers": [{"name": "c", "image": "evil"}]}},
        {"spec": {"activeDeadlineSeconds": 1}},
    ):
        assert account.patch({**refresh, **change}, "pods", "router")[0] == 403, change
    assert account.delete("pods", "router")[0] == 403


def test_of_secrets_it_makes_opaque_ones_alone_and_reads_none(account: Account, owner: Obj) -> None:
    def secret(name: str, kind: str, **more: str) -> Obj:
        meta = {**metadata(name, owner), "annotations": more}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "stringData": {"token": "x"}}

    assert account.create(secret("token", "Opaque"), "secrets")[0] == 201
    account_of_another = {"kubernetes.io/service-account.name": "default"}
    code, message = account.create(
        secret("stolen", "kubernetes.io/service-account-token", **account_of_another), "secrets"
    )
    assert code == 403 and "Secrets of type Opaque" in message
    assert account.create(secret("annotated", "Opaque", **account_of_another), "secrets")[0] == 403
    unowned = {**secret("unowned", "Opaque"), "metadata": metadata("unowned")}
    assert account.create(unowned, "secrets")[0] == 403
    assert account.patch({"stringData": {"token": "y"}}, "secrets", "token")[0] == 403


def test_records_are_not_rewritten_and_peoples_kinds_not_written(
    installation: Installation, account: Account, namespace: str, owner: Obj
) -> None:
    root = "/apis/tidemill.io/v1alpha1/namespaces"
    record = MINIMAL["ModelVersion"]
    for name, labels in (("churn-1", LABEL), ("imported-1", None)):
        body = {**record, "metadata": metadata(name, labels=labels)}
        installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(body))
    follows = {"metadata": {"ownerReferences": [{**owner, "controller": False}]}}
    assert account.patch(follows, "modelversions", "churn-1", root)[0] == 200
    code, message = account.patch({"spec": {"uri": "pvc://m/evil"}}, "modelversions", "churn-1", root)
    assert code in (403, 422), message
    assert account.patch(follows, "modelversions", "imported-1", root)[0] == 403
    assert account.delete("modelversions", "imported-1", root)[0] == 403
    assert account.delete("modelversions", "churn-1", root)[0] == 200


def test_events_are_posted_in_its_own_name_only(account: Account, namespace: str) -> None:
    def event(name: str, controller: str) -> Obj:
        about = {"kind": "Pod", "name": "x", "namespace": namespace}
        said = {"reason": "R", "action": "A", "message": "n", "type": "Normal", "involvedObject": about}
        when = {"eventTime": "2026-11-29T00:00:00.000000Z", "reportingInstance": "i"}
        meta = {"name": name, "namespace": namespace}
        head = {"apiVersion": "v1", "kind": "Event", "metadata": meta}
        return {**head, **said, **when, "reportingComponent": controller}

    root = "/api/v1/namespaces"
    assert account.create(event("a", "tidemill.io/operator"), "events", root)[0] == 201
    assert account.create(event("b", "kubelet"), "events", root)[0] == 403


def made(namespace: str, config: OperatorConfig | None = None, said: Obj | None = None) -> dict[str, Obj]:
    """What the operator makes, by kind and name, as it posts it; `said`: the section about pods of every object."""
    config = replace(config or OperatorConfig(), record_keys=("k" * 32,))
    section = {} if said is None else {"pod": said}
    cluster = ClusterSettings.of(config)
    full = {
        "rollout": serving.CANARY,
        "autoscaling": {"maxReplicas": 3},
        "server": {"resources": {"limits": {"memory": "1Gi"}}, **section},
        "router": section,
    }
    status = {"stable": serving.stable(1), "candidate": serving.candidate(2, 0, step_started=5)}
    two = {
        "versions": (serving.version(1), serving.version(2, uri="s3://models/churn", secret="keys")),
        "workloads": (serving.workload(1), serving.workload(2)),
    }
    world = World(
        builders_training.Pipeline()
        .data("s3://lake/rows")
        .triggers(dataChange={"pollSeconds": 60})
        .spec(**(section or {"nodeSelector": {"disk": "fast"}, "serviceAccountName": "theirs"}))
        .obj(),
        builders_training.ConfigMap().obj(),
        config=config,
    )
    world.settle()
    kinds = ("Job", "TrainingRun", "ModelVersion", "PersistentVolumeClaim")
    jobs = [world.get(kind, name) for kind in kinds for name in world.names(kind)]
    world.train()
    jobs += [world.get(kind, name) for kind in kinds for name in world.names(kind)]
    served, watched = serving.snapshot(full, status, **two), monitoring.snapshot({**monitoring.FULL, **section})
    served = replace(served, settings=replace(served.settings, cluster=cluster))
    watched = replace(watched, settings=replace(watched.settings, cluster=cluster))
    children = [*serving_plan.plan(served).apply, *jobs, *monitoring_plan.plan(watched).apply]
    found = {}
    for child in copy.deepcopy(children):
        child.pop("status", None)
        meta = {k: v for k, v in child["metadata"].items() if k in ("name", "labels", "annotations", "ownerReferences")}
        child["metadata"] = {**meta, "namespace": namespace}
        found[f"{child['kind']} {meta['name']}"] = child
    return found


def post(account: Account, obj: Obj) -> tuple[int, str]:
    """Asks whether the object may be made, without making it."""
    path = registry.lookup(obj["apiVersion"], obj["kind"]).path(obj["metadata"]["namespace"])
    return Account._answer(account.http.post(f"{path}?dryRun=All", json=obj))


ADMINISTERED = OperatorConfig(
    run_as_user="FromNamespace", ca_bundle_config_map="trusted", https_proxy="http://proxy.example.com:3128"
)


@pytest.mark.parametrize(("config", "said"), [(None, None), (ADMINISTERED, podsections.FULL)], ids=["plain", "all"])
def test_whatever_it_makes_may_be_made(
    account: Account, namespace: str, config: OperatorConfig | None, said: Obj | None
) -> None:
    found = made(namespace, config, said)
    kinds = {obj["kind"] for obj in found.values()}
    assert {"Deployment", "Job", "Service", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy"} <= kinds
    assert {"HorizontalPodAutoscaler", "PodDisruptionBudget", "TrainingRun", "ModelVersion"} <= kinds
    components = {obj["metadata"]["labels"]["app.kubernetes.io/component"] for obj in found.values()}
    assert {"server", "router", "monitor", "trainer", "probe", "records", "artifacts"} <= components
    for name, obj in found.items():
        code, message = post(account, obj)
        assert code == 201, (name, message)


def put(*path: str | int, value: Any) -> Callable[[Obj], None]:
    """Sets what is at a path of an object."""

    def change(obj: Obj) -> None:
        at: Any = obj
        for part in path[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        if isinstance(at, list):
            at.append(value)
        else:
            at[path[-1]] = value

    return change


POD = ("spec", "template", "spec")
FIRST = (*POD, "containers", 0, "securityContext")
OWNER = ("metadata", "ownerReferences", 0)
PRIVILEGED = {**CONTAINER, "securityContext": {"privileged": True, "capabilities": {"drop": ["ALL"]}}}
BAD: dict[str, tuple[str, Callable[[Obj], None], str]] = {
    "hostNetwork": ("Deployment", put(*POD, "hostNetwork", value=True), "host's namespaces"),
    "hostPID": ("Job", put(*POD, "hostPID", value=True), "host's namespaces"),
    "hostIPC": ("Job", put(*POD, "hostIPC", value=True), "host's namespaces"),
    "hostPath": ("Job", put(*POD, "volumes", "+", value={"name": "h", "hostPath": {"path": "/"}}), "volumes but"),
    "nfs": ("Job", put(*POD, "volumes", "+", value={"name": "h", "nfs": {"server": "a", "path": "/"}}), "volumes but"),
    "token": ("Job", put(*POD, "automountServiceAccountToken", value=True), "token of a service account"),
    "projected token": (
        "Deployment",
        put(
            *POD,
            "volumes",
            "+",
            value={"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ),
        "volumes but",
    ),
    "root": ("Job", put(*POD, "securityContext", "runAsUser", value=0), "another user than root"),
    "maybe root": ("Job", put(*POD, "securityContext", "runAsNonRoot", value=False), "another user than root"),
    "no security context": ("Job", put(*POD, "securityContext", value={}), "another user than root"),
    "unconfined": (
        "Job",
        put(*POD, "securityContext", "seccompProfile", value={"type": "Unconfined"}),
        "seccomp RuntimeDefault",
    ),
    "privileged": ("Deployment", put(*FIRST, value={"privileged": True}), "privileged"),
    "privileged beside": ("Job", put(*POD, "initContainers", value=[PRIVILEGED]), "privileged"),
    "escalation": ("Job", put(*FIRST, "allowPrivilegeEscalation", value=True), "privileged"),
    "capability": ("Job", put(*FIRST, "capabilities", "add", value=["SYS_ADMIN"]), "capabilities"),
    "root in a container": ("Job", put(*FIRST, "runAsUser", value=0), "looser than their pod"),
    "port of the host": (
        "Job",
        put(*POD, "containers", 0, "ports", value=[{"containerPort": 1, "hostPort": 1}]),
        "ports of the host",
    ),
    "externalIPs": ("Service", put("spec", "externalIPs", value=["8.8.8.8"]), "externalIPs"),
    "NodePort": ("Service churn-monitor", put("spec", "type", value="NodePort"), "ClusterIP"),
    "LoadBalancer": ("Service churn-monitor", put("spec", "type", value="LoadBalancer"), "ClusterIP"),
    "no selector": ("Service", put("spec", "selector", value={}), "selector"),
    "volumeName": ("PersistentVolumeClaim", put("spec", "volumeName", value="theirs"), "claims that choose"),
    "dataSource": (
        "PersistentVolumeClaim",
        put("spec", "dataSource", value={"kind": "PersistentVolumeClaim", "name": "theirs"}),
        "claims that choose",
    ),
    "all pods": ("NetworkPolicy", put("spec", "podSelector", value={}), "NetworkPolicies but"),
    "invented kind": ("Service", put(*OWNER, "kind", value="NoSuchKind"), "tidemill.io as controller"),
    "invented version": ("Service", put(*OWNER, "apiVersion", value="tidemill.io/v9"), "tidemill.io as controller"),
    "kube-system": ("Service", put("metadata", "namespace", value="kube-system"), "(kube-*)"),
    "its own namespace": ("Job", put("metadata", "namespace", value="tidemill-system"), "its own namespace"),
}


def test_what_it_never_makes_is_refused(account: Account, namespace: str) -> None:
    """As somebody would with the account's token, who puts the owner that the policy asks for."""
    found = made(namespace)
    for name, (kind, change, sentence) in BAD.items():
        obj = copy.deepcopy(next(obj for at, obj in found.items() if at.startswith(kind)))
        change(obj)
        code, message = post(account, obj)
        assert code == 403 and "the operator " in message and sentence in message, (name, code, message)


def test_what_it_made_is_not_changed_into_something_else(account: Account, owner: Obj) -> None:
    root = "/apis/apps/v1/namespaces"
    assert account.create(service(metadata("ours", owner)), "services")[0] == 201
    code, message = account.patch({"spec": {"externalIPs": ["8.8.8.8"]}}, "services", "ours")
    assert code == 403 and "externalIPs" in message
    server = next(o for o in made(account.namespace).values() if o["kind"] == "Deployment")
    server["metadata"] = metadata("ours", owner)
    assert account.create(server, "deployments", root)[0] == 201
    assert account.patch({"spec": {"replicas": 2}}, "deployments", "ours", root)[0] == 200
    hosts = {"spec": {"template": {"spec": {"hostPID": True}}}}
    code, message = account.patch(hosts, "deployments", "ours", root)
    assert code == 403 and "host's namespaces" in message
    assert account.delete("deployments", "ours", root)[0] == 200


COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"


@pytest.mark.parametrize("kind", ["ModelVersion", "TrainingRun"])
def test_people_give_a_record_no_owner_and_no_finalizer(
    installation: Installation, namespace: str, owner: Obj, kind: str
) -> None:
    """With either, somebody who may not delete a record could have it collected, or kept for ever."""
    installation.apply({**MINIMAL[kind], "metadata": metadata("churn-1", owner, namespace=namespace)})

    def patch(meta: Obj, *arguments: str) -> str:
        body = json.dumps({"metadata": meta})
        command = ("patch", kind, "churn-1", "-n", namespace, "--type=merge", "-p", body, *arguments)
        return installation.kubectl(*command, check=False)

    gone = {**owner, "uid": "11111111-1111-1111-1111-111111111111"}
    alone = "metadata.ownerReferences of a record is the operator's alone"
    wait(lambda: alone in patch({"ownerReferences": [gone]}, "--dry-run=server"), 20, "the policy is in force")
    assert alone in patch({"ownerReferences": [owner, {**gone, "controller": False}]})
    assert alone in patch({"ownerReferences": None})
    assert "a record gets no metadata.finalizers" in patch({"finalizers": ["evil.example/stuck"]})
    assert "patched" in patch({"annotations": {"theirs": "kept"}, "labels": {"theirs": "kept"}})
    ours = "labels of a record that begin with tidemill.io/ or app.kubernetes.io/ are the operator's alone"
    for key in ("tidemill.io/pipeline", "tidemill.io/other", "sub.tidemill.io/x", "app.kubernetes.io/managed-by"):
        assert ours in patch({"labels": {key: "new"}}), key
    theirs = "people set approve, reject, decision-comment and retry alone"
    for key in ("tidemill.io/spec", "tidemill.io/record", "tidemill.io/applied", "sub.tidemill.io/x"):
        assert theirs in patch({"annotations": {key: "new"}}), key
    for key in ("approve", "reject", "decision-comment", "retry"):
        assert "patched" in patch({"annotations": {f"tidemill.io/{key}": "x"}}), key
        assert "patched" in patch({"annotations": {f"tidemill.io/{key}": None}}), key
    assert "patched" in patch({"finalizers": ["foregroundDeletion"]}, f"--as={COLLECTOR}")
    assert "patched" in patch({"finalizers": None})
    assert "patched" in patch({"ownerReferences": None}, f"--as={COLLECTOR}")


def test_nobody_but_the_operator_makes_records_or_writes_their_status(
    installation: Installation, namespace: str
) -> None:
    """A version counts by its status, so a role with every right on the group must not be able to write that."""
    where = ("-n", namespace)
    installation.kubectl("create", "rolebinding", "edits", "--clusterrole=tidemill-edit", "--user=alice", *where)
    may = {
        verb: installation.kubectl(
            "auth", "can-i", verb, "modelversions.tidemill.io", "--as=alice", *where, check=False
        )
        for verb in ("create", "update", "patch", "delete")
    }
    no = ""  # kubectl ends with 1 and writes no error
    assert {verb: said.strip() for verb, said in may.items()} == {
        "create": no, "update": no, "patch": "yes", "delete": no,
    }  # fmt: skip

    everything = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "everything", "namespace": namespace},
        "rules": [{"apiGroups": ["tidemill.io"], "resources": ["*"], "verbs": ["*"]}],
    }
    installation.apply(everything)
    installation.kubectl("create", "rolebinding", "all", "--role=everything", "--user=bob", *where)
    installation.apply({**MINIMAL["ModelVersion"], "metadata": {"name": "churn-1", "namespace": namespace}})
    body = json.dumps({**MINIMAL["ModelVersion"], "metadata": {"name": "churn-2", "namespace": namespace}})
    status = json.dumps({"status": {"lastHandledRetry": "x"}})

    def create() -> str:
        return installation.kubectl("create", "-f", "-", "--as=bob", "--dry-run=server", stdin=body, check=False)

    refused = "records are created by the operator; to bring a model in, create a ModelImport"
    wait(lambda: refused in create(), 20, "the policy is in force")
    patch = ("patch", "modelversion", "churn-1", *where, "--as=bob", "--type=merge", "-p")
    said = installation.kubectl(*patch, status, "--subresource=status", check=False)
    assert "the status of a record is the operator's alone" in said
    assert "patched" in installation.kubectl(*patch, json.dumps({"metadata": {"annotations": {"a": "b"}}}))


ALIKE = "system:serviceaccount:{namespace}:tidemill-operator"


def test_an_account_with_the_operators_name_in_another_namespace_is_not_the_operator(
    installation: Installation, namespace: str
) -> None:
    """Whoever may make ServiceAccounts gives one that name; its namespace tells whose it is."""
    where = ("-n", namespace)
    rules = [{"apiGroups": ["tidemill.io"], "resources": ["*"], "verbs": ["*"]}]
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    installation.apply({**head, "metadata": {"name": "everything", "namespace": namespace}, "rules": rules})
    account = f"--serviceaccount={namespace}:tidemill-operator"
    installation.kubectl("create", "rolebinding", "alike", "--role=everything", account, *where)
    body = json.dumps({**MINIMAL["ModelVersion"], "metadata": {"name": "churn-1", "namespace": namespace}})
    command = ("create", "-f", "-", f"--as={ALIKE.format(namespace=namespace)}", "--as-group=system:serviceaccounts")
    refused = "records are created by the operator; to bring a model in, create a ModelImport"

    def create() -> str:
        return installation.kubectl(*command, "--dry-run=server", stdin=body, check=False)

    wait(lambda: refused in create(), 20, "the policy is in force")
    # The overlay one-namespace labels its Namespace, which nobody with rights in a namespace alone can do.
    own = "tidemill.io/operator=own"
    installation.kubectl("label", "namespace", namespace, own)
    wait(lambda: "created" in create(), 20, "the namespace has an operator of its own")
    other = (*command[:-2], "--as=system:serviceaccount:default:tidemill-operator", "--dry-run=server")
    installation.kubectl(
        "create", "rolebinding", "other", "--role=everything", "--serviceaccount=default:tidemill-operator", *where
    )
    wait(lambda: refused in installation.kubectl(*other, stdin=body, check=False), 20, "another account is not")
