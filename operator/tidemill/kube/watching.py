"""The HTTP session that the watches run on. The watching itself is the framework's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from tidemill.kube.access import Access


def watch_session(access: Access, on_request: Callable[[str], None]) -> aiohttp.ClientSession:
    """A session with a fresh token on every request; `on_request` gets the URL path of every list and watch begun."""

    async def on_start(session: Any, context: Any, params: aiohttp.TraceRequestStartParams) -> None:
        del session, context
        token = access.token()
        if token:
            params.headers["Authorization"] = f"Bearer {token}"
        on_request(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=access.ssl_context or True),
        trace_configs=[trace],
        headers={"User-Agent": "tidemill-operator/watch"},
    )
