"""The overlay one-namespace: its operator serves its own namespace with the rights that it has there, and no other.

The operator runs as the overlay's ServiceAccount with the settings of the overlay's Deployment; the API server refuses
what its RoleBinding does not allow. The test is kubelet, Job controller and Deployment controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hack import install
from tests.integration.conftest import KINDS, refusals
from tests.integration.test_training_loop import Namespace
from tests.support import builders_training as make
from tests.support.apiserver import connect
from tests.support.invariants import check_status
from tests.support.operators import ROOT, InProcess, Installation, wait
from tests.support.servingcluster import Cluster

from tidemill.config import OperatorConfig
from tidemill.core import conditions

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
OVERLAY, NAMESPACE = "one-namespace", "tidemill"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:tidemill-operator"


def settings() -> Obj:
    """What the overlay's Deployment tells its operator, as the kubelet would fill it in."""
    documents = yaml.safe_load_all(install.render(ROOT / "manifests" / "overlays" / OVERLAY))
    (deployment,) = [d for d in documents if d["kind"] == "Deployment"]
    fields = {"metadata.namespace": deployment["metadata"]["namespace"], "metadata.name": "one-namespace-0"}
    environment = {}
    for item in deployment["spec"]["template"]["spec"]["containers"][0]["env"]:
        if item.get("valueFrom", {}).get("secretKeyRef", {}).get("optional"):
            continue  # nobody has made that Secret here, so the kubelet leaves the variable out
        source = item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        environment[item["name"]] = fields[source] if source else item["value"]
    config = OperatorConfig.from_env(environment)
    names = ("watch_namespaces", "namespace", "pod_name", "trainer_image", "server_image")
    return {name: getattr(config, name) for name in names}


@pytest.fixture(scope="module")
def operator(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """The operator of the overlay; it must never be refused."""
    own = Installation(installation.kubeconfig, tmp_path_factory.mktemp(OVERLAY), OVERLAY, NAMESPACE)
    before = refusals()
    running = InProcess(own, **settings()).start()
    yield running
    running.stop()
    assert refusals() == before, "the overlay's rights are not enough: the operator was answered 403"


@pytest.fixture
def home(installation: Installation, operator: InProcess) -> Iterator[Namespace]:
    """The operator's namespace, which is the team's as well."""
    installation.kubectl(
        "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    yield Namespace(installation, NAMESPACE)
    for obj in installation.get(KINDS, "-n", NAMESPACE)["items"]:
        check_status(obj)
    installation.kubectl("delete", KINDS, "--all", "-n", NAMESPACE, "--wait=false")


@pytest.fixture
def elsewhere(installation: Installation, namespace: str) -> Namespace:
    """A namespace of somebody else, with a pipeline that waits for another operator."""
    found = Namespace(installation, namespace)
    found.apply(make.ConfigMap(), make.Pipeline())
    return found


def ready(obj: Obj | None) -> bool:
    found = conditions.get(((obj or {}).get("status") or {}).get("conditions") or (), "Ready")
    return bool(found and found["status"] == "True")


def names(namespace: Namespace, kind: str) -> list[str]:
    return [o["metadata"]["name"] for o in namespace.list(kind)]


def test_the_settings_of_the_overlay_name_its_namespace_for_everything() -> None:
    found = settings()
    assert found["watch_namespaces"] == (NAMESPACE,)
    assert found["namespace"] == NAMESPACE


def rights(installation: Installation, account: str, namespace: str) -> list[str]:
    """What an account may do in a namespace, cluster-wide rights included."""
    asked = ("auth", "can-i", "--list", f"--as={account}", "-n", namespace, "--no-headers")
    return sorted(" ".join(line.split()) for line in installation.kubectl(*asked).splitlines())


@pytest.mark.parametrize("namespace_of_others", ["default", "tidemill-system"])
def test_elsewhere_its_account_has_the_rights_of_an_account_without_any(
    installation: Installation, operator: InProcess, namespace_of_others: str
) -> None:
    nobody = rights(installation, "system:serviceaccount:default:nobody", namespace_of_others)
    assert rights(installation, ACCOUNT, namespace_of_others) == nobody
    assert len(rights(installation, ACCOUNT, NAMESPACE)) > len(nobody) + 10


def test_the_loop_runs_in_its_namespace_and_leaves_the_others_alone(
    installation: Installation, home: Namespace, elsewhere: Namespace
) -> None:
    theirs = elsewhere.get("trainingpipeline", "churn")
    home.apply(make.ConfigMap(), make.Pipeline().gates({"metric": "roc_auc", "min": 0.9}))
    run = home.train()
    version = home.until("modelversion", "churn-1", lambda o: ready(o), "recorded")
    assert version["spec"]["lineage"]["run"] == run["metadata"]["name"]
    home.ready("churn", "True", "Trained")

    with connect(installation.kubeconfig) as api, Cluster(api.http, NAMESPACE):
        home.apply(make.Deployment("churn").spec(model={"pipeline": "churn"}))
        spec = {"deployment": "churn", "drift": {"features": {"test": "PSI", "threshold": 0.2}}}
        home.apply(make.Monitor("churn").spec(**spec))
        served = home.until("modeldeployment", "churn", lambda o: ready(o), "is Ready")
        assert served["status"]["stable"]["version"] == "churn-1"
        assert served["status"]["url"] == f"http://churn.{NAMESPACE}.svc"
        wait(lambda: "churn-monitor" in names(home, "deployment"), 20, "the monitor's Deployment exists")
        policies = installation.get("networkpolicy", "-n", NAMESPACE)["items"]
        assert {p["metadata"]["name"] for p in policies} >= {"tidemill-operator", "tidemill-router", "tidemill-server"}

    lease = installation.get("lease", "tidemill-operator", "-n", NAMESPACE)
    assert lease["spec"]["holderIdentity"]
    assert elsewhere.get("trainingpipeline", "churn") == theirs, "somebody else's pipeline was touched"
    for kind in ("trainingrun", "job", "modelversion", "persistentvolumeclaim", "events.events.k8s.io"):
        assert elsewhere.list(kind) == []
    assert len(home.list("trainingrun")) == 1
