"""Every way in which code or data can be wrong ends in a sentence that a person can act on, and the right exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from tests.runtime.conftest import Trainer
from tests.support import packages, training_code

from tidemill_contracts import signatures
from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.holdout import HoldoutReport
from tidemill_contracts.training import (
    TERMINATION_MESSAGE_LIMIT,
    Code,
    DataInput,
    Failure,
    ProbeConfig,
    ProbeResult,
    TrainerConfig,
    TrainingResult,
)
from tidemill_runtime.artifacts import ArtifactError
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer import errors
from tidemill_runtime.trainer.report import message
from tidemill_runtime.trainer.run import program_io


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (training_code.SYNTAX_ERROR, "SyntaxError", "train.py:1: expected ':'"),
        (training_code.IMPORT_ERROR, "ImportError", "No module named 'not_a_package_anywhere'\n  train.py:1"),
        (training_code.NO_FUNCTION, "EntrypointNotFound", "there is no function 'train' in train, which has fit"),
        (
            training_code.RAISES,
            "CodeFailed",
            "KeyError: 'no such column'\n  train.py:7 in train: return helper(data)\n",
        ),
        (training_code.RAISES_AT_IMPORT, "CodeFailed", "importing train raised ZeroDivisionError: division by zero"),
        (training_code.EXITS, "CodeFailed", "train ended the process: SystemExit: 3"),
        (training_code.NO_ESTIMATOR, "NotAnEstimator", "train returned dict, expected a fitted scikit-learn estimator"),
        (training_code.CLASS_NOT_INSTANCE, "NotAnEstimator", "train returned the class SVC"),
        (training_code.NOT_FITTED, "NotFitted", "train returned a SVC that is not fitted"),
        (training_code.LAMBDA, "UntrustedType", "train.<lambda>, which no file has under a name at its top level; use"),
        (training_code.BAD_METRICS, "InvalidMetrics", "evaluate returned 'accuracy': 'good', expected a dict"),
        ("def train(data):\n    return data\n", "InvalidSignature", "train(data): expected train(data, target, *, …)"),
    ],
)
def test_wrong_code_is_a_user_error_with_its_place(trainer: Trainer, code: str, reason: str, says: str) -> None:
    trained = trainer(code)
    assert (trained.exit_code, trained.failure.category, trained.failure.reason) == (42, "UserError", reason)
    assert says in trained.failure.message
    assert "tidemill_runtime" not in trained.failure.message
    assert str(trainer.root) not in trained.failure.message


def test_what_has_no_name_cannot_be_pickled_into_a_server(trainer: Trainer) -> None:
    trained = trainer(training_code.LAMBDA, allow_pickle=True)
    assert (trained.exit_code, trained.failure.reason) == (42, "Unservable"), trained.failure
    assert "it cannot be pickled either" in trained.failure.message


def test_a_memory_error_is_out_of_memory(trainer: Trainer) -> None:
    trained = trainer(training_code.OUT_OF_MEMORY)
    assert (trained.exit_code, trained.failure.category) == (42, "OutOfMemory")


def test_a_line_without_an_end_is_not_held_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printing = [sys.executable, "-c", "print('x' * 20_000_000, 'end'); raise SystemExit(3)"]
    with pytest.raises(errors.RunError, match=r"exit code 3; it last printed:\nx+(?s:.*) end$") as caught:
        program_io._execute(printing, tmp_path, dict(os.environ))
    assert len(str(caught.value)) < 1_100_000
    assert len(capsys.readouterr().out) == 20_000_005


def test_an_entrypoint_in_a_file_that_is_not_there_lists_the_files(trainer: Trainer) -> None:
    config = trainer.config(training_code.TREE)
    code = config.code.model_copy(update={"entrypoint": "model:train"})
    trained = trainer.run(config.model_copy(update={"code": code}))
    assert trained.failure.reason == "EntrypointNotFound"
    assert "there is no module 'model'; the code has train.py" in trained.failure.message


def test_code_that_changed_after_the_decision_is_refused(trainer: Trainer) -> None:
    config = trainer.config(training_code.TREE)
    Path(config.code.directory or "", "train.py").write_text(training_code.LOGISTIC)
    trained = trainer.run(config)
    assert (trained.exit_code, trained.failure.reason) == (42, "CodeChanged")


@pytest.mark.parametrize(
    ("table", "target", "reason", "says"),
    [
        ("a,churn\n1,0\n2,1\n", "churned", "MissingTarget", "there are a, churn; did you mean 'churn'?"),
        ("a,churned\n1,\n2,\n", "churned", "TargetAllMissing", "column 'churned' has no value in any of 2 rows"),
        ("a,churned\n1,1\n2,inf\n3,-inf\n", "churned", "TargetNotFinite", "2 values infinite, first at row 2"),
        ("a,churned\n", "churned", "EmptyData", "has no rows"),
        ("", "churned", "EmptyData", "the file is empty"),
        ("a,a,churned\n1,2,0\n", "churned", "DuplicateColumns", "columns occur more than once: a"),
        ("churned\n1\n0\n", "churned", "NoFeatures", "no column but the target 'churned'"),
        ("a,churned\n1,0\n", "churned", "TooFewRows", "1 row cannot be split"),
    ],
)
def test_wrong_data_is_named(trainer: Trainer, table: str, target: str, reason: str, says: str) -> None:
    trained = trainer(training_code.TREE, trainer.table(table), target)
    assert (trained.exit_code, trained.failure.category, trained.failure.reason) == (42, "DataInvalid", reason)
    assert says in trained.failure.message


def test_nan_in_the_features_of_a_model_that_takes_none(trainer: Trainer) -> None:
    table = load_iris(as_frame=True).frame
    table.iloc[3, 0] = float("nan")
    trained = trainer(training_code.LINEAR, trainer.table(table.to_csv(index=False)))
    assert (trained.exit_code, trained.failure.reason) == (42, "CodeFailed")
    assert "ValueError: Input X contains NaN" in trained.failure.message


def test_data_that_is_not_there(trainer: Trainer) -> None:
    trained = trainer(training_code.TREE, "pvc://data/absent.csv")
    assert (trained.exit_code, trained.failure.category, trained.failure.reason) == (42, "DataInvalid", "DataNotFound")


def test_a_store_that_does_not_answer_is_retried(trainer: Trainer, mounts: Path) -> None:
    (mounts / "pvc" / "file").write_text("a file where the claim's folder should be")
    trained = trainer(training_code.TREE, store="pvc://file/churn")
    assert (trained.exit_code, trained.failure.category) == (1, "Infrastructure")
    assert trained.failure.reason == "StorageUnavailable"
    assert trained.result.rows == {"train": 120, "holdout": 30}
    assert "train" in trained.result.seconds


@pytest.mark.parametrize(
    ("error", "category", "reason", "code"),
    [
        (StorageError("StorageFull", "no space", retriable=True), "Infrastructure", "StorageFull", 1),
        (StorageError("AccessDenied", "refused", retriable=False), "UserError", "AccessDenied", 42),
        (StorageError("NotFound", "gone", retriable=False), "DataInvalid", "NotFound", 42),
        (ArtifactError("DigestMismatch", "changed"), "UserError", "DigestMismatch", 42),
        (MemoryError(), "OutOfMemory", "MemoryError", 42),
        (ZeroDivisionError("ours"), "Infrastructure", "InternalError", 1),
    ],
)
def test_errors_are_sorted_into_whose_they_are(error: Exception, category: str, reason: str, code: int) -> None:
    failure, exit_code = errors.classify(error)
    assert (failure.category, failure.reason, exit_code) == (category, reason, code)


def test_a_configuration_that_cannot_be_read_is_said(trainer: Trainer) -> None:
    config = trainer.config(training_code.TREE)
    both = config.model_copy(update={"code": Code(digest="sha256:0", entrypoint="a:b", command=("c",))})
    trained = trainer.run(both)
    assert (trained.exit_code, trained.failure.reason) == (42, "InvalidConfig")
    assert "exactly one of entrypoint and command" in trained.failure.message


class TestTerminationMessage:
    """Whatever a run found, its report is JSON of at most 4,096 bytes."""

    def test_a_long_result_loses_its_least_important_parts_first(self, trainer: Trainer) -> None:
        result = trainer(training_code.LOGISTIC, "builtin://digits", gate_metrics=("accuracy",)).result
        assert result.signature is not None and len(result.signature.inputs) == 64
        assert result.signature == signatures.brief(result.signature)  # all that is known of 64 columns does not fit
        assert result.outcome == "Succeeded"
        assert result.metrics["accuracy"] is not None
        assert result.digest is not None

    def test_a_signature_loses_what_records_do_not_keep_before_it_is_left_out_for_its_digest(self) -> None:
        columns = [ColumnSpec(name=f"c{n}", datatype="BYTES", categories=("a" * 40, "b" * 40)) for n in range(150)]
        for count, is_kept in ((10, True), (40, True), (150, False)):
            signature = Signature(inputs=tuple(columns[:count]), outputs=())
            digest = signatures.digest(signature)
            result = TrainingResult(outcome="Succeeded", signature=signature, signature_digest=digest)
            read = TrainingResult.from_json(message.fit_result(result))
            assert read.signature_digest == digest
            assert (read.signature is not None) is is_kept
            if read.signature is not None:
                assert signatures.digest(read.signature) == digest
                assert (read.signature.inputs[0].categories is not None) is (count == 10)

    def test_a_signature_has_its_digest_whoever_made_the_result(self, monkeypatch, tmp_path: Path) -> None:
        monkeypatch.setenv(message.PATH_ENV, str(tmp_path / "message"))
        columns = tuple(ColumnSpec(name=f"c{n}", datatype="BYTES") for n in range(150))
        signature = Signature(inputs=columns, outputs=())
        message.write(TrainingResult(outcome="Succeeded", signature=signature))
        read = TrainingResult.from_json((tmp_path / "message").read_text())
        assert (read.signature, read.signature_digest) == (None, signatures.digest(signature))

    def test_everything_at_once_still_fits(self) -> None:
        result = TrainingResult(
            outcome="Failed",
            failure=Failure(category="UserError", reason="CodeFailed", message="ä" * 9000 + "the end"),
            warnings=tuple("w" * 900 for _ in range(40)),
            metrics={f"metric_{i}": 1 / 3 for i in range(300)},
            champion_metrics={f"metric_{i}": 1 / 3 for i in range(300)},
            data={f"input-{i}": "sha256:" + "0" * 64 for i in range(60)},
            champion_note="n" * 3000,
            holdout_classes={f"{i}{'ä' * 99}": i for i in range(10)},
        )
        text = message.fit_result(result)
        assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
        short = TrainingResult.model_validate_json(text)
        assert short.failure is not None
        assert short.failure.reason == "CodeFailed"
        assert short.failure.message.endswith("the end")

    def test_of_a_long_result_the_rarest_classes_are_kept_longest(self) -> None:
        columns = tuple(ColumnSpec(name=f"c{n}", datatype="BYTES", categories=("a" * 40,)) for n in range(40))
        classes = {f"{i}{'c' * 99}": i for i in range(10)}
        for signature, kept in ((None, 10), (Signature(inputs=columns, outputs=()), 2)):
            result = TrainingResult(outcome="Succeeded", holdout_classes=classes, signature=signature)
            read = TrainingResult.from_json(message.fit_result(result))
            assert read.holdout_classes == dict(list(classes.items())[:kept])

    def test_how_rows_were_divided_and_what_the_champion_learned_always_fit(self) -> None:
        cut = "2026-01-21T00:00:00.123456+00:00"
        result = TrainingResult(
            outcome="Succeeded",
            formats=("skops",),
            metrics={f"{i}{'m' * 200}": 1 / 3 for i in range(12)},
            warnings=("w" * 900,) * 9,
            champion_note="n" * 1000,
            champion_overlap=f"churn-1 may have been trained on rows that are held out here: {'o' * 2000} since then",
            holdout=HoldoutReport(type="Time", cut=cut, groups={"train": 2**53, "holdout": 2**53}),
        )
        read = TrainingResult.from_json(message.fit_result(result))
        assert read.holdout == result.holdout
        assert read.champion_overlap is not None
        assert read.champion_overlap.startswith("churn-1 may have been trained on rows that are held out here")
        assert read.champion_overlap.endswith("since then")

    def test_a_probe_keeps_revisions_before_error_texts(self) -> None:
        revisions = {f"input-{i}": "sha256:" + "0" * 64 for i in range(20)}
        text = message.fit_probe(ProbeResult(revisions=revisions, errors={"bad": "e" * 9000}))
        assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
        assert ProbeResult.model_validate_json(text).revisions == revisions


def environment(trainer: Trainer, config: TrainerConfig) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"},
        **packages.as_in_image("trainer"),
        "TIDEMILL_TRAINER_CONFIG": config.to_json(),
        "TIDEMILL_TERMINATION_LOG": str(trainer.root / "message"),
    }


@pytest.mark.parametrize("form", ["function", "program"])
def test_a_stopped_pod_leaves_a_word_and_no_child_and_no_file(trainer: Trainer, tmp_path: Path, form: str) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    table = trainer.table("a,target\n" + "1,0\n2,1\n" * 10)
    if form == "function":
        config = trainer.config(training_code.HANGS, table)
    else:
        script = f"import os, time\nopen({str(trainer.root / 'child')!r}, 'w').write(str(os.getpid()))\n"
        script += "print('hanging', flush=True)\ntime.sleep(600)\n"
        config = trainer.config(script, table, command=(sys.executable, "train.py"))
    command = [sys.executable, "-m", "tidemill_runtime.trainer"]
    with subprocess.Popen(
        command,
        env={**environment(trainer, config), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        for line in process.stdout or ():
            if "hanging" in line:
                break
        assert [path.name[:13] for path in scratch.iterdir()] == ["tidemill-run-"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
    result = TrainingResult.model_validate_json((trainer.root / "message").read_bytes())
    assert result.failure is not None
    assert (result.failure.category, result.failure.reason) == ("Infrastructure", "Terminated")
    assert list(scratch.iterdir()) == []
    if form == "program":
        child = int((trainer.root / "child").read_text())
        for _ in range(100):
            if not Path(f"/proc/{child}").exists():
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists()


def test_the_probe_resolves_what_it_can_and_names_the_rest(trainer: Trainer) -> None:
    uri = trainer.table("a\n1\n")
    config = ProbeConfig(data=(DataInput(name="good", uri=uri), DataInput(name="bad", uri="pvc://data/absent")))
    env = {**os.environ, "TIDEMILL_PROBE_CONFIG": config.to_json(), "TIDEMILL_TERMINATION_LOG": str(trainer.root / "p")}
    command = [sys.executable, "-m", "tidemill_runtime.trainer", "probe"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((trainer.root / "p").read_text())
    assert result["revisions"]["good"].startswith("sha256:")
    assert result["errors"]["bad"].startswith("DataNotFound: input 'bad': there is no file and no folder")


def test_unknown_arguments_are_refused() -> None:
    command = [sys.executable, "-m", "tidemill_runtime.trainer", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "expected none, probe, import or records" in done.stderr) == (42, True)
