"""The demo's scenario, with a look at the cluster after every step.

One test a step, in order; a step that fails makes the later ones fail at their first look. From the first rollout to
the end of the retrain the operator's leader is killed with SIGKILL every 20 seconds: the state in the end is the same,
no run is doubled and no request lost. A leader lives about 5 s here (20 s less the Lease's 15), shorter than the
candidate's tenth of the requests needs for a verdict: leaders must go on with each other's measurements.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hack.demo.scenario import NAME, Scenario
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from tests.e2e.conftest import check_all_statuses, check_rights, make_namespace, wait_condition
from tests.e2e.killer import Killer
from tests.e2e.manifests import pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def scenario(cluster: Any) -> Iterator[Scenario]:
    """The scenario in a namespace of its own."""
    scenario = Scenario(namespace="tidemill-e2e")
    make_namespace(cluster, scenario.namespace)
    yield scenario
    scenario.traffic.stop()
    scenario.drifted_traffic.stop()
    cluster.run("delete", "namespace", scenario.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def killer(scenario: Scenario) -> Iterator[Killer]:
    """Kills the leader until it is stopped."""
    check_rights()  # so far: the logs of those that are killed are gone
    killer = Killer()
    killer.start()
    yield killer
    killer.stop()


@pytest.fixture(autouse=True)
def statuses(scenario: Scenario) -> Iterator[None]:
    """Every status holds the invariants after every step."""
    yield
    check_all_statuses(scenario.kubectl)


def test_a_first_version_is_trained_judged_registered_and_served(scenario: Scenario) -> None:
    scenario.apply_quickstart()
    run = scenario.first_version()

    result, version = run["status"]["result"], scenario.kubectl.get("modelversion", run["status"]["version"])
    assert version is not None
    assert run["spec"]["trigger"]["type"] == "NeverTrained"
    assert version["spec"]["number"] == 1
    assert version["spec"]["digest"] == result["digest"]
    assert version["spec"]["lineage"]["code"] == run["spec"]["code"]["digest"]
    assert version["spec"]["lineage"]["data"] == result["data"]
    assert is_true(version, "Approved")
    assert all(gate["passed"] for gate in run["status"]["gates"])
    pods = scenario.kubectl.list("pod")
    assert pods
    assert all(p["spec"].get("automountServiceAccountToken") is False for p in pods), "a pod has a Kubernetes token"


def test_it_answers_a_prediction_with_version_1(scenario: Scenario) -> None:
    reply = scenario.predict()

    assert reply["model_name"] == NAME
    assert reply["model_version"] == "1"
    assert reply["outputs"][0]["shape"][0] == 1


def test_better_code_is_rolled_out_step_by_step_without_a_failed_request(scenario: Scenario, killer: Killer) -> None:
    scenario.start_traffic()
    totals = scenario.better_version()

    assert scenario.weights == [10, 50, 100]
    assert totals.failed == 0
    assert totals.versions.get("1", 0) > 0
    assert totals.versions.get("2", 0) > 0
    assert scenario.deployment()["status"]["previous"]["version"] == f"{NAME}-1"


def test_a_slow_version_passes_its_gates_and_is_rolled_back(scenario: Scenario, killer: Killer) -> None:
    spec = scenario.deployment()["spec"]
    totals = scenario.slow_version()

    deployment = scenario.deployment()
    failed = deployment["status"]["failedVersions"]
    assert totals.failed == 0
    assert [f["version"] for f in failed] == [f"{NAME}-3"]
    assert "Latency" in failed[0]["message"]
    assert deployment["status"]["stable"]["version"] == f"{NAME}-2"
    assert deployment["spec"] == spec, "the operator wrote into spec"
    assert is_true(deployment, "Available")
    events = [e["reason"] for e in scenario.kubectl.list("events.events.k8s.io") if e["regarding"]["name"] == NAME]
    assert "RolledBack" in events
    back = wait_condition(scenario.kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)
    assert is_true(back, "RolledBack")
    assert is_true(scenario.kubectl.get("modelversion", f"{NAME}-3") or {}, "TakenBack")


def test_drifted_traffic_is_named_and_the_retrain_waits_for_new_rows(scenario: Scenario, killer: Killer) -> None:
    runs = len(scenario.runs())
    held = scenario.drift()  # raises when a request of the drifted traffic failed

    assert held["reason"] == "DataUnchanged"
    assert len(scenario.runs()) == runs, "a run on unchanged data started"
    assert is_true(scenario.kubectl.get("trainingpipeline", NAME) or {}, "Ready")


def test_new_rows_start_the_retrain_and_its_model_wins(scenario: Scenario, killer: Killer) -> None:
    run = scenario.new_rows()

    assert scenario.weights == [10, 50, 100]
    result = run["status"]["result"]
    assert result["metrics"]["accuracy"] > result["championMetrics"]["accuracy"] + 0.03
    assert scenario.stable() == run["status"]["version"] == f"{NAME}-4"
    monitor = wait_condition(scenario.kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "DataArriving"), 60)
    (action,) = [a for a in monitor["status"]["actions"] if a["id"] == run["spec"]["trigger"]["id"]]
    assert (action["type"], action["cause"], action["target"]) == ("Retrain", "Drift", NAME)
    assert run["spec"]["trigger"]["type"] == "MonitorRequested"
    assert run["spec"]["trigger"]["monitor"] == NAME


def retrained(scenario: Scenario) -> dict[str, Any] | None:
    """Return the run that the monitor requested, once it has ended and the pipeline's status knows it."""
    run = scenario.run_of("MonitorRequested")
    status = (scenario.kubectl.get("trainingpipeline", NAME) or {}).get("status") or {}
    if run is None or "activeRun" in status or status.get("pendingTrigger"):
        return None
    return run


