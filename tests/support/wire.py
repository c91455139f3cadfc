"""A proxy before an API server that breaks things as networks do: silence, refusals, errors inside a watch."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from tidemill.kube.access import Access


class Wire:
    """Passes everything through until told otherwise. Change the attributes from any thread."""

    def __init__(self, upstream: Access) -> None:
        self._upstream = upstream
        self.silent = False
        """Watches stay open and deliver nothing, not even bookmarks."""
        self.watch_error: dict[str, object] | None = None
        """The next chunk of every watch is this ERROR event."""
        self.refused: dict[str, object] | None = None
        """Every watch is answered with this Status instead of a stream."""
        self.cut = 0
        """Raise it to end all watches that are open."""
        self.failed_watches = 0
        self.slow_lists = False
        """Lists of collections are held back until this is False again."""
        self.lists_held = 0
        self.port = 0

    @property
    def access(self) -> Access:
        """The way through this proxy, as the same user."""
        return Access(f"http://127.0.0.1:{self.port}", static_token=self._upstream.token())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forwards one request."""
        if "watch" in request.query and self.refused is not None:
            self.failed_watches += 1
            return web.json_response(self.refused, status=int(str(self.refused["code"])))
        if "limit" in request.query and self.slow_lists:
            self.lists_held += 1
            while self.slow_lists:  # noqa: ASYNC110 - another thread ends it
                await asyncio.sleep(0.05)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "transfer-encoding")}
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session,
            session.request(
                request.method,
                self._upstream.server + request.raw_path,
                headers=headers,
                data=await request.read() or None,
                ssl=self._upstream.ssl_context or True,
            ) as answer,
        ):
            kept = {
                k: v
                for k, v in answer.headers.items()
                if k.lower() in ("content-type", "content-encoding", "retry-after")
            }
            out = web.StreamResponse(status=answer.status, headers=kept)
            await out.prepare(request)
            if "watch" in request.query:
                await self._watch(answer, out)
            else:
                await out.write(await answer.read())
            return out

    async def _watch(self, answer: aiohttp.ClientResponse, out: web.StreamResponse) -> None:
        chunk: asyncio.Task[bytes] = asyncio.ensure_future(answer.content.readany())
        cut = self.cut
        try:
            while True:
                await asyncio.wait({chunk}, timeout=0.1)
                if self.refused is not None and cut != self.cut:
                    return
                if self.watch_error is not None:
                    self.failed_watches += 1
                    await out.write(json.dumps({"type": "ERROR", "object": self.watch_error}).encode() + b"\n")
                    return
                if chunk.done() and not self.silent:
                    data = chunk.result()
                    if not data:
                        return
                    await out.write(data)
                    chunk = asyncio.ensure_future(answer.content.readany())
        except (ConnectionError, aiohttp.ClientError):
            return
        finally:
            chunk.cancel()


@contextmanager
def proxy(upstream: Access) -> Iterator[Wire]:
    """A Wire that listens on a thread of its own."""
    wire, loop, ready = Wire(upstream), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", wire.handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wire.port = int(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()
        await asyncio.sleep(0.3)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield wire
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
