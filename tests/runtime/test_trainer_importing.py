"""Imports: what the Job of a ModelImport copies, packages and refuses, and that a server starts with it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops import io as skops_io
from tests.runtime.conftest import Trainer
from tests.support import training_code

from tidemill_contracts.artifact import CODE_FILE, MARKER_FILE, REFERENCE_FILE, SAMPLE_FILE, ColumnSpec
from tidemill_contracts.digests import digest_hex, sha256
from tidemill_contracts.importing import CONFIG_ENV, ImportConfig
from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.training import TERMINATION_MESSAGE_LIMIT, TrainingResult
from tidemill_runtime import artifacts
from tidemill_runtime.artifacts import Version
from tidemill_runtime.loading import warm_up
from tidemill_runtime.trainer import entry
from tidemill_runtime.trainer.importing import model_file
from tidemill_runtime.trainer.package import publish

STORE = "pvc://store/imports/from-staging"


@dataclass(frozen=True)
class Imported:
    """What an import left."""

    exit_code: int
    result: TrainingResult

    @property
    def failed(self) -> tuple[str, str]:
        assert self.result.failure is not None, self.result
        return self.result.failure.category, self.result.failure.reason

    @property
    def said(self) -> str:
        assert self.result.failure is not None, self.result
        return self.result.failure.message

    def open(self, secret: str | None = None) -> Version:
        assert self.result.uri is not None, self.result
        assert self.result.digest is not None
        return artifacts.open_version(self.result.uri, self.result.digest, secret)


Import = Callable[..., Imported]


@pytest.fixture
def import_(mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Runs the program as the pod of an import would."""

    def run(uri: str, digest: str, **more: Any) -> Imported:
        message = tmp_path / "import-log"
        message.unlink(missing_ok=True)
        fields = {"namespace": "production", "name": "from-staging", "pipeline": "churn", "store": STORE, **more}
        monkeypatch.setenv("TIDEMILL_TERMINATION_LOG", str(message))
        monkeypatch.setenv(CONFIG_ENV, ImportConfig(uri=uri, digest=digest, **fields).to_json())
        monkeypatch.setattr("tidemill_runtime.trainer.report.shutdown.install", lambda: None)
        code = entry.import_model()
        content = message.read_bytes()
        assert len(content) <= TERMINATION_MESSAGE_LIMIT
        return Imported(code, TrainingResult.from_json(content, strict=True))

    return run


def serves(version: Version, runtime: str) -> warm_up.WarmModel:
    """Start as a server does; its warm-up repeats the sample."""
    config = ServerConfig(
        namespace="production", deployment="churn", version="churn-1", number="1", digest=version.digest, uri=STORE
    )
    warm = warm_up.load(version, config, 1)
    assert warm.runtime == runtime
    return warm


def upload(mounts: Path, name: str, content: bytes) -> tuple[str, str]:
    """Put a file on the claim `uploads`; return its URI and digest."""
    path = mounts / "pvc" / "uploads" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"pvc://uploads/{name}", sha256(content)


def columns(version: Version) -> dict[str, str]:
    return {c.name: c.datatype for c in version.manifest.signature.inputs}


# -- versions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def staged(trainer: Trainer) -> TrainingResult:
    """A version that was trained elsewhere."""
    return trainer(training_code.LOGISTIC, "builtin://iris", store="pvc://staging/churn").result


@pytest.mark.parametrize("whole", [True, False], ids=["its folder", "the folder around it"])
def test_a_version_is_copied_byte_for_byte_and_serves_when_its_source_is_gone(
    staged: TrainingResult, import_: Import, mounts: Path, whole: bool
) -> None:
    digest = staged.digest or ""
    done = import_(staged.uri if whole else "pvc://staging/churn", digest)
    assert (done.exit_code, done.result.outcome) == (0, "Succeeded")
    assert done.result.uri == f"{STORE}/{digest_hex(digest)}"
    assert (done.result.digest, done.result.model_digest) == (digest, staged.model_digest)
    assert (done.result.formats, done.result.task, done.result.onnx) == (staged.formats, staged.task, "verified")
    assert done.result.metrics == staged.metrics
    assert done.result.signature == staged.signature
    assert done.result.lineage is not None
    assert done.result.lineage.image == "trainer@sha256:0"
    assert done.result.warnings == ()
    source = mounts / "pvc" / "staging" / "churn" / digest_hex(digest)
    copy = mounts / "pvc" / "store" / "imports" / "from-staging" / digest_hex(digest)
    assert {f.name: f.read_bytes() for f in source.iterdir()} == {f.name: f.read_bytes() for f in copy.iterdir()}
    publish.prune("pvc://staging/churn", None, (), now=4e9)
    assert not source.exists()
    serves(done.open(), "ONNX")

    again = import_("pvc://staging/churn", digest)
    assert again.result.uri == done.result.uri, "what is in the store is not read from its source"


