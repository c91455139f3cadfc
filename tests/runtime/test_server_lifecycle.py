"""The server as a process: what makes it ready, what keeps it from being ready, and how it ends."""

import contextlib
import fcntl
import http.client
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import interrupted, scored, serverprocess, versions
from tests.support.closedloop import BODY, INFER, drain_under_load
from tests.support.serverprocess import ServerProcess, get
from tests.support.versions import Published

from tidemill_contracts.artifact import MARKER_FILE, SAMPLE_FILE, Sample
from tidemill_contracts.inference import PredictionLog
from tidemill_runtime.loading import local_copy
from tidemill_runtime.server.host import sockets


def post(server: ServerProcess, body: str = BODY, path: str = INFER) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, body)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), {k.lower(): v for k, v in reply.getheaders()}


def test_connections_that_nobody_accepted_are_counted() -> None:
    with sockets.listen(0) as listener:
        assert sockets.waiting(listener) == 0
        clients = [socket.create_connection(("127.0.0.1", listener.getsockname()[1])) for _ in range(3)]
        assert sockets.waiting(listener) == 3
        listener.accept()[0].close()
        assert sockets.waiting(listener) == 2
        for client in clients:
            client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])])
def test_a_listener_that_refuses_keeps_its_queue_and_no_more(host: str) -> None:
    with sockets.listen(0) as listener:
        address = (host, listener.getsockname()[1])
        with socket.create_connection(address, 1) as early:
            sockets.refuse_new(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.2)
            with listener.accept()[0] as accepted:
                early.sendall(b"early")
                assert accepted.recv(5) == b"early"


def test_a_connection_that_inherited_the_refusal_is_heard_again() -> None:
    with (
        sockets.listen(0) as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client,
        listener.accept()[0] as accepted,
    ):
        accepted.settimeout(0.2)
        sockets.refuse_new(accepted)
        client.sendall(b"again")
        with pytest.raises(TimeoutError):
            accepted.recv(5)
        sockets.hear(accepted)
        accepted.settimeout(5)
        assert accepted.recv(5) == b"again"


def test_a_kernel_that_cannot_refuse_is_no_error() -> None:
    class Sandboxed(socket.socket):
        def setsockopt(self, *_: Any) -> None:
            raise OSError(92, "Protocol not available")

    with Sandboxed() as listener:
        sockets.refuse_new(listener)


@pytest.mark.parametrize("moment", ["connected", "half a request"])
def test_a_client_that_has_just_connected_is_waited_for(numbers: Published, tmp_path: Path, moment: str) -> None:
    request = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
    with serverprocess.running(tmp_path, numbers.config(drain_seconds=0)) as server:
        server.wait_ready()
        with socket.create_connection(("127.0.0.1", server.port), 5) as client:
            sent = 40 if moment == "half a request" else 0
            client.sendall(request[:sent])
            server.terminate()
            time.sleep(0.4)  # the listener is closed by now
            client.sendall(request[sent:])
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
        assert server.wait() == 0


@pytest.mark.parametrize("attempt", range(3))
def test_no_request_is_lost_over_sigterm(numbers: Published, tmp_path: Path, attempt: int) -> None:
    with serverprocess.running(tmp_path, numbers.config(drain_seconds=1.0)) as server:
        server.wait_ready()
        drain_under_load(server)


def test_a_request_in_flight_is_finished_and_a_second_signal_hurries(tmp_path: Path) -> None:
    published = slow_version(tmp_path / "store", seconds=1.5)
    with serverprocess.running(tmp_path, published.config(drain_seconds=60, allow_pickle=True)) as server:
        server.wait_ready()
        result: list[Any] = []
        client = threading.Thread(target=lambda: result.append(post(server)))
        client.start()
        server.wait_in_flight()
        server.terminate()
        time.sleep(0.1)
        server.terminate()
        started = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - started < 50  # of a drain of 60 seconds
        client.join(5)
        status, _, headers = result[0]
        assert status == 200
        assert headers["connection"] == "close"


@pytest.mark.parametrize("what_follows", interrupted.WHAT_FOLLOWS)
def test_a_signal_while_the_server_loads_ends_it_whatever_is_interrupted(tmp_path: Path, what_follows: str) -> None:
    imports = (
        "from tidemill_runtime.loading import server_config\nfrom tidemill_runtime.server import __main__ as server"
    )
    code = interrupted.program(imports, "sys.exit(server.main())", what_follows)
    variables = {**os.environ, "TIDEMILL_TERMINATION_LOG": str(tmp_path / "log")}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "log").exists()


def test_a_slow_prediction_keeps_neither_probes_nor_metrics_waiting(tmp_path: Path) -> None:
    published = slow_version(tmp_path / "store", seconds=1.5)
    with serverprocess.running(tmp_path, published.config(allow_pickle=True)) as server:
        server.wait_ready()
        client = threading.Thread(target=lambda: post(server))
        client.start()
        server.wait_in_flight()
        for path in ("/livez", "/readyz", "/metrics"):
            assert get(server.admin + path)[0] == 200
        assert get(server.url + "/v2/health/live")[0] == 200
        assert client.is_alive(), "the probes waited for the prediction"
        client.join(10)


