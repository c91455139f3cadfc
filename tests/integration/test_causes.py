"""What the cluster refuses is on the object that people look at, in the API server's own words, within 20 s.

There are no controllers and no kubelet here: the test asks the API server for the pod, as the Job controller would, and
posts what it was answered as that controller's event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.test_training_loop import Namespace, condition
from tests.support import builders_training as make
from tests.support.apiserver import connect
from tests.support.operators import InProcess, Installation, wait

from tidemill.core.conditions import format_time

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
WITHIN = 20.0
"""Seconds from the cluster's word to ours."""
SEEN_SECONDS = 2.0
"""Within which the API server's own admission has seen a quota or LimitRange, or that it is gone."""


@pytest.fixture
def cluster(installation: Installation, namespace: str, operator: InProcess) -> Namespace:
    """A namespace that all slices watch."""
    del operator
    return Namespace(installation, namespace)


def set_quota(namespace: Namespace, pods: int) -> None:
    """A quota as the controller manager would keep its status; admission reads nothing else."""
    meta = {"name": "team", "namespace": namespace.name}
    spec = {"hard": {"pods": str(pods)}}
    namespace.installation.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec})
    namespace.patch("resourcequota", "team", {"status": {**spec, "used": {"pods": "0"}}})


def limit_range(namespace: str) -> Obj:
    """No container may have more than 64 MiB; that is less than any of ours has."""
    meta = {"name": "small", "namespace": namespace}
    limits = [{"type": "Container", "max": {"memory": "64Mi"}}]
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": limits}}


def refused_pod(namespace: Namespace, job: Obj) -> str:
    """What the API server says to the Job controller."""
    pod = make.pod(job)
    pod["spec"] = job["spec"]["template"]["spec"]
    pod["metadata"] = {k: v for k, v in pod["metadata"].items() if k in ("name", "labels", "ownerReferences")}
    pod.pop("status")
    with connect(namespace.installation.kubeconfig) as api:
        answer = api.http.post(f"/api/v1/namespaces/{namespace.name}/pods", json=pod)
    assert answer.status_code == 403, answer.text
    return str(answer.json()["message"])


def post(namespace: Namespace, about: Obj, reason: str, message: str, source: str, type_: str = "Warning") -> None:
    """An event as controllers and kubelets write it."""
    now, meta = format_time(datetime.now(UTC)), about["metadata"]
    regarding = {k: meta[k] for k in ("name", "namespace", "uid")}
    body = {
        "metadata": {"name": f"{meta['name']}.{time.time_ns():x}", "namespace": namespace.name},
        "involvedObject": {"apiVersion": about["apiVersion"], "kind": about["kind"], **regarding},
        "reason": reason,
        "message": message,
        "type": type_,
        "source": {"component": source},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    with connect(namespace.installation.kubeconfig) as api:
        answer = api.http.post(f"/api/v1/namespaces/{namespace.name}/events", json=body)
    assert answer.is_success, answer.text


def within(fact: Callable[[], Any], what: str) -> Any:
    """Waits for a fact for no longer than is promised."""
    return wait(fact, WITHIN, what)


def named_on_both(namespace: Namespace, run: str, *words: str) -> None:
    """The run and its pipeline say it; both are read until they do."""

    def says() -> bool:
        found = [namespace.get("trainingrun", run), namespace.get("trainingpipeline", "churn")]
        texts = [next(c["message"] for c in o["status"]["conditions"] if c["type"] == "Ready") for o in found]
        return all(word in text for word in words for text in texts)

    within(says, f"run and pipeline say {words}")
    assert condition(namespace.get("trainingrun", run)) == ("Unknown", "CannotStart")
    assert condition(namespace.get("trainingpipeline", "churn")) == ("Unknown", "RunCannotStart")


@pytest.mark.parametrize("cause", ["quota", "LimitRange"])
def test_a_job_that_gets_no_pod_is_named_on_run_and_pipeline_and_goes_on(cluster: Namespace, cause: str) -> None:
    if cause == "quota":
        set_quota(cluster, 0)
    else:
        cluster.installation.apply(limit_range(cluster.name))
    cluster.apply(make.ConfigMap(), make.Pipeline())
    run = cluster.run_number(1)
    name = run["metadata"]["name"]
    job = cluster.get("job", name)
    time.sleep(SEEN_SECONDS)
    text = refused_pod(cluster, job)
    post(cluster, job, "FailedCreate", f"Error creating: {text}", "job-controller")
    named_on_both(cluster, name, "FailedCreate", text.partition(" is forbidden: ")[2])
    if cause == "quota":
        set_quota(cluster, 9)
    else:
        cluster.installation.kubectl("delete", "limitrange", "small", "-n", cluster.name)
    time.sleep(SEEN_SECONDS)
    post(cluster, job, "SuccessfulCreate", "Created pod", "job-controller", "Normal")
    cluster.pod(run, running={"startedAt": format_time(datetime.now(UTC))})
    cluster.ready("churn", "Unknown", "RunInProgress")


def test_a_pod_whose_volume_is_not_there_is_named_from_its_events(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    run = cluster.run_number(1)
    pod = cluster.pod(run, waiting={"reason": "ContainerCreating"})
    text = 'MountVolume.SetUp failed for volume "code" : configmap "churn-code" not found'
    post(cluster, cluster.get("pod", pod["metadata"]["name"]), "FailedMount", text, "kubelet")
    named_on_both(cluster, run["metadata"]["name"], "FailedMount", "churn-code")


def test_an_image_that_cannot_be_pulled_is_named_on_the_pipeline(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    run = cluster.run_number(1)
    cluster.pod(run, waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image"})
    named_on_both(cluster, run["metadata"]["name"], "ImagePull", "cannot be pulled")


def test_events_come_in_the_order_of_their_time_for_kubectl(cluster: Namespace) -> None:
    """Ours among those of controllers; one without the time would be the first of all."""
    cluster.apply(make.Pipeline())
    cluster.ready("churn", "False", "CodeNotFound")
    time.sleep(1.1)  # lastTimestamp has whole seconds
    cluster.apply(make.ConfigMap())
    run = cluster.run_number(1)
    post(cluster, cluster.get("job", run["metadata"]["name"]), "FailedCreate", "later", "job-controller")
    shown = cluster.installation.kubectl(
        "get", "events", "-n", cluster.name, "--sort-by=.lastTimestamp", "-o", "jsonpath={.items[*].reason}"
    ).split()
    assert shown.index("CodeNotFound") < shown.index("FailedCreate")
    (own,) = [e for e in cluster.list("events") if e["reason"] == "CodeNotFound"]
    assert own["lastTimestamp"] and own["reportingComponent"] == "tidemill.io/operator"
