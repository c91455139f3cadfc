"""What bodies that never end hold in the model server: the same bytes in pieces of two bytes and in large ones.

Two chunked requests whose last chunk never comes; the server's limit of one body is 16 MiB.
"""

import argparse
import socket
import tempfile
import time
from pathlib import Path

from hack.bench.serving import models, servers
from hack.bench.serving.processes import ServerProcess, free_ports, memory_mib, wait_until_right
from hack.bench.serving.servers import Place
from hack.bench.table import Row

CLIENTS = 2
BODY = 4 * 2**20  # comes within the deadline of a request, though each piece is parsed by itself
MAX_MIB = 64.0  # of a container that has 1 GiB
_LARGE = 32 * 1024
_SETTLED = 1.0  # seconds after the last byte was taken
_PATIENCE = 60.0


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure what two bodies hold beyond what the server holds at rest."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        large, small = (_held(Path(folder) / str(size), size) for size in (_LARGE, 2))
    what = f"{CLIENTS} unfinished bodies of {BODY // 2**20} MiB in chunks of 2 bytes: memory"
    floor_name = f"in chunks of {_LARGE // 1024} KiB"
    return [Row(what, small, "MiB", large, floor_name, f"at most {MAX_MIB:g} MiB", small <= MAX_MIB)]


def _held(folder: Path, size: int) -> float:
    """Return by how many MiB a fresh server grows."""
    folder.mkdir()
    model = models.fit("iris", folder / "models")
    server = servers.own("bodies", "bodies", ("iris",), 1, "ONNX")
    port, admin, sink = free_ports(3)
    launch = server.launch(model, Place(port, (admin,), folder, f"http://127.0.0.1:{sink}"))
    process = ServerProcess(launch.command, launch.variables, folder)
    try:
        wait_until_right(process, port, server.form(model, 1))
        before = memory_mib(process.pids())
        clients = [socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) for _ in range(CLIENTS)]
        for client in clients:
            _chunked(client, size)
        time.sleep(_SETTLED)
        process.check()
        return memory_mib(process.pids()) - before
    finally:
        process.stop()


def _chunked(client: socket.socket, size: int) -> None:
    client.sendall(b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: bench\r\ntransfer-encoding: chunked\r\n\r\n")
    many = max(1, 2**16 // size)
    chunks = (b"%x\r\n" % size + b" " * size + b"\r\n") * many
    for _ in range(BODY // (size * many)):
        client.sendall(chunks)
