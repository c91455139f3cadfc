"""Lists and watches, one object at a time: what is read is never in memory as a whole.

Of kinds that other people own, only the metadata is asked for where nobody needs more (`Resource.metadata_only`). Lists
come in pages, so that no answer takes the server long, and a page is cut into its items while it arrives.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from tidemill.errors import ApiError
from tidemill.kube.frames import FrameError, ItemSplitter, LineSplitter
from tidemill.kube.registry import Resource
from tidemill.kube.transport import JSON, Transport

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
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


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
        accept = _METADATA.format("List") if scope.only_metadata else JSON
        version = 0
        while True:
            envelope = await self._page(scope, query, accept, take, beat)
            version = version or int(envelope["metadata"].get("resourceVersion") or 0)
            query["continue"] = envelope["metadata"].get("continue") or ""
            if not query["continue"]:
                return version

    async def _page(
        self, scope: Scope, query: dict[str, str], accept: str, take: Callable[[Obj], None], beat: Callable[[], None]
    ) -> Obj:
        splitter = ItemSplitter()
        try:
            async with self._transport.stream(scope.path, query, accept, LIST_IDLE_SECONDS) as chunks:
                async for chunk in chunks:
                    beat()
                    for text in splitter.feed(chunk):
                        obj = _decoded(text, scope)
                        if obj is not None:
                            take(_named(obj, scope))
            return splitter.envelope()
        except ValueError as error:  # FrameError, or no JSON
            raise ApiError(0, "BadAnswer", f"list of {scope.path}: {error}") from error

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
        accept = _METADATA.format("") if scope.only_metadata else JSON
        splitter = LineSplitter()
        try:
            async with self._transport.stream(scope.path, query, accept, WATCH_IDLE_SECONDS) as chunks:
                async for chunk in chunks:
                    beat()
                    for line in splitter.feed(chunk):
                        event = _decoded(line, scope)
                        if event is not None:
                            yield _event(event, scope)
        except FrameError as error:
            raise ApiError(0, "BadAnswer", f"watch of {scope.path}: {error}") from error


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
    return cast(Verb, verb), _named(obj, scope)


def _named(obj: Obj, scope: Scope) -> Obj:
    """Items of lists carry neither apiVersion nor kind, and metadata alone that of metadata."""
    obj["apiVersion"], obj["kind"] = scope.resource.api_version, scope.resource.kind
    return obj
