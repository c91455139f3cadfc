"""A person ends or takes back a canary by annotation, and deletes a deployment in the middle of one.

The tests go on from one another: version 2 is promoted, version 3 is aborted, requested again, and then everything is
deleted while version 3 gets half of the requests. A steady stream of requests runs beside the first two.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from tests.e2e.client import Client, Stream
from tests.e2e.conftest import conditions, shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "hand"
# What is promised is read off the answers; the status by a kubectl that may take seconds to start on a busy machine.
IN_FORCE_SECONDS = 5.0
STATUS_SECONDS = 15.0
ANSWERS = 200
STEPS = [{"weight": 20}, {"weight": 50, "durationSeconds": 3600}]
CHILDREN = "deployment,service,configmap,poddisruptionbudget,horizontalpodautoscaler,replicaset,pod"


@dataclass
class World:
    """The namespace, its client, and the spec as a person wrote it."""

    kubectl: Kubectl
    client: Client
    spec: dict[str, Any]

    def deployment(self) -> dict[str, Any]:
        """Return the ModelDeployment."""
        return self.kubectl.get("modeldeployment", NAME) or {}

    def wait(self, ask: Callable[[dict[str, Any]], Any], timeout: float = 120) -> dict[str, Any]:
        """Wait until `ask(status)` is true and return the object."""
        return wait_condition(self.kubectl, "modeldeployment", NAME, lambda md: ask(md.get("status") or {}), timeout)

    def annotate(self, what: str, value: str) -> float:
        """Set an annotation, and return when it was there."""
        self.kubectl.run("annotate", "modeldeployment", NAME, f"tidemill.io/{what}={value}", "--overwrite")
        return time.monotonic()

    def train(self, regularization: float) -> None:
        """Change the code, which makes another version."""
        self.kubectl.apply(code(f"{NAME}-code", GOOD_CODE.replace("random_state", f"C={regularization}, random_state")))

    def share(self, stream: Stream, version: str, since: float) -> float:
        """Return a version's share of the first answers that came 5 s after a moment."""
        moment = since + IN_FORCE_SECONDS
        wait_for("enough answers", lambda: len(stream.since(moment)) >= ANSWERS, 60)
        return stream.since(moment)[:ANSWERS].count(version) / ANSWERS

    def only(self, stream: Stream, wanted: str, other: str, since: float) -> None:
        """Wait until one version alone answered for 2 s; that must begin within 5 s, without a failed request."""

        def quiet() -> bool:
            return time.monotonic() > max(stream.last_of(other), since) + 2 and stream.last_of(wanted) > since

        wait_for(f"answers by {wanted} alone", quiet, 30, lambda: conditions(self.deployment()))
        assert stream.last_of(other) - since <= IN_FORCE_SECONDS
        assert stream.failed() == []
        assert set(stream.since(since + IN_FORCE_SECONDS)) <= {wanted}


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Version 1 serves, under a roll-out whose first step waits for a person and whose second takes an hour."""
    with shared_namespace(cluster, "e2e-by-hand") as kubectl:
        asked = deployment(NAME, rollout={"strategy": "Canary", "steps": STEPS})
        kubectl.apply([code(f"{NAME}-code"), pipeline(NAME, triggers={"codeChange": {}}), asked])
        client = Client(kubectl).start()
        made = wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        yield World(kubectl, client, made["spec"])


def at_step(version: str, step: int) -> Callable[[dict[str, Any]], bool]:
    """Return a question: does the version get its share of this step?"""

    def ask(status: dict[str, Any]) -> bool:
        candidate = status.get("candidate") or {}
        share = (candidate.get("version"), candidate.get("step"), candidate.get("weight"))
        return share == (version, step, STEPS[step]["weight"])

    return ask


def test_promote_ends_a_step_that_waits_and_then_skips_to_the_end(world: World) -> None:
    world.train(0.5)
    with world.client.streaming(NAME, {"instances": [[5.1, 3.5, 1.4, 0.2]]}, rate=50) as stream:
        waiting = world.wait(at_step("hand-2", 0))
        assert condition(waiting, "Progressing")["reason"] == "WaitingForPromotion"
        assert "tidemill.io/promote" in condition(waiting, "Progressing")["message"]

        since = world.annotate("promote", "first")
        moved = world.wait(at_step("hand-2", 1), STATUS_SECONDS)
        assert moved["status"]["lastHandledPromote"] == "first"
        assert condition(moved, "Progressing")["reason"] == "CanaryStep"
        # 20 % before, 50 % now: 35 % is four standard deviations from both.
        assert 0.35 <= world.share(stream, "hand-2", since) <= 0.65

        since = world.annotate("promote", "second")
        world.only(stream, "hand-2", "hand-1", since)

    done = world.wait(lambda status: "candidate" not in status)
    done = wait_condition(world.kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)
    assert done["status"]["stable"]["version"] == "hand-2"
    assert done["status"]["previous"]["version"] == "hand-1"
    assert done["status"]["lastHandledPromote"] == "second"
    assert done["spec"] == world.spec


def test_abort_takes_the_candidate_back_and_says_so(world: World) -> None:
    world.train(0.25)
    with world.client.streaming(NAME, {"instances": [[5.1, 3.5, 1.4, 0.2]]}, rate=50) as stream:
        world.wait(at_step("hand-3", 0))
        wait_for("an answer by the candidate", lambda: stream.last_of("hand-3"), 30)

        since = world.annotate("abort", "looks-wrong")
        world.only(stream, "hand-2", "hand-3", since)

    md = world.wait(lambda status: status.get("lastHandledAbort") == "looks-wrong", STATUS_SECONDS)
    failed = md["status"]["failedVersions"][0]
    assert (failed["version"], failed["reason"]) == ("hand-3", "Aborted")
    assert "tidemill.io/abort=looks-wrong" in failed["message"]
    assert condition(md, "RolledBack")["reason"] == "Aborted"
    assert is_true(md, "Available")
    assert md["status"]["stable"]["version"] == "hand-2"
    assert md["spec"] == world.spec
    mark = (world.kubectl.get("modelversion", "hand-3") or {})["status"]["takenBack"][NAME]
    assert (mark["reason"], mark["message"]) == ("Aborted", failed["message"])
    back = wait_condition(world.kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)
    assert is_true(back, "RolledBack")
    assert "hand-3 was rolled back (Aborted" in condition(back, "Ready")["message"]


def test_a_deployment_deleted_during_its_canary_leaves_its_versions_and_nothing_else(world: World) -> None:
    world.annotate("retry", "once-more")
    world.wait(at_step("hand-3", 0))
    kept = [v["metadata"]["uid"] for v in world.kubectl.list("modelversion")]

    world.kubectl.run("delete", "modeldeployment", NAME, "--wait=true", timeout=30)

    def left() -> list[str]:
        selector = f"tidemill.io/deployment={NAME}"
        return world.kubectl.run("get", CHILDREN, "-l", selector, "-o", "name").split()

    wait_for("all children gone", lambda: not left(), 90, lambda: str(left()))
    assert [v["metadata"]["uid"] for v in world.kubectl.list("modelversion")] == kept
    wait_for("versions served by nobody", lambda: not served(world.kubectl), 30, lambda: str(served(world.kubectl)))
    for version in world.kubectl.list("modelversion"):
        owners = [owner["kind"] for owner in version["metadata"]["ownerReferences"]]
        assert owners == ["TrainingPipeline"]
    assert is_true(world.kubectl.get("trainingpipeline", NAME), "Ready")


def served(kubectl: Kubectl) -> list[str]:
    """Return the versions whose status names a deployment."""
    return [v["metadata"]["name"] for v in kubectl.list("modelversion") if v["status"].get("deployments")]
