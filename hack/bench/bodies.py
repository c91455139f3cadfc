"""What bodies that never end hold in the model server: the same bytes in pieces of two bytes and in large ones.

Two chunked requests whose last chunk never comes; the server's limit of one body is 16 MiB. And gRPC messages that
never end: as the library sends them, in frames of two bytes, and between frames that keep the library's buffers.
"""

import argparse
import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hack.bench.frames import UNKNOWN, FrameClient, frame
from hack.bench.serving import models, servers
from hack.bench.serving.processes import ServerProcess, free_ports, memory_mib, wait_until_right
from hack.bench.serving.servers import Place
from hack.bench.table import Row

CLIENTS = 2
BODY = 4 * 2**20  # comes within the deadline of a request, though each piece is parsed by itself
MAX_MIB = 64.0  # of a container that has 1 GiB
_LARGE = 32 * 1024
_GRPC_CLIENTS = 40
_GRPC_MAX_MIB = 256.0  # four bodies, and what comes between two measurements
_UNKNOWN_FRAME = frame(UNKNOWN, 0, 1, b"x" * 8100)
_SETTLED = 1.0  # seconds after the last byte was taken
_TIMEOUT = 60.0


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure what two bodies hold beyond what the server holds at rest."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        large, small = (_held(Path(folder) / str(size), size) for size in (_LARGE, 2))
    what = f"{CLIENTS} unfinished bodies of {BODY // 2**20} MiB in chunks of 2 bytes: memory"
    floor_name = f"in chunks of {_LARGE // 1024} KiB"
    return [
        Row(what, small, "MiB", large, floor_name, f"at most {MAX_MIB:g} MiB", small <= MAX_MIB),
        *(_grpc_row(*case) for case in _GRPC_CASES),
    ]


_GRPC_CASES = (  # how many clients, bytes of each message, of a frame, what stands between
    ("of 8 MB", _GRPC_CLIENTS, 8_000_000, 16_000, b""),
    ("of 4 MB in frames of 2 bytes", 2, 4_000_000, 2, b""),
    ("of 1 MB, 24 bytes between frames of 8 KiB", 2, 24 * 40_000, 24, _UNKNOWN_FRAME),
)


def _grpc_row(what: str, clients: int, total: int, size: int, between: bytes) -> Row:
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder, _server(Path(folder)) as (process, _, port):
        for _ in range(2):  # the first client brings the library
            with FrameClient(port):
                time.sleep(_SETTLED)
        before = memory_mib(process.pids())
        with contextlib.ExitStack() as stack:
            for _ in range(clients):
                client = stack.enter_context(FrameClient(port))
                with contextlib.suppress(OSError):
                    client.begin(1, total + 1)
                    client.send_body(1, total, size, between)
            time.sleep(_SETTLED)
            process.check()
            held = memory_mib(process.pids()) - before
    name = f"{clients} unfinished gRPC messages {what}: memory"
    return Row(name, held, "MiB", goal=f"at most {_GRPC_MAX_MIB:g} MiB", met=held <= _GRPC_MAX_MIB)


def _held(folder: Path, size: int) -> float:
    """Return by how many MiB a fresh server grows."""
    folder.mkdir()
    with _server(folder) as (process, port, _):
        before = memory_mib(process.pids())
        clients = [socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) for _ in range(CLIENTS)]
        for client in clients:
            _chunked(client, size)
        time.sleep(_SETTLED)
        process.check()
        return memory_mib(process.pids()) - before


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[tuple[ServerProcess, int, int]]:
    """Yield a server that answers, its port for HTTP and its port for gRPC."""
    model = models.fit("iris", folder / "models")
    server = servers.own("bodies", "bodies", ("iris",), 1, "ONNX")
    port, admin, sink, grpc = free_ports(4)
    launch = server.launch(model, Place(port, (admin,), folder, f"http://127.0.0.1:{sink}"))
    process = ServerProcess(launch.command, {**launch.variables, "TIDEMILL_GRPC_PORT": str(grpc)}, folder)
    try:
        wait_until_right(process, port, server.form(model, 1))
        yield process, port, grpc
    finally:
        process.stop()


def _chunked(client: socket.socket, size: int) -> None:
    client.sendall(b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: bench\r\ntransfer-encoding: chunked\r\n\r\n")
    many = max(1, 2**16 // size)
    chunks = (b"%x\r\n" % size + b" " * size + b"\r\n") * many
    for _ in range(BODY // (size * many)):
        client.sendall(chunks)
