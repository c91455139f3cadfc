"""The operator goes away at bad moments: nothing is doubled, nothing is lost."""

from __future__ import annotations

import time

import pytest
from tests.integration.test_training_loop import Namespace, condition, trigger
from tests.support import builders_training as make
from tests.support.operators import InProcess, Installation, wait

pytestmark = pytest.mark.integration


@pytest.fixture
def cluster(installation: Installation, namespace: str) -> Namespace:
    """The test's namespace."""
    return Namespace(installation, namespace)


def test_restarts_between_all_steps_double_nothing(installation: Installation, cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().triggers(codeChange={}))
    running = InProcess(installation).start()
    run = cluster.run_number(1)
    running.stop()
    running = InProcess(installation).start()
    time.sleep(1)
    running.stop()
    cluster.finish(run, make.result())  # while nobody looks
    running = InProcess(installation).start()
    cluster.until("modelversion", "churn-1", lambda o: True, "exists")
    running.stop()
    cluster.apply(make.ConfigMap(train_py="better"))  # while nobody looks
    running = InProcess(installation).start()
    second = cluster.run_number(2)
    cluster.finish(second, make.result("e"))
    cluster.until("modelversion", "churn-2", lambda o: condition(o, "Approved")[0] == "True", "approved")
    cluster.ready("churn", "True", "Trained")
    running.stop()

    assert [trigger(r) for r in cluster.list("trainingrun")] == ["NeverTrained", "CodeChanged"]
    assert sorted(v["metadata"]["name"] for v in cluster.list("modelversion")) == ["churn-1", "churn-2"]


def test_a_job_deleted_while_the_operator_was_away_is_noticed(installation: Installation, cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    running = InProcess(installation).start()
    run = cluster.run_number(1)
    cluster.pod(run, running={"startedAt": "2026-11-23T08:00:00Z"})
    name = run["metadata"]["name"]
    cluster.until("trainingrun", name, lambda o: condition(o, "Reconciling") == ("True", "Running"), "Running")
    running.stop()
    installation.kubectl("delete", "job", name, "-n", cluster.name)
    running = InProcess(installation).start()
    run = cluster.until("trainingrun", name, lambda o: condition(o, "Succeeded")[0] == "False", "failed")
    running.stop()

    assert run["status"]["failure"]["reason"] == "JobDeleted"
    wait(lambda: cluster.list("job") == [], 5, "no Job was made again")
