"""Two replicas: one works, the other takes over; a kill at any moment loses and doubles nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.operators import NAMESPACE, Installation, Process, wait

pytestmark = pytest.mark.integration
Obj = dict[str, Any]
CODE = "def train(data, target):\n    raise RuntimeError('never run here')\n"


@pytest.fixture
def replicas(installation: Installation) -> Iterator[list[Process]]:
    """Two operator processes."""
    found = [Process(installation, f"replica-{n}", 18170 + n) for n in range(2)]
    yield found
    for process in found:
        process.end(signal.SIGKILL)
    installation.kubectl("delete", "lease", "tidemill-operator", "-n", NAMESPACE, "--ignore-not-found")


def leader(replicas: list[Process]) -> Process | None:
    found = [r for r in replicas if r.process.poll() is None and r.leads()]
    assert len(found) <= 1, "two leaders at once"
    return found[0] if found else None


def apply_pipeline(installation: Installation, namespace: str, name: str) -> None:
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code", "namespace": namespace}}
    spec = {
        "data": [{"name": "iris", "uri": "builtin://iris"}],
        "target": "target",
        "code": {"configMap": {"name": "code"}, "entrypoint": "train:train"},
    }
    meta = {"name": name, "namespace": namespace}
    pipeline = {"apiVersion": "tidemill.io/v1alpha1", "kind": "TrainingPipeline", "metadata": meta, "spec": spec}
    installation.apply({**code, "data": {"train.py": CODE}}, pipeline)


def jobs(installation: Installation, namespace: str, pipeline: str) -> list[Obj]:
    found: list[Obj] = installation.get("jobs", "-n", namespace, "-l", f"tidemill.io/pipeline={pipeline}")["items"]
    return found


def test_failover(installation: Installation, namespace: str, replicas: list[Process]) -> None:
    first = wait(lambda: leader(replicas), 40, "one leads")
    other = next(r for r in replicas if r is not first)
    apply_pipeline(installation, namespace, "before")
    wait(lambda: jobs(installation, namespace, "before"), 20, "the leader works")

    first.end(signal.SIGKILL)
    killed = time.monotonic()
    apply_pipeline(installation, namespace, "after")
    wait(lambda: jobs(installation, namespace, "after"), 30, "the other replica works")
    assert time.monotonic() - killed <= 20
    assert other.leads()
    runs = installation.get("trainingruns", "-n", namespace)["items"]
    assert sorted(r["spec"]["pipeline"] for r in runs) == ["after", "before"], "no run is lost or doubled"
    lease = installation.get("lease", "tidemill-operator", "-n", NAMESPACE)["spec"]
    assert lease["holderIdentity"] == other.name


def test_clean_stop_hands_over_at_once(installation: Installation, namespace: str, replicas: list[Process]) -> None:
    first = wait(lambda: leader(replicas), 40, "one leads")
    other = next(r for r in replicas if r is not first)
    asked = time.monotonic()
    assert first.end(signal.SIGTERM) == 0
    wait(other.leads, 15, "the other leads")
    assert time.monotonic() - asked < 12, "faster than the 15 s that an unreleased Lease takes"
    apply_pipeline(installation, namespace, "next")
    wait(lambda: jobs(installation, namespace, "next"), 20, "the other replica works")


def test_stolen_lease_ends_the_leader(installation: Installation, replicas: list[Process]) -> None:
    first = wait(lambda: leader(replicas), 40, "one leads")
    for _ in range(20):  # the holder renews meanwhile: take it in one request
        patch = '{"spec":{"holderIdentity":"somebody-else","leaseDurationSeconds":3600}}'
        installation.kubectl("patch", "lease", "tidemill-operator", "-n", NAMESPACE, "--type=merge", "-p", patch)
        if first.process.poll() is not None:
            break
        time.sleep(1)
    assert first.process.wait(20) == 1
    assert "another replica holds the Lease" in first.log.read_text()
