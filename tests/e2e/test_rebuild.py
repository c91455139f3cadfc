"""A namespace that is deleted and built again from its manifests and its bucket serves the version that it served.

The store is a real S3 server in a namespace of its own: it is what stays.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, KubectlError, is_true, wait_for
from tests.e2e import lake
from tests.e2e.conftest import check_all_statuses, check_rights, make_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TEAM, STORE, NAME = "e2e-rebuild", "e2e-rebuild-store", "lasting"
OWN_KINDS = "trainingpipelines,modeldeployments,modelmonitors"


@pytest.fixture(scope="module")
def bucket(cluster: Kubectl) -> Iterator[Any]:
    """A client of the store."""
    make_namespace(cluster, STORE)
    with lake.running(Kubectl(STORE)) as client:
        client.create_bucket(Bucket="models")
        yield client
    cluster.run("delete", "namespace", STORE, "--wait=false")


def served(kubectl: Kubectl) -> dict[str, Any]:
    """Name and digest of the version that the deployment serves, once it is Ready."""
    found = wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 240)
    return {key: found["status"]["stable"][key] for key in ("version", "digest")}


def export(kubectl: Kubectl) -> list[dict[str, Any]]:
    """What a person keeps in Git: no status, nothing that the API server adds, no records."""
    items = json.loads(kubectl.run("get", OWN_KINDS, "-o", "json"))["items"]
    return [
        {**{k: v for k, v in item.items() if k != "status"}, "metadata": {"name": item["metadata"]["name"]}}
        for item in items
    ]


def records(bucket: Any) -> dict[str, dict[str, Any]]:
    """What the records in the store say, by version."""
    listed = bucket.list_objects_v2(Bucket="models").get("Contents", [])
    keys = [entry["Key"] for entry in listed if entry["Key"].endswith("/record.json")]
    texts = [json.loads(bucket.get_object(Bucket="models", Key=key)["Body"].read()) for key in keys]
    return {text["statement"]["version"]: text["statement"] for text in texts}


def test_a_namespace_is_rebuilt_from_its_manifests_and_its_bucket(cluster: Kubectl, bucket: Any) -> None:
    kubectl = Kubectl(TEAM)
    make_namespace(cluster, TEAM)
    artifacts = {"uri": "s3://models", "secretRef": {"name": "lake"}}
    trained = pipeline(NAME, artifacts=artifacts, triggers={"codeChange": {}})
    kubectl.apply([lake.secret("lake", STORE), code(f"{NAME}-code"), trained, deployment(NAME)])
    first = served(kubectl)
    assert first["version"] == f"{NAME}-1"

    worse = GOOD_CODE.replace("LogisticRegression(", "LogisticRegression(C=0.5, ")
    kubectl.apply(code(f"{NAME}-code", worse))
    wait_for("version 2", lambda: served(kubectl)["version"] == f"{NAME}-2", 240)
    kubectl.run("annotate", "modelversion", f"{NAME}-2", f"tidemill.io/reject={served(kubectl)['digest']}")
    wait_for("the way back", lambda: served(kubectl) == first, 240)
    wait_condition(kubectl, "modelversion", f"{NAME}-2", lambda mv: is_true(mv, "TakenBack"), 60)
    wait_for("the record of the way back", lambda: records(bucket).get(f"{NAME}-2", {}).get("takenBack"), 120)
    assert records(bucket).keys() == {f"{NAME}-1", f"{NAME}-2"}

    manifests = [lake.secret("lake", STORE), code(f"{NAME}-code", worse), *export(kubectl)]
    before = {v["metadata"]["name"]: v for v in kubectl.list("modelversion")}
    make_namespace(cluster, TEAM)
    assert kubectl.list("modelversion") == []
    kubectl.apply(manifests)

    assert served(kubectl) == first, "the same version, and not the one that was rejected"
    after = {v["metadata"]["name"]: v for v in kubectl.list("modelversion")}
    assert after.keys() == before.keys()
    for name, version in after.items():
        assert version["spec"] == before[name]["spec"]
        assert version["status"].get("decision") == before[name]["status"].get("decision")
        assert version["status"]["registered"]["restored"]
    assert is_true(after[f"{NAME}-2"], "TakenBack")
    status = (kubectl.get("trainingpipeline", NAME) or {})["status"]
    assert status["records"]["read"]["restored"] == 2

    wait_condition(kubectl, "trainingpipeline", NAME, lambda tp: bool(tp["status"].get("lastRun")), 180)
    assert sorted(v["metadata"]["name"] for v in kubectl.list("modelversion")) == [f"{NAME}-1", f"{NAME}-2"]
    assert served(kubectl) == first, "training the same content again is no new version"
    check_all_statuses(kubectl)
    check_rights()
    cluster.run("delete", "namespace", TEAM, "--wait=false")


def test_an_object_made_by_hand_does_not_go_out(namespace: Kubectl) -> None:
    """Also with the label and the owner of the operator's own, and with an approval."""
    kubectl = namespace
    kubectl.apply([code(f"{NAME}-code"), pipeline(NAME), deployment(NAME)])
    first = served(kubectl)
    version = kubectl.get("modelversion", first["version"])
    assert version is not None
    meta = {
        "name": f"{NAME}-2",
        **{key: version["metadata"][key] for key in ("labels", "annotations", "ownerReferences")},
    }
    meta["annotations"]["tidemill.io/approve"] = first["digest"]
    spec = {**version["spec"], "number": 2}
    try:
        kubectl.apply({**{k: v for k, v in version.items() if k != "status"}, "metadata": meta, "spec": spec})
    except KubectlError as error:  # where the administrator of the test cluster is not of system:masters
        assert "records are created by the operator" in str(error)
        return
    wait_condition(kubectl, "modelversion", f"{NAME}-2", lambda mv: is_true(mv, "Stalled"), 60)
    assert served(kubectl) == first
    kubectl.run("delete", "modelversion", f"{NAME}-2")
