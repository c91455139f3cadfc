"""A run from configuration to a version that a server can open."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from skops import io as skops_io
from tests.runtime.conftest import Trainer, write_secret
from tests.support import training_code
from tests.support.s3 import S3Server

from tidemill_contracts import model_metrics
from tidemill_contracts.digests import digest_hex
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_contracts.training import (
    Champion,
    Code,
    ColumnExpectation,
    DataInput,
    Expectations,
    TrainingResult,
)
from tidemill_runtime import artifacts
from tidemill_runtime.frameworks.onnx import graphs

MIXED_ROWS = 240
PROGRAM = (sys.executable, "train.py")


def mixed_table() -> str:
    random = np.random.default_rng(3)
    plans = random.choice(["basic", "größe-č", "pro"], MIXED_ROWS)
    tenure = random.normal(20, 5, MIXED_ROWS).round(2)
    churned = np.where(tenure + 6 * (plans == "pro") + random.normal(0, 2, MIXED_ROWS) > 22, "nein", "ja")
    table = pd.DataFrame(
        {"tenure": tenure, "länge": random.integers(0, 4, MIXED_ROWS), "plan": plans, "churned": churned}
    )
    table.loc[::17, "tenure"] = np.nan
    return table.to_csv(index=False)


def test_a_classifier_is_trained_judged_and_published(trainer: Trainer) -> None:
    trained = trainer(
        training_code.LOGISTIC, "builtin://breast-cancer", parameters={"C": "0.5"}, gate_metrics=("roc_auc",)
    )
    result = trained.result
    assert (trained.exit_code, result.outcome, result.task) == (0, "Succeeded", "classification")
    assert result.rows == {"train": 455, "holdout": 114} or sum(result.rows.values()) == 569
    assert list(result.holdout_classes) == ["0", "1"], "the rarer class first"
    assert sum(result.holdout_classes.values()) == result.rows["holdout"]
    assert set(result.metrics) == set(model_metrics.names("classification"))
    assert next(iter(result.metrics)) == "roc_auc"
    assert (result.metrics["accuracy"] or 0) > 0.94
    assert result.warnings == ()
    assert (result.formats, result.onnx) == (("skops", "onnx"), "verified")
    assert {"data", "train", "evaluate", "champion", "package", "publish"} <= set(result.seconds)
    assert result.uri == f"pvc://store/churn/{digest_hex(result.digest or '')}"
    version = trained.open()
    assert version.manifest.lineage.parameters == {"C": "0.5"}
    assert version.manifest.lineage.data == result.data
    assert version.manifest.classes == (0, 1)
    assert version.manifest.signature.frame
    assert [o.name for o in version.manifest.signature.outputs] == ["label", "probabilities"]
    assert "publish: ended after" in trained.log


def test_native_and_onnx_answer_the_sample_as_recorded(trainer: Trainer) -> None:
    version = trainer(training_code.LOGISTIC, "builtin://breast-cancer").open()
    sample = version.sample()
    rows = pd.DataFrame(sample.columns)[[column.name for column in version.manifest.signature.inputs]]
    assert len(rows) == len(sample.predictions) == 16
    model = skops_io.load(version.path("model.skops"))
    assert model.predict(rows).tolist() == sample.predictions
    session = graphs.session(version.path("model.onnx").read_bytes())
    assert [node.name for node in session.get_inputs()] == ["X"]
    labels, probabilities = session.run(None, {"X": rows.to_numpy(np.float32)})
    assert [node.name for node in session.get_outputs()] == ["label", "probabilities"]
    assert labels.tolist() == sample.predictions
    assert np.abs(probabilities - model.predict_proba(rows)).max() < 1e-4


def test_text_columns_and_foreign_letters_go_all_the_way(trainer: Trainer) -> None:
    trained = trainer(training_code.MIXED, trainer.table(mixed_table()), "churned")
    version = trained.open()
    assert trained.result.formats == ("skops", "onnx"), trained.result.onnx
    inputs = {column.name: column for column in version.manifest.signature.inputs}
    assert {name: column.datatype for name, column in inputs.items()} == {
        "tenure": "FP64",
        "länge": "INT64",
        "plan": "BYTES",
    }
    assert inputs["plan"].categories == ("basic", "größe-č", "pro")
    assert version.manifest.classes == ("ja", "nein")
    assert (trained.result.metrics["accuracy"] or 0) > 0.7
    session = graphs.session(version.path("model.onnx").read_bytes())
    assert len(session.get_inputs()) == 3


def test_the_reference_profile_counts_every_row_once(trainer: Trainer) -> None:
    trained = trainer(training_code.MIXED, trainer.table(mixed_table()), "churned")
    profile = ReferenceProfile.model_validate_json(trained.open().reference())
    tenure, length, plan = profile.features
    assert isinstance(tenure, NumericProfile)
    assert isinstance(length, NumericProfile)
    assert isinstance(plan, CategoricalProfile)
    assert sum(tenure.counts) + tenure.missing == profile.rows == trained.result.rows["train"]
    assert tenure.missing > 0
    assert len(tenure.counts) == len(tenure.edges) + 1 == 10
    assert max(tenure.counts) < 2 * min(tenure.counts)
    assert length.edges == (0.5, 1.5, 2.5)
    assert plan.categories[0] in ("basic", "größe-č", "pro")
    assert plan.counts[-1] == 0
    assert isinstance(profile.prediction, CategoricalProfile)
    assert sum(profile.prediction.counts) == profile.prediction_rows == trained.result.rows["holdout"]
    assert profile.score is not None
    assert profile.metrics == trained.result.metrics


def test_a_regressor(trainer: Trainer) -> None:
    result = trainer(training_code.LINEAR, "builtin://diabetes").result
    assert (result.task, set(result.metrics)) == ("regression", set(model_metrics.names("regression")))
    assert result.signature is not None
    assert [(o.name, o.datatype) for o in result.signature.outputs] == [("value", "FP64")]
    assert (result.metrics["r2"] or 0) > 0.3


def test_a_model_without_target_has_only_the_users_metrics(trainer: Trainer) -> None:
    trained = trainer(training_code.CLUSTERS, trainer.table(load_iris(as_frame=True).data.to_csv(index=False)), None)
    assert (trained.result.task, set(trained.result.metrics)) == ("clustering", {"inertia"})
    assert trained.result.signature is not None
    assert [o.name for o in trained.result.signature.outputs] == ["cluster", "distances"]


def test_the_users_metrics_stand_beside_the_built_in_ones(trainer: Trainer) -> None:
    result = trainer(training_code.WITH_EVALUATE, gate_metrics=("cost", "undefined", "auc")).result
    assert {"accuracy", "cost"} <= set(result.metrics)
    assert result.metrics.get("undefined") is None
    assert any("'auc', which this run did not produce; it produced accuracy" in text for text in result.warnings)
    assert any("'undefined'" in text for text in result.warnings)


def test_several_inputs_are_split_by_the_one_with_the_target(trainer: Trainer) -> None:
    orders = pd.DataFrame({"customer": [i % 10 for i in range(100)], "amount": range(100)})
    orders["returned"] = (orders["amount"] > 50).astype(int)
    customers = pd.DataFrame({"customer": range(10), "age": range(20, 30)})
    data = (
        DataInput(name="customers", uri=trainer.table(customers.to_csv(index=False), "customers.csv")),
        DataInput(name="orders", uri=trainer.table(orders.to_csv(index=False), "orders.csv")),
    )
    trained = trainer(training_code.JOINED, target="returned", data=data)
    assert trained.exit_code == 0, trained.log
    assert trained.result.rows == {"train": 80, "holdout": 20}
    assert [c.name for c in trained.open().manifest.signature.inputs] == ["amount", "age"]
    assert set(trained.result.data) == {"customers", "orders"}


def test_a_column_without_a_value_is_warned_of(trainer: Trainer) -> None:
    table = load_iris(as_frame=True).frame.assign(planned=np.nan)
    code = training_code.TREE.replace("data, target)", "data.drop(columns='planned'), target)")
    result = trainer(code, trainer.table(table.to_csv(index=False))).result
    assert any(text.endswith("column 'planned' has no value in any row") for text in result.warnings), result.warnings


def test_rows_without_a_target_are_left_out_and_counted(trainer: Trainer) -> None:
    table = load_iris(as_frame=True).frame
    table["target"] = table["target"].astype(float)
    table.loc[[4, 9], "target"] = np.nan
    result = trainer(training_code.TREE, trainer.table(table.to_csv(index=False))).result
    assert sum(result.rows.values()) == 148
    assert result.warnings[0] == "2 rows without a value of 'target' are left out, first row 5"
    assert [text.startswith("the holdout has fewer than 20 rows of a class") for text in result.warnings[1:]] == [True]


class TestChampion:
    """The champion is judged on the candidate's holdout, or its record stands in and the note says so."""

    @staticmethod
    def champion(result: TrainingResult, **changes: object) -> Champion:
        assert result.uri is not None
        assert result.digest is not None
        recorded = Champion(version="churn-1", uri=result.uri, digest=result.digest, metrics={"accuracy": 0.123})
        return recorded.model_copy(update=changes)

    def test_it_is_scored_again_on_the_same_rows(self, trainer: Trainer) -> None:
        first = trainer(training_code.TREE, parameters={"max_depth": "1"}).result
        second = trainer(training_code.TREE, champion=self.champion(first)).result
        assert second.champion_metrics is not None
        assert second.champion_metrics["accuracy"] == first.metrics["accuracy"]  # one holdout, one seed
        assert second.champion_note is None
        assert (second.metrics["accuracy"] or 0) > (second.champion_metrics["accuracy"] or 1)

    def test_a_changed_champion_is_never_loaded(self, trainer: Trainer, mounts: Path) -> None:
        first = trainer(training_code.TREE).result
        file = mounts / "pvc" / "store" / "churn" / digest_hex(first.digest or "") / "model.skops"
        file.write_bytes(file.read_bytes() + b" ")
        second = trainer(training_code.LOGISTIC, champion=self.champion(first)).result
        assert second.champion_metrics == {"accuracy": 0.123}
        assert "recorded metrics of churn-1 are used" in (second.champion_note or "")
        assert "it changed after it was registered" in (second.champion_note or "")

    def test_columns_that_are_gone_are_named(self, trainer: Trainer) -> None:
        first = trainer(training_code.TREE).result
        table = load_iris(as_frame=True).frame.rename(columns={"petal width (cm)": "width"})
        second = trainer(training_code.TREE, trainer.table(table.to_csv(index=False)), champion=self.champion(first))
        assert "columns that the data no longer has: petal width (cm)" in (second.result.champion_note or "")
        assert second.result.champion_metrics == {"accuracy": 0.123}

    def test_a_format_that_cannot_be_scored_is_named(self, trainer: Trainer) -> None:
        command = PROGRAM
        first = trainer(training_code.PROGRAM_OTHER, command=command).result
        second = trainer(training_code.TREE, champion=self.champion(first)).result
        assert second.champion_note == ("recorded metrics of churn-1 are used: format program cannot be scored here")

    def test_it_is_kept_when_old_versions_are_removed(self, trainer: Trainer) -> None:
        first = trainer(training_code.TREE).result
        champion = self.champion(first)
        second = trainer(training_code.LOGISTIC, champion=champion, keep=())
        assert second.exit_code == 0
        assert artifacts.open_version(champion.uri, champion.digest).digest == first.digest


