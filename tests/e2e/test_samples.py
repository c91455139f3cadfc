"""Each sample does what it says: the commands of its header run as they stand, and every one succeeds.

One namespace with own-model, a bucket and a claim. Samples that do not need each other run side by side, since most of
the time is spent waiting for pods; each test asks for the end of one. README's example is own-model, in README's words.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hack.images.inputs import image_name
from hack.tools.kubectl import Kubectl, kubectl, wait_for
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from tests.e2e import incluster, lake
from tests.e2e.client import Client, Request
from tests.e2e.conftest import shared_namespace
from tests.support import pages, samples
from tests.support.samples import ALONE, ELSEWHERE, Sample

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAMESPACE = "e2e-samples"
AT_ONCE = 2
SECONDS = 600
RUN = [sample for sample in samples.samples() if sample.name not in ELSEWHERE]
ROWS = samples.FOLDER / "own-model" / "customers.csv"
KEPT = ("own-model", "trainingpipeline-schedule-s3")
"""What others use; of all others only TrainingPipelines stay, which hold no pod."""


@dataclass
class World:
    """The namespace, a clone of the samples, and the samples that were begun."""

    kubectl: Kubectl
    folder: Path
    client: Client
    begun: dict[str, Future[None]] = field(default_factory=dict)

    def run(self, commands: str) -> None:
        """Run commands as a reader would, in this namespace. AssertionError with the complaint of one that fails."""
        stand = {"kubectl": f'exec {kubectl()} "$@"', "aws": ":"}  # the file of the notebook is in the bucket already
        place = {"KUBECONFIG": str(self.folder / "kubeconfig"), "STAGING": NAMESPACE}
        done = pages.run(commands, self.folder, stand, timeout=SECONDS, **place)
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\n{self.kubectl.run('get', 'tidemill')}"

    def show(self, sample: Sample) -> None:
        """Run a sample when those that it needs have run, and make room for others."""
        for name in sample.needs:
            self.begun[name].result()
        self.run(sample.commands)
        if sample.name not in KEPT and not sample.is_folder:
            kinds = ("modelmonitor", "modeldeployment", "job")
            names = self.kubectl.run("get", "-f", str(self.folder / sample.place), "-o", "name").split()
            left = [name for name in names if name.split("/")[0].split(".")[0] in kinds]
            if left:
                self.kubectl.run("delete", "--wait=false", *left)


def workspace(folder: Path) -> Path:
    """A folder with the samples, with the images of this cluster, and the kubeconfig of the namespace."""
    shutil.copytree(samples.FOLDER, folder / "manifests" / "samples")
    for file in (folder / "manifests" / "samples").glob("job-*.yaml"):
        file.write_text(file.read_text().replace("tidemill.io/trainer:dev", image_name("trainer")))
    config = folder / "kubeconfig"
    config.write_text(Kubectl().run("config", "view", "--raw", "--minify", "--flatten"))
    Kubectl(kubeconfig=config).run("config", "set-context", "--current", f"--namespace={NAMESPACE}")
    return folder


def parquet_on_a_claim() -> list[dict[str, Any]]:
    """A claim `lake` with the customers as Parquet, written by a pod that has them as CSV."""
    script = "import os, pandas\nos.makedirs('/lake/customers')\n"
    script += "pandas.read_csv('/rows/customers.csv').to_parquet('/lake/customers/part-1.parquet', index=False)\n"
    mounts = [{"name": "rows", "mountPath": "/rows"}, {"name": "lake", "mountPath": "/lake"}]
    write = incluster.container("write", ["python", "-c", script], volumeMounts=mounts)
    rows = {"name": "rows", "configMap": {"name": "rows"}}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    text = {"customers.csv": ROWS.read_text()}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": text},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "lake"}, "spec": claim},
        incluster.pod(
            "parquet", write, volumes=[rows, {"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}}]
        ),
    ]


def fill(store: Any, folder: Path) -> None:
    """The buckets that samples name: customers as Parquet, the notebook's file, room for versions."""
    for bucket in ("lake", "models"):
        store.create_bucket(Bucket=bucket)
    file = folder / "part.parquet"
    pd.read_csv(ROWS).to_parquet(file, index=False)
    store.put_object(Bucket="lake", Key="churn/customers/part-1.parquet", Body=file.read_bytes())
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    graph = to_onnx(LinearRegression().fit(rows, rows.sum(axis=1)), rows[:1]).SerializeToString()
    (folder / "model.onnx").write_bytes(graph)
    store.put_object(Bucket="models", Key="uploads/model.onnx", Body=graph)


@pytest.fixture(scope="module")
def world(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything is begun at once; a sample that changes what all pods may do waits for the others."""
    folder = workspace(tmp_path_factory.mktemp("clone"))
    with shared_namespace(cluster, NAMESPACE) as kubectl, lake.running(kubectl) as store:
        fill(store, folder)
        secrets = [lake.secret(name, NAMESPACE) for name in ("lake", "staging-reader")]
        kubectl.apply([*secrets, *parquet_on_a_claim()])
        found = World(kubectl, folder, Client(kubectl).start())
        wait_for("the rows on the claim", lambda: phase(kubectl, "parquet") == "Succeeded", 120)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for sample in RUN:
                if sample.name not in ALONE:
                    found.begun[sample.name] = pool.submit(found.show, sample)
            yield found


def phase(kubectl: Kubectl, pod: str) -> str:
    """Return the phase of a pod."""
    return str(((kubectl.get("pod", pod) or {}).get("status") or {}).get("phase"))


@pytest.mark.parametrize("sample", [s for s in RUN if s.name not in ALONE], ids=str)
def test_a_sample_does_what_it_says(world: World, sample: Sample) -> None:
    world.begun[sample.name].result(timeout=2 * SECONDS)


@pytest.mark.parametrize("block", pages.of(pages.E2E, "sh"), ids=str)
def test_the_example_of_readme_runs_as_printed(world: World, block: pages.Block) -> None:
    """In this namespace; requests are sent from a pod of the cluster, as the page says."""
    world.begun["own-model"].result(timeout=2 * SECONDS)
    lines = block.text.replace("team-a", NAMESPACE).splitlines()
    asks = [line for line in lines if line.startswith("curl ")]
    home = world.folder / "home"
    home.mkdir(exist_ok=True)
    rest = [line for line in lines if line not in asks and not line.startswith("kubectl create namespace")]
    world.run("\n".join([f"HOME={shlex.quote(str(home))}", *rest]))

    assert asks
    for line in asks:
        _, url, _, body = shlex.split(line, comments=True)
        host, _, path = url.removeprefix("http://").partition("/")
        (reply,) = world.client.ask("churn", [Request(f"/{path}", body.encode())])
        assert host == world.client.host("churn")
        assert reply.status == 200, reply.body
        assert re.fullmatch(r"[01]", str(reply.json["predictions"][0]))


@pytest.mark.parametrize("sample", [s for s in RUN if s.name in ALONE], ids=str)
def test_a_sample_that_changes_the_namespace_does_what_it_says(world: World, sample: Sample) -> None:
    for begun in world.begun.values():
        begun.result(timeout=2 * SECONDS)
    world.run(sample.commands)
