"""A real server process under fuzzers: no 5xx, no hang, no broken reply, nothing left behind, whatever is sent.

`make fuzz` runs the same with many more requests and other seeds.
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import mutations, serverprocess, versions
from tests.support.serverprocess import ServerProcess, get

SEED = int(os.environ.get("TIDEMILL_FUZZ_SEED", "20261123"))
REQUESTS = int(os.environ.get("TIDEMILL_FUZZ_REQUESTS", "20000"))
EXAMPLES = int(os.environ.get("TIDEMILL_FUZZ_EXAMPLES", "40"))
PATIENCE = 20  # seconds until a reply counts as a hang
USERS = 8
NOT_SPOKEN = (501, 505)  # a transfer coding or a version of HTTP that no server here speaks: the fault is the client's
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return versions.mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module", params=["ONNX", "Native"])
def server(published: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("server")
    with serverprocess.running(folder, published.config(runtime=request.param, request_timeout_seconds=10)) as running:
        running.wait_ready()
        yield running
        assert running.process.poll() is None
        in_flight = [line for line in metrics(running) if line.startswith("tidemill_requests_in_flight{")]
        assert in_flight and all(line.endswith(" 0.0") for line in in_flight)
        log = running.log.read_text()
        assert "Traceback" not in log, log[-5000:]


def metrics(server: ServerProcess) -> list[str]:
    return get(server.admin + "/metrics")[1].decode().splitlines()


class Fuzzer:
    """One client: each reply is read strictly, and a connection is kept for as long as the server keeps it."""

    def __init__(self, port: int, columns: dict[str, tuple[str, list[Any]]], seed: int) -> None:
        self._port = port
        self._rng = random.Random(seed)
        self._bodies = mutations.bodies(columns)
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.statuses: Counter[int] = Counter()

    async def run(self, requests: int) -> None:
        try:
            for _ in range(requests):
                await self._one()
        finally:
            await self._hang_up()

    async def _one(self) -> None:
        body, headers = self._rng.choice(self._bodies)
        path = "/v2/models/demo/infer" if b'"datatype"' in body or headers else "/v1/models/demo:predict"
        if self._rng.random() < 0.6:
            is_json = not headers and self._rng.random() < 0.5
            hurt = mutations.twisted if is_json else mutations.damaged
            await self._damaged_body(path, hurt(body, self._rng), headers)
        else:
            await self._damaged_message(mutations.message(path, body, headers, self._rng))

    async def _damaged_body(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        fields = {"host": "x", "content-length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        data = f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._connection
        writer.write(data)
        reply = await self._reply(reader, data)
        assert reply is not None, f"no reply to {data!r}"
        if "connection: close" in reply:
            await self._hang_up()

    async def _damaged_message(self, data: bytes) -> None:
        """Nobody can say how many requests these bytes are: send them, end, and read every reply until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            writer.write_eof()
            is_head = data[:5] == b"HEAD "
            while await self._reply(reader, data, is_head) is not None:
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass  # it hung up on bytes that it did not read
        finally:
            await closed(writer)

    async def _reply(self, reader: asyncio.StreamReader, data: bytes, is_head: bool = False) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status = int(head.split()[1])
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                content = b""
                if status >= 200 and not is_head:
                    content = await reader.readexactly(int(fields["content-length"]))
        except asyncio.IncompleteReadError as error:
            assert error.partial == b"", f"half a reply {error.partial!r} to {data!r}"
            return None
        except TimeoutError:
            pytest.fail(f"hang: {data!r}")
        self.statuses[status] += 1
        assert status < 500 or status in NOT_SPOKEN, f"{status} {content!r} to {data!r}"
        self._check(status, fields, content, data)
        return head

    def _check(self, status: int, fields: dict[str, str], content: bytes, data: bytes) -> None:
        if status >= 400 and content:
            assert isinstance(json.loads(content)["error"], str), f"{content!r} to {data!r}"
        elif content and fields.get("content-type") == "application/json":
            length = int(fields.get("inference-header-content-length", len(content)))
            json.loads(content[:length], parse_constant=lambda c: pytest.fail(f"{c} in the reply to {data!r}"))

    async def _hang_up(self) -> None:
        if self._connection is not None:
            await closed(self._connection[1])
            self._connection = None


async def closed(writer: asyncio.StreamWriter) -> None:
    """Hang up."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_damaged_bytes_get_a_refusal_and_nothing_else(server: ServerProcess, published: Any) -> None:
    columns = columns_of(published)
    fuzzers = [Fuzzer(server.port, columns, SEED + i) for i in range(USERS)]
    async with asyncio.TaskGroup() as group:
        for fuzzer in fuzzers:
            group.create_task(fuzzer.run(REQUESTS // USERS))
    statuses = sum((fuzzer.statuses for fuzzer in fuzzers), Counter[int]())
    print("replies:", dict(sorted(statuses.items())))  # noqa: T201
    assert statuses[200] > REQUESTS // 50  # some damage does not matter,
    assert statuses[400] > REQUESTS // 4  # most does
    assert statuses[404] and statuses[405] and not statuses[422]


def columns_of(published: Any) -> dict[str, tuple[str, list[Any]]]:
    """Return two valid rows of the version's columns."""
    metadata = published.manifest.signature.inputs
    rows = published.frame.head(2)
    return {c.name: (c.datatype, rows[c.name].tolist()) for c in metadata}


def test_requests_made_from_the_description_conform_to_it(server: ServerProcess, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    limits = ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--max-response-time", str(PATIENCE)]
    where = [f"{server.url}/openapi.json", "--exclude-path-regex", "feedback"]  # a monitor answers that
    phases = ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
    command = [program, "--no-color", "run", *where, *limits, *phases, "-c", CHECKS]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-2000:]
    print(run.stdout[-600:])  # noqa: T201
