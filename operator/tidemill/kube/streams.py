"""Lists and watches, one object at a time: what is read is never in memory as a whole.

Of kinds that other people own, only the metadata is requested where nobody needs more (`Resource.metadata_only`). Lists
come in pages, so that no answer takes the server long, and a page is cut into its items while it arrives.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from tidemill.errors import ApiError
from tidemill.kube.frames import ItemSplitter, LineSplitter
from tidemill.kube.registry import Resource
from tidemill.kube.transport import JSON, Transport, why

logger = logging.getLogger(__name__)

Obj = dict[str, Any]
Verb = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

PAGE_OF_METADATA = 500
PAGE_OF_OBJECTS = 20
LIST_IDLE_SECONDS = 65.0
"""Silence after which a list has failed. The API server gives up after 60 s; a list that comes may take longer."""
WATCH_SECONDS = 120
"""Every watch is renewed this often, whether or not anything happens."""
WATCH_IDLE_SECONDS = 100.0
"""Silence after which a watch is opened anew: bookmarks come every 60 to 75 s."""
METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
"""The Accept header for metadata alone: of one object or event, or, with `List`, of a list."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects: a kind, in one namespace or (None) all, by label and field selector, and how much of each."""

    resource: Resource
    namespace: str | None = None
    labels: str | None = None
    fields: str | None = None
    only_metadata: bool = False

    @property
    def path(self) -> str:
        """URL path of the collection."""
        return self.resource.path(self.namespace)

    def query(self) -> dict[str, str]:
        """The selectors, as the API server wants them."""
        found = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {k: v for k, v in found.items() if v}


def watched(resource: Resource, namespace: str | None, selector: str | None) -> Scope:
    """What the cache knows of a kind: see `Resource`."""
    return Scope(resource, namespace, selector, resource.field_selector, resource.metadata_only)


def _nothing() -> None:
    """For who does not want to know of every chunk."""


class Streams:
    """Lists and watches over one transport."""

    def __init__(self, transport: Transport) -> None:
        """Opens nothing yet."""
        self._transport = transport

    async def read(self, scope: Scope, take: Callable[[Obj], None], beat: Callable[[], None] = _nothing) -> int:
        """Hands every object to `take`, and returns the resourceVersion of the list. `beat`: something has arrived.

        Raises ApiError, 410 also when the list took so long that its pages have expired.
        """
        query = {**scope.query(), "limit": str(PAGE_OF_METADATA if scope.only_metadata else PAGE_OF_OBJECTS)}
        version = 0
        while True:
            splitter = ItemSplitter()
            async with aclosing(self._pieces(scope, query, "List", splitter, LIST_IDLE_SECONDS, beat)) as items:
                async for item in items:
                    with _expected(scope):
                        obj = _named(item, scope)
                    take(obj)
            with _expected(scope):
                meta = splitter.envelope()["metadata"]
                version = version or int(meta.get("resourceVersion") or 0)
            query["continue"] = meta.get("continue") or ""
            if not query["continue"]:
                return version

    async def watch(
        self, scope: Scope, version: str, beat: Callable[[], None] = _nothing, seconds: int = WATCH_SECONDS
    ) -> AsyncIterator[tuple[Verb, Obj]]:
        """Changes after `version`, until the server ends the watch after `seconds`; ApiError when it fails.

        Status 410 says that `version` is too old, whether as an answer or inside the stream. A bookmark carries a
        resourceVersion and nothing else. `beat`: something has arrived, be it a bookmark.
        """
        query = {
            **scope.query(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        async with aclosing(self._pieces(scope, query, "", LineSplitter(), WATCH_IDLE_SECONDS, beat)) as events:
            async for event in events:
                with _expected(scope):
                    found = _event(event, scope)
                yield found

    async def _pieces(
        self,
        scope: Scope,
        query: dict[str, str],
        of: Literal["List", ""],
        splitter: ItemSplitter | LineSplitter,
        idle_seconds: float,
        beat: Callable[[], None],
    ) -> AsyncGenerator[Obj, None]:
        """What `splitter` cuts out of one answer, decoded, as it arrives."""
        accept = METADATA.format(of) if scope.only_metadata else JSON
        async with self._transport.stream(scope.path, query, accept, idle_seconds) as chunks:
            async for chunk in chunks:
                beat()
                with _expected(scope):
                    for text in splitter.feed(chunk):
                        piece = _decoded(text, scope)
                        if piece is not None:
                            yield piece


@contextmanager
def _expected(scope: Scope) -> Iterator[None]:
    """What is neither list nor object nor event of Kubernetes is a failed request, and ends nothing else."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApiError(0, "BadAnswer", f"{scope.path}: {why(error)}") from error


def _decoded(text: bytes, scope: Scope) -> Obj | None:
    """One object or event; None for what Python cannot read (nested a thousand deep), which must stop nobody else."""
    try:
        found: Obj = json.loads(text)
        return found
    except (ValueError, RecursionError) as error:
        logger.warning("an object of %s cannot be read and is left out: %s", scope.path, str(error)[:200])
        return None


def _event(event: Obj, scope: Scope) -> tuple[Verb, Obj]:
    verb, obj = event["type"], event["object"]
    if verb == "ERROR":
        what = f"watch of {scope.path}: {obj.get('message') or 'no message'}"
        raise ApiError(int(obj.get("code") or 0), str(obj.get("reason") or "WatchFailed"), what)
    return cast(Verb, verb), _named(obj, scope, is_bookmark=verb == "BOOKMARK")


def _named(obj: Obj, scope: Scope, *, is_bookmark: bool = False) -> Obj:
    """Items of lists carry neither apiVersion nor kind, and metadata alone that of metadata."""
    if not (obj["metadata"].get("name") or is_bookmark):
        raise ValueError("an object without a name")
    obj["apiVersion"], obj["kind"] = scope.resource.api_version, scope.resource.kind
    return obj
