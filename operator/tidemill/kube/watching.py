"""The HTTP session that the watches run on. The watching itself is the framework's work.

Why an own session: it puts a fresh token on every request (the kubelet rotates them), and it sees every byte that a
watch delivers, bookmarks included, which is how a watch that is silently dead is told from one where nothing happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Self, cast

import aiohttp

from tidemill.kube.access import Access

OnActivity = Callable[[str], None]


class _Observed:
    """A response's body that reports every chunk taken from its stream; everything else is the body's own."""

    def __init__(self, content: aiohttp.StreamReader, on_chunk: Callable[[], None]) -> None:
        self._content = content
        self._on_chunk = on_chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """As StreamReader.iter_chunked."""
        async for chunk in self._content.iter_chunked(size):
            self._on_chunk()
            yield chunk


def watch_session(access: Access, on_activity: OnActivity) -> aiohttp.ClientSession:
    """A session that calls `on_activity` with a collection's URL path when its list or watch delivers something."""

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> Self:
            await super().start(connection)
            path = self.url.path
            if self.status == 200 and "watch" not in self.url.query:
                on_activity(path)
            if self.status == 403 and "/namespaces/" in path:
                # One of several namespaces: its RoleBinding went with it, or is still to come. The framework would end
                # the process, and with it what is done for all others; a lost connection is tried again.
                on_activity(path)
                raise aiohttp.ClientConnectionError(f"{path} is forbidden")
            observed = _Observed(self.content, lambda: on_activity(path))
            self.content = cast(aiohttp.StreamReader, observed)
            return self

    async def on_start(session: Any, context: Any, params: aiohttp.TraceRequestStartParams) -> None:
        del session, context
        token = access.token()
        if token:
            params.headers["Authorization"] = f"Bearer {token}"

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=access.ssl_context or True),
        response_class=Response,
        trace_configs=[trace],
        headers={"User-Agent": "tidemill-operator/watch"},
    )