class TestPrograms:
    """The program contract: files in, files out."""

    def test_a_skops_model_is_judged_like_a_functions(self, trainer: Trainer) -> None:
        first = trainer(training_code.TREE, parameters={"max_depth": "2"}).result
        trained = trainer(
            training_code.PROGRAM_SKOPS,
            command=PROGRAM,
            parameters={"depth": "2"},
            champion=TestChampion.champion(first),
        )
        assert trained.exit_code == 0, trained.log
        assert "trained on 120" in trained.log
        assert trained.result.metrics["rows"] == 30
        assert trained.result.metrics["accuracy"] == first.metrics["accuracy"]
        assert trained.result.champion_metrics is not None
        assert trained.result.champion_metrics["accuracy"] == first.metrics["accuracy"]
        assert trained.result.formats == ("skops", "onnx")

    def test_an_onnx_model_is_judged_too(self, trainer: Trainer, mounts: Path) -> None:
        version = trainer(training_code.LOGISTIC).open()
        program = (
            f"import os, shutil\nshutil.copy({str(version.path('model.onnx'))!r}, "
            "os.environ['TIDEMILL_OUTPUT_DIR'] + '/model.onnx')\n"
        )
        trained = trainer(program, command=PROGRAM)
        assert trained.exit_code == 0, trained.log
        assert trained.result.formats == ("onnx",)
        assert trained.result.metrics["accuracy"] == version.manifest.metrics["accuracy"]
        assert trained.open().sample().predictions == version.sample().predictions

    def test_any_other_form_is_taken_at_its_word(self, trainer: Trainer) -> None:
        trained = trainer(training_code.PROGRAM_OTHER, command=PROGRAM)
        assert trained.result.formats == ("program",)
        assert trained.result.metrics == {"accuracy": 0.75}
        assert {"model.bin", "vocabulary.txt"} <= set(trained.open().manifest.files)

    @pytest.mark.parametrize(
        ("code", "command", "reason", "says"),
        [
            (training_code.PROGRAM_FAILS, PROGRAM, "ProgramFailed", "disk of the dongle is missing"),
            (training_code.PROGRAM_NO_MODEL, PROGRAM, "NoModel", "it left nothing"),
            ("", ("no-such-interpreter", "x"), "ProgramFailed", "'no-such-interpreter' cannot be run in this image"),
        ],
    )
    def test_what_a_program_did_wrong_is_said(
        self, trainer: Trainer, code: str, command: tuple[str, ...], reason: str, says: str
    ) -> None:
        trained = trainer(code, command=command)
        assert (trained.exit_code, trained.failure.category, trained.failure.reason) == (42, "UserError", reason)
        assert says in trained.failure.message

    def test_a_killed_program_ran_out_of_memory(self, trainer: Trainer) -> None:
        trained = trainer("import os\nos.kill(os.getpid(), 9)\n", command=PROGRAM)
        assert (trained.exit_code, trained.failure.category) == (42, "OutOfMemory")


