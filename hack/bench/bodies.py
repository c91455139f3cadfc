"""What bodies that never end hold in the model server: the same bytes in pieces of two bytes and in large ones.

Two requests over HTTP, chunked, and two over gRPC, in DATA frames; the server's limit of one body is 16 MiB.
"""

import argparse
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hack.bench.serving import models, servers
from hack.bench.serving.processes import ServerProcess, free_ports, memory_mib, wait_until_right
from hack.bench.serving.servers import Place
from hack.bench.table import Row

Sender = Callable[[socket.socket, int], None]
CLIENTS = 2
BODY = 4 * 2**20  # comes within the deadline of a request, though each piece is parsed by itself
MAX_MIB = 64.0  # of a container that has 1 GiB
_LARGE = 32 * 1024
_SETTLED = 1.0  # seconds after the last byte was taken
_PATIENCE = 60.0


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure what four bodies hold beyond what the server holds at rest."""
    del arguments
    rows = []
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        for name, send in (("HTTP, chunked", _chunked), ("gRPC", _framed)):
            large, small = (_held(Path(folder) / f"{name[:4]}-{size}", send, size) for size in (_LARGE, 2))
            what = f"{CLIENTS} unfinished bodies of {BODY // 2**20} MiB in pieces of 2 bytes, {name}: memory"
            is_met = small <= MAX_MIB
            floor_name = f"in pieces of {_LARGE // 1024} KiB"
            rows.append(Row(what, small, "MiB", large, floor_name, f"at most {MAX_MIB:g} MiB", is_met))
    return rows


def _held(folder: Path, send: Sender, size: int) -> float:
    """Return by how many MiB a fresh server grows."""
    folder.mkdir()
    model = models.fit("iris", folder / "models")
    server = servers.own("bodies", "bodies", ("iris",), 1, "ONNX")
    port, admin, grpc, sink = free_ports(4)
    launch = server.launch(model, Place(port, (admin, grpc), folder, f"http://127.0.0.1:{sink}"))
    variables = {**launch.variables, "TIDEMILL_GRPC_PORT": str(grpc)}
    process = ServerProcess(launch.command, variables, folder)
    try:
        wait_until_right(process, port, server.form(model, 1))
        place = grpc if send is _framed else port
        with socket.create_connection(("127.0.0.1", place)):  # the library of gRPC comes with its first client
            time.sleep(_SETTLED)
        before = memory_mib(process.pids())
        clients = [socket.create_connection(("127.0.0.1", place), timeout=_PATIENCE) for _ in range(CLIENTS)]
        for client in clients:
            send(client, size)
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


def _framed(client: socket.socket, size: int) -> None:
    """Send HTTP/2 by hand: a call whose message is announced, and then comes in frames of `size` bytes."""
    fields = {":method": "POST", ":scheme": "http", ":path": "/inference.GRPCInferenceService/ModelInfer"}
    fields |= {":authority": "bench", "content-type": "application/grpc", "te": "trailers"}
    head = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 4, 1, head))
    room = {0: 65535, 1: 65535}
    received = bytearray()
    message = struct.pack(">BI", 0, BODY + 1)  # the last byte never comes
    client.sendall(_frame(0, 0, 1, message))
    room[0], room[1] = room[0] - len(message), room[1] - len(message)
    left = BODY
    while left:
        fits = min(room[0], room[1], 2**16, left) // size
        if not fits:
            received += client.recv(65536)
            _take(client, received, room)
            continue
        client.sendall(_frame(0, 0, 1, b" " * size) * fits)
        room[0], room[1], left = room[0] - fits * size, room[1] - fits * size, left - fits * size


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def _take(client: socket.socket, received: bytearray, room: dict[int, int]) -> None:
    """Read whole frames: room for more, settings and pings, which are answered.

    Raises:
        ConnectionError: the server ended the call or the connection.
    """
    while len(received) >= 9 and len(received) >= 9 + (size := int.from_bytes(received[:3], "big")):
        kind, flags, stream = received[3], received[4], int.from_bytes(received[5:9], "big")
        content = bytes(received[9 : 9 + size])
        del received[: 9 + size]
        if kind == 8:
            room[stream] = room.get(stream, 0) + int.from_bytes(content, "big")
        elif kind == 4 and not flags & 1:
            for at in range(0, size, 6):
                if content[at : at + 2] == b"\0\4":
                    room[1] += int.from_bytes(content[at + 2 : at + 6], "big") - 65535
            client.sendall(_frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            client.sendall(_frame(6, 1, 0, content))
        elif kind in (1, 3, 7):
            raise ConnectionError(f"the server ended the call: frame {kind}, {content!r}")
