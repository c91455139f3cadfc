"""A client that writes HTTP/2 frames by hand: gRPC messages that never end, as no library sends them."""

import socket
import struct
import threading
import time
from typing import Self

SETTINGS, WINDOW_UPDATE, UNKNOWN = 4, 8, 0xF0
_DATA, _HEADERS, _RESET, _PING, _ACK = 0, 1, 3, 6, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW_ID = 4
_METHOD = b"/inference.GRPCInferenceService/ModelInfer"
_TIMEOUT = 20.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def data(stream: int, payload: bytes) -> bytes:
    """Return a DATA frame that does not end its stream."""
    return frame(_DATA, 0, stream, payload)


def headers(stream: int, path: bytes = _METHOD) -> bytes:
    """Return the HEADERS frame of a call, without compression."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"bench",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    literal = (b"\0" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in fields.items())
    return frame(_HEADERS, 4, stream, b"".join(literal))


def prefix(length: int) -> bytes:
    """Return what a message of gRPC begins with."""
    return b"\0" + struct.pack(">I", length)


class FrameClient:
    """One connection: keeps to the windows that the server gives; notes which streams it resets."""

    def __init__(self, port: int) -> None:
        self.reset = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
        self._windows: dict[int, int] = {0: 65535}
        self._initial = 65535
        self._changed = threading.Condition()
        self.send(_PREFACE + frame(SETTINGS, 0, 0))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        """Send frames as they are."""
        self._socket.sendall(content)

    def begin(self, stream: int, length: int, path: bytes = _METHOD) -> None:
        """Open a call and announce a message."""
        with self._changed:
            self._windows[stream] = self._initial
        self.send(headers(stream, path) + data(stream, prefix(length)))
        self._take(stream, 5)

    def send_body(self, stream: int, total: int, size: int, between: bytes = b"") -> bool:
        """Send `total` bytes of a message in DATA frames of `size`, each followed by `between`; False when reset."""
        one = data(stream, b" " * size) + between
        left = total // size
        while left > 0:
            many = min(left, max(1, 2**16 // len(one)))
            if not self._take(stream, many * size):
                return False
            try:
                self.send(one * many)
            except OSError:
                return False
            left -= many
        return True

    def _take(self, stream: int, size: int) -> bool:
        deadline = time.monotonic() + _TIMEOUT
        with self._changed:
            while min(self._windows[0], self._windows[stream]) < size:
                if self.reset.is_set() or not self._changed.wait(deadline - time.monotonic()):
                    return False
            self._windows[0] -= size
            self._windows[stream] -= size
        return not self.reset.is_set()

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as source:
                while len(head := source.read(9)) == 9:
                    payload = source.read(int.from_bytes(head[:3], "big"))
                    self._received(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except (OSError, ValueError):
            pass
        with self._changed:
            self.reset.set()
            self._changed.notify_all()

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        with self._changed:
            if kind == SETTINGS and not flags & _ACK:
                self._set(payload)
                self.send(frame(SETTINGS, _ACK, 0))
            elif kind == WINDOW_UPDATE:
                self._windows[stream] = self._windows.get(stream, self._initial) + int.from_bytes(payload, "big")
            elif kind == _PING and not flags & _ACK:
                self.send(frame(_PING, _ACK, 0, payload))
            elif kind == _RESET:
                self.reset.set()
            self._changed.notify_all()

    def _set(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _WINDOW_ID:
                change, self._initial = value - self._initial, value
                self._windows |= {stream: has + change for stream, has in self._windows.items() if stream}
