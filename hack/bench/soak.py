"""`python -m hack.bench.soak --minutes 10`: does the model server's memory grow under good and bad requests?

Users send all kinds of requests over connections that they keep, break off and open again: predictions of one row
and of a hundred, wrong columns, broken JSON, unknown models, bodies that never come, bytes that are no HTTP. Every
status is checked. The prediction log goes to a sink; metrics are scraped. What counts is memory after the warm-up,
when caches, pools and the log's ring are full, against memory at the end.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hack.bench.serving import models, quick, servers
from hack.bench.serving.processes import ServerProcess, free_ports, memory_mib, wait_until_right
from hack.bench.serving.servers import Place
from hack.bench.table import Row, render
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig

USERS = 24
MAX_GROWTH_MIB = 3.0
_WARM_UP = 0.25  # of the time, at most two minutes
_INFER = "/v2/models/iris/infer"


@dataclass(frozen=True)
class Kind:
    """A kind of request: how often among all, what is sent, and the status that answers it; None: broken off."""

    share: float
    request: bytes
    status: int | None


@dataclass
class Found:
    """What a run saw."""

    statuses: Counter[int | None] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, MiB


def _post(path: str, body: bytes, declared: int | None = None) -> bytes:
    length = len(body) if declared is None else declared
    head = f"POST {path} HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    return head.encode() + body


def _v2(rows: int, **changes: object) -> bytes:
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": [6.8, 2.8, 4.8, 1.4] * rows, **changes}
    return json.dumps({"inputs": [tensor]}).encode()


def kinds() -> list[Kind]:
    """Return every kind of request."""
    return [
        Kind(60, _post(_INFER, _v2(1)), 200),
        Kind(10, _post(_INFER, _v2(100)), 200),
        Kind(6, _post("/v1/models/iris:predict", b'{"instances":[[6.8,2.8,4.8,1.4]]}'), 200),
        Kind(5, _post(_INFER, b'{"inputs":[' + b"[" * 200), 400),
        Kind(5, _post(_INFER, _v2(1, shape=[1, 5])), 400),
        Kind(3, _post(_INFER, _v2(1, datatype="FP8")), 400),
        Kind(3, _post("/v2/models/other/infer", _v2(1)), 404),
        Kind(2, b"GET /v2/models/iris HTTP/1.1\r\nhost: soak\r\n\r\n", 200),
        Kind(2, b"GET /nothing HTTP/1.1\r\nhost: soak\r\n\r\n", 404),
        Kind(1, _post(_INFER, b"", declared=10**9), 413),
        Kind(1, b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        Kind(2, _post(_INFER, _v2(1)[:40], declared=5000), None),
    ]


class User:
    """Sends one request after the other until the time is over."""

    def __init__(self, port: int, seed: int, until: float, found: Found) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._until = until
        self._found = found

    async def run(self) -> None:
        """Open a connection whenever there is none."""
        every = kinds()
        shares = [kind.share for kind in every]
        while time.monotonic() < self._until:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            is_open = True
            while is_open and time.monotonic() < self._until:
                (kind,) = self._random.choices(every, shares)
                is_open = await self._ask(reader, writer, kind)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Kind) -> bool:
        """Return whether the connection may be used again."""
        writer.write(kind.request)
        if kind.status is None:
            await asyncio.sleep(0.05)
            self._found.statuses[None] += 1
            return False
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        status = int(lines[0].split()[1])
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        await reader.readexactly(length)
        self._found.statuses[status] += 1
        if status not in (kind.status, 503):  # 503: the server may refuse under overload
            self._found.wrong[f"{status} instead of {kind.status}"] += 1
        return "connection: close" not in lines and kind.status not in (413,)


def measure(minutes: float, workers: int, runtime: str, folder: Path) -> Found:
    """Return what a run of so many minutes saw."""
    model = models.fit("iris", folder / "models")
    server = servers.own("soak", "soak", ("iris",), workers, "ONNX" if runtime == "ONNX" else "Native")
    port, admin, grpc, sink = free_ports(4)
    launch = server.launch(model, Place(port, (admin, grpc), folder, f"http://127.0.0.1:{sink}"))
    config = ServerConfig.model_validate_json(launch.variables[SERVER_CONFIG_ENV])
    config = config.model_copy(update={"access_log_ratio": 0.001, "max_in_flight": 64})
    variables = {**launch.variables, SERVER_CONFIG_ENV: config.to_json()}
    with quick.floor(sink):
        process = ServerProcess(launch.command, variables, folder)
        try:
            wait_until_right(process, port, server.form(model, 1))
            return asyncio.run(_load(process, port, admin, minutes * 60))
        finally:
            process.stop()


async def _load(process: ServerProcess, port: int, admin: int, seconds: float) -> Found:
    found, started = Found(), time.monotonic()
    users = [asyncio.create_task(User(port, seed, started + seconds, found).run()) for seed in range(USERS)]
    while (passed := time.monotonic() - started) < seconds:
        process.check()
        await asyncio.to_thread(_scrape, admin)
        found.memory.append((passed, memory_mib(process.pids())))
        await asyncio.sleep(1)
    await asyncio.wait_for(asyncio.gather(*users), 60)
    return found


def _scrape(admin: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as reply:
        reply.read()


def rows(found: Found, minutes: float) -> list[Row]:
    """Return requests, memory after the warm-up and at the end, and what is wrong."""
    warm = min(120.0, minutes * 60 * _WARM_UP)
    stretch = max(5.0, minutes * 6)  # a tenth of the time
    after = statistics.median(mib for at, mib in found.memory if warm <= at < warm + stretch)
    end = statistics.median(mib for at, mib in found.memory if at >= found.memory[-1][0] - stretch)
    growth, wrong = end - after, found.wrong.total()
    goal = f"at most {MAX_GROWTH_MIB:g} MiB"
    return [
        Row("requests", found.statuses.total(), "requests"),
        Row("answered with another status", wrong, "requests", goal="none", met=wrong == 0),
        Row(f"memory after a warm-up of {warm:.0f} s", after, "MiB"),
        Row(f"memory after {minutes:g} minutes", end, "MiB"),
        Row("growth", growth, "MiB", goal=goal, met=growth <= MAX_GROWTH_MIB),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 memory is flat and every status right, 1 not so, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; default: 10")
    parser.add_argument("--workers", type=int, default=1, help="worker processes; default: 1")
    parser.add_argument("--runtime", choices=("ONNX", "Native"), default="ONNX")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(parsed.minutes, parsed.workers, parsed.runtime, Path(folder))
    table = rows(found, parsed.minutes)
    print(render(table))
    print("statuses:", ", ".join(f"{status or 'broken off'} {count}" for status, count in found.statuses.most_common()))
    for sentence, count in found.wrong.items():
        print(f"wrong: {count} answered {sentence}", file=sys.stderr)
    return int(any(row.met is False for row in table))


if __name__ == "__main__":
    sys.exit(main())
