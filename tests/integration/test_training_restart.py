"""The operator goes away at bad moments: nothing is doubled, nothing is lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from tests.integration.test_training_loop import Namespace, condition, trigger
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS
from tests.support.operators import InProcess, Installation, wait

from tidemill.core.conditions import format_time

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
    cluster.finish(run, make.result(run=run))  # while nobody looks
    running = InProcess(installation).start()
    cluster.until("modelversion", "churn-1", lambda o: True, "exists")
    running.stop()
    cluster.apply(make.ConfigMap(train_py="better"))  # while nobody looks
    running = InProcess(installation).start()
    second = cluster.run_number(2)
    cluster.finish(second, make.result("e", run=second))
    cluster.until("modelversion", "churn-2", lambda o: condition(o, "Approved")[0] == "True", "approved")
    cluster.ready("churn", "True", "Trained")
    running.stop()

    assert [trigger(r) for r in cluster.list("trainingrun")] == ["NeverTrained", "CodeChanged"]
    assert sorted(v["metadata"]["name"] for v in cluster.list("modelversion")) == ["churn-1", "churn-2"]


@pytest.mark.parametrize("when", ["at once", "after the pipeline said that the run goes on"])
def test_a_job_deleted_while_the_operator_was_away_is_noticed(
    installation: Installation, cluster: Namespace, when: str
) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    running = InProcess(installation).start()
    run = cluster.run_number(1)
    name = run["metadata"]["name"]
    if when != "at once":
        cluster.pod(run, running={"startedAt": format_time(datetime.now(UTC))})
        cluster.ready("churn", "Unknown", "RunInProgress")
    running.stop()
    assert cluster.get("trainingrun", name)["status"] == DEFAULT_STATUS["TrainingRun"], "nothing was written of the Job"
    installation.kubectl("delete", "job", name, "-n", cluster.name)
    running = InProcess(installation).start()
    run = cluster.until("trainingrun", name, lambda o: condition(o, "Succeeded")[0] == "False", "failed")
    running.stop()

    assert run["status"]["failure"]["reason"] == "JobDeleted"
    wait(lambda: cluster.list("job") == [], 5, "no Job was made again")


def test_a_run_whose_job_was_never_made_gets_it(installation: Installation, cluster: Namespace) -> None:
    """As after a crash between the two writes."""
    cluster.apply(make.ConfigMap(), make.Pipeline())
    running = InProcess(installation).start()
    first = cluster.run_number(1)
    cluster.finish(first, make.result(run=first))
    cluster.ready("churn", "True", "Trained")
    running.stop()
    meta = {k: first["metadata"][k] for k in ("namespace", "labels", "annotations", "ownerReferences")}
    other = {**first["spec"], "key": "sha256:" + "e" * 64}
    installation.apply({**first, "metadata": {**meta, "name": "churn-orphan"}, "spec": other, "status": None})
    running = InProcess(installation).start()
    cluster.until("job", "churn-orphan", lambda o: True, "exists")
    running.stop()
