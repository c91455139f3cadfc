"""The HTTP client of the monitor: posts JSON and returns what came back.

It retries nothing and remembers nothing; callers decide what a failure means. aiohttp is imported when it is
first needed: it would take a fifth of a server's start.
"""

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tidemill_contracts.inference import BATCH_PATH, REFERENCE_PATH, REFERENCE_PROOF
from tidemill_runtime import late_imports, mounted_files

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_SECONDS = 5.0
_ANSWERS = frozenset(
    {200, 201, 202, 400, 401, 409, 413, 503}
)  # all that a monitor gives; another comes from somebody else
_RETRYABLE = frozenset({401, 404, 408, 409, 425, 429})
"""Besides 5xx. 401: the kubelet has not given both sides the newest token yet; 404: another release behind the name."""


class MonitorUnavailableError(Exception):
    """No answer: name not resolved, refused, reset or out of time."""


_CLIENTS = b'"clients":'


class MonitorClient:
    """Keeps at most a few connections to the monitor open. Must be used on one event loop."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS, token_file: Path | None = None) -> None:
        """`token_file`: None for the usual place; where there is no such file, no token is sent."""
        self._token_file = token_file or mounted_files.ingest_token_file()
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._library: Any = None
        self._session: aiohttp.ClientSession | None = None

    async def load(self) -> None:
        """Import what posting needs, beside the event loop: it takes too long for one that answers requests."""
        if self._library is None:
            self._library = await late_imports.run(lambda: importlib.import_module("aiohttp"))

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises:
            MonitorUnavailableError: there was none.
        """
        await self.load()
        aiohttp = self._library
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
            connector = aiohttp.TCPConnector(limit=8, use_dns_cache=False)  # the monitor's address may change
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers={"content-type": "application/json"}
            )
        token = mounted_files.read(self._token_file)
        sent = {**(headers or {}), **({"authorization": f"Bearer {token.decode('latin-1')}"} if token else {})}
        try:
            async with self._session.post(self._url + path, data=body, headers=sent, allow_redirects=False) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise MonitorUnavailableError(f"{self._url}: {type(error).__name__}: {error}") from error
        if status not in _ANSWERS:
            # While a Service has no endpoint its address may lead elsewhere: a connection made then must not be kept.
            await self.close()
        return status, content

    async def post_batch(self, body: bytes, reference: bytes | None) -> tuple[int, bytes]:
        """Post a PredictionBatch and return the last status and body.

        A monitor that does not know the version answers 409: it gets the reference profile, and the batch once more.
        One of 0.1 answers 400 where a batch says who asked: it gets the batch without that.

        Raises:
            MonitorUnavailableError: there was no answer.
        """
        status, answer = await self.post(BATCH_PATH, body)
        if status == 409 and reference is not None:
            status, answer = await self._introduce(reference)
            if status < 300:
                status, answer = await self.post(BATCH_PATH, body)
        if status == 400 and _CLIENTS in body:
            other = await self.post(BATCH_PATH, await asyncio.to_thread(_without_clients, body))
            return other if other[0] < 300 else (status, answer)
        return status, answer

    async def _introduce(self, reference: bytes) -> tuple[int, bytes]:
        """Post a reference with its proof where a token is shown: nobody else is asked for it, and 0.1 refuses it."""
        plain = orjson.dumps({k: v for k, v in orjson.loads(reference).items() if k not in REFERENCE_PROOF})
        if mounted_files.read(self._token_file) is None:
            return await self.post(REFERENCE_PATH, plain)
        status, answer = await self.post(REFERENCE_PATH, reference)
        if status == 400:  # perhaps a monitor of 0.1, in the middle of an upgrade
            other = await self.post(REFERENCE_PATH, plain)
            return other if other[0] < 300 else (status, answer)
        return status, answer

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _without_clients(body: bytes) -> bytes:
    return orjson.dumps({name: value for name, value in orjson.loads(body).items() if name != "clients"})


def is_retryable(status: int) -> bool:
    """Return whether the monitor may take the same batch later."""
    return status in _RETRYABLE or status >= 500
