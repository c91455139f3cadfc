"""Reads what router and monitor pods say over HTTP, within bounds: whatever runs in a pod may answer anything.

One `read` is for one object of ours, and its bounds in time and bytes hold for all its pods together. Reads of one
namespace share a few places, and those of namespaces that answered late share fewer still, so that nobody's pods hold
up the passes of others. An answer is parsed while its bytes are counted, one at a time, and then forgotten: so few
large ones are in memory at a time, whoever sends them. No redirect is followed, no compression is undone, no cookie and
no credential is sent, and an error is one of a few fixed sentences: what a pod answered never gets into a status by way
of a failure.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiohttp

T = TypeVar("T")

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
POOL_BYTES = 24 << 20
"""What is held of answers, of the whole cluster."""
LARGE_BYTES = 256 << 10
"""Answers beyond that size are read a few at a time, one of each namespace."""
LARGE_PLACES = 2
"""Large answers at the same time; one of them at most is of a namespace that has answered late."""
LARGE_PATIENCE_SECONDS = 2.0
"""How long a large answer waits for its place."""
_REMEMBERED = 10_000

RESTING = "it was too slow a moment ago and is queried again later"
BUSY = "too many pods of this namespace are being queried; it is queried again later"
FULL = "too many large answers are being read; it is queried again later"
LATE = "it did not answer in time"
UNREACHABLE = "it refused the connection or cannot be reached"
BROKEN = "its answer is not valid HTTP"
ENCODED = "its answer is compressed, which was not requested"
LARGE = "it and the other pods of its object answered with more than {limit} bytes in all"
REDIRECT = "it answered with a redirect, which is not followed"
STATUS = "it answered {status} instead of 200"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one read may take, all its pods together."""

    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What one pod said, as the caller parsed it; where it said nothing, why, as a fixed sentence."""

    value: T | None = None
    error: str = ""


@dataclass(slots=True)
class _Lane:
    """What is known of one namespace."""

    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PLACES))
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    users: int = 0
    late_until: float = 0.0


@dataclass(slots=True)
class _Budget:
    """Bytes that one read may still take, and the namespace that it is of."""

    limit: int
    lane: _Lane
    taken: int = 0


class _RefusedError(Exception):
    """An answer that is not taken; the text is the fixed sentence."""


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
        self._large = asyncio.Semaphore(LARGE_PLACES)
        self._large_late = asyncio.Semaphore(1)

    async def close(self) -> None:
        """Closes all connections; the scraper can be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(
        self, namespace: str, owner: str, urls: Sequence[str], limits: Limits, parse: Callable[[bytearray], T]
    ) -> list[Answer[T]]:
        """One answer for each URL, in that order. `owner`: uid of the object whose pods these are.

        `parse` makes of a body what is kept of it: something small. It must not keep the body, and what it raises is
        raised here; nothing else is.
        """
        if not urls:
            return []
        if self._monotonic() < self._rests.get(owner, 0.0):
            return [Answer(error=RESTING)] * len(urls)
        async with self._place(namespace) as lane:
            if lane is None:
                return [Answer(error=BUSY)] * len(urls)
            found = await self._ask_all(urls, _Budget(limits.bytes, lane), limits.seconds, parse)
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

    async def _ask_all(
        self, urls: Sequence[str], budget: _Budget, seconds: float, parse: Callable[[bytearray], T]
    ) -> list[Answer[T]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(url: str) -> Answer[T]:
            async with places:
                return await self._ask(url, budget, parse)

        tasks = [asyncio.create_task(ask(url)) for url in urls]
        try:
            await asyncio.wait(tasks, timeout=seconds)
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

    async def _ask(self, url: str, budget: _Budget, parse: Callable[[bytearray], T]) -> Answer[T]:
        body = bytearray()
        async with AsyncExitStack() as places:
            try:
                await self._fetch(url, budget, body, places)
                return Answer(parse(body))
            except _RefusedError as error:
                return Answer(error=str(error))
            finally:
                self._held -= len(body)

    async def _fetch(self, url: str, budget: _Budget, body: bytearray, places: AsyncExitStack) -> None:
        """Reads the answer into `body`; one that grows large waits in `places` for its turn first."""
        try:
            async with self._opened().get(url, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    raise _RefusedError(REDIRECT)
                if response.status != 200:
                    raise _RefusedError(STATUS.format(status=response.status))
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise _RefusedError(ENCODED)
                is_large = False
                async for chunk in response.content.iter_any():
                    budget.taken += len(chunk)
                    if budget.taken > budget.limit:
                        raise _RefusedError(LARGE.format(limit=budget.limit))
                    if not is_large and len(body) + len(chunk) > LARGE_BYTES:
                        await self._enter_large(budget.lane, places)
                        is_large = True
                    if self._held + len(chunk) > POOL_BYTES:
                        raise _RefusedError(FULL)
                    self._held += len(chunk)
                    body += chunk
        except aiohttp.ClientConnectorError:
            raise _RefusedError(UNREACHABLE) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _RefusedError(BROKEN) from None

    async def _enter_large(self, lane: _Lane, places: AsyncExitStack) -> None:
        """Waits for a place among the large answers; nobody waits long, and what the pod sends waits outside."""
        is_late = self._monotonic() < lane.late_until
        try:
            async with asyncio.timeout(LARGE_PATIENCE_SECONDS):
                for place in (lane.large, *((self._large_late,) if is_late else ()), self._large):
                    await places.enter_async_context(place)
        except TimeoutError:
            raise _RefusedError(FULL) from None

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
