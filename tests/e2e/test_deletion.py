"""Deletion of anything in mid-flight: nothing hangs, nothing is left, nobody who depends on it stops working.

One namespace with one trained and served version; each test deletes something of it, in order. What is promised is in
docs/kinds and in decisions 74 (who owns versions) and 77 (a run is tried once).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from tests.e2e.client import Client
from tests.e2e.conftest import conditions, make_namespace, operator_log, shared_namespace, wait_condition
from tests.e2e.manifests import DRIFT, code, deployment, monitor, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAME = "lasting"
HANG = "import time\n\ndef train(data, target):\n    time.sleep(3600)\n"
OWN = "trainingpipelines,trainingruns,modelimports,modelversions,modeldeployments,modelmonitors"
CHILDREN = "job,deployment,replicaset,service,configmap,poddisruptionbudget,horizontalpodautoscaler,pod"


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """A version that is served and watched; at the end the operator's log must be free of tracebacks."""
    began = datetime.now(UTC)
    with shared_namespace(cluster, "e2e-deletion") as kubectl:
        kubectl.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME), monitor(NAME, drift=DRIFT)])
        Client(kubectl).start()
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        wait_condition(kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "Ready"), 120)
        yield kubectl
    assert tracebacks(began) == []


def tracebacks(since: datetime) -> list[str]:
    """Return what the operator logged with a traceback since a moment."""
    return [line for line in operator_log(f"--since-time={since:%Y-%m-%dT%H:%M:%SZ}") if "Traceback" in line]


def delete(kubectl: Kubectl, what: str) -> None:
    """Delete something and wait until it is gone; nothing of ours has a finalizer, so that takes moments."""
    kubectl.run("delete", what, "--wait=true", timeout=30)


def gone(kubectl: Kubectl, label: str, timeout: float = 90) -> None:
    """Wait until no child with a label is left."""

    def left() -> list[str]:
        return kubectl.run("get", CHILDREN, "-l", label, "-o", "name").split()

    wait_for(f"the end of all children with {label}", lambda: not left(), timeout, lambda: str(left()))


def running(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """Wait until a pipeline's run has a pod that runs, and return the run."""

    def probe() -> dict[str, Any] | None:
        pods = kubectl.list("pod", f"tidemill.io/pipeline={name}")
        runs = runs_of(kubectl, name)
        return runs[-1] if runs and any(pod["status"].get("phase") == "Running" for pod in pods) else None

    return wait_for(f"the pod of {name}", probe, 90, lambda: conditions(kubectl.get("trainingpipeline", name)))


def runs_of(kubectl: Kubectl, name: str) -> list[dict[str, Any]]:
    """Return a pipeline's runs."""
    return [run for run in kubectl.list("trainingrun") if run["spec"]["pipeline"] == name]


def is_owned_by_deployment(version: dict[str, Any]) -> bool:
    """Tell whether a deployment keeps a version."""
    return "ModelDeployment" in [owner["kind"] for owner in version["metadata"]["ownerReferences"]]


def answers(kubectl: Kubectl) -> bool:
    """Ask for a prediction; whether it came."""
    body = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
    return Client(kubectl).post(NAME, f"/v1/models/{NAME}:predict", body).status == 200


def test_a_monitor_goes_with_its_pod_and_the_deployment_stays_as_it_is(kubectl: Kubectl) -> None:
    before = kubectl.get("modeldeployment", NAME) or {}

    delete(kubectl, f"modelmonitor/{NAME}")

    gone(kubectl, f"tidemill.io/monitor={NAME}")
    after = kubectl.get("modeldeployment", NAME) or {}
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert is_true(after, "Ready")
    assert answers(kubectl)


def test_a_run_deleted_while_its_job_runs_is_not_made_again(kubectl: Kubectl) -> None:
    kubectl.apply([code("hang-code", HANG), pipeline("hang")])
    run = running(kubectl, "hang")["metadata"]["name"]

    delete(kubectl, f"trainingrun/{run}")

    gone(kubectl, "tidemill.io/pipeline=hang")
    stalled = wait_condition(
        kubectl, "trainingpipeline", "hang", lambda tp: condition(tp, "Ready").get("reason") == "RunDeleted", 60
    )
    assert condition(stalled, "Stalled")["status"] == "True"
    assert "tidemill.io/run-requested-at" in condition(stalled, "Ready")["message"]
    assert runs_of(kubectl, "hang") == []


def test_a_pipeline_deleted_while_it_trains_takes_run_job_and_pod_along(kubectl: Kubectl) -> None:
    kubectl.run("annotate", "trainingpipeline", "hang", "tidemill.io/run-requested-at=now")
    running(kubectl, "hang")

    delete(kubectl, "trainingpipeline/hang")

    gone(kubectl, "tidemill.io/pipeline=hang")
    wait_for("the end of its runs", lambda: not runs_of(kubectl, "hang"), 30)


def test_a_pipeline_whose_version_is_served_leaves_that_version_and_its_service(kubectl: Kubectl) -> None:
    uid = wait_condition(kubectl, "modelversion", f"{NAME}-1", is_owned_by_deployment, 30)["metadata"]["uid"]

    delete(kubectl, f"trainingpipeline/{NAME}")

    wait_for("the end of its runs", lambda: not kubectl.list("trainingrun"), 60)
    version = kubectl.get("modelversion", f"{NAME}-1")
    assert version is not None
    assert version["metadata"]["uid"] == uid
    assert is_true(kubectl.get("modeldeployment", NAME), "Available")
    assert answers(kubectl)


def test_a_deployed_version_may_be_deleted_and_goes_on_being_served(kubectl: Kubectl) -> None:
    delete(kubectl, f"modelversion/{NAME}-1")
    old = {pod["metadata"]["name"] for pod in servers(kubectl)}
    kubectl.run("delete", "pod", "-l", SERVERS, "--wait=false")

    def replaced() -> bool:
        pods = {pod["metadata"]["name"] for pod in servers(kubectl) if is_ready(pod)}
        return bool(pods) and not pods & old

    wait_for("another pod of the version", replaced, 90, lambda: conditions(kubectl.get("modeldeployment", NAME)))
    md = wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Available"), 30)
    assert md["status"]["stable"]["version"] == f"{NAME}-1"
    wait_for("an answer", lambda: answers(kubectl), 30)


SERVERS = f"app.kubernetes.io/component=server,tidemill.io/deployment={NAME}"


def servers(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return the server pods that are not on their way out."""
    return [pod for pod in kubectl.list("pod", SERVERS) if "deletionTimestamp" not in pod["metadata"]]


def is_ready(pod: dict[str, Any]) -> bool:
    """Tell whether a pod is ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def test_a_namespace_deleted_in_the_middle_of_everything_goes(cluster: Kubectl, kubectl: Kubectl) -> None:
    name = "e2e-deletion-whole"
    make_namespace(cluster, name)
    doomed = Kubectl(name)
    doomed.apply([code("hang-code", HANG), pipeline("hang"), deployment("hang"), monitor("hang", drift=DRIFT)])
    running(doomed, "hang")

    cluster.run("delete", "namespace", name, "--wait=false")

    def there() -> str:
        return json.dumps((cluster.get("namespace", name) or {}).get("status"))

    wait_for("the namespace's end", lambda: cluster.get("namespace", name) is None, 120, there)
    namespaces = cluster.run("get", OWN, "-A", "-o", "jsonpath={.items[*].metadata.namespace}").split()
    assert name not in namespaces
