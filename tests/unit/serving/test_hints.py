"""What the message of Ready adds about settings that work but will disappoint."""

from typing import Any

import pytest
from tests.unit.serving.make import snapshot, stable, version, workload
from tests.unit.serving.test_plan import settled

from tidemill.serving import plan
from tidemill.serving.hints import hint


def server(workers: int, **limits: Any) -> dict[str, Any]:
    return {"server": {"workers": workers, "resources": {"limits": limits}}}


@pytest.mark.parametrize(
    "spec",
    [
        {}, {"server": {"workers": 8}}, server(2, cpu=2), server(2, cpu="1500m"), server(1, cpu="100m"),
        server(8, memory="1Gi"), server(4, cpu="-1"), server(4, cpu="1e99999999"),
        {"server": {"workers": 8, "resources": {"requests": {"cpu": 1}}}},
    ],
)  # fmt: skip
def test_nothing_to_say(spec: dict[str, Any]) -> None:
    assert hint(snapshot(spec)) == ""


def test_more_workers_than_cpus() -> None:
    assert hint(snapshot(server(4, cpu="1500m"))) == (
        "; spec.server.workers is 4, more than the CPU limit 1500m: a number above 2 makes responses slower"
    )


def status_of(workers: int) -> dict[str, Any]:
    found = snapshot(server(workers, cpu=1), {"stable": stable(1)}, versions=(version(1),), workloads=(workload(1),))
    status = plan.plan(settled(found)).status
    assert status is not None
    return status


def test_the_message_of_ready_says_it_and_ready_stays_true() -> None:
    status = status_of(4)
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Serving")
    assert ready["message"].startswith("churn-1 is served; spec.server.workers is 4, more than the CPU limit 1")
    quiet = next(c for c in status_of(1)["conditions"] if c["type"] == "Ready")
    assert quiet["message"] == "churn-1 is served"
