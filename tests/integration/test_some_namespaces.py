"""The overlay `namespaces`: two of three namespaces are served, the third is not touched and cannot be read.

It has an API server of its own: in the shared one the same account is bound to the whole cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack import install
from hack.localcluster import control_plane
from tests.integration.test_training_loop import Namespace
from tests.support import builders_training as make
from tests.support.operators import NAMESPACE, ROOT, InProcess, Installation, wait

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
SERVED = ("team-a", "team-b")
OTHER = "team-c"
OVERLAY = ROOT / "manifests" / "overlays" / "namespaces"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:tidemill-operator"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A control plane with the overlay's manifests for two namespaces."""
    with control_plane() as kubeconfig:
        folder = tmp_path_factory.mktemp("namespaces")
        for name in (*SERVED, OTHER):
            Installation.kubectl(_Admin(kubeconfig), "create", "namespace", name)  # type: ignore[arg-type]
        yield Installation(kubeconfig, folder, "namespaces", served=SERVED)


class _Admin:
    """What `Installation.kubectl` needs before there is an installation."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig


@pytest.fixture(scope="module")
def operator(cluster: Installation) -> Iterator[InProcess]:
    """As the overlay's Deployment starts it."""
    running = InProcess(cluster, watch_namespaces=SERVED, namespace=NAMESPACE).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def namespaces(cluster: Installation) -> dict[str, Namespace]:
    return {name: Namespace(cluster, name) for name in (*SERVED, OTHER)}


def may(cluster: Installation, verb: str, resource: str, *where: str) -> bool:
    answer = cluster.kubectl("auth", "can-i", verb, resource, f"--as={ACCOUNT}", *where, check=False)
    return answer.strip().endswith("yes")


def observed(namespace: Namespace, name: str) -> bool:
    return bool(namespace.get("trainingpipeline", name)["status"]["observedGeneration"] > 0)


def test_it_has_rights_in_its_namespaces_and_reads_nothing_elsewhere(cluster: Installation) -> None:
    for resource in ("trainingpipelines.tidemill.io", "pods", "configmaps", "services"):
        for namespace in SERVED:
            assert may(cluster, "list", resource, "-n", namespace)
        assert not may(cluster, "list", resource, "-n", OTHER)
        assert not may(cluster, "list", resource, "--all-namespaces")
    assert not may(cluster, "get", "secrets", "-n", SERVED[0])
    assert may(cluster, "update", "leases.coordination.k8s.io/tidemill-operator", "-n", NAMESPACE)


def test_two_of_three_are_served_and_the_third_is_not_touched(
    operator: InProcess, namespaces: dict[str, Namespace]
) -> None:
    for found in namespaces.values():
        found.apply(make.ConfigMap(), make.Pipeline())
    before = namespaces[OTHER].get("trainingpipeline", "churn")
    for name in SERVED:
        wait(lambda name=name: namespaces[name].list("job"), 30, f"the run of {name} has a Job")
    assert namespaces[OTHER].get("trainingpipeline", "churn") == before
    for kind in ("trainingrun", "job", "persistentvolumeclaim", "events.events.k8s.io"):
        assert namespaces[OTHER].list(kind) == []
    assert operator.operator.cache.get("TrainingPipeline", OTHER, "churn") is None
    assert operator.ended is None


def test_a_namespace_that_is_taken_away_holds_up_no_other_and_comes_back(
    cluster: Installation, operator: InProcess, namespaces: dict[str, Namespace]
) -> None:
    gone, kept = SERVED
    cluster.kubectl("delete", "rolebinding", "tidemill-operator", "-n", gone)
    wait(lambda: not may(cluster, "list", "pods", "-n", gone), 20, "the right is gone")
    operator.call(operator.operator.resync.once())
    namespaces[kept].apply(make.Pipeline("second"))
    wait(lambda: observed(namespaces[kept], "second"), 30, "the other namespace is served")
    assert operator.ended is None and operator.health()[0] == 200
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=install.render(OVERLAY, SERVED))
    namespaces[gone].apply(make.Pipeline("third"))
    wait(lambda: may(cluster, "list", "pods", "-n", gone), 20, "the right is back")
    operator.call(operator.operator.resync.once())
    wait(lambda: observed(namespaces[gone], "third"), 30, "it is served again")


def test_a_shorter_list_takes_rights_away(cluster: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    install.apply(OVERLAY, SERVED[1:])
    listed = json.loads(cluster.kubectl("get", "rolebinding", "-A", "-o", "json"))["items"]
    bound = {b["metadata"]["namespace"] for b in listed if b["roleRef"]["name"] == "tidemill-operator"}
    assert bound == set(SERVED[1:])
    assert not may(cluster, "list", "pods", "-n", SERVED[0])
