"""What the operator's own account may write on a real API server: its own objects, whatever its role says.

The requests are made with the account's token, as somebody would who has taken it; none is answered by RBAC, which
allows every one of these verbs on these kinds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support.apiserver import connect
from tests.support.objects import MINIMAL
from tests.support.operators import Installation, wait

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
        return self._told(self.http.post(self.path(plural, root=root), json=body))

    def patch(self, body: Obj, plural: str, name: str, root: str = CORE) -> tuple[int, str]:
        headers = {
            "content-type": "application/strategic-merge-patch+json"
            if plural == "pods"
            else "application/merge-patch+json"
        }
        return self._told(self.http.patch(self.path(plural, name, root), headers=headers, content=json.dumps(body)))

    def delete(self, plural: str, name: str, root: str = CORE) -> tuple[int, str]:
        return self._told(self.http.delete(self.path(plural, name, root)))

    @staticmethod
    def _told(answer: Any) -> tuple[int, str]:
        return answer.status_code, str(answer.json().get("message", ""))


def metadata(name: str, owner: Obj | None = None, labels: Obj | None = LABEL, **more: Any) -> Obj:
    owners = {"ownerReferences": [owner]} if owner else {}
    return {"name": name, **({"labels": labels} if labels else {}), **owners, **more}


def service(meta: Obj) -> Obj:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": PORT}}


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
        code, _ = Account._told(found.http.post(found.path("configmaps") + "?dryRun=All", json=body))
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


def test_of_a_pod_it_changes_one_annotation_of_a_router(
    installation: Installation, account: Account, namespace: str
) -> None:
    ours = {**LABEL, "app.kubernetes.io/component": "router"}
    pods = [pod("router", **ours), pod("server", **{**ours, "app.kubernetes.io/component": "server"}), pod("theirs")]
    account_ = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    for obj in (account_, *pods):
        installation.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))
    refresh = {"metadata": {"annotations": {"tidemill.io/refreshed-at": "abc.1"}}}
    assert account.patch(refresh, "pods", "router")[0] == 200
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
        said = {"reason": "R", "action": "A", "note": "n", "type": "Normal", "regarding": about}
        when = {"eventTime": "2026-11-29T00:00:00.000000Z", "reportingInstance": "i"}
        meta = {"name": name, "namespace": namespace}
        head = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta}
        return {**head, **said, **when, "reportingController": controller}

    root = "/apis/events.k8s.io/v1/namespaces"
    assert account.create(event("a", "tidemill.io/operator"), "events", root)[0] == 201
    assert account.create(event("b", "kubelet"), "events", root)[0] == 403
