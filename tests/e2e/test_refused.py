"""What keeps a run from starting is named on its pipeline, with the cluster's own words. Quotas: `test_story.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition
from tests.e2e.conftest import named, shared_namespace, wait_condition
from tests.e2e.manifests import code, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

PATIENT = {"backoffLimit": 3, "activeDeadlineSeconds": 300, "pendingDeadlineSeconds": 300}
IMAGE = "registry.invalid/nothing:1"


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """Three pipelines, each of which lacks something, side by side."""
    secret = [{"name": "rows", "uri": "s3://lake/rows/", "secretRef": {"name": "lake"}}]
    claim = [{"name": "rows", "uri": "pvc://nowhere/rows.csv"}]
    with shared_namespace(cluster, "e2e-refused") as kubectl:
        kubectl.apply(
            [
                code("flowers-code"),
                pipeline("secret", "flowers-code", data=secret, run=PATIENT),
                pipeline("claim", "flowers-code", data=claim, run=PATIENT),
                pipeline("pull", "flowers-code", image=IMAGE, run=PATIENT),
            ]
        )
        yield kubectl


def test_a_secret_that_is_missing_is_named_on_the_pipeline_before_the_run_has_ended(kubectl: Kubectl) -> None:
    words = ("SecretNotFound", "Secret lake does not exist")

    def says(tp: dict[str, Any]) -> bool:
        return all(word in condition(tp, "Ready").get("message", "") for word in words)

    wait_condition(kubectl, "trainingpipeline", "secret", says, 90)
    (run,) = [r for r in kubectl.list("trainingrun") if r["spec"]["pipeline"] == "secret"]
    assert "Secret lake does not exist" in condition(run, "Succeeded")["message"]


def test_a_volume_that_is_missing_is_named_on_the_pipeline(kubectl: Kubectl) -> None:
    wait_condition(kubectl, "trainingpipeline", "claim", lambda o: named(o, "RunCannotStart", "nowhere"), 60)


def test_an_image_that_cannot_be_pulled_is_named_on_the_pipeline(kubectl: Kubectl) -> None:
    wait_condition(kubectl, "trainingpipeline", "pull", lambda o: named(o, "RunCannotStart", IMAGE), 60)
