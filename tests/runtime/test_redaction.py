"""No credential value leaves the pod in a text of ours; a Secret shows the known keys and is named when it has none."""

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from fastapi import FastAPI
from tests.runtime.conftest import Trainer, write_secret
from tests.support import asgi

from tidemill_contracts.logs import JsonFormatter
from tidemill_contracts.schemes import SECRET_KEYS, names, secret_keys
from tidemill_contracts.training import DataInput, Failure, TrainingResult
from tidemill_runtime import redaction, termination
from tidemill_runtime.batch.predictor import Predictor, Refused
from tidemill_runtime.model import errors
from tidemill_runtime.redaction import MARK, redact, summary
from tidemill_runtime.server.http import app as application
from tidemill_runtime.storage import folders, objects
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer.report import message

KEY = 'wJalr/XUtnFEMI+K7MDENG="bPx"'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQ==\n-----END PRIVATE KEY-----\n"
LAKE = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL": "http://someone:hunter22@minio.store:9000",
}


@pytest.fixture
def lake(mounts: Path) -> None:
    write_secret(mounts, "lake", LAKE)


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"the key {KEY} twice {KEY}",
        json.dumps({"key": KEY}),
        repr(KEY),
        "AKIAIOSFODNN7EXAMPLE, refused",
        "wJalr%2FXUtnFEMI%2BK7MDENG%3D%22bPx%22",
        "https://store/wJalr/XUtnFEMI%2BK7MDENG%3D%22bPx%22",  # a path keeps its slashes
        "http://someone:hunter22@minio",
    ],
)
def test_values_are_found_as_they_are_and_as_json_python_and_urls_write_them(text: str) -> None:
    found = redact(text)
    assert MARK in found
    assert "wJalr" not in found and "AKIA" not in found and "hunter22" not in found


def test_a_value_with_a_space_is_found_in_a_query(mounts: Path) -> None:
    write_secret(mounts, "lake", {"AUTHORIZATION": "Basic correct horse"})
    assert redact("?key=Basic+correct+horse") == f"?key={MARK}"


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("length", [190, 290])
def test_texts_are_redacted_before_they_are_cut(length: int) -> None:
    error = ValueError("x" * length + KEY)
    for text in (str(objects._translate(error, "reading")), summary(error)):
        assert KEY[:5] not in text


@pytest.mark.usefixtures("lake")
def test_what_tells_where_and_what_is_no_value_stays() -> None:
    text = "cannot read s3://lake/x in eu-central-1: minio.store:9000 answers 503"
    assert redact(text) == text


def test_keys_in_json_and_headers_are_found_by_their_parts(mounts: Path) -> None:
    account = json.dumps({"type": "service_account", "client_email": "a@b.c", "private_key": PEM})
    write_secret(mounts, "google", {"GOOGLE_SERVICE_ACCOUNT_KEY": account})
    login = base64.b64encode(b"someone:pw").decode()
    write_secret(mounts, "web", {"AUTHORIZATION": f"Basic {login}"})
    for text in (PEM, "line 2: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", account, login, f"sent Basic {login}"):
        assert MARK in redact(text), text
    assert "MIIE" not in redact(f"{account} {PEM!r}")
    assert redact("service_account a@b.c") == "service_account a@b.c"


def test_a_renewed_secrets_old_value_stays_known(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mounts / "secret" / "lake"
    clock = iter(range(1_000_000, 2_000_000, 2))  # the mount is looked at once a second
    monkeypatch.setattr(redaction, "monotonic", lambda: float(next(clock)))
    for number, value in enumerate(("first-value", "second-value")):
        (folder / f"..{number}").mkdir(parents=True)
        (folder / f"..{number}" / "AWS_SECRET_ACCESS_KEY").write_text(value)
        (folder / "..data").unlink(missing_ok=True)
        (folder / "..data").symlink_to(f"..{number}")
        if not number:
            (folder / "AWS_SECRET_ACCESS_KEY").symlink_to("..data/AWS_SECRET_ACCESS_KEY")
        assert redact(value) == MARK
    assert redact("first-value second-value") == f"{MARK} {MARK}"


def test_short_values_blank_no_words(mounts: Path) -> None:
    write_secret(mounts, "lake", {"AWS_SECRET_ACCESS_KEY": "a", "AWS_ACCESS_KEY_ID": "train"})
    assert redact("train a model") == "train a model"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://[broken"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "{" * 50_000),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", '{"private_key": 7}'),
        ("AUTHORIZATION", ""),
    ],
)
def test_a_value_that_is_not_what_it_should_be_breaks_no_message(mounts: Path, key: str, value: str) -> None:
    write_secret(mounts, "lake", {key: value})
    assert redact("row 3 is refused") == "row 3 is refused"


