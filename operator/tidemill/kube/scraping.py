"""Reads what router and monitor pods say over HTTP, within bounds: whatever runs in a pod may answer anything.

One `read` is for one object of ours, and its bounds in time and bytes hold for all its pods together. Reads of one
namespace share a few places, and those of namespaces that answered late share fewer still, so that nobody's pods hold
up the passes of others. No redirect is followed, no compression is undone, no cookie and no credential is sent, and an
error is one of a few fixed sentences: what a pod answered never gets into a status by way of a failure.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

PLACES = 4
"""Reads of one namespace at the same time."""
LATE_PLACES = 8
"""Reads at the same time of all namespaces together that have answered late."""
PATIENCE_SECONDS = 0.5
"""How long a read waits for its place, where its namespace answers in time."""
REST_SECONDS = 15.0
"""How long an object is not asked again whose pods were late twice in a row."""
LATE_SECONDS = 30.0
"""How long a namespace counts as late."""
AT_ONCE = 8
"""Pods of one object that are asked at the same time."""
POOL_BYTES = 32 << 20
"""What is held of unfinished answers, of the whole cluster."""
_REMEMBERED = 10_000

RESTING = "it was too slow a moment ago and is asked again in a while"
BUSY = "too many pods of this namespace are being asked; it is asked again in a while"
LATE = "it did not answer in time"
UNREACHABLE = "it cannot be connected to"
BROKEN = "its answer is not valid HTTP"
ENCODED = "its answer is compressed, which was not asked for"
LARGE = "it and its siblings answered with more than {limit} bytes"
REDIRECT = "it answered with a redirect, which is not followed"
STATUS = "it answered {status} instead of 200"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one read may take, all its pods together."""

    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one pod said; without a text, why, as a fixed sentence."""

    text: str | None = None
    error: str = ""


@dataclass(slots=True)
class _Lane:
    """What is known of one namespace."""

    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))
    users: int = 0
    late_until: float = 0.0


@dataclass(slots=True)
class _Budget:
    """Bytes that one read may still take."""

    limit: int
    taken: int = 0


class Scraper:
    """Asks pods. Use within one event loop."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Opens nothing yet."""
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._lanes: dict[str, _Lane] = {}
        self._rests: OrderedDict[str, float] = OrderedDict()
        """By object that was late the last time, until when it rests."""
        self._late = 0
        self._held = 0

    async def close(self) -> None:
        """Closes all connections; the scraper can be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, namespace: str, owner: str, urls: Sequence[str], limits: Limits) -> list[Answer]:
        """One answer for each URL, in that order. `owner`: uid of the object whose pods these are. Never raises."""
        if not urls:
            return []
        if self._monotonic() < self._rests.get(owner, 0.0):
            return [Answer(error=RESTING)] * len(urls)
        async with self._place(namespace) as lane:
            if lane is None:
                return [Answer(error=BUSY)] * len(urls)
            found = await self._ask_all(urls, limits)
            if any(answer.error == LATE for answer in found):
                self._note_late(lane, owner)
            else:
                self._rests.pop(owner, None)
            return found

    @asynccontextmanager
    async def _place(self, namespace: str) -> AsyncIterator[_Lane | None]:
        """A place among the reads of the namespace; None when there is none for now."""
        lane = self._lanes.setdefault(namespace, _Lane())
        lane.users += 1
        is_late = self._monotonic() < lane.late_until
        try:
            if not await self._enter(lane, is_late=is_late):
                yield None
                return
            self._late += is_late
            try:
                yield lane
            finally:
                self._late -= is_late
                lane.places.release()
        finally:
            lane.users -= 1
            self._sweep()

    async def _enter(self, lane: _Lane, *, is_late: bool) -> bool:
        if is_late:
            if lane.places.locked() or self._late >= LATE_PLACES:
                return False
            return await lane.places.acquire()  # at once: a place is free
        try:
            return await asyncio.wait_for(lane.places.acquire(), PATIENCE_SECONDS)
        except TimeoutError:
            return False

    def _sweep(self) -> None:
        """Forgets namespaces of which nothing has to be remembered."""
        if len(self._lanes) > PLACES * LATE_PLACES:
            now = self._monotonic()
            self._lanes = {n: lane for n, lane in self._lanes.items() if lane.users or lane.late_until > now}

    def _note_late(self, lane: _Lane, owner: str) -> None:
        now = self._monotonic()
        lane.late_until = now + LATE_SECONDS
        self._rests[owner] = now + (REST_SECONDS if owner in self._rests else 0.0)
        self._rests.move_to_end(owner)
        while len(self._rests) > _REMEMBERED:
            self._rests.popitem(last=False)

    async def _ask_all(self, urls: Sequence[str], limits: Limits) -> list[Answer]:
        places, budget = asyncio.Semaphore(AT_ONCE), _Budget(limits.bytes)

        async def ask(url: str) -> Answer:
            async with places:
                return await self._ask(url, budget)

        tasks = [asyncio.create_task(ask(url)) for url in urls]
        try:
            await asyncio.wait(tasks, timeout=limits.seconds)
            done = [task.done() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        # An answer that came while the others were being given up is one all the same; a bug is not hidden.
        for is_done, answer in zip(done, found, strict=True):
            if isinstance(answer, Exception) and is_done:
                raise answer
        return [answer if isinstance(answer, Answer) else Answer(error=LATE) for answer in found]

    async def _ask(self, url: str, budget: _Budget) -> Answer:
        body = bytearray()
        try:
            async with self._opened().get(url, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    return Answer(error=REDIRECT)
                if response.status != 200:
                    return Answer(error=STATUS.format(status=response.status))
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    return Answer(error=ENCODED)
                async for chunk in response.content.iter_any():
                    budget.taken += len(chunk)
                    if budget.taken > budget.limit or self._held + len(chunk) > POOL_BYTES:
                        return Answer(error=LARGE.format(limit=budget.limit))
                    self._held += len(chunk)
                    body += chunk
                return Answer(body.decode(errors="replace"))
        except aiohttp.ClientConnectorError:
            return Answer(error=UNREACHABLE)
        except (aiohttp.ClientError, OSError, ValueError):
            return Answer(error=BROKEN)
        finally:
            self._held -= len(body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # `_ask_all` ends what takes too long
                headers={"Accept-Encoding": "identity", "User-Agent": "tidemill-operator"},
                auto_decompress=False,
                read_bufsize=1 << 16,
            )
        return self._session


def pod_url(address: str, port: int, path: str) -> str | None:
    """The URL of a pod's own address; None when that is not an address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return f"http://[{found}]:{port}{path}" if found.version == 6 else f"http://{found}:{port}{path}"
