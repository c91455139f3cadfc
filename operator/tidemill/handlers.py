"""The one place where handlers are registered with kopf, and where kopf is told what not to do.

kopf is our informer: it lists and watches, and calls one small function per event, which caches the object and enqueues
keys. It must write nothing on anybody's object: only `on.event` handlers are registered (no annotation, no finalizer),
its memory of last-handled states is switched off, and so are its peering, its events and its scanning of the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories

from tidemill.engine.health import Heartbeats
from tidemill.engine.intake import Intake, Source
from tidemill.kube.access import Access
from tidemill.kube.watching import watch_session

logger = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS = 120
"""Every watch is renewed this often, whether or not anything happens."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing and stores nothing: we compare with the cluster, never with what was handled last."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """An empty essence (the default one copies the whole object for every event)."""
        del body, extra_fields
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was ever stored."""
        del body

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Never writes."""
        del body, patch, essence


class NoProgress(kopf.ProgressStorage):
    """Keeps no handler's progress: events are not retried, keys are."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        """Nothing was ever stored."""
        del key, body

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Never writes."""
        del key, record, body, patch

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Never writes."""
        del key, body, patch

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Never writes."""
        del body, patch, value

    def clear(self, *, essence: Any) -> Any:
        """The essence as it is (the default one copies it for every event)."""
        return essence


class NoMemories(ResourceMemories):
    """Remembers nothing about an object once its event is handled: an entry for each would be a tenth of our memory."""

    async def recall(self, raw_body: Any, *, ephemeral: bool = True, **options: Any) -> Any:
        """A fresh memory every time."""
        del ephemeral
        return await super().recall(raw_body, ephemeral=True, **options)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the handlers need of the process."""

    intake: Intake
    heartbeats: Heartbeats
    access: Access


def register(registry: kopf.OperatorRegistry, runtime: Runtime) -> None:
    """Registers an event handler for each watched kind, and the login."""
    for source in runtime.intake.sources.values():
        resource = source.resource
        handler = _event_handler(runtime, source)
        kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(handler)
    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(_login_handler(runtime))


def configure(settings: kopf.OperatorSettings, sources: Sequence[Source]) -> None:
    """All settings that differ from kopf's defaults, with the selectors of the watches."""
    settings.peering.standalone = True  # a Lease instead: with peering, equal priorities pause everybody
    settings.scanning.disabled = True  # static kinds: no rights on CRDs and namespaces needed
    settings.posting.enabled = False  # own recorder, which aggregates
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.watching.chunk_size = 500
    settings.watching.initial_streaming = False  # a server without it ends the watcher for good
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = SERVER_TIMEOUT_SECONDS + 10
    settings.watching.inactivity_timeout = 100  # bookmarks come every 60 to 75 s; the default of 70 s misses them
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.queueing.worker_limit = None  # one task per object that has events; a limit would deadlock the start
    settings.queueing.idle_timeout = 1.0  # such a task ends soon: a burst must not hold memory
    for source in sources:
        # Tuples, never strings: "apps/v1/deployments" silently matches nothing (kopf 1.45.2).
        resource = (source.resource.group, source.resource.version, source.resource.plural)
        if source.selector:
            settings.watching.label_selectors[resource] = source.selector
        if source.resource.field_selector:
            settings.watching.field_selectors[resource] = source.resource.field_selector


def watch_paths(sources: Sequence[Source], namespaces: Sequence[str]) -> list[str]:
    """URL paths of all watches."""
    scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
    return [source.resource.path(namespace) for source in sources for namespace in scopes]


def _event_handler(runtime: Runtime, source: Source) -> Any:
    api_version, kind = source.resource.api_version, source.resource.kind

    async def on_event(event: Any, **_: Any) -> None:
        obj = dict(event["object"])
        obj["apiVersion"], obj["kind"] = api_version, kind  # items of lists carry neither
        runtime.intake.on_event(source, event["type"] == "DELETED", obj)

    on_event.__name__ = f"on_{kind.lower()}"
    return on_event


def _login_handler(runtime: Runtime) -> Any:
    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=runtime.access.server,
            aiohttp_session=watch_session(runtime.access, runtime.heartbeats.beat),
        )

    return login
