"""The process as kopf runs it: startup, signals, an orderly end. The only module that imports kopf.

kopf starts the operator, takes SIGTERM and SIGINT, and gives the operator its time to end. It handles no kind: its
lists hold whole objects, those of others too, which is more memory than there is (decision 0150), so lists and watches
are the engine's. kopf writes nothing on anybody's object: no annotation, no finalizer, no event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import kopf

from tidemill.kube.access import Access
from tidemill.kube.transport import session

Run = Callable[[asyncio.Event], Awaitable[None]]
"""The operator: runs until the event is set (returns), or until something has ended that must not (raises)."""


@dataclass
class Process:
    """What kopf starts and stops."""

    run: Run
    ready: Callable[[], Awaitable[object]]
    """Returns when the API server answers and knows our kinds: kopf asks it once, and would end if it did not."""
    access: Access
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the operator has ended, asked or not: kopf ends then, too."""
    task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the operator; returns when it is ready or has ended."""
        self.task = asyncio.ensure_future(self._to_the_end())
        ready = asyncio.ensure_future(self.ready())
        try:
            await asyncio.wait({self.task, ready}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # a signal during the start: kopf gives what runs five seconds to end
            self.stop.set()
            raise
        finally:
            ready.cancel()

    async def finish(self) -> None:
        """Lets the operator end in its own order, however long that takes."""
        self.stop.set()
        if self.task is not None:
            await asyncio.wait({self.task})

    async def _to_the_end(self) -> None:
        try:
            await self.run(self.stop)
        finally:
            self.ended.set()


async def run(process: Process) -> None:
    """Runs kopf with the operator inside; raises what ended the operator, if it was not asked to end."""
    try:
        await kopf.operator(registry=registry(process), settings=settings(), clusterwide=True, stop_flag=process.ended)
    finally:
        await process.finish()  # kopf leaves without its cleanup when it fails, or is told to end while it starts
    if process.task is not None:
        process.task.result()


def registry(process: Process) -> kopf.OperatorRegistry:
    """The three activities of the process, and no handler of any kind."""
    found = kopf.OperatorRegistry()

    @kopf.on.startup(registry=found, errors=kopf.ErrorsMode.PERMANENT)
    async def start(**_: Any) -> None:
        await process.start()

    @kopf.on.login(registry=found, errors=kopf.ErrorsMode.PERMANENT)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=process.access.server, aiohttp_session=session(process.access))

    @kopf.on.cleanup(registry=found, errors=kopf.ErrorsMode.PERMANENT)
    async def finish(**_: Any) -> None:
        await process.finish()

    return found


def settings() -> kopf.OperatorSettings:
    """All settings that differ from kopf's defaults: it looks at no namespace, no definition, and writes nothing."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # the engine's Lease instead: with peering, equal priorities pause everybody
    found.scanning.disabled = True  # no rights on CRDs and namespaces needed
    found.posting.enabled = False  # the engine's recorder, which aggregates
    return found
