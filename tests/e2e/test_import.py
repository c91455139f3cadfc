"""From staging to production by a digest, and from a notebook: production needs nothing of where its models came from.

Two namespaces. Staging has a bucket, trains into it, and loses everything at the end; production imports.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.e2e import lake
from tests.e2e.client import Client
from tests.e2e.conftest import check_all_statuses, check_rights, make_namespace, wait_condition
from tests.e2e.manifests import code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "lasting"
FOLDER = "s3://models/staging"
ROW = {"instances": [[5.1, 3.5, 1.4, 0.2]]}


@dataclass(frozen=True)
class World:
    """Both namespaces and staging's bucket."""

    staging: Kubectl
    production: Kubectl
    store: Any  # a boto3 client

    def trained(self, number: int) -> dict[str, Any]:
        """Wait for staging's version of a number."""
        return wait_condition(self.staging, "modelversion", f"{NAME}-{number}", lambda mv: is_true(mv, "Approved"), 150)

    def imported(self, name: str, version: str, timeout: float = 120) -> dict[str, Any]:
        """Wait until an import has become a version."""

        def done(found: dict[str, Any]) -> bool:
            status = found.get("status") or {}
            return is_true(found, "Ready") and status.get("version") == version

        return wait_condition(self.production, "modelimport", name, done, timeout)

    def serves(self, name: str, version: str) -> None:
        """Wait until production serves a version, and ask it."""

        def done(found: dict[str, Any]) -> bool:
            return is_true(found, "Ready") and found["status"].get("stable", {}).get("version") == version

        wait_condition(self.production, "modeldeployment", name, done, 150)
        answer = Client(self.production).post(name, f"/v1/models/{name}:predict", ROW)
        assert answer.status == 200, answer


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Staging trains its first version; production has nothing but a Secret that opens staging's bucket."""
    staging, production = Kubectl("e2e-import-staging"), Kubectl("e2e-import-production")
    for kubectl in (staging, production):
        make_namespace(cluster, str(kubectl.namespace))
    with lake.running(staging) as store:
        store.create_bucket(Bucket="models")
        artifacts = {"uri": FOLDER, "secretRef": {"name": "lake"}}
        staging.apply([lake.secret("lake", staging.namespace), code(f"{NAME}-code")])
        staging.apply([pipeline(NAME, artifacts=artifacts)])
        production.apply([lake.secret("staging-reader", staging.namespace)])
        Client(production).start()
        yield World(staging, production, store)
        for kubectl in (staging, production):
            check_all_statuses(kubectl)
    check_rights()
    for kubectl in (staging, production):
        cluster.run("delete", "namespace", str(kubectl.namespace), "--wait=false")


def promotion(digest: str, folder: str) -> dict[str, Any]:
    """Return what stands in Git: the digest is the line that changes."""
    return {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelImport",
        "metadata": {"name": "from-staging"},
        "spec": {
            "source": {"uri": folder, "digest": digest, "secretRef": {"name": "staging-reader"}},
            "as": {"pipeline": NAME},
            "approval": "Manual",
        },
    }


def folder_of(version: dict[str, Any]) -> str:
    """Return the folder that holds a pipeline's versions by their digests."""
    return str(version["spec"]["uri"].rpartition("/")[0])


def approve(kubectl: Kubectl, version: str, digest: str) -> None:
    """Approve as a person does."""
    kubectl.run("annotate", "modelversion", version, f"tidemill.io/approve={digest}")


def test_a_version_waits_for_approval_as_imported_and_then_serves(world: World) -> None:
    first = world.trained(1)
    world.production.apply([promotion(first["spec"]["digest"], folder_of(first)), deployment(NAME)])

    found = world.imported("from-staging", f"{NAME}-1")
    assert condition(found, "Ready")["reason"] == "AwaitingApproval"
    version = world.production.get("modelversion", f"{NAME}-1") or {}
    assert version["spec"]["digest"] == first["spec"]["digest"]
    assert version["spec"]["metrics"] == first["spec"]["metrics"]
    assert version["spec"]["uri"].startswith("pvc://tidemill-artifacts/imports/from-staging/")
    assert condition(version, "Approved")["status"] == "Unknown"

    approve(world.production, f"{NAME}-1", first["spec"]["digest"])
    world.serves(NAME, f"{NAME}-1")


def test_the_next_version_goes_out_by_its_digest_alone(world: World) -> None:
    world.staging.run("patch", "trainingpipeline", NAME, "--type=merge", "-p", '{"spec": {"seed": 7}}')
    second = world.trained(2)
    world.production.apply([promotion(second["spec"]["digest"], folder_of(second))])
    world.imported("from-staging", f"{NAME}-2")
    approve(world.production, f"{NAME}-2", second["spec"]["digest"])
    world.serves(NAME, f"{NAME}-2")


def test_content_with_another_digest_is_refused_and_what_is_served_stays(world: World) -> None:
    broken = promotion("sha256:" + "0" * 64, FOLDER)
    broken["metadata"]["name"] = "mistyped"
    world.production.apply([broken])
    found = wait_condition(world.production, "modelimport", "mistyped", lambda mi: is_true(mi, "Stalled"), 90)
    assert condition(found, "Stalled")["reason"] == "ImportFailed"
    assert found["status"]["failure"]["category"] == "DataInvalid"
    world.production.run("delete", "modelimport", "mistyped", "--wait=true", timeout=30)
    world.serves(NAME, f"{NAME}-2")


def test_a_notebooks_file_gets_in_and_serves(world: World) -> None:
    rows, target = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(rows, target)
    graph = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    world.store.put_object(Bucket="models", Key="uploads/iris.onnx", Body=graph)
    source = {
        "uri": "s3://models/uploads/iris.onnx",
        "digest": f"sha256:{hashlib.sha256(graph).hexdigest()}",
        "secretRef": {"name": "staging-reader"},
    }
    notebook = promotion("", "")
    notebook |= {"metadata": {"name": "notebook"}, "spec": {"source": source, "as": {"name": "iris-notebook"}}}
    world.production.apply([notebook, deployment("iris", model={"version": "iris-notebook"})])

    world.imported("notebook", "iris-notebook")
    version = world.production.get("modelversion", "iris-notebook") or {}
    assert condition(version, "Approved")["reason"] == "Imported"
    assert "gates" not in json.dumps(version["status"]["decision"])
    world.serves("iris", "iris-notebook")


def test_production_restarts_and_serves_when_staging_is_gone(world: World) -> None:
    entries = world.store.list_objects_v2(Bucket="models").get("Contents", [])
    for entry in entries:
        world.store.delete_object(Bucket="models", Key=entry["Key"])
    world.staging.run("delete", "trainingpipeline", NAME, "--wait=true", timeout=60)
    before = {p["metadata"]["uid"] for p in world.production.list("pod", "app.kubernetes.io/component=server")}
    world.production.run("delete", "pod", "-l", "app.kubernetes.io/component=server", "--wait=true", timeout=90)

    def renewed() -> bool:
        pods = world.production.list("pod", "app.kubernetes.io/component=server")
        return bool(pods) and not before & {p["metadata"]["uid"] for p in pods}

    wait_for("new server pods", renewed, 60)
    world.serves(NAME, f"{NAME}-2")
    world.serves("iris", "iris-notebook")

    applied_again = promotion((world.production.get("modelversion", f"{NAME}-2") or {})["spec"]["digest"], FOLDER)
    world.production.run("delete", "modelimport", "from-staging", "--wait=true", timeout=30)
    world.production.apply([applied_again])
    world.imported("from-staging", f"{NAME}-2")
