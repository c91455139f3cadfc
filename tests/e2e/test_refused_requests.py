"""A column is renamed in the data, the clients stay as they are: no check in the spec, and the version goes back.

`signatureChanges: Allow` lets it get requests at all; without that it is held before its first one.
"""

from collections.abc import Iterator

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true
from tests.e2e.client import Client
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import code, deployment, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAME = "renamed"
ROWS = [f"{age},{income},{int(age + income / 2000 > 60)}" for age in range(20, 60) for income in (9000, 40000)]
ROLLOUT = {
    "strategy": "Canary",
    "steps": [{"weight": 20, "durationSeconds": 90}],
    "signatureChanges": "Allow",
    # Half of this is the pause before the second attempt.
    "progressDeadlineSeconds": 30,
    "analysis": {"intervalSeconds": 5},
}


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """Version 1 serves a model of the columns age and income."""
    with shared_namespace(cluster, "e2e-refused-requests") as kubectl:
        kubectl.apply([table("rows", ["age,income,target", *ROWS]), table("later", ["age,salary,target", *ROWS])])
        kubectl.apply([code(f"{NAME}-code"), trained_on("rows"), deployment(NAME, rollout=ROLLOUT)])
        wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
        yield kubectl


def trained_on(config_map: str) -> dict[str, object]:
    """The pipeline with the rows of one ConfigMap; another one is a changed spec, so it trains again."""
    return pipeline(NAME, data=[{"name": "rows", "uri": f"configmap://{config_map}/d.csv"}])


def test_a_version_that_todays_clients_cannot_use_is_stopped_twice_and_remembered(kubectl: Kubectl) -> None:
    client = Client(kubectl).start()
    with client.streaming(NAME, {"instances": [{"age": 31, "income": 9000}]}, rate=50) as stream:
        kubectl.apply(trained_on("later"))
        again = wait_condition(kubectl, "modeldeployment", NAME, second_attempt, 240)
        assert "ClientErrorRatio is more than 2 ×" in again["status"]["candidate"]["attemptReason"]
        assert "failedVersions" not in again["status"]

        back = wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "RolledBack"), 120)
        (failed,) = back["status"]["failedVersions"]
        assert (failed["version"], failed["reason"]) == (f"{NAME}-2", "AnalysisFailed")
        assert failed["message"].count("ClientErrorRatio is more than 2 ×") == 2
        assert back["status"]["stable"]["version"] == f"{NAME}-1"

    refused = [at for at, status, _, _ in stream.answers if status != 200]
    assert refused, "the candidate had its share of requests"
    assert {status for _, status, _, _ in stream.answers} == {200, 400}
    assert {by for _, status, by, _ in stream.answers if status == 400} == {f"{NAME}-2"}
    mark = (kubectl.get("modelversion", f"{NAME}-2") or {})["status"]["takenBack"][NAME]
    assert mark["reason"] == "AnalysisFailed"
    settled = wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)
    assert f"{NAME}-2 was rolled back (AnalysisFailed" in condition(settled, "Ready")["message"]


def second_attempt(deployment: dict[str, dict[str, dict[str, int]]]) -> bool:
    """Whether a version that was stopped once is tried again."""
    return deployment.get("status", {}).get("candidate", {}).get("attempt") == 2