def test_a_prediction_that_ran_out_of_time_does_not_hold_up_the_end(tmp_path: Path) -> None:
    stuck = tmp_path / "stuck"  # once it is there, predictions take a minute
    published = slow_version(
        tmp_path / "store", seconds=f"60 if __import__('os').path.exists({str(stuck)!r}) else 0.01"
    )
    config = published.config(drain_seconds=0, request_timeout_seconds=1, allow_pickle=True)
    with serverprocess.running(tmp_path, config) as server:
        server.wait_ready()
        stuck.touch()
        result: list[Any] = []
        client = threading.Thread(target=lambda: result.append(post(server)))
        client.start()
        server.wait_in_flight()
        server.terminate()
        assert server.wait(30) == 0
        client.join(5)
        assert result[0][0] == 503


def slow_version(store: Path, seconds: float | str) -> Published:
    """Publish a model, as a pickle, whose every prediction takes this long (a number, or an expression of one)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    source = f"lambda x: (__import__('time').sleep({seconds}), x)[1]"
    slow = FunctionTransformer(func=_Source(source))
    model = Pipeline([("slow", slow), ("model", LogisticRegression())])
    return versions.numbers(store, estimator=model, as_pickle=pickle.dumps, with_onnx=False)


class _Source:
    """A function that is pickled as its source and becomes a plain lambda when it is loaded."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._function = eval(source)

    def __call__(self, x: Any) -> Any:
        return self._function(x)

    def __reduce__(self) -> Any:
        return eval, (self._source,)


def test_onnx_imports_neither_scikit_learn_nor_pandas(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(), PYTHONPROFILEIMPORTTIME="1") as server:
        server.wait_ready()
        assert post(server)[0] == 200
        assert get(server.url + "/docs")[0] == 200
        assert get(server.admin + "/metrics")[0] == 200
        server.terminate()
        server.wait()
        before, _, after = server.log.read_text().partition('"message": "ready"')
    early, late = imported(before), imported(after)
    assert {"onnxruntime", "numpy"} <= early
    assert {"fastapi", "prometheus_client"} <= late, "what inference does not need waits until the server is ready"
    assert not early & {"fastapi", "starlette", "aiohttp", "prometheus_client", "obstore", "numpy.ma"}
    unwanted = {"sklearn", "pandas", "scipy", "skops", "joblib", "pyarrow", "kubernetes"}
    assert not (early | late) & unwanted


def test_a_native_model_that_was_fitted_on_a_matrix_needs_no_pandas(numbers: Published, tmp_path: Path) -> None:
    config = numbers.config(runtime="Native")
    with serverprocess.running(tmp_path, config, PYTHONPROFILEIMPORTTIME="1") as server:
        server.wait_ready()
        assert post(server)[0] == 200
        found = imported(server.log.read_text())
    assert "sklearn.utils.fixes" in found
    assert "pandas.core.frame" not in found


def test_text_columns_have_the_same_answers_with_and_without_pyarrow(tmp_path: Path) -> None:
    """Training has pyarrow, the server's image has not; pandas loads it where it is, and keeps strings in it."""
    published, table = scored.every_kind(tmp_path / "store"), scored.rows_of_every_kind()
    names = [column.name for column in published.manifest.signature.inputs]
    answers = {}
    for name, variables in (("without", {}), ("with", {"PYTHONPATH": ""})):
        with serverprocess.running(tmp_path / name, published.config(), **variables) as server:
            server.wait_ready()
            answers[name] = [scored.online(server.url, table, names, row) for row in range(table.num_rows)]
            assert ("libarrow" in Path(f"/proc/{server.process.pid}/maps").read_text()) == (name == "with")
    assert answers["with"] == answers["without"]
    assert {one["label"] for one in answers["with"]} == {"ja", "nein", "vielleicht"}


def imported(log: str) -> set[str]:
    """Return the modules in the interpreter's report of its imports."""
    return {line.rpartition("|")[2].strip() for line in log.splitlines() if "|" in line}


def test_onnx_needs_little_memory_with_everything_loaded(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(log=PredictionLog(url="http://127.0.0.1:9"))) as server:
        server.wait_ready()
        assert post(server)[0] == 200
        assert get(server.url + "/docs")[0] == 200
        deadline = time.monotonic() + 20
        while "prediction records wait for the monitor" not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        resident = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 120 * 2**20


