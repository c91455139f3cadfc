"""A column is renamed in data and model while clients still send the old name: no request fails, and a person decides.

The tests go on from one another: version 2 is held under a stream of requests, promoted by name once clients have
changed, and left again for version 1, which answers within seconds and without a step.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from tests.e2e.client import Client
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "months"
OLD = {"instances": [{"tenure": 12.0, "age": 40.0}]}
NEW = {"instances": [{"tenure_months": 12.0, "age": 40.0}]}
BACK_SECONDS = 20.0
"""From the change of the spec to the first answer of the version before, whose pods are still there."""


def data(tenure: str) -> dict[str, Any]:
    rows = [f"{n % 60}.5,{20 + n % 50}.5,{int(n % 60 < 20)}" for n in range(240)]
    return table(f"{NAME}-data", [f"{tenure},age,churned", *rows])


@dataclass
class World:
    """The namespace and its client."""

    kubectl: Kubectl
    client: Client

    def wait(self, ask: Any, timeout: float = 120) -> dict[str, Any]:
        """Wait until `ask(deployment)` is true."""
        return wait_condition(self.kubectl, "modeldeployment", NAME, ask, timeout)

    def promote(self, value: str) -> None:
        """Set the annotation."""
        self.kubectl.run("annotate", "modeldeployment", NAME, f"tidemill.io/promote={value}", "--overwrite")

    def ask(self, body: Any) -> tuple[int, str | None]:
        """Return status and version of one answer."""
        reply = self.client.post(NAME, f"/v1/models/{NAME}:predict", body)
        return reply.status, reply.headers.get("x-tidemill-version")


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Version 1 takes `tenure`; the only step of a rollout waits for a person."""
    with shared_namespace(cluster, "e2e-signature") as kubectl:
        source = [{"name": "rows", "uri": f"configmap://{NAME}-data/d.csv"}]
        trained = pipeline(NAME, data=source, target="churned", triggers={"codeChange": {}})
        rollout = {"strategy": "Canary", "steps": [{"weight": 20}]}
        kubectl.apply([data("tenure"), code(f"{NAME}-code"), trained, deployment(NAME, rollout=rollout)])
        client = Client(kubectl).start()
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        yield World(kubectl, client)


def test_a_renamed_column_is_held_and_no_request_fails(world: World) -> None:
    with world.client.streaming(NAME, OLD, rate=50) as stream:
        world.kubectl.apply(data("tenure_months"))
        world.kubectl.apply(code(f"{NAME}-code", GOOD_CODE.replace("random_state", "C=0.5, random_state")))
        held = world.wait(lambda md: (condition(md, "Ready") or {}).get("reason") == "SignatureChanged", 180)
        message = condition(held, "Ready")["message"]
        assert "'tenure' is not taken any more and 'tenure_months' is required" in message
        assert f"tidemill.io/promote={NAME}-2" in message
        assert is_true(held, "Stalled") and is_true(held, "Available")
        candidate = held["status"]["candidate"]
        assert (candidate["version"], candidate["step"], candidate["weight"]) == (f"{NAME}-2", -1, 0)
        world.promote("go-on")
        time.sleep(5)
        seen = len(stream.answers)
        wait_for("more answers", lambda: len(stream.answers) > seen + 100, 30)
    assert stream.failed() == []
    assert stream.last_of(f"{NAME}-2") == 0.0, "not one request reached the version that refuses it"
    assert world.ask(OLD) == (200, f"{NAME}-1")


def test_its_name_releases_it_to_the_first_step(world: World) -> None:
    world.promote(f"{NAME}-2")
    rolling = world.wait(lambda md: (md["status"].get("candidate") or {}).get("step") == 0)
    assert rolling["status"]["candidate"]["weight"] == 20
    assert condition(rolling, "Progressing")["reason"] == "WaitingForPromotion"
    assert rolling["status"]["stable"]["version"] == f"{NAME}-1"
    world.promote("clients-have-changed")
    world.wait(lambda md: md["status"]["stable"]["version"] == f"{NAME}-2" and is_true(md, "Ready"))
    wait_for("answers of version 2", lambda: world.ask(NEW) == (200, f"{NAME}-2"), 30)
    assert world.ask(OLD)[0] == 400


def test_the_way_back_takes_seconds_and_no_step(world: World) -> None:
    patch = json.dumps({"spec": {"model": {"pipeline": NAME, "number": 1}}})
    since = time.monotonic()
    world.kubectl.run("patch", "modeldeployment", NAME, "--type=merge", "-p", patch)
    wait_for("an answer of version 1", lambda: world.ask(OLD) == (200, f"{NAME}-1"), 60)
    assert time.monotonic() - since <= BACK_SECONDS
    back = world.wait(lambda md: md["status"]["stable"]["version"] == f"{NAME}-1" and is_true(md, "Ready"), 60)
    assert "candidate" not in back["status"] and "failedVersions" not in back["status"]
    assert back["status"].get("rollbackVersions", []) == []
