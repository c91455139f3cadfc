"""HTTP to one API server: credentials, connections, time-outs. What the requests mean is not known here.

A request waits for its turn as long as it takes; its time-out starts when it is sent. A stale token is read again once.
Lists and watches are streams, which end when nothing has come for too long, however long they last.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp

from tidemill.errors import ApiError
from tidemill.kube.access import Access
from tidemill.kube.metrics import REQUESTS
from tidemill.kube.request_priority import RequestPriority

T = TypeVar("T")

JSON = "application/json"
_CONNECT_SECONDS = 5.0
_LARGE_BYTES = 1 << 20  # aiohttp wants larger bodies as files
_ERROR_BYTES = 64 << 10
_BIG_ANSWER_BYTES = 128 << 10
_BIG_ANSWERS = 2
"""Answers beyond that size are read and parsed so many at a time: as text and as values they are in memory twice."""


class Transport:
    """One session to one API server."""

    def __init__(self, access: Access, *, connections: int, timeout_seconds: float) -> None:
        """`connections`: requests at a time, streams not counted; `timeout_seconds`: of a request that was sent."""
        self.access = access
        self._priority = RequestPriority(connections)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None
        self._big = asyncio.Semaphore(_BIG_ANSWERS)
        self._host = access.server.partition("://")[2]

    async def close(self) -> None:
        """Closes all connections; they are opened again when needed."""
        if self._session is not None:
            await self._session.close()
        self._session = None

    async def send(
        self,
        method: str,
        path: str,
        parse: Callable[[bytes], T],
        query: Mapping[str, str] | None = None,
        data: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> T:
        """The answer's body, parsed; ApiError for anything but 2xx, and (status 0) for no answer."""
        try:
            return await self._once(method, path, parse, query, data, content_type, accept)
        except ApiError as error:
            if error.status != 401 or self.access.token_file is None:
                raise
        self.access.token(fresh=True)
        return await self._once(method, path, parse, query, data, content_type, accept)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], accept: str, idle_seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's body as it comes; ApiError (status 0) also inside, when it breaks off or falls silent."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=idle_seconds)
        code = "error"
        try:
            for last in (self.access.token_file is None, True):
                async with self._opened().get(
                    self.access.server + path, params=query, headers=_headers(self.access, accept), timeout=timeout
                ) as response:
                    code = str(response.status)
                    if response.status == 401 and not last:
                        self.access.token(fresh=True)
                        continue
                    if response.status >= 300:
                        raw = await response.content.read(_ERROR_BYTES)
                        raise error_of("GET", path, response.status, response.headers, raw)
                    yield _chunks(response, path)
                    return
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise _no_answer("GET", path, error) from error
        finally:
            REQUESTS.labels(code=code, method="GET", host=self._host).inc()

    async def _once(
        self,
        method: str,
        path: str,
        parse: Callable[[bytes], T],
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        accept: str,
    ) -> T:
        headers = _headers(self.access, accept)
        if data is not None:
            headers["Content-Type"] = content_type
        body = io.BytesIO(data) if data is not None and len(data) > _LARGE_BYTES else data
        code = "error"
        async with self._priority.seat():
            try:
                async with self._opened().request(
                    method, self.access.server + path, params=query, data=body, headers=headers
                ) as response:
                    parsed = await self._read(method, path, response, parse)
                    code = str(response.status)
                    return parsed
            except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
                raise _no_answer(method, path, error) from error
            except ApiError as error:
                code = str(error.status or "error")
                raise
            finally:
                REQUESTS.labels(code=code, method=method, host=self._host).inc()

    async def _read(self, method: str, path: str, response: aiohttp.ClientResponse, parse: Callable[[bytes], T]) -> T:
        raw = bytearray()
        async for chunk in response.content.iter_any():
            raw += chunk
            if len(raw) > _BIG_ANSWER_BYTES:
                break
        else:
            return _parsed(method, path, response, raw, parse)
        async with self._big:
            async for chunk in response.content.iter_any():
                raw += chunk
            return _parsed(method, path, response, raw, parse)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit of its own: the turns are the limit of requests, and streams have a connection each.
            self._session = aiohttp.ClientSession(connector=_connector(self.access), timeout=self._timeout)
        return self._session


def session(access: Access) -> aiohttp.ClientSession:
    """A plain session with the credentials of this moment, for the framework's few requests of its own."""
    return aiohttp.ClientSession(connector=_connector(access), headers=_headers(access, JSON))


def _connector(access: Access) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=0, ssl=access.ssl_context or True)


def _headers(access: Access, accept: str) -> dict[str, str]:
    # Not compressed: that costs the server more than the bytes are worth inside a cluster.
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "tidemill-operator"}
    token = access.token()
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})


async def _chunks(response: aiohttp.ClientResponse, path: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
        raise _no_answer("GET", path, error) from error


def _parsed(method: str, path: str, response: aiohttp.ClientResponse, raw: bytearray, parse: Callable[[bytes], T]) -> T:
    if response.status >= 300:
        raise error_of(method, path, response.status, response.headers, bytes(raw))
    return parse(bytes(raw))


def why(error: BaseException) -> str:
    """Type and text of an error, the latter when there is one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def error_of(method: str, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
    """An answer other than 2xx as an ApiError, with the server's own words where it gave some."""
    retry_after = headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdigit() else None
    try:
        body = json.loads(raw)
        reason, message = str(body.get("reason") or ""), str(body.get("message") or "")
        causes = frozenset(str(c.get("reason")) for c in (body.get("details") or {}).get("causes") or ())
    except (ValueError, AttributeError):
        reason, message, causes = "", raw[:500].decode(errors="replace"), frozenset()
    return ApiError(status, reason or f"HTTP{status}", message or f"{method} {path}", seconds, causes)


def _no_answer(method: str, path: str, error: BaseException) -> ApiError:
    return ApiError(0, "NoAnswer", f"{method} {path}: {why(error)}")
