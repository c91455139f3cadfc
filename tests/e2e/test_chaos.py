"""The operator killed with SIGKILL again and again ends in the same state, with no run doubled and no request lost."""

import contextlib
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.demo.scenario import NAME, Scenario
from hack.tools.kubectl import Kubectl, KubectlError, condition, wait_for
from tests.e2e.conftest import check_all_statuses, make_namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


class Killer(threading.Thread):
    """Kills the leader every 20 seconds: no warning, no grace, no chance to tidy up.

    Where the node is this machine the process gets SIGKILL; its pod is then deleted, so that the next one starts
    without the kubelet's restart back-off. Elsewhere the pod is deleted by force.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.kills = 0
        self.kubectl = Kubectl("tidemill-system")

    def run(self) -> None:
        """Kill until stopped."""
        while not self.stopped.wait(20):
            with contextlib.suppress(KubectlError):
                lease = self.kubectl.get("lease", "tidemill-operator") or {}
                leader = (lease.get("spec") or {}).get("holderIdentity")
                if leader:
                    self.kill(leader)

    def kill(self, pod: str) -> None:
        """Kill one pod's process and count it."""
        for pid in processes_of(pod):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kubectl.run("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
        self.kills += 1


def processes_of(pod: str) -> list[int]:
    """Return the operator processes of a pod on this machine, by the name that the pod's environment gives them."""
    wanted = f"TIDEMILL_POD_NAME={pod}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def scenario(cluster: Any) -> Iterator[Scenario]:
    """The scenario in a namespace of its own."""
    scenario = Scenario(namespace="tidemill-chaos")
    make_namespace(cluster, scenario.namespace)
    yield scenario
    scenario.traffic.stop()
    scenario.drifted_traffic.stop()
    cluster.run("delete", "namespace", scenario.namespace, "--wait=false")


def retrained(scenario: Scenario) -> dict[str, Any] | None:
    """Return the run that the monitor requested, once it has ended and the pipeline's status knows it."""
    run = scenario.run_of("MonitorRequested")
    status = (scenario.kubectl.get("trainingpipeline", NAME) or {}).get("status") or {}
    if run is None or "activeRun" in status or status.get("pendingTrigger"):
        return None
    return run


def test_killing_the_operator_every_20_seconds_changes_nothing_but_the_time_it_takes(scenario: Scenario) -> None:
    killer = Killer()
    killer.start()
    try:
        scenario.apply_quickstart()
        scenario.first_version()
        # A leader lives about 5 s here (20 s less the Lease's 15), shorter than the candidate's tenth of the requests
        # needs for a verdict: leaders must go on with each other's measurements.
        scenario.start_traffic()
        scenario.better_version()
        scenario.slow_version()
        scenario.drift()  # raises when a request of the drifted traffic failed
        wait_for("the end of the retrain", lambda: retrained(scenario), 240, scenario.pipeline_state)
        totals = scenario.check_traffic()
    finally:
        killer.stopped.set()
        killer.join()

    assert killer.kills >= 5
    assert totals.failed == 0
    same_end_state(scenario)
    check_all_statuses(scenario.kubectl)


def same_end_state(scenario: Scenario) -> None:
    """Assert what the loop leaves when nobody is killed: no run, Job, version or request twice."""
    runs = scenario.runs()
    triggers = Counter(run["spec"]["trigger"]["type"] for run in runs)
    asked = [action["id"] for action in (scenario.kubectl.get("modelmonitor", NAME) or {})["status"]["actions"]]
    served = [run["spec"]["trigger"]["id"] for run in runs if run["spec"]["trigger"]["type"] == "MonitorRequested"]
    assert triggers == {"NeverTrained": 1, "CodeChanged": 2, "MonitorRequested": len(served)}
    assert sorted(served) == sorted(set(asked)), "a request of the monitor was served twice, or not at all"
    labels = [job["metadata"]["labels"] for job in scenario.kubectl.list("job")]
    jobs = [found["tidemill.io/run"] for found in labels if "tidemill.io/run" in found]  # others write records
    assert sorted(jobs) == sorted(run["metadata"]["name"] for run in runs)
    assert {condition(run, "Succeeded")["reason"] for run in runs} == {"Succeeded", "Unchanged"}
    versions = [v["spec"]["number"] for v in scenario.kubectl.list("modelversion")]
    assert sorted(versions) == [1, 2, 3]
    status = scenario.deployment()["status"]
    assert status["stable"]["version"] == f"{NAME}-2"
    assert "candidate" not in status
    assert [f["version"] for f in status["failedVersions"]] == [f"{NAME}-3"], json.dumps(status)
