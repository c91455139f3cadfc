"""Python, JSON, HTTP and batch commands of README and docs do what the pages say, as printed.

The model is that of README: its code on its rows, trained by the trainer with its parameters.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pyarrow import parquet
from tests.runtime.conftest import Trained, Trainer
from tests.support import monitoring, packages, pages
from tests.support.asgi import call, post
from tests.support.pages import Block
from tests.support.versions import Published

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.batch import scoring_job
from tidemill_runtime.batch.predictor import Predictor, config_of
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

SAMPLE = pages.ROOT / "manifests" / "samples" / "own-model"
README_CODE = "from sklearn.compose import ColumnTransformer"


def ready(config: ServerConfig) -> Any:
    """The application of a server that is ready."""
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=1).app


@dataclass(frozen=True)
class World:
    """README's model, its rows, and a folder to work in."""

    trained: Trained
    rows: pd.DataFrame
    folder: Path
    mounts: Path

    @property
    def uri(self) -> str:
        """Where the version is."""
        assert self.trained.result.uri is not None
        return self.trained.result.uri

    @property
    def digest(self) -> str:
        """Its digest."""
        assert self.trained.result.digest is not None
        return self.trained.result.digest

    def app(self) -> Any:
        """A server of the deployment `churn`."""
        place = {"namespace": "team-a", "deployment": "churn", "version": "churn-1", "number": "1"}
        return ready(ServerConfig(**place, digest=self.digest, uri=self.uri))


def pipeline() -> dict[str, Any]:
    """The spec of README's TrainingPipeline."""
    (found,) = [d for d in yaml.safe_load_all((SAMPLE / "models.yaml").read_text()) if d["kind"] == "TrainingPipeline"]
    spec: dict[str, Any] = found["spec"]
    return spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Trained]]:
    """A copy of the store after the one run of README's pipeline, and that run, once there was one."""
    return tmp_path_factory.mktemp("runs") / "store", []


@pytest.fixture
def world(
    trainer: Trainer,
    mounts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runs: tuple[Path, list[Trained]],
) -> World:
    """README's pipeline, run by the first test that asks for it."""
    kept, done = runs
    if not done:
        code, spec = pages.block("README.md", README_CODE).text, pipeline()
        rows = trainer.table((SAMPLE / "customers.csv").read_text())
        done.append(trainer(code, rows, spec["target"], parameters=spec["parameters"]))
        shutil.copytree(mounts / "pvc" / "store", kept)
    (trained,) = done
    assert trained.exit_code == 0, trained.log
    shutil.copytree(kept, mounts / "pvc" / "store", dirs_exist_ok=True)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return World(trained, pd.read_csv(SAMPLE / "customers.csv"), folder, mounts)


def test_the_model_of_readme_passes_the_gates_of_readme(world: World) -> None:
    limits = {gate["metric"]: gate["min"] for gate in pipeline()["evaluation"]["gates"] if "min" in gate}
    metrics = world.trained.result.metrics

    assert limits
    assert {name for name, limit in limits.items() if metrics[name] < limit} == set()


async def test_the_request_of_readme_is_answered(world: World) -> None:
    command = re.findall(r"^curl .*$", (pages.ROOT / "README.md").read_text(), re.MULTILINE)
    requests = [shlex.split(line, comments=True) for line in command]

    assert len(requests) == 1
    for _, url, option, body in requests:
        path = "/" + url.removeprefix("http://").partition("/")[2]
        reply = await post(world.app(), path, json.loads(body))
        assert (option, reply.status) == ("-d", 200), reply.body
        assert reply.json()["predictions"] in ([0], [1])


Run = Callable[..., dict[str, Any]]


def readme(world: World, run: Run) -> None:
    """Fitted on README's rows, without the columns that it does not use."""
    model = run()["train"](world.rows.drop(columns="churned"), world.rows["churned"], strength=0.5, seed=1)

    assert set(model.predict(world.rows[["tenure", "plan"]])) == {0, 1}


def result_metadata(world: World, run: Run) -> None:
    """Read from what batch prediction wrote."""
    given = str(world.folder / "rows.parquet")
    world.rows.to_parquet(given)
    predictor = Predictor.open(config_of(world.uri, world.digest))
    scoring_job.run(predictor, scoring_job.Task(given, str(world.folder / "churn.parquet")), 1)

    run()


def as_a_library(world: World, run: Run) -> None:
    """With a DataFrame that has more columns than the model takes."""
    frame = world.rows.drop(columns="churned")
    found = run(uri=world.uri, digest=world.digest, frame=frame)["result"]

    assert list(found.refused) == []
    assert len(found.table) == len(frame)


def skeleton(world: World, run: Run) -> None:
    """The three functions that training code may have; they do nothing here."""
    scope = run()

    assert scope["train"](world.rows, world.rows["churned"], max_depth=3, seed=0) is None
    assert scope["evaluate"](None, world.rows, world.rows["churned"]) is None
    assert scope["features"](world.rows) is None


