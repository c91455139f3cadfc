"""One reader of causes: what Kubernetes says of a pod is the same of a run, a server, a router and a monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.core.causes import CONFIG_MAP, LIMIT_RANGE, PODS, QUOTA, pod_of
from tests.unit.serving.make import snapshot, version

from tidemill.core import podfailure
from tidemill.core.podfailure import ObjectEvent, PodFailure
from tidemill.monitoring import observe as monitoring
from tidemill.serving import observe as serving
from tidemill.serving.builders import server
from tidemill.training import job_status
from tidemill_contracts.failures import BY_REASON
from tidemill_contracts.training import CONTAINER

OPERATOR = Path(__file__).resolve().parents[2] / "operator/tidemill"
Obj = dict[str, Any]
READERS = {"podfailure.py", "job_status.py", "pod_answers.py"}
"""Modules that read containers' statuses: causes; how Jobs' pods ended and what they reported; which start answers."""


def deployment(*conditions: Obj) -> Obj:
    made = server.deployment(snapshot(), version(1))
    return {**made, "status": {"conditions": list(conditions)}}


@pytest.mark.parametrize("reason", PODS)
def test_a_pod_is_read_alike_by_all_slices(reason: str) -> None:
    workload = serving.workload(deployment(), [pod_of(serving.SERVER_CONTAINER, reason)], [])
    router = serving.router_workload(deployment(), [pod_of(serving.ROUTER_CONTAINER, reason)])
    monitor = monitoring.failure(pod_of(monitoring.CONTAINER, reason))
    assert workload is not None and router is not None
    assert workload.failure is not None
    assert workload.failure.reason == reason
    assert workload.failure == router.failure == monitor
    run = job_status.start_failure(pod_of(CONTAINER, reason))
    row = BY_REASON[reason]
    assert (run.category, run.reason) if run else (None, reason) == (row.category, row.run_reason or reason)
    if run is not None and row.category != "ImagePull":
        assert run.message == workload.failure.message


@pytest.mark.parametrize("text", [QUOTA, LIMIT_RANGE])
def test_a_pod_that_cannot_be_made_is_read_alike_by_all_slices(text: str) -> None:
    says = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": text}
    workload, router = serving.workload(deployment(says), [], []), serving.router_workload(deployment(says), [])
    event = podfailure.reported([ObjectEvent(1, True, "FailedCreate", text)])
    assert event is not None and workload is not None and router is not None
    assert workload.failure == router.failure == monitoring.failure(None, deployment(says)) == event
    run = job_status.categorised(event)
    assert run is not None
    assert (run.category, run.reason, run.message) == ("Infrastructure", "FailedCreate", event.message)


def test_events_count_where_the_pod_says_nothing_and_only_there() -> None:
    event = PodFailure("FailedMount", CONFIG_MAP)
    silent = {"metadata": {"name": "p"}, "status": {"phase": "Pending"}}
    for container in (serving.SERVER_CONTAINER, serving.ROUTER_CONTAINER, monitoring.CONTAINER, CONTAINER):
        assert podfailure.is_silent(silent, container)
        for reason in PODS:
            assert not podfailure.is_silent(pod_of(container, reason), container)
    workload = serving.workload(deployment(), [], [], event)
    router = serving.router_workload(deployment(), [silent], event)
    assert workload is not None and router is not None
    assert workload.failure == router.failure == monitoring.failure(silent, None, event) == event
    own = pod_of(serving.SERVER_CONTAINER, "ImagePullBackOff")
    said = serving.workload(deployment(), [own], [], event)
    assert said is not None and said.failure is not None
    assert said.failure.reason == "ImagePullBackOff", "the pod's own word comes first"


def test_nobody_else_reads_the_states_of_containers() -> None:
    found = {p.name for p in OPERATOR.rglob("*.py") if '"containerStatuses"' in p.read_text()}
    assert found == READERS
