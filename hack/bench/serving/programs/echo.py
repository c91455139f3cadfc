"""The lowest floor: a protocol on the bare event loop that sends each request's body back. No HTTP parser."""

import asyncio
import sys
from typing import cast

import uvloop

_LENGTH = b"content-length: "
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole; a client of one request at a time is assumed."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        start = buffer.find(b"\r\n\r\n") + 4
        if start < 4:
            return
        length = 0
        if (at := buffer.find(_LENGTH, 0, start)) >= 0:
            length = int(buffer[at + len(_LENGTH) : buffer.index(b"\r\n", at)])
        if len(buffer) - start < length:
            return
        self._buffer = b""
        self._transport.write(b"%s%d\r\n\r\n%s" % (_HEAD, length, buffer[start:]))


async def serve(port: int) -> None:
    """Serve until the process gets a signal to end."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
