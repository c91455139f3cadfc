"""The samples are manifests that an API server takes as they stand, and every kind behaves as kubectl users expect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.tools.kubectl import Kubectl
from tests.support.apiserver import ApiServer, with_crds
from tests.support.invariants import DEFAULT_STATUS, check_status, kstatus
from tests.support.objects import MINIMAL, make
from tests.support.recorded import RECORDED, Recorded

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "manifests" / "samples").rglob("*.yaml"))
OBJECTS = [file for file in SAMPLES if file.name != "kustomization.yaml"]


@dataclass(frozen=True)
class Plane:
    """The API server, and kubectl on it."""

    api: ApiServer
    kubeconfig: Path

    def kubectl(self, *arguments: str) -> str:
        return Kubectl(kubeconfig=self.kubeconfig).run(*arguments, timeout=60)


@pytest.fixture(scope="module")
def plane(kubeconfig: Path) -> Iterator[Plane]:
    with with_crds(kubeconfig) as server:
        for kind in MINIMAL:
            assert server.create(make(kind), dry_run=False).ok
        yield Plane(server, kubeconfig)


@pytest.mark.parametrize("file", OBJECTS, ids=[str(f.relative_to(ROOT / "manifests" / "samples")) for f in OBJECTS])
def test_a_sample_is_accepted(plane: Plane, file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))

    for document in documents:
        answer = plane.api.create({**document, "metadata": {**document["metadata"], "name": "sample"}})
        assert answer.ok, answer.message
    plane.kubectl("apply", "--dry-run=server", "-f", str(file))


def test_the_quickstart_is_one_command(plane: Plane) -> None:
    said = plane.kubectl("apply", "--dry-run=server", "-k", str(ROOT / "manifests" / "samples" / "quickstart"))

    assert said.count("created (server dry run)") == 4


def test_a_model_of_ones_own_is_one_command(plane: Plane) -> None:
    said = plane.kubectl("apply", "--dry-run=server", "-k", str(ROOT / "manifests" / "samples" / "own-model"))

    assert said.count("(server dry run)") == 5


def test_the_samples_show_every_kind_that_people_write() -> None:
    documents = [document for file in OBJECTS for document in yaml.safe_load_all(file.read_text())]

    ours = {document["kind"] for document in documents if document["apiVersion"].startswith("tidemill.io/")}
    assert ours == {"TrainingPipeline", "ModelDeployment", "ModelImport", "ModelMonitor"}


JOBS = [file for file in OBJECTS if file.name.startswith("job-")]


@pytest.mark.parametrize("file", JOBS, ids=[f.name for f in JOBS])
def test_pods_of_a_sample_job_pass_pod_security_restricted(plane: Plane, file: Path) -> None:
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "samples-restricted", "labels": level}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    place = {"name": "default", "namespace": "samples-restricted"}
    assert plane.api.apply(namespace).ok
    assert plane.api.apply({**account, "metadata": place}).ok
    (job,) = yaml.safe_load_all(file.read_text())
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**place, "name": "sample"}}
    spec = job["spec"]["template"]["spec"]

    found = plane.api.create({**pod, "spec": spec})
    (container,) = spec["containers"]
    lax = {**container, "securityContext": {}}
    refused = plane.api.create({**pod, "spec": {**spec, "containers": [lax]}})

    assert found.ok, found.message
    assert refused.code == 403 and "restricted" in refused.message
    assert {"requests", "limits"} <= container["resources"].keys() and spec["automountServiceAccountToken"] is False


def test_the_quickstart_code_is_what_its_pipeline_calls() -> None:
    folder = ROOT / "manifests" / "samples" / "quickstart"
    code = yaml.safe_load((folder / "code-configmap.yaml").read_text())
    pipeline = yaml.safe_load((folder / "trainingpipeline.yaml").read_text())["spec"]
    module, function = pipeline["code"]["entrypoint"].split(":")
    scope: dict[str, Any] = {}
    exec(compile(code["data"][f"{module}.py"], f"{module}.py", "exec", dont_inherit=True), scope)

    annotations = scope[function].__annotations__

    assert code["metadata"]["name"] == pipeline["code"]["configMap"]["name"]
    assert {name: annotations[name](value) for name, value in pipeline["parameters"].items()} == {"regularization": 1.0}


@pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])
def test_a_recorded_status_fits_the_schema(plane: Plane, recorded: Recorded) -> None:
    document = recorded.document
    metadata = {"name": "churn"}

    spec = plane.api.create({**document, "metadata": {"name": "recorded"}})
    status = plane.api.replace_status({**document, "metadata": metadata}, dry_run=True)

    assert spec.ok, spec.message
    assert status.ok, status.message


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_new_object_is_in_progress_not_healthy(plane: Plane, kind: str) -> None:
    stored = plane.api.get(make(kind))

    assert stored["status"] == DEFAULT_STATUS[kind]
    assert kstatus(stored) == "InProgress"
    check_status(stored)


@pytest.mark.parametrize("kind", MINIMAL)
def test_kubectl_shows_a_new_object_as_in_progress(plane: Plane, kind: str) -> None:
    table = plane.api.table(make(kind))

    shown = {c["name"]: cell for c, cell in zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)}
    word, reason = ("Unknown", "Running") if kind == "TrainingRun" else ("Unknown", "Pending")
    assert {shown[c] for c in ("Ready", "Succeeded", "Approved", "Data") if c in shown} == {word}
    assert shown.get("Reason", reason) == reason
    assert shown["Message"]


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_spec_comes_back_as_written_but_for_scalar_defaults(plane: Plane, kind: str) -> None:
    """GitOps tools compare lists as a whole: nothing may be added inside one."""

    def added(written: Any, stored: Any, path: str) -> list[str]:
        if isinstance(written, dict):
            more = [f"{path}.{key}" for key in stored.keys() - written.keys() if isinstance(stored[key], list)]
            return more + [text for key in written for text in added(written[key], stored[key], f"{path}.{key}")]
        return [] if written == stored else [path]

    written, stored = make(kind)["spec"], plane.api.get(make(kind))["spec"]

    assert added(written, stored, "spec") == []


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("tp", ["NAME", "READY", "REASON", "CHAMPION", "ACTIVE", "AGE"]),
        ("tr", ["NAME", "PIPELINE", "TRIGGER", "SUCCEEDED", "REASON", "VERSION", "AGE"]),
        ("mv", ["NAME", "PIPELINE", "NUMBER", "APPROVED", "DEPLOYED", "AGE"]),
        ("md", ["NAME", "READY", "REASON", "VERSION", "CANDIDATE", "WEIGHT", "URL", "AGE"]),
        ("mm", ["NAME", "READY", "REASON", "DEPLOYMENT", "DATA", "DRIFT", "ROWS", "AGE"]),
    ],
)
def test_kubectl_get_shows_what_an_administrator_acts_on(plane: Plane, name: str, columns: list[str]) -> None:
    head, row = plane.kubectl("get", name).splitlines()
    wide = plane.kubectl("get", name, "-o", "wide").splitlines()[0]

    assert head.split() == columns
    assert row.split()[0] == "churn"
    assert wide.split()[-1] == "MESSAGE"


def test_one_category_shows_all_kinds(plane: Plane) -> None:
    names = plane.kubectl("get", "tidemill", "-o", "name").split()

    assert sorted(name.split(".")[0] for name in names) == sorted(kind.lower() for kind in MINIMAL)


def test_records_are_found_by_their_pipeline(plane: Plane) -> None:
    for kind in ("trainingrun", "modelversion"):
        assert plane.kubectl("get", kind, "--field-selector=spec.pipeline=churn", "-o", "name").split()
        assert plane.kubectl("get", kind, "--field-selector=spec.pipeline=other", "-o", "name") == ""


def test_kubectl_scale_sets_the_replicas(plane: Plane) -> None:
    status = {"observedGeneration": 1, "replicas": 2, "selector": "app=churn"}
    assert plane.api.apply({**make("ModelDeployment"), "status": status}, subresource="/status").ok

    plane.kubectl("scale", "modeldeployment", "churn", "--replicas=3")

    scale = plane.kubectl("get", "modeldeployment", "churn", "--subresource=scale", "-o", "yaml")
    assert yaml.safe_load(scale)["spec"] == {"replicas": 3}
    assert yaml.safe_load(scale)["status"] == {"replicas": 2, "selector": "app=churn"}


def test_kubectl_explain_is_the_reference(plane: Plane) -> None:
    said = " ".join(plane.kubectl("explain", "modeldeployment.spec.rollout.analysis").split())

    assert "minRequests <integer> Minimum number of requests that the candidate must have answered" in said
    assert "Defaults to 50." in said
    assert "enum: Wait, Proceed" in said
    assert "checks <[]Object> Checks that are made in each measurement." in said
    shown = " ".join(plane.kubectl("explain", "modeldeployment.spec.rollout.analysis.checks").split())
    assert "metric <string> -required-" in shown
