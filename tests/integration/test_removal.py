"""`make uninstall` and `make demo-clean` on a real API server: what was installed goes, what others have stays.

With the controllers of Kubernetes, because namespaces and kinds are removed by them. No node: nothing runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack import install
from hack.demo.scenario import POLICIES, QUICKSTART, Scenario
from hack.localcluster import control_plane
from hack.tools.kubectl import CONTEXT, Kubectl
from tests.support.objects import make

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
ALL_KINDS = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings"
ONE_NAMESPACE = ROOT / "manifests" / "overlays" / "one-namespace"
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "tidemill-artifacts"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": {"key": "theirs"}}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "notebook"}}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER = {"name": "notebook", "image": "example.com/notebook:1", "securityContext": RESTRICTED}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "notebook"},
    "spec": {"serviceAccountName": "notebook", "containers": [CONTAINER]},
}
THEIRS = [("persistentvolumeclaim", "tidemill-artifacts"), ("secret", "store"), ("pod", "notebook")]
CRDS = {f"customresourcedefinition.apiextensions.k8s.io/{plural}.tidemill.io" for plural in install.PLURALS}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kubectl]:
    """An administrator of a cluster with controllers, by KUBECONFIG as people have it."""
    with control_plane(controllers=True) as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(path))
        yield Kubectl()


@pytest.fixture
def before(cluster: Kubectl) -> set[str]:
    """What there was before; then Tidemill is installed."""
    return installed(cluster, install.DEFAULT_OVERLAY)


def installed(cluster: Kubectl, overlay: Path) -> set[str]:
    """Install an overlay; return what there was before."""
    found = everything(cluster)
    assert not found & CRDS
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=install.render(overlay))
    cluster.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    return found


def everything(cluster: Kubectl) -> set[str]:
    """Everything that belongs to no namespace, by name."""
    return set(cluster.run("get", ALL_KINDS, "-o", "name").split())


def add(cluster: Kubectl, namespace: str, *manifests: Obj) -> None:
    """A namespace of somebody else with resources."""
    if cluster.get("namespace", namespace) is None:
        cluster.run("create", "namespace", namespace)
    Kubectl(namespace).apply(manifests)


def remove(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`make uninstall CONTEXT=tidemill` without make."""
    return run_install("remove", *arguments, context="tidemill")


def run_install(*arguments: str, context: str) -> subprocess.CompletedProcess[str]:
    """`python -m hack.install`, on the cluster of KUBECONFIG."""
    command = [sys.executable, "-m", "hack.install", *arguments]
    env = {**os.environ, CONTEXT: context}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", ["apply", "remove"])
def test_a_kubeconfig_alone_is_not_enough(cluster: Kubectl, what: str) -> None:
    """It may point at production: nothing is asked of that cluster, nothing changes in it."""
    before = everything(cluster)
    for context, sentence in (
        ("", "was not started here (its current context is tidemill). To use it, name its context: CONTEXT=name"),
        ("staging", "CONTEXT=staging: "),
    ):
        done = run_install(what, context=context)
        assert done.returncode == 1 and sentence in done.stderr, done.stderr
    assert everything(cluster) == before


def test_what_somebody_else_has_set_is_taken_over_only_when_asked(cluster: Kubectl, before: set[str]) -> None:
    system = Kubectl("tidemill-system")
    patch = '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"tidemill-operator"},"spec":{"replicas":3}}'
    theirs = ["apply", "--server-side", "--force-conflicts", "--field-manager=platform", "-f", "-"]
    system.run(*theirs, stdin=patch)

    refused = run_install("apply", context="tidemill")
    assert refused.returncode == 1 and "platform" in refused.stderr and "FORCE_CONFLICTS=1" in refused.stderr
    assert (system.get("deployment", "tidemill-operator") or {})["spec"]["replicas"] == 3

    taken = run_install("apply", "--force-conflicts", context="tidemill")
    assert taken.returncode == 0, taken.stderr
    assert "context tidemill: https://" in taken.stderr, "which cluster it is, is told back"
    assert (system.get("deployment", "tidemill-operator") or {})["spec"]["replicas"] == 2
    assert remove().returncode == 0
    assert everything(cluster) == before


def demo(cluster: Kubectl) -> Scenario:
    """The demo as it was left in the middle: its namespace with the quickstart."""
    scenario = Scenario(namespace="tidemill-demo")
    if cluster.get("namespace", scenario.namespace) is None:
        cluster.run("create", "namespace", scenario.namespace)
    for folder in (POLICIES, QUICKSTART):
        scenario.kubectl.run("apply", "-k", str(folder))
    return scenario