def test_a_version_goes_from_a_bucket_to_another_one(
    trainer: Trainer, import_: Import, bucket: str, mounts: Path
) -> None:
    trained = trainer(training_code.LOGISTIC, store=f"s3://{bucket}/staging/churn", store_secret="lake").result
    done = import_(
        f"s3://{bucket}/staging/churn", trained.digest or "", secret="lake",
        store=f"s3://{bucket}/production/imports/x", store_secret="lake",
    )  # fmt: skip
    assert done.exit_code == 0, done.result
    serves(done.open("lake"), "ONNX")
    onto_claim = import_(f"s3://{bucket}/staging/churn", trained.digest or "", secret="lake")
    assert onto_claim.open().manifest == done.open("lake").manifest


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"other"), "DigestMismatch"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{}"), "DigestMismatch"),
        (lambda folder: (folder / MARKER_FILE).write_text("sha256:" + "0" * 64), "DigestMismatch"),
        (lambda folder: (folder / MARKER_FILE).unlink(), "Incomplete"),
        (lambda folder: (folder / SAMPLE_FILE).unlink(), "Incomplete"),
        (lambda folder: [f.unlink() for f in folder.iterdir()], "NotFound"),
    ],
    ids=["a file", "the manifest", "the marker", "no marker", "a file is gone", "nothing"],
)
def test_what_is_not_what_the_digest_says_is_not_copied(
    staged: TrainingResult, import_: Import, mounts: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(mounts / "pvc" / "staging" / "churn" / digest_hex(staged.digest or ""))
    done = import_(staged.uri or "", staged.digest or "")
    assert done.exit_code == 42
    assert done.failed == ("DataInvalid", reason)
    assert not list((mounts / "pvc" / "store").rglob(MARKER_FILE))


def test_another_digest_than_that_of_the_version_is_refused(staged: TrainingResult, import_: Import) -> None:
    done = import_(staged.uri or "", "sha256:" + "0" * 64)
    assert done.failed == ("DataInvalid", "DigestMismatch")


def test_a_damaged_copy_in_the_store_is_written_anew(staged: TrainingResult, import_: Import, mounts: Path) -> None:
    done = import_("pvc://staging/churn", staged.digest or "")
    copy = mounts / "pvc" / "store" / "imports" / "from-staging" / digest_hex(staged.digest or "")
    (copy / "model.onnx").write_bytes(b"other")
    again = import_("pvc://staging/churn", staged.digest or "")
    assert again.exit_code == 0
    assert done.open().manifest == again.open().manifest


def test_a_version_with_a_pickle_is_refused(trainer: Trainer, import_: Import) -> None:
    trained = trainer(UNKNOWN_TYPE, store="pvc://staging/churn", allow_pickle=True).result
    assert "joblib" in trained.formats
    done = import_(trained.uri or "", trained.digest or "")
    assert done.failed == ("UserError", "PickleRefused")
    assert "joblib" in done.said


UNKNOWN_TYPE = """
from copy import copy

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def train(data, target):
    return make_pipeline(FunctionTransformer(copy), LogisticRegression(max_iter=500)).fit(data, target)
"""


OWN_FUNCTION = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def doubled(table):
    return table * 2


def train(data, target):
    return make_pipeline(FunctionTransformer(doubled), LogisticRegression(max_iter=500)).fit(data, target)
"""


def test_code_that_a_version_brings_is_copied_and_not_executed(trainer: Trainer, import_: Import) -> None:
    trained = trainer(OWN_FUNCTION, store="pvc://staging/churn").result
    assert "skops-code" in trained.formats, trained
    done = import_(trained.uri or "", trained.digest or "")
    assert done.exit_code == 0, done.result
    assert done.result.formats == trained.formats
    assert CODE_FILE in done.open().manifest.files


def test_what_is_too_large_is_given_up_before_it_fills_the_disk(
    staged: TrainingResult, import_: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_contracts.importing.MOST_BYTES", 1000)
    done = import_(staged.uri or "", staged.digest or "")
    assert done.failed == ("DataInvalid", "TooLarge")
    assert "more than 1000 bytes" in done.said


def test_a_store_that_does_not_answer_is_tried_again(
    staged: TrainingResult, import_: Import, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, digest = staged.uri or "", staged.digest or ""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tidemill_runtime.storage.local.write_durably", full)
    done = import_(uri, digest)
    assert (done.exit_code, *done.failed) == (1, "Infrastructure", "StorageFull")
    monkeypatch.undo()


def test_a_secret_that_is_missing_is_named_and_waited_for(import_: Import) -> None:
    done = import_("s3://models/staging", "sha256:" + "0" * 64, secret="nobody")
    assert (done.exit_code, *done.failed) == (1, "Infrastructure", "SecretNotFound")
    assert "Secret nobody does not exist" in done.said


def test_the_program_is_the_trainers_with_an_argument(mounts: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, CONFIG_ENV: "{}", "TIDEMILL_TERMINATION_LOG": str(log)}
    command = [sys.executable, "-m", "tidemill_runtime.trainer", "import"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 42
    failure = json.loads(log.read_text())["failure"]
    assert (failure["category"], failure["reason"]) == ("Infrastructure", "InvalidConfig")
    assert "namespace" in failure["message"]


def test_copying_a_version_loads_no_numeric_library(staged: TrainingResult, mounts: Path, tmp_path: Path) -> None:
    config = ImportConfig(
        namespace="production", name="x", pipeline="churn", uri=staged.uri or "", digest=staged.digest or "",
        store=STORE,
    )  # fmt: skip
    code = (
        "import sys\nfrom tidemill_runtime.trainer import entry\nassert entry.import_model() == 0\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'pandas', 'sklearn', 'onnx', 'onnxruntime'}))"
    )
    environment = {
        **os.environ, CONFIG_ENV: config.to_json(), "TIDEMILL_TERMINATION_LOG": str(tmp_path / "log"),
        "TIDEMILL_MOUNT_ROOT": str(mounts),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


# -- files -------------------------------------------------------------------------------------------------------

IRIS = load_iris(as_frame=True)
ROWS, SPECIES = IRIS.data, IRIS.target.map(dict(enumerate(IRIS.target_names)))
MIXED = pd.DataFrame({"age": [30.0, 50.0, None, 20.0] * 5, "plan": ["basic", "pro", "pro", "gold"] * 5})
CHURNED = np.array([0, 1, 1, 0] * 5)


def mixed(**options: Any) -> Any:
    encoder = OneHotEncoder(sparse_output=False, **options)
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    chosen = make_column_transformer((SimpleImputer(), ["age"]), (texts, ["plan"]))
    return make_pipeline(chosen, LogisticRegression()).fit(MIXED, CHURNED)


def test_an_onnx_file_of_a_matrix_is_packaged_and_served(import_: Import, mounts: Path) -> None:
    model = LogisticRegression(max_iter=500).fit(ROWS, SPECIES)
    graph = to_onnx(model, ROWS.to_numpy(np.float32)[:1], options={"zipmap": False}).SerializeToString()
    uri, digest = upload(mounts, "notebook/model.onnx", graph)
    done = import_(uri, digest)
    assert done.exit_code == 0, done.result
    version = done.open()
    assert done.result.model_digest == digest
    assert version.path("model.onnx").read_bytes() == graph
    assert (version.manifest.formats, version.manifest.task) == (("onnx",), "classification")
    assert version.manifest.classes == tuple(IRIS.target_names)
    assert columns(version) == {f"x{i}": "FP64" for i in range(4)}
    assert [o.name for o in version.manifest.signature.outputs] == ["label", "probabilities"]
    assert REFERENCE_FILE not in version.manifest.files
    assert len(done.result.warnings) == 2, "no names, no profile"
    serves(version, "ONNX")


def test_an_onnx_file_with_an_input_a_column_keeps_names_types_and_texts(import_: Import, mounts: Path) -> None:
    types = [("age", FloatTensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    chosen = make_column_transformer((StandardScaler(), ["age"]), (encoder, ["plan"]))
    table = MIXED.fillna(1.0)
    model = make_pipeline(chosen, LinearRegression()).fit(table, CHURNED)
    graph = to_onnx(model, initial_types=types).SerializeToString()
    done = import_(*upload(mounts, "price.onnx", graph))
    assert done.exit_code == 0, done.result
    version = done.open()
    assert columns(version) == {"age": "FP64", "plan": "BYTES"}
    assert version.manifest.task == "regression"
    assert version.manifest.classes is None
    serves(version, "ONNX")


def test_a_classifier_whose_classes_are_a_tensor_is_taken(import_: Import, mounts: Path) -> None:
    model = GaussianNB().fit(ROWS, IRIS.target)
    graph = to_onnx(model, ROWS.to_numpy(np.float32)[:1], options={"zipmap": False}).SerializeToString()
    done = import_(*upload(mounts, "bayes.onnx", graph))
    assert done.exit_code == 0, done.result
    assert done.open().manifest.classes == (0, 1, 2)


def external(graph: onnx.ModelProto) -> onnx.ModelProto:
    tensor = graph.graph.initializer[0] if graph.graph.initializer else graph.graph.initializer.add()
    tensor.name = tensor.name or "weights"
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry_ = tensor.external_data.add()
    entry_.key, entry_.value = "location", "../../secret/lake/AWS_SECRET_ACCESS_KEY"
    return graph


def graph_of(model: Any, **options: Any) -> onnx.ModelProto:
    return to_onnx(model, ROWS.to_numpy(np.float32)[:1], **options)


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (lambda: b"no graph", "InvalidData", "cannot be read as onnx"),
        (lambda: graph_of(LogisticRegression(max_iter=500).fit(ROWS, SPECIES)), "Unservable", "ZipMap"),
        (lambda: graph_of(KMeans(3, n_init=1).fit(ROWS)), "Unservable", "no classes"),
        (lambda: external(graph_of(LinearRegression().fit(ROWS, IRIS.target))), "Unservable", "other files"),
    ],
    ids=["no graph", "ZipMap", "clusters", "tensors elsewhere"],
)
def test_a_graph_that_no_server_could_answer_with_is_refused(
    import_: Import, mounts: Path, content: Callable[[], Any], reason: str, says: str
) -> None:
    made = content()
    data = made if isinstance(made, bytes) else made.SerializeToString()
    done = import_(*upload(mounts, "model.onnx", data))
    assert done.exit_code == 42
    assert done.failed[1] == reason
    assert says in done.said


def test_a_skops_file_of_a_pipeline_says_names_types_and_known_texts(import_: Import, mounts: Path) -> None:
    content = skops_io.dumps(mixed())
    done = import_(*upload(mounts, "model.skops", content))
    assert done.exit_code == 0, done.result
    version = done.open()
    assert version.path("model.skops").read_bytes() == content
    assert columns(version) == {"age": "FP64", "plan": "BYTES"}
    (_, plan) = version.manifest.signature.inputs
    assert plan.categories == ("basic", "gold", "pro")
    assert plan.closed is True
    assert done.result.warnings == ("the version has no reference profile, so a monitor cannot tell drift of it",)
    serves(version, "Native")


def test_columns_that_the_model_in_a_skops_file_does_not_use_are_marked_and_not_required(
    import_: Import, mounts: Path
) -> None:
    table = MIXED.assign(customer=[f"c{i}" for i in range(len(MIXED))], since=range(len(MIXED)))[
        ["customer", "age", "since", "plan"]
    ]
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    chosen = make_column_transformer((SimpleImputer(), ["age"]), (encoder, ["plan"]))
    model = make_pipeline(chosen, LogisticRegression()).fit(table, CHURNED)
    done = import_(*upload(mounts, "model.skops", skops_io.dumps(model)))
    assert done.exit_code == 0, done.result
    version = done.open()
    assert list(columns(version)) == ["customer", "age", "since", "plan"]
    assert [column.name for column in version.manifest.signature.used_inputs] == ["age", "plan"]
    assert done.result.signature is not None
    assert [c.name for c in done.result.signature.inputs if c.used is False] == ["customer", "since"]
    serves(version, "Native")


def test_texts_that_are_ignored_leave_the_column_open(import_: Import, mounts: Path) -> None:
    done = import_(*upload(mounts, "model.skops", skops_io.dumps(mixed(handle_unknown="ignore"))))
    assert done.exit_code == 0, done.result
    (age, plan) = done.open().manifest.signature.inputs
    assert (plan.categories, plan.closed) == (("basic", "gold", "pro"), None)
    assert age.nullable is None, "its imputer takes gaps"


@pytest.mark.parametrize(
    ("model", "task", "names"),
    [
        (lambda: LinearRegression().fit(ROWS.to_numpy(), IRIS.target), "regression", ["x0", "x1", "x2", "x3"]),
        (lambda: KMeans(3, n_init=1).fit(ROWS), "clustering", list(ROWS.columns)),
        (lambda: HistGradientBoostingClassifier(max_iter=3).fit(ROWS, SPECIES), "classification", list(ROWS.columns)),
    ],
    ids=["a matrix", "clusters", "boosting"],
)
def test_a_skops_file_of_an_estimator(
    import_: Import, mounts: Path, model: Callable[[], Any], task: str, names: list[str]
) -> None:
    done = import_(*upload(mounts, "model.skops", skops_io.dumps(model())))
    assert done.exit_code == 0, done.result
    version = done.open()
    assert (version.manifest.task, list(columns(version))) == (task, names)
    serves(version, "Native")


def test_a_skops_file_of_types_that_are_not_loaded_constructs_nothing(import_: Import, mounts: Path) -> None:
    model = make_pipeline(FunctionTransformer(os.getcwd), LinearRegression())
    done = import_(*upload(mounts, "model.skops", skops_io.dumps(model)))
    assert (done.exit_code, *done.failed) == (42, "UserError", "UntrustedType")
    assert "getcwd" in done.said


def test_a_pickle_is_refused_by_its_name(import_: Import, mounts: Path, tmp_path: Path) -> None:
    joblib.dump(LinearRegression(), tmp_path / "model.joblib")
    for name in ("model.joblib", "model.pkl", "model.pickle"):
        done = import_(*upload(mounts, name, (tmp_path / "model.joblib").read_bytes()))
        assert (done.exit_code, *done.failed) == (42, "UserError", "PickleRefused")


def test_a_file_with_another_digest_or_none_at_all_is_refused(import_: Import, mounts: Path) -> None:
    uri, _ = upload(mounts, "model.onnx", b"content")
    done = import_(uri, "sha256:" + "0" * 64)
    assert done.failed == ("DataInvalid", "DigestMismatch")
    assert import_("pvc://uploads/none.onnx", "sha256:" + "0" * 64).failed == ("DataInvalid", "NotFound")


def test_a_file_that_is_too_large_is_refused(import_: Import, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill_contracts.importing.MOST_BYTES", 3)
    assert import_(*upload(mounts, "model.onnx", b"content")).failed == ("DataInvalid", "TooLarge")


def test_one_file_gives_one_version(import_: Import, mounts: Path) -> None:
    found = upload(mounts, "model.skops", skops_io.dumps(mixed()))
    assert import_(*found).result == import_(*found).result


def test_rows_hold_every_known_value_and_never_too_many() -> None:
    from tidemill_runtime.frameworks.base import FileColumn

    known = tuple(f"v{i}" for i in range(5000))
    rows = model_file.made_up((FileColumn("a", "BYTES", known), FileColumn("b", "INT64"), FileColumn("c", "BOOL")))
    assert len(rows) == 1000
    assert [str(d) for d in rows.dtypes] == ["object", "int64", "bool"]


def test_columns_of_a_signature_are_those_of_the_file(import_: Import, mounts: Path) -> None:
    done = import_(*upload(mounts, "model.skops", skops_io.dumps(LinearRegression().fit(ROWS, IRIS.target))))
    inputs = done.open().manifest.signature.inputs
    assert inputs[0] == ColumnSpec(name="sepal length (cm)", datatype="FP64", nullable=False)