def test_a_report_stays_one_when_a_credential_is_one_of_its_words(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret(mounts, "lake", {"AWS_SECRET_ACCESS_KEY": "UserError", "AWS_ACCESS_KEY_ID": "classification"})
    failure = Failure(category="UserError", reason="CodeFailed", message="a UserError")
    monkeypatch.setenv("TIDEMILL_TERMINATION_LOG", str(tmp_path / "log"))
    message.write(TrainingResult(outcome="Failed", failure=failure, task="classification"))
    told = TrainingResult.from_json((tmp_path / "log").read_text())
    assert told.failure is not None
    assert (told.failure.category, told.failure.message, told.task) == ("UserError", f"a {MARK}", "classification")


def test_values_of_the_environment_count(monkeypatch: pytest.MonkeyPatch, mounts: Path) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-pod")
    write_secret(mounts, "other", {})
    assert redact("token-of-the-pod") == MARK


@pytest.mark.usefixtures("lake")
def test_the_servers_errors_log_lines_and_tracebacks_are_redacted() -> None:
    assert KEY not in errors.BadRequestError(f"inputs: {KEY}").message
    assert KEY not in str(errors.StartError("ModelLoadFailed", f"model: {KEY}"))
    try:
        raise RuntimeError(KEY)
    except RuntimeError:
        record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "%s", (KEY,), sys.exc_info())
    line = json.loads(JsonFormatter(redact).format(record))
    assert line["message"] == MARK and KEY not in line["error"] and MARK in line["error"]


@pytest.mark.usefixtures("lake")
def test_why_a_server_ended_is_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_TERMINATION_LOG", str(tmp_path / "log"))
    termination.write_message(f"StorageUnavailable: refused for {KEY}")
    assert (tmp_path / "log").read_text() == f"StorageUnavailable: refused for {MARK}"


@pytest.mark.usefixtures("lake")
async def test_what_the_framework_says_of_a_request_is_redacted() -> None:
    app = FastAPI()
    application._add_error_handlers(app)

    @app.get("/{count}")
    async def counted(count: int) -> int:
        return count

    reply = await asgi.call(app, "GET", "/AKIAIOSFODNN7EXAMPLE")
    assert reply.status == 400
    assert MARK in reply.json()["error"] and b"AKIA" not in reply.body


@pytest.mark.usefixtures("lake")
def test_why_a_row_of_a_batch_prediction_was_refused_is_redacted() -> None:
    def failing(_: object) -> None:
        raise RuntimeError(KEY)

    predictor = Predictor(Mock(model=Mock(predict=failing)), Mock())
    (refused,) = predictor._bisected(np.arange(1), Mock())
    assert isinstance(refused, Refused)
    assert refused.message == f"the model failed: RuntimeError: {MARK}"


TELLS = """
import sys
from pathlib import Path
from sklearn.tree import DecisionTreeClassifier

def train(data, target):
    key = Path("{path}").read_text().strip()
    print("half a line,", key)
    print("to stderr", key, file=sys.stderr)
    {end}
    return DecisionTreeClassifier(random_state=0).fit(data, target)

def evaluate(model, data, target):
    key = Path("{path}").read_text().strip()
    return {{key: 1.0}}
"""


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("end", ["raise ValueError(f'boom {key}')", "pass"])
def test_training_code_that_prints_raises_or_names_a_key_does_not_tell_it(
    trainer: Trainer, mounts: Path, end: str
) -> None:
    path = mounts / "secret" / "lake" / "AWS_SECRET_ACCESS_KEY"
    trained = trainer(TELLS.format(path=path, end=end))
    assert KEY not in trained.log and MARK in trained.log
    assert KEY not in trained.result.to_json() and "wJalr" not in trained.result.to_json()
    told = trained.failure.message if "raise" in end else str(trained.result.metrics)
    assert MARK in told


