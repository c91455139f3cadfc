"""The REST client against a server of this process: what it sends, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tidemill.core.plan import ObjectRef
from tidemill.core.podfailure import ObjectEvent
from tidemill.errors import ApiError
from tidemill.kube.access import Access
from tidemill.kube.client import MOST_EVENTS, KubeClient

Obj = dict[str, Any]
POD = ObjectRef("v1", "Pod", "ns", "p")


@dataclass
class Server:
    """Answers what the test says; remembers what came."""

    answer: Callable[[web.Request], tuple[int, Any] | tuple[int, Any, dict[str, str]]] = lambda request: (200, {})
    seen: list[tuple[str, str, dict[str, str], str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.tokens.append(request.headers.get("Authorization", ""))
        body = json.loads(raw) if raw else None
        self.seen.append((request.method, request.path, dict(request.query), request.content_type, body))
        code, content, *headers = self.answer(request)
        text = content if isinstance(content, str) else json.dumps(content)
        return web.Response(status=code, text=text, headers=headers[0] if headers else None)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = int(runner.addresses[0][1])
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[KubeClient]:
    async with KubeClient(Access(f"http://127.0.0.1:{server.port}", static_token="t")) as found:
        yield found


def status(code: int, reason: str, message: str = "why") -> tuple[int, Obj]:
    return code, {"kind": "Status", "reason": reason, "message": message}


async def test_apply_is_server_side_with_our_manager(server: Server, client: KubeClient) -> None:
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "ns"}}
    await client.apply(manifest)
    method, path, query, kind, body = server.seen[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d")
    assert query == {"fieldManager": "tidemill", "force": "true"}
    assert kind == "application/apply-patch+yaml"
    assert body == manifest
    assert server.tokens == ["Bearer t"]


async def test_status_is_replaced_and_carries_its_precondition(server: Server, client: KubeClient) -> None:
    meta = {"name": "m", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": {"not": "sent"}}
    await client.replace_status(
        {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta}, {"a": 1}
    )
    method, path, _, kind, body = server.seen[0]
    assert (method, path) == ("PATCH", "/apis/tidemill.io/v1alpha1/namespaces/ns/modelmonitors/m/status")
    assert kind == "application/json-patch+json"
    assert body == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/status", "value": {"a": 1}},
    ]


def history(verb: str, owner: str, text: str = "") -> str:
    """One line of a watch: an object with that controller."""
    meta = {"name": "j", "annotations": {"text": text}, "ownerReferences": [{"controller": True, "uid": owner}]}
    return json.dumps({"type": verb, "object": {"metadata": meta}}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("code", "lines", "want"),
    [
        (200, "", False),
        (200, '{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}\n', False),
        (200, history("ADDED", "us") + history("DELETED", "us"), True),
        (200, history("DELETED", "predecessor"), False),
        (200, history("ADDED", "us", text="one\x85two"), True),
        (200, '{"type": "ERROR", "object": {"code": 410}}\n', None),
        (410, '{"kind": "Status", "reason": "Expired"}', None),
    ],
    ids=["nothing", "bookmark", "made and removed", "a predecessor's", "U+0085", "too old, in the stream", "too old"],
)
async def test_history_is_read_by_a_watch_of_one_second(
    server: Server, client: KubeClient, code: int, lines: str, want: bool | None
) -> None:
    server.answer = lambda request: (code, lines)
    assert await client.changed_since("batch/v1", "Job", "ns", "j", "7", "us") is want
    method, path, query, _, _ = server.seen[0]
    assert (method, path) == ("GET", "/apis/batch/v1/namespaces/ns/jobs")
    assert query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "fieldSelector": "metadata.name=j",
        "resourceVersion": "7",
        "timeoutSeconds": "1",
    }


async def test_history_that_is_not_known_is_an_error_and_not_forgotten(server: Server, client: KubeClient) -> None:
    said = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "etcd is away"}}
    server.answer = lambda request: (200, json.dumps(said) + "\n")
    with pytest.raises(ApiError, match="etcd is away") as caught:
        await client.changed_since("batch/v1", "Job", "ns", "j", "7", "us")
    assert (caught.value.status, caught.value.reason) == (500, "InternalError")


async def test_list_is_paged_and_items_know_their_kind(server: Server, client: KubeClient) -> None:
    def answer(request: web.Request) -> tuple[int, Obj]:
        more = request.query.get("continue")
        meta = {"resourceVersion": "9", "continue": "" if more else "next"}
        return 200, {"metadata": meta, "items": [{"metadata": {"name": "b" if more else "a"}}]}

    server.answer = answer
    found = await client.list("batch/v1", "Job", label_selector="a=b")
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Job", "a"), ("Job", "b")]
    assert [s[1] for s in server.seen] == ["/apis/batch/v1/jobs"] * 2
    assert server.seen[0][2] == {"limit": "20", "labelSelector": "a=b"}
    assert server.seen[1][2]["continue"] == "next"


async def test_get_of_what_is_not_there_or_is_another(server: Server, client: KubeClient) -> None:
    server.answer = lambda request: status(404, "NotFound")
    assert await client.get(POD) is None
    server.answer = lambda request: (200, {"metadata": {"uid": "new"}})
    assert await client.get(ObjectRef("v1", "Pod", "ns", "p", "old")) is None
    assert await client.get("v1", "Pod", "ns", "p") == {"metadata": {"uid": "new"}}


@pytest.mark.parametrize(
    ("code", "reason", "transient", "conflict"),
    [(409, "Conflict", True, True), (422, "Invalid", False, False), (503, "ServiceUnavailable", True, False)],
)
async def test_failures_are_api_errors(
    server: Server, client: KubeClient, code: int, reason: str, transient: bool, conflict: bool
) -> None:
    server.answer = lambda request: status(code, reason, "spec.x is wrong")
    with pytest.raises(ApiError) as caught:
        await client.get(POD)
    error = caught.value
    assert (error.status, error.reason, error.message) == (code, reason, "spec.x is wrong")
    assert (error.is_transient, error.is_conflict) == (transient, conflict)


async def test_retry_after_is_read(server: Server, client: KubeClient) -> None:
    server.answer = lambda request: (429, "slow down", {"Retry-After": "12"})
    with pytest.raises(ApiError, match="slow down") as caught:
        await client.get(POD)
    assert caught.value.retry_after_seconds == 12


async def test_no_answer_is_a_transient_error() -> None:
    async with KubeClient(Access("http://127.0.0.1:1")) as client:
        with pytest.raises(ApiError, match="NoAnswer") as caught:
            await client.get(POD)
        assert caught.value.is_transient


async def test_delete_with_uid_spares_the_next_of_that_name(server: Server, client: KubeClient) -> None:
    assert await client.delete(ObjectRef("v1", "Pod", "ns", "p", "u"))
    assert server.seen[0][4]["preconditions"] == {"uid": "u"}
    server.answer = lambda request: status(409, "Conflict")
    assert not await client.delete(ObjectRef("v1", "Pod", "ns", "p", "u"))
    with pytest.raises(ApiError):
        await client.delete(POD)
    server.answer = lambda request: status(404, "NotFound")
    assert not await client.delete(POD)


async def test_rotated_token_is_read_again_on_401(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    access = Access(f"http://127.0.0.1:{server.port}", token_file=token)
    assert access.token() == "old"
    token.write_text("new\n")
    server.answer = lambda request: (
        (200, {}) if "new" in request.headers["Authorization"] else status(401, "Unauthorized")
    )
    async with KubeClient(access) as client:
        await client.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}})
    assert server.tokens == ["Bearer old", "Bearer new"]


async def test_kinds_that_a_cluster_may_lack(server: Server, client: KubeClient) -> None:
    server.answer = lambda request: (200, {"resources": [{"kind": "ServiceMonitor"}]})
    assert await client.has_kind("monitoring.coreos.com/v1", "ServiceMonitor")
    assert not await client.has_kind("monitoring.coreos.com/v1", "PrometheusRule")
    assert len(server.seen) == 1, "one answer serves both for a while"
    server.answer = lambda request: status(404, "NotFound")
    assert not await client.has_kind("monitoring.coreos.com/v1", "ServiceMonitor", ttl_seconds=0)


async def test_metadata_is_requested_alone(server: Server, client: KubeClient) -> None:
    ref = ObjectRef("apps/v1", "ReplicaSet", "ns", "r", "u1")
    server.answer = lambda request: (200, {"kind": "PartialObjectMetadata", "metadata": {"name": "r", "uid": "u1"}})
    found = await client.get_metadata(ref)
    assert found == {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "u1"}}
    server.answer = lambda request: (200, {"metadata": {"name": "r", "uid": "u2"}})
    assert await client.get_metadata(ref) is None, "a later object of that name"
    server.answer = lambda request: status(404, "NotFound")
    assert await client.get_metadata(ref) is None


async def test_logs_of_a_pod_that_has_none_are_empty(server: Server, client: KubeClient) -> None:
    server.answer = lambda request: (200, "line\n")
    assert await client.pod_logs("ns", "p", "c", 5) == "line\n"
    assert server.seen[0][2] == {"tailLines": "5", "limitBytes": "65536", "container": "c"}
    server.answer = lambda request: status(400, "BadRequest", "container is waiting to start")
    assert await client.pod_logs("ns", "p") == ""


def event(number: int, **fields: Any) -> Obj:
    meta = {"name": f"e{number}", "namespace": "ns", "resourceVersion": str(number)}
    return {"metadata": meta, "type": "Warning", "reason": "FailedMount", "message": "no such volume", **fields}


async def test_events_of_one_object_are_selected_by_the_server_and_reduced(client: KubeClient, server: Server) -> None:
    normal = event(7, type="Normal", reason="Pulling", message=None)
    server.answer = lambda request: (200, {"metadata": {"resourceVersion": "9"}, "items": [event(5), normal]})
    assert await client.events_about("ns", "u-1") == [
        ObjectEvent(5, True, "FailedMount", "no such volume"),
        ObjectEvent(7, False, "Pulling", ""),
    ]
    ((method, path, query, _, _),) = server.seen
    assert (method, path, query["fieldSelector"]) == ("GET", "/api/v1/namespaces/ns/events", "involvedObject.uid=u-1")


async def test_of_events_without_end_a_bounded_number_is_read(client: KubeClient, server: Server) -> None:
    def page(request: web.Request) -> tuple[int, Obj]:
        begin = int(request.query.get("continue") or 0)
        items = [event(begin + n, message="x" * 9000) for n in range(100)]
        return 200, {"metadata": {"resourceVersion": "9", "continue": str(begin + 100)}, "items": items}

    server.answer = page
    found = await client.events_about("ns", "u-1")
    assert len(found) == MOST_EVENTS
    assert {len(e.note) for e in found} == {2048}
    assert len(server.seen) <= MOST_EVENTS / 100 + 1
