"""Data and artifacts where people keep them: Parquet on S3, files on a claim and behind HTTP, versions on S3.

One namespace for the whole file; its pipelines train side by side from the start, each test looks at one of them.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from hack.images.inputs import image_name
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e import incluster, lake
from tests.e2e.conftest import ROOT, check_all_statuses, check_rights, conditions, make_namespace, wait_condition
from tests.e2e.manifests import code, deployment, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TARGET = "species"


def flowers() -> pd.DataFrame:
    """Return the iris data with species by name, in a fixed random order."""
    bunch = load_iris(as_frame=True)
    table = bunch.frame.rename(columns=lambda name: name.removesuffix(" (cm)"))
    table[TARGET] = table.pop("target").map(dict(enumerate(bunch.target_names)))
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


FLOWERS = flowers()
LINES = FLOWERS.to_json(orient="records", lines=True)
CSV = FLOWERS.to_csv(index=False)


def parquet(table: pd.DataFrame) -> bytes:
    """Return a Parquet file."""
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def revision(content: str) -> str:
    """Return the revision of a single file that is known by its content."""
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class World:
    """The namespace and the store in it."""

    kubectl: Kubectl
    store: Any  # a boto3 client

    def put(self, number: int, table: pd.DataFrame) -> None:
        """Write one part of the data set."""
        self.store.put_object(Bucket="lake", Key=f"flowers/part-{number}.parquet", Body=parquet(table))

    def runs(self, pipeline_name: str) -> list[dict[str, Any]]:
        """Return a pipeline's runs, oldest first."""
        return [r for r in self.kubectl.list("trainingrun") if r["spec"]["pipeline"] == pipeline_name]

    def ended(self, pipeline_name: str, number: int = 1, timeout: float = 120) -> dict[str, Any]:
        """Wait for a pipeline's run number `number` to end, well or not."""

        def probe() -> dict[str, Any] | None:
            runs = self.runs(pipeline_name)[number - 1 :]
            return runs[0] if runs and condition(runs[0], "Succeeded").get("status") in ("True", "False") else None

        def hint() -> str:
            return conditions(self.kubectl.get("trainingpipeline", pipeline_name))

        return wait_for(f"run {number} of {pipeline_name}", probe, timeout, hint)

    def version(self, run: dict[str, Any]) -> dict[str, Any]:
        """Return the ModelVersion of a run that succeeded."""
        assert is_true(run, "Succeeded"), json.dumps(run["status"])[:3000]
        found = self.kubectl.get("modelversion", run["status"]["version"])
        assert found is not None
        return found

    def predict(self) -> dict[str, Any]:
        """Ask for the species of one flower; columns by name."""
        row = FLOWERS.drop(columns=[TARGET]).iloc[0].to_dict()
        inputs = [{"name": k, "shape": [1], "datatype": "FP64", "data": [v]} for k, v in row.items()]
        url = f"/api/v1/namespaces/{self.kubectl.namespace}/services/bucket:80/proxy/v2/models/bucket/infer"
        answer: dict[str, Any] = json.loads(
            Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps({"inputs": inputs}))
        )
        return answer


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """A store with the first hundred flowers, and four pipelines that train on what they find in different places."""
    kubectl = Kubectl("e2e-data")
    make_namespace(cluster, "e2e-data")
    with lake.running(kubectl) as store:
        world = World(kubectl, store)
        for bucket in ("lake", "models", "scores", "web"):
            store.create_bucket(Bucket=bucket)
        world.put(0, FLOWERS[:50])
        world.put(1, FLOWERS[50:100])
        store.put_object(Bucket="web", Key="flowers.csv", Body=CSV.encode())
        kubectl.apply(incluster.writer("writer", "flowers-claim", {"flowers.jsonl": LINES}))
        wait_condition(kubectl, "pod", "writer", lambda p: p["status"].get("phase") == "Succeeded", 60)
        kubectl.apply(manifests(kubectl.namespace))
        yield world
    check_all_statuses(kubectl)
    check_rights()
    cluster.run("delete", "namespace", "e2e-data", "--wait=false")


