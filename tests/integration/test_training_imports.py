"""Imports on a real API server: the operator under its shipped rights and policies, the test as kubelet.

The Job's template is held against Pod Security `restricted` by the API server itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.test_training_loop import Namespace, condition
from tests.support import builders_training as make
from tests.support.invariants import kstatus
from tests.support.operators import Installation

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("operator")]
Obj = dict[str, Any]
NAME = "from-staging"


@pytest.fixture
def cluster(installation: Installation, namespace: str) -> Namespace:
    """The test's namespace."""
    return Namespace(installation, namespace)


def finish(cluster: Namespace, job: str, report: Obj, exit_code: int = 0) -> None:
    """The pod of an attempt ends, and its Job with it."""
    cluster.until("job", job, lambda o: True, "exists")
    cluster.finish({"metadata": {"name": job}}, report, exit_code)


def ready(cluster: Namespace, status: str, reason: str, version: str | None = None) -> Obj:
    """Wait for the import's Ready, and for a version where one is given."""

    def fact(obj: Obj) -> bool:
        is_there = version is None or (obj.get("status") or {}).get("version") == version
        return condition(obj) == (status, reason) and is_there

    return cluster.until("modelimport", NAME, fact, f"Ready={status} {reason} {version or ''}")


def test_an_import_is_copied_registered_approved_and_followed_by_the_next_digest(cluster: Namespace) -> None:
    cluster.apply(make.Import().spec(approval="Manual"))
    ready(cluster, "Unknown", "Pending")
    finish(cluster, f"{NAME}-1-1", make.imported())
    found = ready(cluster, "True", "AwaitingApproval", "churn-1")
    assert kstatus(found) == "Current"
    version = cluster.get("modelversion", "churn-1")
    assert [o["kind"] for o in version["metadata"]["ownerReferences"]] == ["ModelImport"]
    approve = f"tidemill.io/approve={make.DIGEST}"
    cluster.installation.kubectl("annotate", "modelversion", "churn-1", "-n", cluster.name, approve)
    ready(cluster, "True", "Imported", "churn-1")

    source = {"uri": "s3://models/staging/churn", "digest": make.digest("a")}
    cluster.patch("modelimport", NAME, {"spec": {"source": source, "approval": "Automatic"}}, subresource="")
    finish(cluster, f"{NAME}-2-1", make.imported("a"))
    ready(cluster, "True", "Imported", "churn-2")
    assert condition(cluster.get("modelversion", "churn-2"), "Approved") == ("True", "Imported")


def test_an_import_that_failed_says_why_and_is_tried_again_when_somebody_asks(cluster: Namespace) -> None:
    cluster.apply(make.Import())
    report = make.failed("DataInvalid", "DigestMismatch", "model.onnx has another digest")
    finish(cluster, f"{NAME}-1-1", report, 42)
    found = ready(cluster, "False", "ImportFailed")
    assert kstatus(found) == "Failed"
    assert found["status"]["failure"]["reason"] == "DigestMismatch"

    annotation = "tidemill.io/retry=now"
    cluster.installation.kubectl("annotate", "modelimport", NAME, "-n", cluster.name, annotation)
    finish(cluster, f"{NAME}-1-2", make.imported())
    ready(cluster, "True", "Imported", "churn-1")


def test_a_run_and_an_import_never_share_a_number(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    cluster.train(letter="b")
    cluster.apply(make.Import())
    finish(cluster, f"{NAME}-1-1", make.imported())
    ready(cluster, "True", "Imported", "churn-2")
    version = cluster.get("modelversion", "churn-2")
    assert [o["kind"] for o in version["metadata"]["ownerReferences"]] == ["TrainingPipeline"]


def test_deleting_an_import_in_mid_flight_leaves_nothing(cluster: Namespace) -> None:
    cluster.apply(make.Import())
    cluster.until("job", f"{NAME}-1-1", lambda o: True, "exists")
    cluster.installation.kubectl("delete", "modelimport", NAME, "-n", cluster.name, "--wait=true", "--timeout=20s")
    cluster.settled()
    assert cluster.list("modelversion") == []
