"""The quick part: one-row V2 requests on iris to the complete server and to a bare ASGI one that runs the model.

Both are loaded in turn, several times, by one closed-loop generator on the same cores. What stays is the ratio; the
figures themselves belong to the machine.
"""

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hack.bench.serving import models, servers
from hack.bench.serving.generator import Form, Load, Measurement, measure
from hack.bench.serving.processes import ServerProcess, free_ports, wait_until_right
from hack.bench.serving.servers import Launch, Place, Server
from hack.bench.table import Row

ROUNDS, SECONDS = 5, 1.5
USERS = (1, 16)
FLOOR = "bare ASGI, orjson and ONNX"
SHARE = 0.7  # of the floor's throughput, with everything on
BODY = '{"inputs":[{"name":"input-0","shape":[1,4],"datatype":"FP64","data":[6.8,2.8,4.8,1.4]}]}'


def load(port: int, users: int, seconds: float, path: str, host: str = "127.0.0.1") -> Measurement:
    """Return what closed loops of one-row iris requests measured; only the status of answers is checked.

    Raises:
        RuntimeError: an answer was not 200.
    """
    return right(measure(f"{host}:{port}", Form(path, [BODY], [[]], None), Load(users, seconds)))


def right(found: Measurement) -> Measurement:
    """Return a measurement without errors.

    Raises:
        RuntimeError: it has one; the message holds the first.
    """
    if found.errors:
        raise RuntimeError(f"{found.errors} errors, the first: {found.first_error}")
    return found


@contextlib.contextmanager
def floor(port: int) -> Iterator[None]:
    """Run the bare ASGI application that answers a constant."""
    with _running(servers.sink(port), Path.cwd()) as process:
        wait_until_right(process, port, servers.SINK_FORM)
        yield


@contextlib.contextmanager
def _running(launch: Launch, folder: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(launch.command, launch.variables, folder)
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def started(server: Server, model: models.FittedModel, folder: Path, sink: str) -> Iterator[tuple[str, ServerProcess]]:
    """Run a server until it has answered once; give its address."""
    port, *others = free_ports(4)
    folder.mkdir()
    form = server.form(model, 1)
    with _running(server.launch(model, Place(port, tuple(others), folder, sink)), folder) as process:
        wait_until_right(process, port, form)
        yield f"127.0.0.1:{port}", process


def run(args: argparse.Namespace) -> list[Row]:
    """Return throughput and latencies, each beside the floor's."""
    del args
    own = next(server for server in servers.OWN if server.key == "tidemill")
    bare = next(server for server in servers.FLOORS if server.key == "onnx")
    sink_port = free_ports(1)[0]
    sink = f"http://127.0.0.1:{sink_port}"
    with tempfile.TemporaryDirectory() as name, floor(sink_port):
        folder = Path(name)
        model = models.fit("iris", folder / "model")
        form = own.form(model, 1)
        with (
            started(bare, model, folder / "floor", sink) as (floor_address, _),
            started(own, model, folder / "own", sink) as (address, _),
        ):
            return [row for users in USERS for row in compare(users, form, address, floor_address)]


def compare(users: int, form: Form, address: str, floor_address: str) -> list[Row]:
    """Load server and floor in turn; return the rows of one concurrency."""
    found: dict[str, list[Measurement]] = {address: [], floor_address: []}
    for _ in range(ROUNDS):
        for one in (floor_address, address):
            found[one].append(right(measure(one, form, Load(users, SECONDS))))

    def row(name: str, unit: str, figure: str) -> Row:
        own, bare = (statistics.median(getattr(m, figure) for m in found[one]) for one in (address, floor_address))
        is_goal = figure == "per_second"
        goal, met = (f"≥ {SHARE} of the floor", own >= SHARE * bare) if is_goal else ("", None)
        return Row(f"{what}: {name}", own, unit, bare, FLOOR, goal, met)

    what = f"one-row V2 request, direct, {users} user{'s' if users > 1 else ''}"
    figures = (("throughput", "requests/s", "per_second"), ("median", "µs", "p50"), ("99th percentile", "µs", "p99"))
    return [row(*figure) for figure in figures]
