"""The operator killed with SIGKILL again and again ends in the same state, with no run doubled and no request lost."""

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.demo.kubectl import Kubectl, KubectlError
from hack.demo.story import NAME, Story
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
def story(cluster: Any) -> Iterator[Story]:
    """The story in a namespace of its own."""
    story = Story(namespace="tidemill-chaos")
    make_namespace(cluster, story.namespace)
    yield story
    story.traffic.stop()
    cluster.run("delete", "namespace", story.namespace, "--wait=false")


def test_killing_the_operator_every_20_seconds_changes_nothing_but_the_time_it_takes(story: Story) -> None:
    killer = Killer()
    killer.start()
    try:
        story.apply_quickstart()
        story.first_version()
        story.start_traffic()
        totals = story.better_version()
        story.slow_version()
    finally:
        killer.stopped.set()
        killer.join()
    time.sleep(5)

    assert killer.kills >= 3
    assert totals.failed == 0
    runs = Counter(run["spec"]["trigger"]["type"] for run in story.runs())
    assert runs == {"NeverTrained": 1, "CodeChanged": 2}
    jobs = [job["metadata"]["name"] for job in story.kubectl.list("job")]
    assert len(jobs) == len(set(jobs)) == 3
    versions = [v["spec"]["number"] for v in story.kubectl.list("modelversion")]
    assert sorted(versions) == [1, 2, 3]
    deployment = story.deployment()
    assert deployment["status"]["stable"]["version"] == f"{NAME}-2"
    assert [f["version"] for f in deployment["status"]["failedVersions"]] == [f"{NAME}-3"], json.dumps(
        deployment["status"]
    )
    check_all_statuses(story.kubectl)