def manifests(namespace: str | None) -> list[dict[str, Any]]:
    """Return what a person would write: four pipelines with one code, and a deployment of the first."""

    def source(uri: str, secret: str | None = None) -> list[dict[str, Any]]:
        return [{"name": "flowers", "uri": uri, **({"secretRef": {"name": secret}} if secret else {})}]

    bucket = {
        "data": source("s3://lake/flowers/", "lake"),
        "artifacts": {"uri": "s3://models/team-a", "secretRef": {"name": "lake"}},
        "triggers": {"dataChange": {"pollSeconds": 10, "settleSeconds": 0}},
    }
    denied = source("s3://lake/flowers/", "stranger")
    return [
        lake.secret("lake", namespace),
        lake.secret("stranger", namespace, AWS_SECRET_ACCESS_KEY="guessed"),
        code("flowers-code"),
        pipeline("bucket", "flowers-code", target=TARGET, **bucket),
        pipeline("claim", "flowers-code", target=TARGET, data=source("pvc://flowers-claim/flowers.jsonl")),
        pipeline("web", "flowers-code", target=TARGET, data=source(lake.web_url(namespace, "web/flowers.csv"))),
        pipeline("denied", "flowers-code", target=TARGET, data=denied),
        deployment("bucket", rollout={"strategy": "Immediate"}),
    ]


def test_from_parquet_on_s3_to_a_version_on_s3_to_a_prediction(world: World) -> None:
    run = world.ended("bucket")
    version = world.version(run)

    assert sum(run["status"]["result"]["rows"].values()) == 100
    assert version["spec"]["lineage"]["data"] == run["status"]["result"]["data"]
    assert version["spec"]["secretRef"] == {"name": "lake"}
    bucket, _, folder = version["spec"]["uri"].removeprefix("s3://").partition("/")
    assert (bucket, folder.split("/")[0]) == ("models", "team-a")
    listed = world.store.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]
    assert {"model.skops", "model.onnx"} <= {entry["Key"].rpartition("/")[2] for entry in listed}

    wait_condition(world.kubectl, "modeldeployment", "bucket", lambda md: is_true(md, "Ready"), 120)
    answer = world.predict()
    assert answer["model_version"] == "1"
    assert answer["outputs"][0]["data"] == [FLOWERS[TARGET].iloc[0]]
    (server,) = world.kubectl.list("pod", "app.kubernetes.io/component=server")
    assert [v["name"] for v in server["spec"]["volumes"] if "persistentVolumeClaim" in v] == []


def test_a_changed_object_starts_a_run_that_says_from_what_to_what(world: World) -> None:
    first = world.ended("bucket")["status"]["result"]["data"]["flowers"]

    def seen(tp: dict[str, Any]) -> bool:
        return [d.get("revision") for d in tp["status"].get("data", [])] == [first]

    wait_condition(world.kubectl, "trainingpipeline", "bucket", seen, 60)
    assert len(world.runs("bucket")) == 1, "what the first run has read changes nothing for a probe"

    world.put(1, FLOWERS[50:])
    run = world.ended("bucket", 2)
    trigger, version = run["spec"]["trigger"], world.version(run)

    assert trigger["type"] == "DataChanged"
    assert "flowers" in trigger["message"]
    assert trigger["from"] == first
    assert trigger["to"] == run["status"]["result"]["data"]["flowers"] == version["spec"]["lineage"]["data"]["flowers"]
    assert trigger["to"] != first
    assert sum(run["status"]["result"]["rows"].values()) == 150
    assert (version["spec"]["number"], version["spec"]["lineage"]["trigger"]) == (2, "DataChanged")

    def follows(md: dict[str, Any]) -> bool:
        return bool(md["status"]["stable"]["version"] == "bucket-2" and is_true(md, "Ready"))

    wait_condition(world.kubectl, "modeldeployment", "bucket", follows, 120)
    assert world.predict()["model_version"] == "2"