def test_the_demo_is_removed_with_everything_that_it_installed(cluster: Kubectl, before: set[str]) -> None:
    scenario = demo(cluster)
    assert len(install.resources()) == 3
    scenario.clean()
    assert everything(cluster) == before
    scenario.clean()  # again: nothing to do is fine
    assert everything(cluster) == before


def test_others_keep_their_resources_the_operator_and_the_kinds(
    cluster: Kubectl, before: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = demo(cluster)
    add(cluster, "team-b", make("TrainingPipeline"), make("ModelVersion"))
    theirs = Kubectl("team-b").get("trainingpipeline", "churn")
    scenario.clean()
    assert "Tidemill stays, 2 resources elsewhere use it" in capsys.readouterr().out
    assert cluster.get("namespace", scenario.namespace) is None
    assert Kubectl("team-b").get("trainingpipeline", "churn") == theirs
    assert Kubectl("tidemill-system").get("deployment", "tidemill-operator") is not None
    assert everything(cluster) >= CRDS

    Kubectl("team-b").run("delete", "trainingpipeline", "churn")
    scenario.clean()
    assert everything(cluster) >= CRDS, "a registered version alone is worth keeping"
    cluster.run("delete", "namespace", "team-b", "--wait=true")
    scenario.clean()
    assert everything(cluster) == before


def test_uninstall_refuses_to_take_resources_along_unless_it_is_told_to(cluster: Kubectl, before: set[str]) -> None:
    add(cluster, "team-b", make("TrainingPipeline"))
    installed = everything(cluster)
    refused = remove()
    assert refused.returncode == 1
    assert "1 resources in team-b would be removed" in refused.stderr
    assert "team-b/TrainingPipeline/churn" in refused.stderr
    assert "FORCE=1" in refused.stderr
    assert everything(cluster) == installed

    forced = remove("--force")
    assert forced.returncode == 0, forced.stderr
    cluster.run("delete", "namespace", "team-b", "--wait=true")
    assert everything(cluster) == before


def test_a_removal_that_was_interrupted_is_finished_by_the_next(cluster: Kubectl, before: set[str]) -> None:
    gone = ["modelversions.tidemill.io", "trainingruns.tidemill.io"]
    cluster.run("delete", "crd", "--wait=false", *gone)
    install.wait_for_kinds(gone)
    assert install.resources() == []
    done = remove()
    assert done.returncode == 0, done.stderr
    assert everything(cluster) == before
    assert remove().returncode == 0


def test_one_namespace_goes_with_all_that_was_installed(cluster: Kubectl) -> None:
    before = installed(cluster, ONE_NAMESPACE)
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "tidemill-operator"}}
    Kubectl("tidemill").apply(lease)  # the operator's own, which no manifest holds
    done = remove(str(ONE_NAMESPACE))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert everything(cluster) == before
    assert remove(str(ONE_NAMESPACE)).returncode == 0


@pytest.mark.parametrize("options", [(), ("--force",)], ids=["after its resources", "with its resources"])
def test_one_namespace_keeps_the_models_and_what_others_have_there(cluster: Kubectl, options: tuple[str, ...]) -> None:
    before = installed(cluster, ONE_NAMESPACE)
    team = Kubectl("tidemill")
    team.apply([CLAIM, SECRET, ACCOUNT, POD])
    if options:
        team.apply(make("TrainingPipeline"))
    theirs = {kind: team.get(kind, name) for kind, name in THEIRS}

    done = remove(str(ONE_NAMESPACE), *options)

    assert done.returncode == 0, done.stderr
    assert "namespace tidemill stays, because it also holds" in done.stdout
    for item in ("PersistentVolumeClaim/tidemill-artifacts", "Secret/store", "Pod/notebook"):
        assert item in done.stdout
    assert everything(cluster) == before | {"namespace/tidemill"}
    for kind, name in THEIRS:
        there = team.get(kind, name)
        assert there is not None
        assert "deletionTimestamp" not in there["metadata"]
        assert there["metadata"]["uid"] == (theirs[kind] or {})["metadata"]["uid"]
    for kind in ("deployment", "role", "rolebinding", "networkpolicy", "poddisruptionbudget", "service"):
        assert team.list(kind) == []

    cluster.run("delete", "namespace", "tidemill", "--wait=true")


def test_the_operators_own_namespace_stays_while_somebody_has_a_claim_there(
    cluster: Kubectl, before: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Kubectl("tidemill-system").apply(CLAIM)
    Scenario(namespace="tidemill-demo").clean()
    said = capsys.readouterr().out
    assert (
        "namespace tidemill-system stays, because it also holds PersistentVolumeClaim/tidemill-artifacts;"
        in " ".join(said.split())
    )
    assert everything(cluster) == before | {"namespace/tidemill-system"}
    Kubectl("tidemill-system").run("delete", "pvc", "--all")
    assert remove().returncode == 0
    assert everything(cluster) == before
