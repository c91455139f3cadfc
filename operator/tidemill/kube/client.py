"""REST calls to the API server, by plain dicts. No caching, no decisions, no retries beyond one for a stale token.

Why own code over aiohttp: server-side apply, preconditions and paging are a few lines each, and the memory and speed
budgets rule out generated clients (docs/decisions/0020). Every failure is an `ApiError`.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from tidemill.core.labels import FIELD_MANAGER
from tidemill.core.plan import ObjectRef
from tidemill.core.podspec import is_controlled_by
from tidemill.errors import ApiError
from tidemill.kube import registry
from tidemill.kube.access import Access
from tidemill.kube.encoding import encode
from tidemill.kube.metrics import REQUESTS

Obj = dict[str, Any]
Objs = list[Obj]

_PAGE = 500
_LARGE_BYTES = 1 << 20  # aiohttp wants larger bodies as files
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class KubeClient:
    """One connection pool to one API server. Use as `async with KubeClient(access) as client`."""

    def __init__(self, access: Access, *, connections: int = 64, timeout_seconds: float = 30.0) -> None:
        """Opens nothing yet; must then be used within one running event loop."""
        self.access = access
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=5.0)
        self._session: aiohttp.ClientSession | None = None
        self._host = access.server.partition("://")[2]
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
        if self._session is not None:
            await self._session.close()
            self._session = None

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
            found: Obj = await self._call("GET", _path(ref), accept=_METADATA)
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
        field_selector: str | None = None,
    ) -> Objs:
        """All objects (paged underneath), with apiVersion and kind filled in."""
        pages = self.pages(api_version, kind, namespace, label_selector, field_selector)
        return [obj async for items, _ in pages for obj in items]

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[Objs, int]]:
        """Pages of (objects, resourceVersion of the list), 500 objects each, so that memory stays flat."""
        path = registry.lookup(api_version, kind).path(namespace)
        query = {"limit": str(_PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            page = await self._call("GET", path, query=query)
            items = page.get("items") or []
            for item in items:
                item["apiVersion"], item["kind"] = api_version, kind
            yield items, int(page["metadata"].get("resourceVersion") or 0)
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    async def changed_since(
        self, api_version: str, kind: str, namespace: str, name: str, resource_version: str, owner_uid: str
    ) -> bool | None:
        """Whether an object of that name and controller was there after `resource_version`; takes a second.

        The API server replays its history to a watch: what was made, changed or removed, each with the whole object.
        What a predecessor of the owner left under that name does not count. None: that version is too old for it.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": resource_version,
            "timeoutSeconds": "1",
        }
        path = registry.lookup(api_version, kind).path(namespace)
        try:
            text: str = await self._call("GET", path, query=query, text=True)
        except ApiError as error:
            if error.status == 410:
                return None
            raise
        events = [json.loads(line) for line in text.split("\n") if line.strip()]  # strings may hold other line breaks
        for status in (e["object"] for e in events if e["type"] == "ERROR"):
            if status.get("code") == 410:
                return None
            what = f"watch of {path}: {status.get('message') or 'no message'}"
            raise ApiError(int(status.get("code") or 0), str(status.get("reason") or "WatchFailed"), what)
        return any(e["type"] != "BOOKMARK" and is_controlled_by(e["object"], owner_uid) for e in events)

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

    async def pod_logs(self, namespace: str, pod: str, container: str | None = None, tail_lines: int = 50) -> str:
        """The last lines of a container's log; "" when pod, container or log do not exist (yet)."""
        path = registry.lookup("v1", "Pod").path(namespace, pod, "log")
        query = {"tailLines": str(tail_lines), "limitBytes": str(64 << 10)}
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

    async def patch_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Obj:
        """JSON merge patch of the status: for tests and single fields; reconcilers return a Plan instead."""
        return await self.patch_merge(ref, {"status": status}, "status")

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
        status, headers, raw = await self._send(method, path, query, data, content_type, accept)
        if status == 401 and self.access.token_file is not None:
            self.access.token(fresh=True)
            status, headers, raw = await self._send(method, path, query, data, content_type, accept)
        if status >= 300:
            raise _error(method, path, status, headers, raw)
        return raw.decode(errors="replace") if text else json.loads(raw)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        accept: str,
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=self.access.ssl_context or True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        headers = {"Accept": accept, "User-Agent": "tidemill-operator"}
        if data is not None:
            headers["Content-Type"] = content_type
        token = self.access.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        code = "error"
        body = io.BytesIO(data) if data is not None and len(data) > _LARGE_BYTES else data
        try:
            async with self._session.request(
                method, self.access.server + path, params=query, data=body, headers=headers
            ) as response:
                raw = await response.read()
                code = str(response.status)
                return response.status, response.headers, raw
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise ApiError(0, "NoAnswer", f"{method} {path}: {_why(error)}") from error
        finally:
            REQUESTS.labels(code=code, method=method, host=self._host).inc()


def _path(ref: ObjectRef, subresource: str | None = None) -> str:
    return registry.lookup(ref.api_version, ref.kind).path(ref.namespace, ref.name, subresource)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _error(method: str, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
    retry_after = headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdigit() else None
    try:
        body = json.loads(raw)
        reason, message = str(body.get("reason") or ""), str(body.get("message") or "")
        causes = frozenset(str(c.get("reason")) for c in (body.get("details") or {}).get("causes") or ())
    except (ValueError, AttributeError):
        reason, message, causes = "", raw[:500].decode(errors="replace"), frozenset()
    return ApiError(status, reason or f"HTTP{status}", message or f"{method} {path}", seconds, causes)