def test_killing_the_operator_every_20_seconds_changed_nothing_but_the_time_it_took(
    scenario: Scenario, killer: Killer
) -> None:
    """The loop leaves what it leaves when nobody is killed: no run, Job, version or request twice."""
    wait_for("the end of the retrain", lambda: retrained(scenario), 240, scenario.pipeline_state)
    assert scenario.check_traffic().failed == 0
    killer.stop()
    assert killer.kills >= 5

    runs = scenario.runs()
    triggers = Counter(run["spec"]["trigger"]["type"] for run in runs)
    asked = [action["id"] for action in (scenario.kubectl.get("modelmonitor", NAME) or {})["status"]["actions"]]
    served = [run["spec"]["trigger"]["id"] for run in runs if run["spec"]["trigger"]["type"] == "MonitorRequested"]
    assert triggers == {"NeverTrained": 1, "CodeChanged": 2, "MonitorRequested": len(served)}
    assert len(served) == len(set(served)), "a request of the monitor was served twice"
    assert set(served) <= set(asked)
    assert asked[0] in served, "a request of the monitor was lost"
    labels = [job["metadata"]["labels"] for job in scenario.kubectl.list("job")]
    jobs = [found["tidemill.io/run"] for found in labels if "tidemill.io/run" in found]  # others write records
    assert sorted(jobs) == sorted(run["metadata"]["name"] for run in runs)
    assert {condition(run, "Succeeded")["reason"] for run in runs} == {"Succeeded"}
    versions = [v["spec"]["number"] for v in scenario.kubectl.list("modelversion")]
    assert sorted(versions) == [1, 2, 3, 4]
    status = scenario.deployment()["status"]
    assert status["stable"]["version"] == f"{NAME}-4"
    assert "candidate" not in status
    assert [f["version"] for f in status["failedVersions"]] == [f"{NAME}-3"], json.dumps(status)
    check_rights()


def test_the_operator_left_no_mark_on_what_the_user_wrote(scenario: Scenario) -> None:
    for kind in ("trainingpipeline", "modeldeployment", "modelmonitor"):
        metadata = (scenario.kubectl.get(kind, NAME) or {})["metadata"]
        assert "finalizers" not in metadata
        assert set(metadata.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}


def test_the_views_of_kubectl_say_what_happened(scenario: Scenario) -> None:
    text = scenario.kubectl.run("get", "tidemill")

    for word in ("MonitorRequested", "CodeChanged", "NeverTrained", f"{NAME}-4", f"http://{NAME}."):
        assert word in text


def test_the_demo_is_removed_and_what_others_have_stays(scenario: Scenario, namespace: Kubectl) -> None:
    namespace.apply(pipeline("theirs", suspend=True))

    scenario.clean()

    cluster = Kubectl()
    assert cluster.get("namespace", scenario.namespace) is None
    assert namespace.get("trainingpipeline", "theirs") is not None
    assert cluster.get("crd", "modelmonitors.tidemill.io") is not None
    assert Kubectl("tidemill-system").get("deployment", "tidemill-operator") is not None
