"""What a server looks at again: versions that an older check verified, and models whose answers hang on the batch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer
from tests.support import versions
from tests.support.asgi import call
from tests.support.waiting import until

from tidemill_contracts.artifact import MANIFEST_FILE
from tidemill_contracts.inference import FORM_PATH, ServedForm
from tidemill_contracts.runtimes import BATCH_DEPENDENT, OUTDATED, PARITY_CHECK
from tidemill_runtime.frameworks.base import ServedModel
from tidemill_runtime.loading import recheck, warm_up
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process import lifecycle
from tidemill_runtime.server.process.admin_server import AdminServer
from tidemill_runtime.server.process.lifecycle import assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry


def lying(folder: Path, check: int | None) -> versions.Published:
    """A version whose graph repeats the sample, but rounds a threshold to single precision."""
    return versions.numbers(
        folder, estimator=make_pipeline(Binarizer(threshold=0.1), LogisticRegression()), check=check
    )


def load(published: versions.Published, **changes: Any) -> WarmModel:
    config = published.config(**changes)
    return warm_up.load(warm_up.open_verified(config), config, threads=1)


def test_what_an_older_check_verified_is_looked_at_again(tmp_path: Path) -> None:
    warm = load(lying(tmp_path / "old", None))
    assert warm.runtime == "Native"
    assert warm.reason.startswith(f"{OUTDATED}: ")
    assert " row " in warm.reason and "by ONNX" in warm.reason
    assert warm.fallback == OUTDATED
    assert load(lying(tmp_path / "new", PARITY_CHECK)).runtime == "ONNX"
    assert load(lying(tmp_path / "asked", None), runtime="ONNX").runtime == "ONNX"


@pytest.mark.parametrize("differs", [True, False])
def test_the_admin_port_tells_the_operator_which_form_is_served(tmp_path: Path, differs: bool) -> None:
    published = lying(tmp_path, None) if differs else versions.numbers(tmp_path, check=PARITY_CHECK)
    config = published.config()
    counted = Telemetry(config)
    admin = AdminServer(0, State(), counted, stuck_after_seconds=60)
    try:
        assert admin.answer(FORM_PATH)[0] == 503
        lifecycle.load(config, counted, 1)
        status, kind, body = admin.answer(FORM_PATH)
    finally:
        admin.stop()
    assert (status, kind) == (200, "application/json")
    wanted = {"runtime": "Native", "surprise": OUTDATED} if differs else {"runtime": "ONNX"}
    assert json.loads(body) == {"digest": published.digest, **wanted}
    assert ServedForm.from_json(body).surprise == wanted.get("surprise")


def test_an_old_version_that_does_not_differ_keeps_its_form(tmp_path: Path) -> None:
    warm = load(versions.numbers(tmp_path, check=None))
    assert (warm.runtime, warm.reason) == ("ONNX", "its ONNX form gives the same answers as its native form")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("raise SystemExit(3)", "the comparison ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "the comparison ended with signal 9"),
        ("print('no JSON')", "the comparison gave no answer"),
        ("print('null')", "the comparison gave no answer"),
        ("import time; time.sleep(60)", "the comparison took longer than 1 s"),
    ],
)
def test_a_form_that_cannot_be_compared_again_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, why: str
) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "broken.py").write_text(command)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "module"))
    monkeypatch.setattr(recheck, "_MODULE", "broken")
    monkeypatch.setattr(recheck, "_TIMEOUT_SECONDS", 1.0)
    warm = load(lying(tmp_path / "old", None))
    assert (warm.runtime, warm.fallback) == ("Native", OUTDATED)
    assert (
        warm.reason == f"{OUTDATED}: an older check verified the ONNX form, and it could not be compared again: {why}"
    )
    assert load(lying(tmp_path / "asked", None), runtime="ONNX").runtime == "ONNX", "whoever asks for it gets it"


@pytest.mark.parametrize(
    ("start", "code"),
    [
        pytest.param("server.__main__ import main, server_config", "main()", id="server"),
        pytest.param("batch.cli import run, server_config", "run(['--input', 'a', '--output', 'b'])", id="batch"),
    ],
)
def test_a_comparison_ends_with_the_process_that_waits_for_it(tmp_path: Path, start: str, code: str) -> None:
    """A signal ends that process at once; the comparison waits in an open file for as long as anybody lets it."""
    os.mkfifo(tmp_path / MANIFEST_FILE)
    program = f"""
import types
from pathlib import Path
from tidemill_runtime.loading import recheck
from tidemill_runtime.{start}
report = types.SimpleNamespace(check=None)
version = types.SimpleNamespace(folder=Path({str(tmp_path)!r}), manifest=types.SimpleNamespace(onnx_parity=report))
server_config.read = lambda: recheck.difference(version, "skops")
{code}
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: bool(children.read_text().split()))
    child = int(children.read_text())
    try:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, 143)
        until(lambda: not is_alive(child))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_process_to_compare_in_is_no_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck.sys, "executable", str(tmp_path / "none"))
    warm = load(lying(tmp_path / "old", None))
    assert (warm.runtime, warm.fallback) == ("Native", OUTDATED)
    assert warm.reason.endswith("could not be compared again: no process for it: No such file or directory")


def test_a_model_whose_answers_hang_on_the_batch_is_asked_one_request_at_a_time(tmp_path: Path) -> None:
    for batching in (True, False, None):
        published = versions.numbers(tmp_path / str(batching), batching=batching)
        parts = assemble(published.config(), State(), Telemetry(published.config()), 1)
        try:
            assert parts.plane.warm.batching is (batching is not False)
            assert (parts.plane.turn_batcher is None) is (batching is False)
        finally:
            parts.plane.close()


async def test_the_server_says_that_it_does_not_batch_and_why(tmp_path: Path) -> None:
    for batching, want in ((True, None), (False, f"off: {BATCH_DEPENDENT}")):
        published = versions.numbers(tmp_path / str(batching), batching=batching)
        parts = assemble(published.config(), State(), Telemetry(published.config()), 1)
        try:
            answer = (await call(parts.app, "GET", "/v2/models/demo")).json()
            assert answer["parameters"].get("batching") == want
        finally:
            parts.plane.close()


class BatchDependent:
    """A model whose answers change when others are beside a row."""

    platform = "sklearn"

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def predict(self, frame: Frame) -> Prediction:
        answer = self._model.predict(frame)
        return Prediction(answer.names, answer.prediction + (frame.rows > 1), answer.probabilities)


def test_where_nobody_looked_the_server_does(tmp_path: Path) -> None:
    published = versions.numbers(tmp_path, batching=None)
    version = warm_up.open_verified(published.config())
    warm = load(published)
    assert recheck.batching(warm.model, warm.schema, version)
    assert not recheck.batching(BatchDependent(warm.model), warm.schema, version)
    known = versions.numbers(tmp_path / "known", batching=True)
    assert recheck.batching(BatchDependent(warm.model), warm.schema, warm_up.open_verified(known.config()))
