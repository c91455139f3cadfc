"""The engine on a real API server: children, status, events, errors, drift, ownership; and what it must not write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import toy
from tests.support.invariants import check_status, kstatus
from tests.support.operators import InProcess, Installation, wait

from tidemill.core import conditions
from tidemill.kube import metrics

pytestmark = pytest.mark.integration
Obj = dict[str, Any]


@pytest.fixture(scope="module")
def toys(installation: Installation) -> Iterator[InProcess]:
    """An operator that has only the toy reconciler, with a resync so rare that it never helps."""
    running = InProcess(installation, toy.load, lease_name="toys", leader_election=False, resync_seconds=3600).start()
    yield running
    running.stop()


@pytest.fixture
def made(installation: Installation, toys: InProcess, namespace: str) -> Obj:
    """A monitor named `m`, reconciled."""
    return make(installation, namespace)


def make(installation: Installation, namespace: str, name: str = "m", **annotations: str) -> Obj:
    meta = {"name": name, "namespace": namespace, "annotations": annotations}
    manifest = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}
    installation.apply({**manifest, "spec": {"deployment": "d", "quality": {"maxMissingRatio": 0.1}}})
    return until(installation, namespace, lambda o: conditions.get(listed(o), "Ready"), name)


def until(installation: Installation, namespace: str, fact: Any, name: str = "m", seconds: float = 15) -> Obj:
    def probe() -> Obj | None:
        obj = installation.get("modelmonitor", name, "-n", namespace)
        return obj if fact(obj) else None

    obj: Obj = wait(probe, seconds, f"ModelMonitor {name} is as wanted")
    check_status(obj)
    return obj


def listed(obj: Obj) -> list[Obj]:
    found: list[Obj] = (obj.get("status") or {}).get("conditions") or []
    return found


def annotate(installation: Installation, namespace: str, *values: str) -> None:
    installation.kubectl("annotate", "modelmonitor", "m", "-n", namespace, "--overwrite", *values)


def child(installation: Installation, namespace: str, name: str = "m-toy") -> Obj | None:
    text = installation.kubectl(
        "get", "configmap", name, "-n", namespace, "-o", "json", "--ignore-not-found", "--show-managed-fields"
    )
    return json.loads(text) if text.strip() else None


def test_child_status_and_event(installation: Installation, namespace: str, made: Obj) -> None:
    assert kstatus(made) == "Current"
    assert made["status"]["observedGeneration"] == made["metadata"]["generation"] == 1
    kept = child(installation, namespace)
    assert kept is not None
    assert kept["data"] == {"value": "one"}
    assert kept["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert [m["manager"] for m in kept["metadata"]["managedFields"]] == ["tidemill"]
    events = wait(lambda: installation.get("events.events.k8s.io", "-n", namespace)["items"], 5, "an event is there")
    assert [(e["reason"], e["action"], e["type"], e["regarding"]["name"]) for e in events] == [
        ("Kept", "Keep", "Normal", "m")
    ]
    assert events[0]["reportingController"] == "tidemill.io/operator"


def test_nothing_is_written_on_the_users_object(installation: Installation, namespace: str, made: Obj) -> None:
    annotate(installation, namespace, "toy/data=two")
    obj = until(installation, namespace, lambda o: "two" in conditions.get(listed(o), "Ready")["message"])
    shown = installation.get("modelmonitor", "m", "-n", namespace, "--show-managed-fields")
    ours = [
        m
        for m in shown["metadata"]["managedFields"]
        if m["manager"] not in ("kubectl-client-side-apply", "kubectl-annotate")
    ]
    assert [(m["manager"], m.get("subresource")) for m in ours] == [("tidemill", "status")]
    assert "finalizers" not in obj["metadata"]
    assert "labels" not in obj["metadata"]
    theirs = {"toy/data", "kubectl.kubernetes.io/last-applied-configuration"}
    assert set(obj["metadata"]["annotations"]) == theirs


def test_idle_means_no_writes(installation: Installation, toys: InProcess, namespace: str, made: Obj) -> None:
    time.sleep(1)
    before = writes()
    toys.call(toys.operator.resync.once())
    time.sleep(2)
    assert writes() == before


@pytest.mark.usefixtures("made")
def test_drift_is_undone_and_foreign_fields_stay(installation: Installation, namespace: str) -> None:
    patch = json.dumps({"data": {"value": "hacked"}, "metadata": {"annotations": {"theirs": "kept"}}})
    installation.kubectl("patch", "configmap", "m-toy", "-n", namespace, "-p", patch)
    wait(lambda: (child(installation, namespace) or {})["data"] == {"value": "one"}, 10, "the child is put right")
    assert (child(installation, namespace) or {})["metadata"]["annotations"]["theirs"] == "kept"


@pytest.mark.usefixtures("made")
def test_lost_child_is_made_again(installation: Installation, namespace: str) -> None:
    installation.kubectl("delete", "configmap", "m-toy", "-n", namespace)
    wait(lambda: child(installation, namespace), 10, "the child is back")


@pytest.mark.usefixtures("toys")
def test_foreign_child_is_not_touched(installation: Installation, namespace: str) -> None:
    installation.kubectl("create", "configmap", "m-toy", "-n", namespace, "--from-literal=value=theirs")
    obj = make(installation, namespace)
    stalled = conditions.get(listed(obj), "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NotOwned"
    assert "ConfigMap m-toy exists and was not created by Tidemill" in stalled["message"]
    assert kstatus(obj) == "Failed"
    assert (child(installation, namespace) or {})["data"] == {"value": "theirs"}
    installation.kubectl("delete", "configmap", "m-toy", "-n", namespace)
    annotate(installation, namespace, "tidemill.io/reconcile-requested-at=now")
    until(installation, namespace, lambda o: kstatus(o) == "Current")


@pytest.mark.usefixtures("made")
def test_verdicts_become_conditions(installation: Installation, namespace: str) -> None:
    annotate(installation, namespace, f"{toy.RAISE}=stalled")
    obj = until(installation, namespace, lambda o: conditions.is_true(listed(o), "Stalled"))
    assert conditions.get(listed(obj), "Ready")["reason"] == "Misconfigured"  # type: ignore[index]
    annotate(installation, namespace, f"{toy.RAISE}=waiting")
    obj = until(installation, namespace, lambda o: conditions.is_true(listed(o), "Reconciling"))
    assert kstatus(obj) == "InProgress"
    annotate(installation, namespace, f"{toy.RAISE}=error")
    obj = until(
        installation, namespace, lambda o: conditions.get(listed(o), "Ready")["reason"] == "ReconcileError", seconds=20
    )
    assert conditions.get(listed(obj), "Reconciling")["reason"] == "ProgressingWithRetry"  # type: ignore[index]
    assert "RuntimeError: toy/raise says error" in conditions.get(listed(obj), "Ready")["message"]  # type: ignore[index]
    annotate(installation, namespace, f"{toy.RAISE}-")
    until(installation, namespace, lambda o: kstatus(o) == "Current")


@pytest.mark.usefixtures("made")
def test_refused_child_stalls(installation: Installation, namespace: str) -> None:
    annotate(installation, namespace, f"{toy.RAISE}=invalid")
    obj = until(installation, namespace, lambda o: conditions.is_true(listed(o), "Stalled"))
    assert conditions.get(listed(obj), "Stalled")["reason"] == "Rejected"  # type: ignore[index]
    assert "ConfigMap m-toy was refused" in conditions.get(listed(obj), "Stalled")["message"]  # type: ignore[index]


@pytest.mark.usefixtures("toys")
def test_name_of_63_characters(installation: Installation, namespace: str) -> None:
    name = "n" * 63
    obj = make(installation, namespace, name)
    assert kstatus(obj) == "Current"
    kept = installation.get("configmap", "-n", namespace, "-l", "app.kubernetes.io/managed-by=tidemill")["items"]
    assert [len(c["metadata"]["name"]) for c in kept] == [63]


def test_resync_prunes_what_a_watch_gap_hid(
    installation: Installation, toys: InProcess, namespace: str, made: Obj, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion of a child is lost (as after a 410 in the framework's watch); the resync finds it."""
    handler = toys.operator.handler
    monkeypatch.setattr(handler, "on_event", lambda *_: None)
    installation.kubectl("delete", "configmap", "m-toy", "-n", namespace)
    time.sleep(1)
    assert child(installation, namespace) is None
    assert handler.cache.get("ConfigMap", namespace, "m-toy") is not None
    monkeypatch.undo()
    toys.call(toys.operator.resync.once())
    wait(lambda: child(installation, namespace), 10, "the child is back")