def test_copies_of_the_version_do_not_pile_up(numbers: Published, tmp_path: Path) -> None:
    killed, other = tmp_path / f"{local_copy.PREFIX}killed", tmp_path / f"{local_copy.PREFIX}other"
    for folder in (killed, other):
        folder.mkdir()
        (folder / "model.skops").write_bytes(b"bytes")
    descriptor = os.open(other, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # another server on this machine, still loading
        with serverprocess.running(tmp_path, numbers.config()) as server:
            server.wait_ready()
            assert [path for path in tmp_path.iterdir() if path.is_dir()] == [other]
            assert post(server)[0] == 200
    finally:
        os.close(descriptor)
    assert refused(numbers, tmp_path, runtime="Native", digest="sha256:" + "0" * 64)[0] == 42
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def refused(published: Published, folder: Path, **changes: Any) -> tuple[int, str]:
    """Return exit code and termination message of a server that must not start."""
    with serverprocess.running(folder, published.config(**changes)) as server:
        code = server.wait()
        assert get(server.url + "/v2/health/live")[0] == 0
        return code, server.termination_log.read_text()


@pytest.fixture
def own(numbers: Published, tmp_path: Path) -> Published:
    """A copy of the version that a test may damage."""
    folder = tmp_path / "own" / numbers.folder.name
    shutil.copytree(numbers.folder, folder)
    return Published(f"file://{folder}", numbers.digest, folder, numbers.manifest, numbers.frame, numbers.model)


@pytest.mark.parametrize("name", ["model.skops", SAMPLE_FILE, "manifest.json", "model.onnx"])
def test_a_changed_file_is_never_loaded(own: Published, tmp_path: Path, name: str) -> None:
    path = own.folder / name
    path.write_bytes(path.read_bytes() + b" ")
    code, message = refused(own, tmp_path)
    assert code == 42
    assert message.startswith("DigestMismatch: ")
    assert name in message


def test_a_half_written_version_is_not_loaded(own: Published, tmp_path: Path) -> None:
    (own.folder / MARKER_FILE).unlink()
    code, message = refused(own, tmp_path)
    assert (code, message.partition(":")[0]) == (42, "Incomplete")


@pytest.mark.parametrize("runtime", ["ONNX", "Native", "Auto"])
def test_other_answers_than_recorded_keep_the_server_from_being_ready(tmp_path: Path, runtime: str) -> None:
    wrong = Sample(columns={name: [0.5] for name in "abcd"}, predictions=[99])
    published = versions.numbers(tmp_path / "store", sample=wrong)
    code, message = refused(published, tmp_path, runtime=runtime)
    assert code == 42
    assert message.startswith("WarmUpMismatch: row 0 of sample.json: expected 99, got ")


def test_a_secret_that_is_not_there_is_named_and_waited_for(numbers: Published, tmp_path: Path) -> None:
    code, message = refused(numbers, tmp_path, uri="s3://nowhere/x", secret="absent")
    assert message.startswith("ArtifactUnavailable: SecretNotFound: Secret absent does not exist or holds none of AWS_")
    assert code == 1


def test_pickles_are_loaded_only_when_allowed(tmp_path: Path) -> None:
    published = slow_version(tmp_path / "store", 0)
    code, message = refused(published, tmp_path)
    assert code == 42
    assert message == (
        "FormatUnsupported: runtime Auto cannot serve formats joblib; "
        "joblib is a pickle, and loading one runs code: spec.server.allowPickle allows it"
    )


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("", "ConfigInvalid: the environment variable TIDEMILL_SERVER_CONFIG is not set"),
        ("{", "ConfigInvalid: TIDEMILL_SERVER_CONFIG: document: Invalid JSON"),
        ("{}", "ConfigInvalid: TIDEMILL_SERVER_CONFIG: namespace: Field required"),
    ],
)
def test_a_broken_configuration_names_the_field(tmp_path: Path, document: str, sentence: str) -> None:
    with serverprocess.running(tmp_path, document) as server:
        assert server.wait() == 42
        assert server.termination_log.read_text().startswith(sentence)


@pytest.mark.parametrize(("field", "value"), [("workers", 0), ("workers", 65)])
def test_values_out_of_range_are_refused(numbers: Published, tmp_path: Path, field: str, value: Any) -> None:
    code, message = refused(numbers, tmp_path, **{field: value})
    assert code == 42
    assert f"TIDEMILL_SERVER_CONFIG: {field}: " in message


def test_bytes_that_are_no_http_get_the_protocols_error(numbers: Published, tmp_path: Path) -> None:
    import socket

    with serverprocess.running(tmp_path, numbers.config()) as server:
        server.wait_ready()
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
            b"POST /\xff\xfe HTTP/1.1\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(garbage)
                reply = b"".join(iter(lambda c=connection: c.recv(65536), b""))
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert isinstance(json.loads(body)["error"], str)
        assert post(server)[0] == 200


def test_20_mb_are_refused_and_the_connection_survives(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config()) as server:
        server.wait_ready()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", INFER, b" " * 20_000_000)
            reply = connection.getresponse()
            assert reply.status == 413
            assert json.loads(reply.read()) == {"error": "the body is larger than 16777216 bytes"}
            connection.request("POST", INFER, BODY)
            assert connection.getresponse().status == 200
