"""End-to-end tests: a whole cluster, real images, kubectl as the only client.

`make e2e` brings the cluster up and loads the images; run by hand, the tests use the cluster that is there.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hack.demo.scenario import Scenario
from hack.localcluster.choice import use_cluster
from hack.localcluster.local.settings import NODE_NAME
from hack.tools.kubectl import Kubectl, condition, wait_for
from tests.support.invariants import check_status

KINDS = ("trainingpipeline", "trainingrun", "modelversion", "modelimport", "modeldeployment", "modelmonitor")
CROWDED = ("test_samples", "test_story", "test_autoscaling")
"""Modules whose pods request most of a node of two cores: never two of them at once."""


@pytest.fixture(scope="session", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """The cluster that the tests run on, with the operator installed under its shipped RBAC."""
    use_cluster()
    # Of modules that run at once the first installs, and the others wait: an installation restarts the operator.
    done = tmp_path_factory.getbasetemp().parent / "installed"
    with (tmp_path_factory.getbasetemp().parent / "installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.environ.get("PYTEST_XDIST_WORKER") is None or not done.exists():
            Scenario(namespace="tidemill-e2e").install()
            done.touch()
    return Kubectl()


@pytest.fixture(scope="module", autouse=True)
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A crowded module begins when no other is running."""
    with (tmp_path_factory.getbasetemp().parent / "crowded").open("w") as lock:
        if request.path.stem in CROWDED:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def lacking(cluster: Kubectl, sentence: str) -> NoReturn:
    """End a test that needs what the cluster does not have: a failure where the local provider should have made it."""
    if cluster.get("node", NODE_NAME) is not None:
        pytest.fail(sentence)
    pytest.skip(sentence)


def operator_log(*options: str) -> list[str]:
    """Return the lines that the operator's running pods logged; fails when there is no such pod."""
    system = Kubectl("tidemill-system")
    pods = system.list("pod", "app.kubernetes.io/name=tidemill-operator")
    running = [p for p in pods if any("running" in c["state"] for c in p["status"].get("containerStatuses") or ())]
    assert running, "there is no operator whose log could be read"
    logs = [system.logs(f"pod/{p['metadata']['name']}", "--tail=-1", *options) for p in running]
    return [line for log in logs for line in log.splitlines()]


def check_rights() -> None:
    """Fail when the operator was ever refused by RBAC: the shipped roles must be enough for all that e2e does."""
    # RBAC names the user; quotas, Pod Security and namespaces that go are other refusals.
    refused = [line for line in operator_log() if "is forbidden: User" in line]
    assert not refused, f"the operator was refused {len(refused)} times: {refused[:3]}"


@pytest.fixture
def namespace(request: pytest.FixtureRequest, cluster: Kubectl) -> Iterator[Kubectl]:
    """A namespace of the test's own, with Pod Security `restricted` enforced; its statuses are checked at the end."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:6]  # parameters may stand behind the cut
    name = f"e2e-{words[:40].strip('-')}-{digest}"
    make_namespace(cluster, name)
    yield Kubectl(name)
    check_all_statuses(Kubectl(name))
    check_rights()
    cluster.run("delete", "namespace", name, "--wait=false")


@contextmanager
def shared_namespace(cluster: Kubectl, name: str) -> Iterator[Kubectl]:
    """A namespace for the tests of a module that share what was trained there; as `namespace` otherwise."""
    make_namespace(cluster, name)
    yield Kubectl(name)
    check_all_statuses(Kubectl(name))
    check_rights()
    cluster.run("delete", "namespace", name, "--wait=false")


def make_namespace(cluster: Kubectl, name: str) -> None:
    """Create a namespace that enforces Pod Security `restricted`."""
    cluster.run("delete", "namespace", name, "--ignore-not-found", "--wait=true", timeout=120)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def check_all_statuses(kubectl: Kubectl) -> None:
    """Hold every status in a namespace against the invariants."""
    for kind in KINDS:
        for item in kubectl.list(kind):
            check_status(item)


def conditions(item: dict[str, Any] | None) -> str:
    """Return an object's conditions as one line, for messages."""
    found = ((item or {}).get("status") or {}).get("conditions") or []
    return json.dumps([{k: c.get(k) for k in ("type", "status", "reason", "message")} for c in found])


def wait_condition(kubectl: Kubectl, kind: str, name: str, ask: Any, timeout: float = 120) -> dict[str, Any]:
    """Wait until `ask(object)` is true and return the object."""

    def probe() -> dict[str, Any] | None:
        item = kubectl.get(kind, name)
        return item if item and ask(item) else None

    return wait_for(f"{kind} {name}", probe, timeout, lambda: conditions(kubectl.get(kind, name)))


def named(obj: dict[str, Any], reason: str, *words: str) -> bool:
    """Whether Ready has this reason, and its message these words."""
    ready = condition(obj, "Ready")
    return ready.get("reason") == reason and all(word in ready["message"] for word in words)


def wait_event(kubectl: Kubectl, reason: str, *words: str) -> None:
    """Wait until an event says it, whoever wrote it."""

    def probe() -> bool:
        found = [e["message"] for e in kubectl.list("event") if e["reason"] == reason]
        return any(all(word in message for word in words) for message in found)

    wait_for(f"an event {reason}", probe, 60, lambda: kubectl.run("get", "events", "--sort-by=.lastTimestamp"))


ROOT = Path(__file__).resolve().parents[2]