def scoring_job(version: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    """Return the sample Job with another model, other data, the tests' image, no monitor, and room on a small node."""
    (job,) = yaml.safe_load_all((ROOT / "manifests" / "samples" / "job-predict-s3.yaml").read_text())
    found: dict[str, Any] = job
    (container,) = found["spec"]["template"]["spec"]["containers"]
    given = dict(argument.split("=", 1) for argument in container["args"])
    given |= {"--uri": version["spec"]["uri"], "--digest": version["spec"]["digest"]}
    given |= {"--version": version["metadata"]["name"], "--input": source, "--output": target}
    kept = {name: value for name, value in given.items() if not name.startswith("--log")}
    container["args"] = [f"{name}={value}" for name, value in kept.items()]
    container["image"] = image_name("trainer")
    container["resources"]["requests"] = {"cpu": "50m", "memory": "128Mi"}
    return found


def test_the_sample_job_scores_parquet_on_s3(world: World) -> None:
    deployed = wait_condition(world.kubectl, "modeldeployment", "bucket", lambda md: is_true(md, "Ready"), 180)
    version = world.kubectl.get("modelversion", deployed["status"]["stable"]["version"])
    assert version is not None
    for number, rows in enumerate((FLOWERS[:40], FLOWERS[40:60])):
        world.store.put_object(Bucket="lake", Key=f"visitors/2026-{number}/part.parquet", Body=parquet(rows))
    job = scoring_job(version, "s3://lake/visitors/2026-*/part.parquet", "s3://scores/flowers.parquet")
    name = job["metadata"]["name"]
    world.kubectl.apply(job)

    def has_ended(found: dict[str, Any]) -> bool:
        return any(condition(found, kind).get("status") == "True" for kind in ("Complete", "Failed"))

    ended = wait_condition(world.kubectl, "job", name, has_ended, 180)
    assert condition(ended, "Complete").get("status") == "True", world.kubectl.logs(f"job/{name}")
    result = io.BytesIO(world.store.get_object(Bucket="scores", Key="flowers.parquet")["Body"].read())
    table = pq.read_table(result).to_pandas()
    metadata = json.loads(pq.read_metadata(result).metadata[b"tidemill"])

    assert list(table[TARGET]) == list(FLOWERS[TARGET][:60])
    assert (table["label"] == table[TARGET]).mean() > 0.8
    assert table["prediction_id"].is_unique
    assert [table["label"][0]] == world.predict()["outputs"][0]["data"]
    assert (metadata["digest"], metadata["rows"], metadata["files"]) == (version["spec"]["digest"], 60, 2)


def test_json_lines_on_a_claim(world: World) -> None:
    version = world.version(world.ended("claim"))

    assert version["spec"]["lineage"]["data"] == {"flowers": revision(LINES)}
    assert [c["name"] for c in version["spec"]["signature"]["inputs"]] == list(FLOWERS.columns[:-1])
    assert version["spec"]["metrics"]["accuracy"] > 0.8


def test_csv_behind_http(world: World) -> None:
    version = world.version(world.ended("web"))

    assert version["spec"]["lineage"]["data"] == {"flowers": revision(CSV)}
    assert version["spec"]["metrics"]["accuracy"] > 0.8


def test_credentials_that_the_store_refuses_are_named_and_not_tried_again(world: World) -> None:
    run = world.ended("denied")

    failure = run["status"]["failure"]
    assert (failure["category"], failure["reason"]) == ("UserError", "AccessDenied")
    assert "s3://lake/flowers" in failure["message"]
    assert "refused the credentials" in failure["message"]
    assert len(world.kubectl.list("pod", f"batch.kubernetes.io/job-name={run['status']['job']}")) == 1
