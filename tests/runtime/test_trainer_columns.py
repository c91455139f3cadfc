"""Trained, published, served, watched: columns that a model does not use are asked of nobody."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from tests.runtime.conftest import Trained, Trainer
from tests.support import grpcclient, scored, serverprocess
from tests.support.serverprocess import ServerProcess

from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_contracts.training import Champion
from tidemill_runtime.loading import local_copy, warm_up
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.server.protocol.proto import open_inference_pb2 as pb

TABLE = 160
COLUMNS = ["customer", "since", "age", "plan", "income"]
USED, UNUSED = ["age", "plan", "income"], ["customer", "since"]
CODE = """
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data, target, *, model: str = "linear", seed: int = 0):
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["income", "age"]),
            ("plan", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["plan"]),
        ]
    )
    kinds = {"linear": LogisticRegression(), "forest": RandomForestClassifier(5, max_depth=3, random_state=seed)}
    return make_pipeline(columns, kinds[model]).fit(data, target)
"""
BY_PLACE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(data, target, *, matrix: bool = False):
    model = make_pipeline(ColumnTransformer([("numbers", StandardScaler(), [1, 3])]), LogisticRegression())
    return model.fit(data.to_numpy() if matrix else data, target)
"""


def table() -> pd.DataFrame:
    random = np.random.default_rng(4)
    age, plan = random.normal(40, 9, TABLE).round(2), random.choice(["basic", "gold"], TABLE)
    income = random.normal(size=TABLE).round(3)
    return pd.DataFrame(
        {
            "customer": np.arange(TABLE) + 10_000,
            "since": [f"2025-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(TABLE)],
            "age": age,
            "plan": plan,
            "income": income,
            "churned": (age / 9 + income + (plan == "gold") > 5).astype(int),
        }
    )


def trained_on(trainer: Trainer, rows: pd.DataFrame, code: str = CODE, **more: Any) -> Trained:
    found = trainer(code, trainer.table(rows.to_csv(index=False)), "churned", **more)
    assert found.exit_code == 0, found.result.failure
    return found


def config(trained: Trained, **changes: Any) -> ServerConfig:
    values = {
        "namespace": "team-a", "deployment": "churn", "version": "churn-1", "number": "1",
        "digest": trained.result.digest or "", "uri": trained.result.uri or "", "drain_seconds": 0.0,
    }  # fmt: skip
    return ServerConfig(**{**values, **changes})


def test_the_signature_marks_what_is_not_used(trainer: Trainer) -> None:
    trained = trained_on(trainer, table())
    manifest = trained.open().manifest
    assert [column.name for column in manifest.signature.inputs] == COLUMNS
    assert [column.name for column in manifest.signature.used_inputs] == USED
    assert trained.result.signature is not None
    assert [c.name for c in trained.result.signature.inputs if not c.is_used] == UNUSED


def test_the_reference_of_the_monitor_has_used_columns_only(trainer: Trainer) -> None:
    """An id is another one in every window: as a feature it would drift, and make the share of the others smaller."""
    profile = ReferenceProfile.from_json(trained_on(trainer, table()).open().reference())
    assert [feature.name for feature in profile.features] == USED


def test_the_sample_has_all_columns_for_servers_from_before(trainer: Trainer) -> None:
    assert sorted(trained_on(trainer, table()).open().sample().columns) == sorted(COLUMNS)


@pytest.mark.parametrize("model", ["linear", "forest"])
def test_the_onnx_form_reads_used_columns_only(trainer: Trainer, model: str) -> None:
    trained = trained_on(trainer, table(), parameters={"model": model})
    assert trained.result.formats == ("skops", "onnx"), trained.result.onnx
    session = onnxruntime.InferenceSession(trained.open().path("model.onnx").read_bytes())
    assert {node.name for node in session.get_inputs()} == set(USED)


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
@pytest.mark.parametrize("matrix", ["true", "false"])
def test_columns_selected_by_place(trainer: Trainer, runtime: str, matrix: str) -> None:
    """One input for the whole matrix: servers fill what clients do not send."""
    rows = table().drop(columns=["since", "plan"]).assign(other=1.5)[["customer", "age", "other", "income", "churned"]]
    trained = trained_on(trainer, rows, BY_PLACE, parameters={"matrix": matrix})
    assert [column.name for column in trained.open().manifest.signature.used_inputs] == ["age", "income"]
    with local_copy.opened(config(trained, runtime=runtime)) as version:
        warm = warm_up.load(version, config(trained, runtime=runtime), threads=1)
        sample = version.sample()
    arrays = [np.array(sample.columns[name], dtype=np.float64) for name in ("age", "income")]
    answer = warm.model.predict(Frame(warm.schema, len(arrays[0]), arrays=arrays))
    assert answer.prediction.tolist() == sample.predictions


def ask(server: ServerProcess, path: str, body: object) -> tuple[int, Any]:
    request = urllib.request.Request(server.url + path, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def tensors(row: dict[str, Any]) -> dict[str, Any]:
    kinds = {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}
    inputs = [{"name": n, "shape": [1], "datatype": kinds[type(v)], "data": [v]} for n, v in row.items()]
    return {"inputs": inputs}


ROW = {"customer": 7, "since": "2026-11-30", "age": 52.5, "plan": "gold", "income": 0.25}
FEWER = {name: ROW[name] for name in USED}


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_a_server_asks_for_used_columns_by_every_protocol(trainer: Trainer, tmp_path: Path, runtime: str) -> None:
    trained = trained_on(trainer, table())
    with serverprocess.running(tmp_path / "server", config(trained, runtime=runtime)) as server:
        server.wait_ready()
        infer, predict = "/v2/models/churn/infer", "/v1/models/churn:predict"
        status, expected = ask(server, infer, tensors(ROW) | {"id": "r"})
        assert status == 200, expected
        for row in (FEWER, ROW | {"customer": 8}, ROW | {"since": 3.5}, {"since": "x", **FEWER}):
            assert ask(server, infer, tensors(row) | {"id": "r"}) == (200, expected)
        label = expected["outputs"][0]["data"]
        for rows in ([ROW], [FEWER], [list(ROW.values())], [list(FEWER.values())]):
            assert ask(server, predict, {"instances": rows}) == (200, {"predictions": label})
        status, refused = ask(server, infer, tensors(ROW | {"shoe": 43}))
        assert (status, "unexpected columns: 'shoe'" in refused["error"]) == (400, True)
        status, refused = ask(server, predict, {"instances": [ROW | {"shoe": 43}]})
        assert (status, "unexpected columns: 'shoe'" in refused["error"]) == (400, True)

        metadata = json.loads(serverprocess.get(server.url + "/v2/models/churn")[1])
        assert [tensor["name"] for tensor in metadata["inputs"]] == USED
        assert metadata["parameters"]["unused_inputs"] == UNUSED
        status, explained = ask(server, "/v1/models/churn:explain", {"instances": [ROW]})
        assert (status, list(explained["explanations"][0]["contributions"])) == (200, USED)


def test_another_setting_ignores_unknown_columns(trainer: Trainer, tmp_path: Path) -> None:
    trained = trained_on(trainer, table())
    with serverprocess.running(tmp_path / "server", config(trained, extra_columns="Ignore")) as server:
        server.wait_ready()
        status, expected = ask(server, "/v1/models/churn:predict", {"instances": [FEWER]})
        assert status == 200
        more = ROW | {"shoe": 43}
        assert ask(server, "/v1/models/churn:predict", {"instances": [more]}) == (200, expected)
        status, found = ask(server, "/v2/models/churn/infer", tensors(more))
        assert (status, found["outputs"][0]["data"]) == (200, expected["predictions"])


def test_clients_that_send_both_names_of_a_renamed_column_are_refused_by_no_version(
    trainer: Trainer, tmp_path: Path
) -> None:
    """What docs/kinds/model-deployment.md says of changed signatures: neither name alone suits both versions."""
    before = trained_on(trainer, table())
    after = trained_on(trainer, table().rename(columns={"age": "years"}), CODE.replace('"age"', '"years"'))
    others = {name: value for name, value in FEWER.items() if name != "age"}
    old, new, both = ({**names, **others} for names in ({"age": 52.5}, {"years": 52.5}, {"age": 52.5, "years": 52.5}))
    for place, (trained, own) in {"before": (before, old), "after": (after, new)}.items():
        with serverprocess.running(tmp_path / place, config(trained, extra_columns="Ignore")) as server:
            server.wait_ready()
            for row, status in ((both, 200), (own, 200), (new if own is old else old, 400)):
                assert ask(server, "/v1/models/churn:predict", {"instances": [row]})[0] == status, (place, row)
            assert ask(server, "/v2/models/churn/infer", tensors(both))[0] == 200


def test_grpc_agrees(trainer: Trainer, tmp_path: Path) -> None:
    trained = trained_on(trainer, table())
    with serverprocess.running(tmp_path / "server", config(trained)) as server:
        server.wait_ready()
        with grpcclient.Client(server.grpc_target) as client:
            asked = pb.ModelMetadataRequest(name="churn")
            metadata = client.call("ModelMetadata", asked, pb.ModelMetadataResponse)
            assert [tensor.name for tensor in metadata.inputs] == USED
            fewer = [
                grpcclient.tensor("age", [1], "FP64", fp64_contents=[52.5]),
                grpcclient.tensor("plan", [1], "BYTES", bytes_contents=[b"gold"]),
                grpcclient.tensor("income", [1], "FP64", fp64_contents=[0.25]),
            ]
            more = [*fewer, grpcclient.tensor("customer", [1], "INT64", int64_contents=[7])]
            answers = [client.infer(grpcclient.request(*given, model="churn")) for given in (fewer, more)]
            assert answers[0].outputs == answers[1].outputs
            assert len(answers[0].outputs) == 2


def test_a_batch_needs_used_columns_only(trainer: Trainer, tmp_path: Path) -> None:
    trained = trained_on(trainer, table())
    rows = table()
    answers = []
    for name, given in {"used": rows[USED], "all": rows[COLUMNS], "odd": rows.assign(since=1.5, more=True)}.items():
        source = scored.write(tmp_path / f"{name}.parquet", pa.Table.from_pandas(given, preserve_index=False))
        target = str(tmp_path / f"{name}-scored.parquet")
        arguments = ["--uri", trained.result.uri or "", "--digest", trained.result.digest or ""]
        run = scored.command(tmp_path / name, None, "--input", source, "--output", target, *arguments)
        assert run.code == 0, run.log
        answers.append(pq.read_table(target).column("label").to_pylist())
    assert answers[0] == answers[1] == answers[2]


def test_a_champion_is_scored_though_a_column_that_it_does_not_use_is_gone(trainer: Trainer) -> None:
    first = trained_on(trainer, table())
    champion = Champion(version="churn-1", uri=first.result.uri or "", digest=first.result.digest or "")
    second = trained_on(trainer, table().drop(columns=UNUSED), champion=champion)
    assert second.result.champion_note is None
    assert second.result.champion_metrics is not None
    gone = trained_on_code_without_income(trainer, champion)
    assert "it takes columns that the data no longer has: income" in (gone.result.champion_note or "")


def trained_on_code_without_income(trainer: Trainer, champion: Champion) -> Trained:
    return trained_on(
        trainer, table().drop(columns="income"), CODE.replace('["income", "age"]', '["age"]'), champion=champion
    )
