"""REST calls to the API server, by plain dicts. No caching, no decisions, no retries beyond one for a stale token.

Why own code over aiohttp: server-side apply, preconditions and paging are a few lines each, and the memory and speed
budgets rule out generated clients (docs/decisions/0020). Every failure is an `ApiError`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tidemill.core.children import is_controlled_by
from tidemill.core.labels import FIELD_MANAGER
from tidemill.core.plan import ObjectRef
from tidemill.core.podfailure import ObjectEvent
from tidemill.errors import ApiError
from tidemill.kube import registry
from tidemill.kube.access import Access
from tidemill.kube.encoding import encode
from tidemill.kube.streams import METADATA, Scope, Streams
from tidemill.kube.transport import Transport

Obj = dict[str, Any]
Objs = list[Obj]

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json-patch+json"

MOST_EVENTS = 500
"""Events of one object that are read; Kubernetes' own writers keep to a few dozen."""
MOST_OF_A_NOTE = 2048


class KubeClient:
    """One connection pool to one API server. Use as `async with KubeClient(access) as client`."""

    def __init__(self, access: Access, *, connections: int = 64, timeout_seconds: float = 30.0) -> None:
        """Opens nothing yet; must then be used within one running event loop."""
        self._transport = Transport(access, connections=connections, timeout_seconds=timeout_seconds)
        self.streams = Streams(self._transport)
        """Lists and watches, object by object."""
        self._groups: dict[str, tuple[float, frozenset[str]]] = {}

    async def __aenter__(self) -> Self:
        """Returns the client itself."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes all connections."""
        await self.close()

    async def close(self) -> None:
        """Closes all connections; the client can be used again afterwards."""
        await self._transport.close()

    # -- reading ------------------------------------------------------------------------------------------------

    async def get(
        self,
        ref: ObjectRef | str,
        kind: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
    ) -> Obj | None:
        """The object, by ObjectRef or by (api_version, kind, namespace, name); None when it does not exist.

        With a uid in the reference, an object of that name with another uid counts as not existing.
        """
        if isinstance(ref, str):
            if kind is None or name is None:
                raise TypeError("get() takes an ObjectRef, or api_version, kind, namespace and name")
            ref = ObjectRef(ref, kind, namespace, name)
        try:
            obj = await self._call("GET", _path(ref))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
        return obj if ref.uid in (None, obj["metadata"]["uid"]) else None

    async def get_metadata(self, ref: ObjectRef) -> Obj | None:
        """As `get`, but apiVersion, kind and metadata only, whatever else the object holds."""
        try:
            found: Obj = await self._call("GET", _path(ref), accept=METADATA.format(""))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise
        if ref.uid not in (None, found["metadata"]["uid"]):
            return None
        return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": found["metadata"]}

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        each: Callable[[Obj], Obj] = lambda obj: obj,
    ) -> Objs:
        """All objects, whole, with apiVersion and kind filled in; `each` turns each of them into what is kept of it.

        Where others decide how many and how large the objects are, `each` must make them small.
        """
        found: Objs = []
        scope = Scope(registry.lookup(api_version, kind), namespace, label_selector)
        await self.streams.read(scope, lambda obj: found.append(each(obj)))
        return found

    async def events_about(self, namespace: str, uid: str) -> Sequence[ObjectEvent]:
        """What events of the namespace say of the object with that uid, in any order.

        Whoever may write events decides how many there are: no more than `MOST_EVENTS` are read.
        """
        found: list[ObjectEvent] = []
        scope = Scope(registry.lookup("v1", "Event"), namespace, fields=f"involvedObject.uid={uid}")

        def take(event: Obj) -> None:
            if len(found) == MOST_EVENTS:
                raise _Enough
            found.append(_event(event))

        with contextlib.suppress(_Enough):
            await self.streams.read(scope, take)
        return found

    async def changed_since(
        self, api_version: str, kind: str, namespace: str, name: str, resource_version: str, owner_uid: str
    ) -> bool | None:
        """Whether an object of that name and controller was there after `resource_version`; takes a second.

        The API server replays its history to a watch: what was made, changed or removed. What a predecessor of the
        owner left under that name does not count. None: that version is too old for it.
        """
        fields = f"metadata.name={name}"
        scope = Scope(registry.lookup(api_version, kind), namespace, fields=fields, only_metadata=True)
        found = False
        try:
            async for verb, obj in self.streams.watch(scope, resource_version, seconds=1):
                found = found or (verb != "BOOKMARK" and is_controlled_by(obj, owner_uid))
        except ApiError as error:
            if error.status == 410:
                return None
            raise
        return found

    async def has_kind(self, api_version: str, kind: str, ttl_seconds: float = 300.0) -> bool:
        """Whether the cluster serves the kind; the answer may be `ttl_seconds` old."""
        found = self._groups.get(api_version)
        if found is None or time.monotonic() - found[0] > ttl_seconds:
            root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            try:
                body = await self._call("GET", root)
                kinds = frozenset(r["kind"] for r in body.get("resources") or ())
            except ApiError as error:
                if not error.is_not_found:
                    raise
                kinds = frozenset()
            found = self._groups[api_version] = (time.monotonic(), kinds)
        return kind in found[1]

    async def pod_logs(
        self, namespace: str, pod: str, container: str | None = None, tail_lines: int = 50, limit_bytes: int = 64 << 10
    ) -> str:
        """The last lines of a container's log; "" when pod, container or log do not exist (yet)."""
        path = registry.lookup("v1", "Pod").path(namespace, pod, "log")
        query = {"tailLines": str(tail_lines), "limitBytes": str(limit_bytes)}
        if container:
            query["container"] = container
        try:
            text: str = await self._call("GET", path, query=query, text=True)
        except ApiError as error:
            if error.status in (400, 404):
                return ""
            raise
        return text

    # -- writing ------------------------------------------------------------------------------------------------

    async def apply(self, manifest: Mapping[str, Any], field_manager: str = FIELD_MANAGER, force: bool = True) -> Obj:
        """Server-side apply of a full manifest; returns the object as it is now."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        obj: Obj = await self._call("PATCH", _path(ObjectRef.of(manifest)), query, manifest, _APPLY)
        return obj

    async def replace_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Obj:
        """Sets the whole status: what `status` lacks is gone, defaults of the schema as well (which nobody owns).

        The resourceVersion of `obj` is a precondition: 409 when the object has changed or was replaced.
        """
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]}
        body = [version, {"op": "add", "path": "/status", "value": status}]  # adding what is there replaces it
        query = {"fieldManager": FIELD_MANAGER}
        written: Obj = await self._call("PATCH", _path(ObjectRef.of(obj), "status"), query, body, _JSON)
        return written

    async def patch_merge(self, ref: ObjectRef, body: Mapping[str, Any], subresource: str | None = None) -> Obj:
        """JSON merge patch; with a uid in `ref` it fails with 409 on a later object of that name."""
        if ref.uid:
            body = {**body, "metadata": {**body.get("metadata", {}), "uid": ref.uid}}
        query = {"fieldManager": FIELD_MANAGER}
        try:
            obj: Obj = await self._call("PATCH", _path(ref, subresource), query, body, _MERGE)
        except ApiError as error:
            if error.status == 422 and "metadata.uid" in error.message:
                raise ApiError(409, "Conflict", error.message) from error
            raise
        return obj

    async def create(self, manifest: Mapping[str, Any]) -> Obj:
        """POST; ApiError 409 when the name is taken."""
        path = registry.lookup(manifest["apiVersion"], manifest["kind"]).path(manifest["metadata"].get("namespace"))
        obj: Obj = await self._call("POST", path, {"fieldManager": FIELD_MANAGER}, manifest)
        return obj

    async def replace(self, obj: Mapping[str, Any]) -> Obj:
        """PUT; ApiError 409 when the resourceVersion in `obj` is not the newest."""
        written: Obj = await self._call("PUT", _path(ObjectRef.of(obj)), {"fieldManager": FIELD_MANAGER}, obj)
        return written

    async def delete(self, ref: ObjectRef, propagation: str = "Background") -> bool:
        """Deletes the object; False when it, or the one with that uid, was gone already."""
        body: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if ref.uid:
            body["preconditions"] = {"uid": ref.uid}
        try:
            await self._call("DELETE", _path(ref), None, body)
        except ApiError as error:
            if error.is_not_found or (error.is_conflict and ref.uid):
                return False
            raise
        return True

    # -- transport ----------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Objs | None = None,
        content_type: str = "application/json",
        *,
        text: bool = False,
        accept: str = "application/json",
    ) -> Any:
        data = None if body is None else encode(body)
        parse: Callable[[bytes], Any] = _as_text if text else json.loads
        return await self._transport.send(method, path, parse, query, data, content_type, accept)


class _Enough(Exception):  # noqa: N818 - no error: ends a list
    """So much is read of a list, and no more."""


def _event(obj: Obj) -> ObjectEvent:
    version = str(obj["metadata"].get("resourceVersion") or "")
    said = str(obj.get("reason") or ""), str(obj.get("message") or "")[:MOST_OF_A_NOTE]
    return ObjectEvent(int(version) if version.isdecimal() else 0, obj.get("type") == "Warning", *said)


def _as_text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _path(ref: ObjectRef, subresource: str | None = None) -> str:
    return registry.lookup(ref.api_version, ref.kind).path(ref.namespace, ref.name, subresource)