def test_data_and_versions_on_s3(trainer: Trainer, bucket: str, s3_server: S3Server) -> None:
    table = load_breast_cancer(as_frame=True).frame
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="lake/b.csv", Body=table.tail(300).to_csv(index=False).encode())
    client.put_object(Bucket=bucket, Key="lake/a.csv", Body=table.head(269).to_csv(index=False).encode())
    data = (DataInput(name="table", uri=f"s3://{bucket}/lake/", secret="lake"),)
    trained = trainer(training_code.LOGISTIC, data=data, store=f"s3://{bucket}/models/churn", store_secret="lake")
    assert trained.exit_code == 0, trained.log
    assert sum(trained.result.rows.values()) == 569
    assert trained.result.uri is not None
    version = artifacts.open_version(trained.result.uri, trained.result.digest or "", "lake")
    assert version.manifest.lineage.data_digests["table"] != version.manifest.lineage.data["table"]


def test_pickles_need_the_opt_in_and_then_load(trainer: Trainer) -> None:
    # A generator of numpy's old kind inside a transformer is something that skops cannot hold.
    code = """
import functools, operator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def train(data, target):
    return make_pipeline(FunctionTransformer(operator.neg), LogisticRegression(max_iter=500)).fit(data, target)
"""
    refused = trainer(code)
    assert refused.failure.reason == "UntrustedType"
    assert "operator.neg" in refused.failure.message
    assert "spec.allowPickle" in refused.failure.message
    allowed = trainer(code, allow_pickle=True)
    assert allowed.exit_code == 0, allowed.log
    assert allowed.result.formats == ("joblib",)
    assert allowed.open().path("model.joblib").stat().st_size > 0