@pytest.mark.usefixtures("lake")
def test_so_does_a_program(trainer: Trainer, mounts: Path) -> None:
    path = mounts / "secret" / "lake" / "AWS_SECRET_ACCESS_KEY"
    trained = trainer("", command=("sh", "-c", f"cat {path}; exit 3"))
    assert KEY not in trained.log
    assert MARK in trained.failure.message and KEY not in trained.failure.message


def test_a_stream_keeps_what_comes_in_pieces_together(capsys: pytest.CaptureFixture[str], mounts: Path) -> None:
    write_secret(mounts, "lake", LAKE)
    with redaction.streams():
        for piece in (KEY[:9], KEY[9:], "\n", "no line end"):
            sys.stdout.write(piece)
    assert capsys.readouterr().out == f"{MARK}\nno line end"


def test_a_redacted_stream_is_its_stream_in_all_else(tmp_path: Path, mounts: Path) -> None:
    """Libraries ask for its encoding, and programs are started with it as their output."""
    write_secret(mounts, "lake", LAKE)
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        stream = redaction.RedactedStream(file)
        assert (stream.encoding, stream.isatty(), stream.fileno()) == ("utf-8", False, file.fileno())
        stream.writelines(["a ", f"{KEY}\n", "x" * 70_000])
        assert file.tell() > 70_000, "a line without an end is not kept for ever"
        stream.flush()
        subprocess.run([sys.executable, "-c", "print('by a child')"], stdout=stream, check=True)  # type: ignore[call-overload]
    text = (tmp_path / "out").read_text()
    assert text.startswith(f"a {MARK}\nxxx") and text.endswith("by a child\n")


@pytest.mark.parametrize(
    ("scheme", "held", "missing"),
    [
        ("s3", {}, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL"),
        ("gs", {"AWS_REGION": "x"}, "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("az", {"password": "x"}, "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY"),
        ("https", {}, "AUTHORIZATION"),
    ],
)
def test_a_secret_without_a_key_for_the_scheme_is_named_with_all_of_them(
    mounts: Path, scheme: str, held: dict[str, str], missing: str
) -> None:
    write_secret(mounts, "lake", held)
    for name in ("lake", "absent"):
        with pytest.raises(StorageError) as caught:
            folders.secret_values(name, scheme)
        assert str(caught.value) == f"Secret {name} does not exist or holds none of {missing}"
        assert (caught.value.reason, caught.value.retriable) == ("SecretNotFound", True)


def test_a_value_that_is_no_text_is_for_a_person_to_mend(mounts: Path) -> None:
    write_secret(mounts, "lake", {"AUTHORIZATION": ""})
    (mounts / "secret" / "lake" / "AUTHORIZATION").write_bytes(b"Bearer \xff\xfe")
    with pytest.raises(StorageError, match="Secret lake: the value of one of AUTHORIZATION is no text") as caught:
        folders.secret_values("lake", "https")
    assert (caught.value.reason, caught.value.retriable) == ("AccessDenied", False)


def test_only_the_schemes_own_keys_are_read(mounts: Path) -> None:
    write_secret(mounts, "lake", {**LAKE, "AUTHORIZATION": "Bearer x"})
    assert folders.secret_values("lake", "s3") == LAKE
    assert set(SECRET_KEYS) == {key for scheme in names("data") for key in secret_keys(scheme)}
    assert secret_keys("pvc") == ()


def test_a_run_whose_secret_is_missing_says_so_and_may_be_tried_again(trainer: Trainer, mounts: Path) -> None:
    write_secret(mounts, "lake", {"password": "of something else"})
    table = DataInput(name="table", uri="s3://bucket/t.csv", secret="lake")
    trained = trainer("def train(data, target): ...", data=(table,))
    told = trained.failure
    assert (trained.exit_code, told.category, told.reason) == (1, "Infrastructure", "SecretNotFound")
    assert told.message.startswith("Secret lake does not exist or holds none of AWS_ACCESS_KEY_ID, ")
