"""The model server against a bare ASGI echo: one-row V2 requests, everything on, on the same cores in the same run.

The server verifies, validates, predicts (ONNX), counts and logs to a sink that acknowledges; the echo is the same
uvicorn with an application that gives the body back. Both are loaded in turn, several times, by one closed-loop
generator on raw connections. What stays is the ratio; the figures themselves belong to the machine.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from hack.bench.table import Row, render
from tidemill_contracts.artifact import (
    ONNX_FILE,
    REFERENCE_FILE,
    SAMPLE_FILE,
    SKOPS_FILE,
    Lineage,
    ModelManifest,
    canonical_json,
    sha256,
)
from tidemill_contracts.inference import SERVER_CONFIG_ENV, PredictionLog, ServerConfig

ROUNDS, SECONDS, WARM_UP = 5, 1.5, 0.3
BODY = b'{"inputs":[{"name":"input-0","shape":[1,4],"datatype":"FP64","data":[6.8,2.8,4.8,1.4]}],"id":"6f1c3a52-bench"}'
USERS = (1, 16)
ECHO = """
import sys, uvicorn
HEAD = [(b"content-type", b"application/json")]
async def app(scope, receive, send):
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    head = [*HEAD, (b"content-length", b"%d" % len(body))]
    status = 202 if scope["path"] == "/v1/batches" else 200
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off", ws="none", log_config=None,
            access_log=False, server_header=False)
"""


@dataclass
class Load:
    """What one round measured."""

    per_second: float
    latencies: list[float]  # seconds


class _User(asyncio.Protocol):
    """One connection that sends the next request when the answer is complete."""

    def __init__(self, request: bytes, until: float, done: "asyncio.Future[list[float]]") -> None:
        self._request, self._until, self._done = request, until, done
        self._latencies: list[float] = []
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(f"answered {head!r} {body!r}"))
        elif now < self._until:
            self._send()
        else:
            self._done.set_result(self._latencies)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("closed"))


async def _load(
    port: int, users: int, seconds: float, path: str = "/v2/models/iris/infer", host: str = "127.0.0.1"
) -> Load:
    request = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    results: list[asyncio.Future[list[float]]] = []
    for _ in range(users):
        done: asyncio.Future[list[float]] = loop.create_future()
        results.append(done)
        await loop.create_connection(lambda d=done: _User(request, started + seconds, d), host, port)  # type: ignore[misc]
    latencies = [value for part in await asyncio.gather(*results) for value in part]
    return Load(len(latencies) / (time.perf_counter() - started), latencies)


def load(port: int, users: int, seconds: float, path: str = "/v2/models/iris/infer", host: str = "127.0.0.1") -> Load:
    """Return what `users` closed loops of one-row requests measured; the first moments do not count.

    Raises:
        RuntimeError: an answer was not 200.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_load(port, users, WARM_UP, path, host))
        return runner.run(_load(port, users, seconds, path, host))


def publish_iris(store: Path) -> tuple[str, str]:
    """Publish a logistic regression on iris as a run would; return its URI and digest."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from tidemill_runtime.trainer import inspection, native, onnxform, publish, reference

    data = load_iris(as_frame=True)
    model = inspection.inspect(LogisticRegression(max_iter=500).fit(data.data, data.target), data.data, store)
    converted = onnxform.convert(model, data.data)
    if converted.content is None:
        raise RuntimeError(converted.report.reason)
    predicted, probabilities = model.predict(data.data), model.probabilities(data.data)
    files = {
        SKOPS_FILE: native.dump(model.estimator, allow_pickle=False).content,
        ONNX_FILE: converted.content,
        SAMPLE_FILE: canonical_json(reference.sample(model, data.data).model_dump(mode="json")),
        REFERENCE_FILE: canonical_json(
            reference.profile(model, data.data, predicted, probabilities, {}).model_dump(mode="json")
        ),
    }
    manifest = ModelManifest(
        pipeline="iris",
        task=model.task,
        formats=("skops", "onnx"),
        files={name: sha256(content) for name, content in files.items()},
        model_digest=sha256(files[SKOPS_FILE]),
        signature=inspection.signature(model, data.data),
        metrics={},
        classes=tuple(model.classes.tolist()) if model.classes is not None else None,
        lineage=Lineage(data={}, code="", image=""),
        onnx_parity=converted.report,
    )
    return publish.publish(f"file://{store}", None, manifest, files), manifest.digest()


@contextlib.contextmanager
def echo(port: int) -> Iterator[None]:
    """Run the echo, which is also the sink of the prediction log."""
    with _process([sys.executable, "-c", ECHO, str(port)], {}, f"http://127.0.0.1:{port}/"):
        yield


@contextlib.contextmanager
def server(folder: Path, port: int, admin_port: int, log_url: str) -> Iterator[None]:
    """Run the model server on iris."""
    uri, digest = publish_iris(folder / "store")
    config = ServerConfig(
        namespace="bench",
        deployment="iris",
        version="iris-1",
        number="1",
        digest=digest,
        uri=uri,
        log=PredictionLog(url=log_url),
        drain_seconds=0,
    )
    variables = {
        SERVER_CONFIG_ENV: config.to_json(),
        "TIDEMILL_HTTP_PORT": str(port),
        "TIDEMILL_ADMIN_PORT": str(admin_port),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-m", "tidemill_runtime.server"]
    with _process(command, variables, f"http://127.0.0.1:{admin_port}/readyz"):
        yield


@contextlib.contextmanager
def _process(command: list[str], variables: dict[str, str], url: str) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command[:3])} did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, data=None, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def run(args: argparse.Namespace) -> list[Row]:
    """Return requests per second and median latency, each beside the echo's."""
    del args
    echo_port, port, admin_port = free_ports(3)
    with (
        tempfile.TemporaryDirectory() as folder,
        echo(echo_port),
        server(Path(folder), port, admin_port, f"http://127.0.0.1:{echo_port}"),
    ):
        return [row for users in USERS for row in compare(users, port, echo_port)]


def compare(users: int, port: int, echo_port: int) -> list[Row]:
    """Load server and echo in turn; return the rows of one concurrency."""
    own, floor = [], []
    for _ in range(ROUNDS):
        floor.append(load(echo_port, users, SECONDS))
        own.append(load(port, users, SECONDS))
    what = f"one-row V2 request, direct, {users} user{'s' if users > 1 else ''}"
    return [
        Row(f"{what}: throughput", _rate(own), "requests/s", _rate(floor), "bare ASGI echo"),
        Row(f"{what}: median", _median(own), "µs", _median(floor), "bare ASGI echo"),
        Row(f"{what}: 99th percentile", _percentile(own), "µs", _percentile(floor), "bare ASGI echo"),
    ]


def _rate(rounds: list[Load]) -> float:
    return statistics.median(one.per_second for one in rounds)


def _median(rounds: list[Load]) -> float:
    return statistics.median(statistics.median(one.latencies) for one in rounds) * 1e6


def _percentile(rounds: list[Load]) -> float:
    return statistics.median(statistics.quantiles(one.latencies, n=100)[98] for one in rounds) * 1e6


if __name__ == "__main__":
    print(render(run(argparse.Namespace())))
