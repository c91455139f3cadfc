"""The server's own connections on a real socket, in this process, and a client that sends any bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from tidemill_runtime.server.http.connection import InferenceConnection
from tidemill_runtime.server.process.lifecycle import Parts

_PATIENCE = 20  # seconds that an answer may take


@dataclass
class Answer:
    """One response as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


class Client:
    """One connection. Responses are read strictly: a missing length, or bytes after the end, is an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer:
        """Return the next response; interim ones (1xx) too."""
        async with asyncio.timeout(_PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:-2])}
            status = int(lines[0].split()[1])
            body = await self._reader.readexactly(int(headers["content-length"])) if status >= 200 else b""
            return Answer(status, headers, body)

    async def is_closed(self) -> bool:
        """Return whether the server ends the connection and sends nothing more."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._reader.read() == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@dataclass
class Listening:
    """A running server; `state` knows its connections and tasks."""

    port: int
    state: ServerState
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        """Return a new connection; it is closed with the server if not before."""
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]


@asynccontextmanager
async def listening(parts: Parts) -> AsyncIterator[Listening]:
    """Serve `parts` on a free port of this machine."""
    loop = asyncio.get_running_loop()
    protocol = InferenceConnection.of(parts.wiring)
    config = uvicorn.Config(parts.app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    server = await loop.create_server(lambda: protocol(config, state, {}, loop), "127.0.0.1", 0)
    running = Listening(server.sockets[0].getsockname()[1], state)
    try:
        yield running
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*(client.close() for client in running.clients), *state.tasks, return_exceptions=True)


def request(path: str, body: bytes | Any, headers: dict[str, str] | None = None, method: str = "POST") -> bytes:
    """Return the bytes of a request; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "test", "content-length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content
