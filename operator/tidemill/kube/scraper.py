"""Reads what router and monitor pods say over HTTP, within bounds: whatever runs in a pod may answer anything.

One `read` is for one object of ours, and its bounds in time and bytes hold for all its pods together. Reads of one
namespace share a few slots, and those of namespaces that answered late share fewer still, so that nobody's pods hold
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

SLOTS = 4
"""Reads of one namespace at the same time."""
LATE_SLOTS = 8
"""Reads at the same time of all namespaces together that have answered late."""
SLOT_WAIT_SECONDS = 0.5
"""How long a read waits for its slot, where its namespace answers in time."""
BACKOFF_SECONDS = 15.0
"""Backoff of an object whose pods were late twice in a row: it is not scraped meanwhile."""
LATE_SECONDS = 30.0
"""How long a namespace counts as late."""
PODS_AT_ONCE = 8
"""Pods of one object that are scraped at the same time."""
POOL_BYTES = 24 << 20
"""What is held of answers, of the whole cluster."""
LARGE_BYTES = 256 << 10
"""Answers beyond that size are read a few at a time, one of each namespace."""
LARGE_SLOTS = 2
"""Large answers at the same time; one of them at most is of a namespace that has answered late."""
LARGE_SLOT_WAIT_SECONDS = 2.0
"""How long a large answer waits for its slot."""
_REMEMBERED = 10_000

BACKING_OFF = "it was too slow a moment ago and is queried again later"
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
class _Namespace:
    """What is known of one namespace."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS))
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    users: int = 0
    late_until: float = 0.0


@dataclass(slots=True)
class _Budget:
    """Bytes that one read may still take, and the namespace that it is of."""

    limit: int
    state: _Namespace
    taken: int = 0


class _RefusedError(Exception):
    """An answer that is not taken; the text is the fixed sentence."""


class Scraper:
    """Scrapes pods. Use within one event loop."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Opens nothing yet."""
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._namespaces: dict[str, _Namespace] = {}
        self._backoff_until: OrderedDict[str, float] = OrderedDict()
        """By object that was late the last time, the end of its backoff."""
        self._late = 0
        self._held = 0
        self._large = asyncio.Semaphore(LARGE_SLOTS)
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
        if self._monotonic() < self._backoff_until.get(owner, 0.0):
            return [Answer(error=BACKING_OFF)] * len(urls)
        async with self._slot(namespace) as state:
            if state is None:
                return [Answer(error=BUSY)] * len(urls)
            found = await self._ask_all(urls, _Budget(limits.bytes, state), limits.seconds, parse)
            if any(answer.error == LATE for answer in found):
                self._note_late(state, owner)
            else:
                self._backoff_until.pop(owner, None)
            return found

    @asynccontextmanager
    async def _slot(self, namespace: str) -> AsyncIterator[_Namespace | None]:
        """A slot among the reads of the namespace; None when there is none for now."""
        state = self._namespaces.setdefault(namespace, _Namespace())
        state.users += 1
        is_late = self._monotonic() < state.late_until
        try:
            if not await self._enter(state, is_late=is_late):
                yield None
                return
            self._late += is_late
            try:
                yield state
            finally:
                self._late -= is_late
                state.slots.release()
        finally:
            state.users -= 1
            self._sweep()

    async def _enter(self, state: _Namespace, *, is_late: bool) -> bool:
        if is_late:
            if state.slots.locked() or self._late >= LATE_SLOTS:
                return False
            return await state.slots.acquire()  # at once: a slot is free
        try:
            return await asyncio.wait_for(state.slots.acquire(), SLOT_WAIT_SECONDS)
        except TimeoutError:
            return False

    def _sweep(self) -> None:
        """Forgets namespaces of which nothing has to be remembered."""
        if len(self._namespaces) > SLOTS * LATE_SLOTS:
            now = self._monotonic()
            self._namespaces = {
                n: state for n, state in self._namespaces.items() if state.users or state.late_until > now
            }

    def _note_late(self, state: _Namespace, owner: str) -> None:
        now = self._monotonic()
        state.late_until = now + LATE_SECONDS
        self._backoff_until[owner] = now + (BACKOFF_SECONDS if owner in self._backoff_until else 0.0)
        self._backoff_until.move_to_end(owner)
        while len(self._backoff_until) > _REMEMBERED:
            self._backoff_until.popitem(last=False)

    async def _ask_all(
        self, urls: Sequence[str], budget: _Budget, seconds: float, parse: Callable[[bytearray], T]
    ) -> list[Answer[T]]:
        slots = asyncio.Semaphore(PODS_AT_ONCE)

        async def ask(url: str) -> Answer[T]:
            async with slots:
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
        async with AsyncExitStack() as slots:
            try:
                await self._fetch(url, budget, body, slots)
                return Answer(parse(body))
            except _RefusedError as error:
                return Answer(error=str(error))
            finally:
                self._held -= len(body)

    async def _fetch(self, url: str, budget: _Budget, body: bytearray, slots: AsyncExitStack) -> None:
        """Reads the answer into `body`; one that grows large waits for a slot in `slots` first."""
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
                        await self._enter_large(budget.state, slots)
                        is_large = True
                    if self._held + len(chunk) > POOL_BYTES:
                        raise _RefusedError(FULL)
                    self._held += len(chunk)
                    body += chunk
        except aiohttp.ClientConnectorError:
            raise _RefusedError(UNREACHABLE) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _RefusedError(BROKEN) from None

    async def _enter_large(self, state: _Namespace, slots: AsyncExitStack) -> None:
        """Waits for a slot among the large answers; nobody waits long, and what the pod sends waits outside."""
        is_late = self._monotonic() < state.late_until
        try:
            async with asyncio.timeout(LARGE_SLOT_WAIT_SECONDS):
                for slot in (state.large, *((self._large_late,) if is_late else ()), self._large):
                    await slots.enter_async_context(slot)
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