def test_deleted_object_is_forgotten(installation: Installation, toys: InProcess, namespace: str, made: Obj) -> None:
    shown = f'tidemill_operator_resource_condition{{kind="ModelMonitor",name="m",namespace="{namespace}"'
    assert shown in toys.health("/metrics")[1]
    installation.kubectl("delete", "modelmonitor", "m", "-n", namespace)
    wait(lambda: shown not in toys.health("/metrics")[1], 5, "its series are gone")
    assert toys.operator.cache.get("ModelMonitor", namespace, "m") is None


def test_recreated_owner_waits_for_the_old_child(installation: Installation, namespace: str, made: Obj) -> None:
    """Without garbage collection (no controller manager here) the child of the deleted owner stays in the way."""
    installation.kubectl("delete", "modelmonitor", "m", "-n", namespace)
    obj = make(installation, namespace)
    assert conditions.get(listed(obj), "Reconciling")["reason"] == "ChildTerminating"  # type: ignore[index]
    installation.kubectl("delete", "configmap", "m-toy", "-n", namespace)
    until(installation, namespace, lambda o: kstatus(o) == "Current")


def test_probes_and_stock_metrics(toys: InProcess, made: Obj) -> None:
    assert toys.health("/healthz") == (200, "ok\n")
    assert toys.health("/readyz")[0] == 200
    text = toys.health("/metrics")[1]
    for name in (
        'controller_runtime_reconcile_total{controller="modelmonitor",result="success"}',
        'controller_runtime_reconcile_time_seconds_bucket{controller="modelmonitor"',
        'workqueue_adds_total{name="modelmonitor"}',
        'workqueue_queue_duration_seconds_bucket{le="0.005",name="modelmonitor"}',
        'rest_client_requests_total{code="200"',
        'tidemill_operator_watch_last_activity_timestamp_seconds{kind="modelmonitors"}',
    ):
        assert name in text


def writes() -> float:
    """Writing requests of this process so far."""
    samples = (sample for metric in metrics.REQUESTS.collect() for sample in metric.samples)
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels["method"] != "GET")