def test_expectations_stop_a_run_before_it_trains(trainer: Trainer) -> None:
    expectations = Expectations(columns=(ColumnExpectation(name="petal width (cm)", min=0.15),))
    data = (DataInput(name="table", uri="builtin://iris", expectations=expectations),)
    trained = trainer(training_code.TREE, data=data)
    assert (trained.failure.category, trained.failure.reason) == ("DataInvalid", "ExpectationFailed")
    assert trained.failure.message == (
        "input 'table': column 'petal width (cm)': 5 values below min 0.15, first at row 10"
    )
    assert "train: started" not in trained.log


def test_a_revision_other_than_the_decided_one_is_said(trainer: Trainer) -> None:
    uri = trainer.table(load_iris(as_frame=True).frame.to_csv(index=False))
    data = (DataInput(name="table", uri=uri, revision="sha256:old"),)
    result = trainer(training_code.TREE, data=data).result
    assert result.warnings[0].startswith("input 'table' changed since the run was decided: trained on sha256:")


def test_code_of_an_image_is_found_on_its_path(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    package.mkdir()
    (package / "teamcode.py").write_text(training_code.TREE)
    monkeypatch.syspath_prepend(str(package))
    config = trainer.config("", code=Code(digest="sha256:image", entrypoint="teamcode:train"))
    assert trainer.run(config).exit_code == 0


def test_manifest_holds_nothing_of_this_run(trainer: Trainer) -> None:
    version = trainer(training_code.TREE).open()
    text = (version.folder / "manifest.json").read_text() + version.reference().decode()
    assert "churn-1" not in text
    assert json.loads(text.split("}{")[0] + ("}" if "}{" in text else ""))["pipeline"] == "churn"
    assert str(version.folder) not in text


def test_a_secret_for_the_store_that_is_not_there(trainer: Trainer, mounts: Path) -> None:
    write_secret(mounts, "other", {})
    trained = trainer(training_code.TREE, store="s3://bucket/churn", store_secret="lake")
    assert (trained.exit_code, trained.failure.category, trained.failure.reason) == (
        1,
        "Infrastructure",
        "SecretNotFound",
    )