def unused_columns(world: World, run: Run) -> None:
    """The columns that the docstring names are not needed for an answer."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {"age": rng.integers(20, 70, 60), "income": rng.normal(size=60), "plan": ["basic", "plus"] * 30}
    )
    known = data.assign(customer=range(60), since="2026-01-01")
    model = run()["train"](known, (data["income"] > 0).astype(int))

    assert model.score(data, (data["income"] > 0).astype(int)) > 0.8


CODE: dict[tuple[str, str], Callable[[World, Run], None]] = {
    ("README.md", README_CODE): readme,
    ("docs/batch-prediction.md", "import json"): result_metadata,
    ("docs/batch-prediction.md", "from tidemill_runtime.batch.predictor import Predictor, ResultOptions, config_of"): (
        as_a_library
    ),
    ("docs/training-code.md", "def train(data, target, *, max_depth: int = 8, seed: int = 0):"): skeleton,
    ("docs/training-code.md", README_CODE): unused_columns,
}
"""What each block is given, and what must come of it; a block without a row fails."""


@pytest.mark.parametrize("block", pages.of(pages.RUNTIME, "python"), ids=str)
def test_python_runs(block: Block, world: World) -> None:
    def run(**given: Any) -> dict[str, Any]:
        exec(compile(block.text, str(block), "exec", dont_inherit=True), given)
        return given

    CODE[block.page, block.first](world, run)


def documents(text: str) -> list[dict[str, Any]]:
    """The JSON documents of a block, one behind the other."""
    found, rest = [], text.strip()
    while rest:
        document, end = json.JSONDecoder().raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


@pytest.mark.parametrize("block", pages.of(pages.RUNTIME, "json"), ids=str)
async def test_json_is_what_a_server_takes_and_gives(block: Block, world: World, numbers: Published) -> None:
    """A body with inputs is a request: of README's model if it has its columns, otherwise of one matrix."""
    churn, matrix = world.app(), ready(numbers.config())
    for document in documents(block.text):
        if "inputs" in document:
            is_churn = "tenure" in {tensor["name"] for tensor in document["inputs"]}
            app, path = (churn, "/v2/models/churn/infer") if is_churn else (matrix, "/v2/models/demo/infer")
            reply = await post(app, path, document)
            assert reply.status == 200, reply.body
        else:
            (shown,) = document["explanations"]
            reply = await post(churn, "/v1/models/churn:explain", {"instances": [{"tenure": 12, "plan": "basic"}]})
            (given,) = reply.json()["explanations"]
            assert shown.keys() == given.keys()
            assert shown["contributions"].keys() == given["contributions"].keys()
            assert shown["base"] + sum(shown["contributions"].values()) == pytest.approx(shown["prediction"])


@pytest.mark.parametrize("block", pages.of(pages.RUNTIME, "http"), ids=str)
async def test_http_is_answered(block: Block, numbers: Published) -> None:
    head, _, body = block.text.strip().partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    text, size = re.fullmatch(r"(.*)<(\d+) bytes>", body, re.DOTALL).groups()  # type: ignore[union-attr]
    values = np.array([0.5, -1.0, 0.25, 2.0], "<f4").tobytes()

    reply = await call(ready(numbers.config()), "POST", "/v2/models/demo/infer", text.encode() + values, headers)

    assert len(values) == int(size)
    assert reply.status == 200, reply.body


OF_SHELL = pages.of(pages.RUNTIME, "sh")
OF_PAGES = [block for block in OF_SHELL if "monitor.offline" in block.text]


@pytest.mark.parametrize("block", [block for block in OF_SHELL if block not in OF_PAGES], ids=str)
def test_batch_commands_run(block: Block, world: World) -> None:
    source = world.mounts / "pvc" / "lake" / "customers"
    source.mkdir(parents=True)
    world.rows.to_parquet(source / "part-1.parquet")
    facts = f"case $* in *spec.uri*) echo '{world.uri}';; *spec.digest*) echo '{world.digest}';; *) exit 1;; esac"
    stand = {"kubectl": facts, "python": f'exec {sys.executable} "$@"'}
    environment = {**packages.as_in_image("trainer"), "TIDEMILL_MOUNT_ROOT": str(world.mounts)}
    environment["TIDEMILL_TERMINATION_LOG"] = str(world.folder / "termination-log")

    done = pages.run(block.text, world.folder, stand, **environment)

    assert done.returncode == 0, done.stderr
    scores = parquet.read_table(world.mounts / "pvc" / "lake" / "scores" / "churn.parquet")
    assert scores.num_rows == len(world.rows)


@pytest.mark.parametrize("block", OF_PAGES, ids=str)
def test_commands_that_make_pages_run(block: Block, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    lines = [f"2026-11-01T12:00:00Z,{random.random()},basic,{n % 2},1" for n in range(600)]
    (tmp_path / "rows.csv").write_text("\n".join(["when,age,plan,answer,truth", *lines]))
    (tmp_path / "reference.json").write_text(monitoring.PROFILE.to_json())
    settings = monitoring.config(tmp_path)
    (tmp_path / "monitor.json").write_text(settings.to_json())
    with monitoring.running(settings) as monitor:
        monitor.add_batch(monitoring.batch()).result(10)
    stand = {"python": f'exec {sys.executable} "$@"'}

    done = pages.run(block.text, tmp_path, stand, **packages.as_in_image("monitor"))

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "page.json").read_bytes())["performance"]["value"] == 0.5
    assert "churn-1" in (tmp_path / "stored.html").read_text()
