"""A candidate with another signature is held on a real API server, and the way back from it takes no steps."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hack.tools.kubectl import kubectl
from tests.support import pages
from tests.support.invariants import kstatus
from tests.support.operators import wait
from tests.support.servingworld import (
    ANALYSIS,
    CANARY,
    SIGNATURE,
    World,
    candidate,
    condition,
    ready,
    stable,
    writes,
)

pytestmark = pytest.mark.integration
Obj = dict[str, Any]

RENAMED: Obj = {**SIGNATURE, "inputs": [{**SIGNATURE["inputs"][0], "name": "tenure_months"}, SIGNATURE["inputs"][1]]}


def is_held(obj: Obj) -> bool:
    return ready(obj) == ("False", "SignatureChanged")


def annotate(world: World, value: str) -> None:
    world.kubectl("annotate", "modeldeployment", "churn", f"tidemill.io/promote={value}", "--overwrite")


@pytest.mark.parametrize("rollout", [CANARY, {"strategy": "Immediate"}], ids=["Canary", "Immediate"])
def test_a_renamed_column_is_held_until_the_version_is_named(world: World, rollout: Obj) -> None:
    world.version(1)
    world.deploy({"rollout": rollout})
    world.served("churn-1")
    world.version(2, signature=RENAMED)
    held = world.until(is_held, "it is held")
    assert candidate(held) == ("churn-2", -1) and stable(held) == "churn-1" and kstatus(held) == "Failed"
    assert "'tenure' is not taken any more and 'tenure_months' is required" in condition(held, "Ready")["message"]
    assert condition(held, "Available")["status"] == "True"
    wait(lambda: "SignatureChanged" in world.events(), 10, "an event says so")
    time.sleep(1)
    before = writes()
    time.sleep(3)
    assert writes() == before, "a held deployment costs no writes"
    annotate(world, "now")
    wait(lambda: "PromoteIgnored" in world.events(), 10, "a word that is not its name is refused")
    assert is_held(world.md()) and all("churn-2" not in weights for _, weights in world.cluster.weight_log)
    annotate(world, "churn-2")
    world.served("churn-2")
    if rollout is CANARY:
        seen = [w for _, w in world.cluster.weight_log]
        assert {"churn-1": 90, "churn-2": 10} in seen, "it began at the first step"


def run_the_command(world: World, message: str, folder: Path) -> None:
    """Type what the message says, as a reader would."""
    (command,) = re.findall(r"kubectl .*?promote=\S+ \+%s\)", message)
    stand = {"kubectl": f'exec {kubectl()} "$@"'}
    done = pages.run(command, folder, stand, KUBECONFIG=str(world.installation.kubeconfig))
    assert done.returncode == 0, done.stderr


def test_the_message_leads_through_a_release_that_refuses_no_request(world: World, tmp_path: Path) -> None:
    """Servers ignore what they do not know, clients send both names, the version is named, and named once more."""
    world.version(1)
    steps = [{"weight": 10, "durationSeconds": 3600}]
    world.deploy({"rollout": {"strategy": "Canary", "steps": steps}})
    world.served("churn-1")
    world.version(2, signature=RENAMED)
    held = world.until(is_held, "it is held")
    assert "First set spec.server.extraColumns to Ignore" in condition(held, "Ready")["message"]
    change = {"spec": {"server": {"extraColumns": "Ignore"}}}
    world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", json.dumps(change))
    both = "First let clients send the columns of both versions, by name: no request is refused then"
    held = world.until(lambda o: is_held(o) and both in condition(o, "Ready")["message"], "all servers are replaced")
    run_the_command(world, condition(held, "Ready")["message"], tmp_path)
    rolling = world.until(lambda o: candidate(o) == ("churn-2", 0), "it begins with the first step")
    assert rolling["status"]["candidate"]["weight"] == 10
    time.sleep(1)  # the command's value is the second
    run_the_command(world, condition(held, "Ready")["message"], tmp_path)
    world.served("churn-2")


def test_allow_lets_a_held_version_go_on(world: World) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    world.version(2, signature=RENAMED)
    world.until(is_held, "it is held")
    change = {"spec": {"rollout": {"signatureChanges": "Allow"}}}
    world.kubectl("patch", "modeldeployment", "churn", "--type=merge", "-p", json.dumps(change))
    world.served("churn-2")


def test_digests_are_compared_where_a_signature_is_too_long(world: World) -> None:
    one, two = (f"sha256:{digit * 64}" for digit in "12")
    world.version(1, signature=None, signatureDigest=one)
    world.deploy({"rollout": {"strategy": "Immediate"}})
    world.served("churn-1")
    world.version(2, signature=None, signatureDigest=one)
    world.served("churn-2")
    world.version(3, signature=None, signatureDigest=two)
    held = world.until(is_held, "another digest is held")
    assert "too many for a record" in condition(held, "Ready")["message"]


def test_the_way_back_by_number_and_by_rejection_needs_no_traffic(world: World) -> None:
    """Steps that wait for requests would never end here: nobody sends any."""
    rollout = {"strategy": "Canary", "steps": [{"weight": 10, "durationSeconds": 3600}], "analysis": ANALYSIS}
    for number in (1, 2, 3):
        world.version(number)
        world.deploy({"model": {"pipeline": "churn", "number": number}, "rollout": rollout})
        if number > 1:
            world.until(lambda o, n=number: candidate(o) == (f"churn-{n}", 0), "the canary begins")
            annotate(world, f"go-{number}")
        world.served(f"churn-{number}")
    begun = time.monotonic()
    world.deploy({"model": {"pipeline": "churn", "number": 1}, "rollout": rollout})
    obj = world.served("churn-1")
    assert time.monotonic() - begun < 10 and obj["status"]["rollbackVersions"] == []
    wait(lambda: world.cluster.weights() == {"churn-1": 100}, 5, "all requests go to churn-1")
    world.deploy({"model": {"pipeline": "churn", "number": 2}, "rollout": rollout})
    world.until(lambda o: candidate(o) == ("churn-2", 0), "forward again goes by steps")
    world.deploy({"model": {"pipeline": "churn"}, "rollout": rollout})
    world.until(lambda o: candidate(o) == ("churn-3", 0), "the newest is followed")
    annotate(world, "forward")
    world.served("churn-3")
    reject(world, "churn-3")
    obj = world.until(lambda o: stable(o) == "churn-1", "it is back at what served before")
    assert candidate(obj) in (("churn-2", 0), ("churn-2", -1), None)


def reject(world: World, name: str) -> None:
    """As the training slice writes it when a person has rejected a version."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    common = {"observedGeneration": 1, "lastTransitionTime": now}
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Recorded", "message": "recorded", **common},
        {"type": "Approved", "status": "False", "reason": "RejectedByHand", "message": "rejected by ann", **common},
    ]
    patch = json.dumps({"status": {"conditions": conditions}})
    world.kubectl("patch", "modelversion", name, "--subresource=status", "--type=merge", "-p", patch)
