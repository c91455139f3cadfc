"""Overload and hostile bytes, in process: every bound has an answer, and no bytes make a 5xx."""

import asyncio
import contextlib
import gc
import json
import threading
import time
import weakref
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support import versions
from tests.support.asgi import call, post
from tests.support.versions import Published

from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http import explain, inference
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.rpc import inference_service
from tidemill_runtime.server.telemetry.exposition import Page
from tidemill_runtime.server.telemetry.metrics import Telemetry

V2, V1 = "/v2/models/demo/infer", "/v1/models/demo:predict"
ROW = [0.5, -1.0, 0.25, 2.0]
GOOD = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}
MIB = 1 << 20


def serve(published: Published, **changes: Any) -> tuple[Parts, Telemetry]:
    config = published.config(**changes)
    state = State()
    state.phase = "ready"
    telemetry = Telemetry(config)
    return assemble(config, state, telemetry, threads=2), telemetry


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return versions.mixed(tmp_path_factory.mktemp("mixed"))


class Slow:
    """Answers like the model it wraps, but only when told."""

    def __init__(self, parts: Parts) -> None:
        self.let_go = threading.Event()
        self._answer = parts.plane._predict
        parts.plane._predict = self
        parts.plane._inline_rows = 0  # as measured for a model this slow

    def __call__(self, frame: Any) -> Any:
        self.let_go.wait(20)
        return self._answer(frame)


@pytest.mark.parametrize("path", [V2, V1, "/v2/models/demo/feedback"])
async def test_a_declared_length_above_the_limit_is_refused_unread(numbers: Published, path: str) -> None:
    parts, _ = serve(numbers)
    reply = await asyncio.wait_for(_never_sends(parts.app, path, {"content-length": str(20 * MIB)}), 5)
    assert reply == (413, {"error": f"the body is larger than {16 * MIB} bytes"})


async def _never_sends(app: Any, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Call with a client that declares a body and never sends it."""
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(k.encode(), v.encode()) for k, v in headers.items()], "http_version": "1.1"}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_an_undeclared_body_above_the_limit_is_refused_when_it_gets_there(numbers: Published) -> None:
    parts, _ = serve(numbers, max_body_bytes=MIB)
    reply = await call(parts.app, "POST", V2, [b"x" * (MIB // 4)] * 80)
    assert (reply.status, reply.json()) == (413, {"error": f"the body is larger than {MIB} bytes"})
    assert parts.plane.in_flight == 0
    assert (await call(parts.app, "POST", V2, [json.dumps(GOOD).encode(), b""])).status == 200


async def test_large_bodies_share_a_budget(numbers: Published) -> None:
    parts, _ = serve(numbers, max_body_bytes=MIB, request_timeout_seconds=0.5)

    async def half_sent() -> int:
        pieces = [{"type": "http.request", "body": b" " * (MIB - 1), "more_body": True}]
        sent: list[Any] = []

        async def receive() -> Any:
            return pieces.pop() if pieces else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await parts.app({"type": "http", "method": "POST", "path": V2, "headers": []}, receive, send)
        return int(sent[0]["status"])

    statuses = await asyncio.gather(*(half_sent() for _ in range(6)))
    assert sorted(statuses) == [408, 408, 408, 408, 503, 503]
    assert (await post(parts.app, V2, GOOD)).status == 200


async def test_a_body_that_does_not_arrive_is_given_up(numbers: Published) -> None:
    parts, _ = serve(numbers, request_timeout_seconds=0.1)
    status, body = await asyncio.wait_for(_never_sends(parts.app, V2, {}), 5)
    assert (status, body) == (408, {"error": "the body did not arrive within 0.1 s"})
    assert parts.plane.in_flight == 0


@pytest.mark.parametrize("path", [V2, "/v2/models/demo/feedback", "/v2/models/demo/explain"])
async def test_a_client_that_hangs_up_is_no_fault_and_frees_its_place(numbers: Published, path: str) -> None:
    parts, _ = serve(numbers)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "query_string": b"", "headers": []}
    await parts.app(scope, receive, send)
    assert [m["status"] for m in sent if "status" in m] == ([] if path == V2 else [400])
    assert parts.plane.in_flight == 0


async def test_too_many_in_flight_are_refused_at_once(numbers: Published) -> None:
    parts, telemetry = serve(numbers, max_in_flight=3)
    slow = Slow(parts)
    waiting = [asyncio.create_task(post(parts.app, V2, GOOD)) for _ in range(3)]
    await asyncio.sleep(0.05)
    reply = await post(parts.app, V2, GOOD)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json() == {"error": "overloaded: 3 requests are in flight"}
    assert b'tidemill_requests_in_flight{deployment="demo",version="demo-7"} 3.0' in Page(telemetry).render()
    assert (await call(parts.app, "GET", "/v2/health/live")).status == 200
    slow.let_go.set()
    assert [r.status for r in await asyncio.gather(*waiting)] == [200, 200, 200]
    assert (await post(parts.app, V2, GOOD)).status == 200
    assert b'outcome="unavailable",version="demo-7"} 1.0' in Page(telemetry).render()


async def test_out_of_time_is_503_and_the_thread_keeps_its_place_until_it_ends(numbers: Published) -> None:
    parts, _ = serve(numbers, request_timeout_seconds=0.1)
    slow = Slow(parts)
    reply = await post(parts.app, V2, GOOD)
    assert (reply.status, reply.json()) == (503, {"error": "no answer within 0.1 s"})
    assert parts.plane.in_flight == 1
    slow.let_go.set()
    await asyncio.sleep(0.2)
    assert parts.plane.in_flight == 0


async def test_slow_predictions_run_beside_the_event_loop(numbers: Published) -> None:
    parts, _ = serve(numbers)
    slow = Slow(parts)
    waiting = asyncio.create_task(post(parts.app, V2, GOOD))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    slow.let_go.set()
    assert (await waiting).status == 200


def test_quick_models_run_inline_and_many_rows_do_not(numbers: Published) -> None:
    parts, _ = serve(numbers, runtime="ONNX")
    assert parts.plane.is_quick(1)
    assert not parts.plane.is_quick(10**6)


async def test_a_large_body_is_answered(numbers: Published) -> None:
    parts, _ = serve(numbers)
    rows = 20_000
    request = {"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": ROW * rows}]}
    reply = await post(parts.app, V2, request)
    assert reply.json()["outputs"][0]["shape"] == [rows]
    assert parts.plane.in_flight == 0


# Values that JSON can hold and that code forgets.
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["FP64", "FP32", "INT64", "BYTES", "BOOL", "FP16", "label", "a", "größe", "x"])
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["a", "b", "c", "d", "x"]), inner),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "x", "größe", "farbe"]) | ANYTHING,
        "shape": st.lists(st.integers(0, 5), max_size=3) | ANYTHING,
        "datatype": st.sampled_from(["FP64", "FP32", "INT64", "UINT8", "BYTES", "BOOL", "FP16"]) | ANYTHING,
        "data": st.lists(LEAVES, max_size=8) | st.lists(st.lists(LEAVES, max_size=4), max_size=3) | ANYTHING,
        "parameters": ANYTHING,
    },
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | ANYTHING,
        "inputs": st.lists(TENSOR, max_size=4) | ANYTHING,
        "instances": st.lists(st.lists(LEAVES, min_size=4, max_size=4), max_size=3) | ANYTHING,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.text()}), max_size=2) | ANYTHING,
        "parameters": ANYTHING,
        "label": ANYTHING,
    },
)
SEED = json.dumps(GOOD).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request with some bytes replaced, cut out or put in."""
    body = bytearray(SEED)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


def encoded(document: Any) -> bytes:
    """Return JSON as lenient writers make it: NaN, lone surrogates and all."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


BODIES = st.binary(max_size=60) | damaged() | REQUEST.map(encoded) | ANYTHING.map(encoded)
PATHS = st.sampled_from(
    [V2, V1, "/v2/models/demo/feedback", "/v1/models/demo:feedback", "/v2/models/demo/versions/7/infer"]
)


@pytest.fixture(scope="module")
def fuzzed(numbers: Published, mixed: Published) -> list[Any]:
    """Every kind of model behind every runtime."""
    return [serve(p, runtime=r)[0].app for p in (numbers, mixed) for r in ("ONNX", "Native")]


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(path=PATHS, body=BODIES, which=st.integers(0, 3))
@example(path=V2, body=b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"INT64","data":[1e300,1,1,1]}]}', which=0)
@example(
    path=V2,
    body=b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"UINT64","data":[18446744073709551615,1,1,1]}]}',
    which=1,
)
@example(path=V1, body=b'{"instances":[[123456789012345678901234567890,1,1,1]]}', which=0)
@example(path=V1, body=b'{"instances":[{"gr\xc3\xb6\xc3\x9fe":1e308,"alter":1e30,"farbe":"\\u0000"}]}', which=2)
@example(path=V1, body=b'{"instances":[{"gr\xc3\xb6\xc3\x9fe":1e308,"alter":1e30,"farbe":"\\u0000"}]}', which=3)
@example(path=V1, body=b'{"instances":[[9223372036854775808,1,"rot"]]}', which=2)
def test_no_bytes_make_a_server_error(fuzzed: list[Any], path: str, body: bytes, which: int) -> None:
    reply = asyncio.run(call(fuzzed[which], "POST", path, body))
    allowed = {200, 400, 404} | ({503} if path.endswith("feedback") else set())  # 503: there is no monitor here
    assert reply.status in allowed, reply.body
    document = reply.json()
    if reply.status != 200:
        assert isinstance(document["error"], str)
        assert None not in document.values()


class _Context:
    """Of a call over gRPC, as far as a refusal needs it."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def abort(self, *_: Any) -> None:
        raise RuntimeError("the call has ended")


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("size", [10, 200_000])  # decoded at once, and in a thread
async def test_a_refused_request_is_forgotten_without_the_garbage_collector(
    numbers: Published, monkeypatch: pytest.MonkeyPatch, transport: str, size: int
) -> None:
    """An error's traceback holds all that was decoded: 16 MiB of a body may be 400 MiB then."""
    parts, _ = serve(numbers)
    errors: list[weakref.ref[BadRequestError]] = []

    def refused() -> BadRequestError:
        error = BadRequestError("no")
        errors.append(weakref.ref(error))
        return error

    def refuse(*_: Any) -> None:
        raise refused()

    monkeypatch.setattr(inference, "decoded_v2", refuse)
    monkeypatch.setattr(inference_service, "_parse", refuse)
    gc.disable()
    try:
        if transport == "http":
            assert (await call(parts.app, "POST", V2, b" " * size)).status == 400
        else:
            service = inference_service.InferenceService(parts.plane, State())
            with contextlib.suppress(RuntimeError):
                await service.model_infer(b" " * size, cast(Any, _Context()))
        await asyncio.sleep(0.05)
        assert [error() for error in errors] == [None]
    finally:
        gc.enable()


class _Tree:
    """What a body became."""


@pytest.mark.parametrize("way", ["infer", "explain", "grpc"])
async def test_large_bodies_are_decoded_one_at_a_time_and_forgotten_before_the_next(
    numbers: Published, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    parts, _ = serve(numbers)
    service = inference_service.InferenceService(parts.plane, State())
    trees: weakref.WeakSet[_Tree] = weakref.WeakSet()
    found: list[int] = []

    def refuse(*_: Any) -> None:
        found.append(len(trees))
        tree = _Tree()
        trees.add(tree)
        time.sleep(0.05)
        raise BadRequestError("no")

    monkeypatch.setattr(inference, "decoded_v2", refuse)
    monkeypatch.setattr(explain, "decoded_v2", refuse)
    monkeypatch.setattr(inference_service, "_parse", refuse)
    body = b" " * 200_000

    async def ask() -> None:
        if way == "grpc":
            with contextlib.suppress(RuntimeError):
                await service.model_infer(body, cast(Any, _Context()))
        else:
            assert (await call(parts.app, "POST", f"/v2/models/demo/{way}", body)).status == 400

    await asyncio.gather(*(ask() for _ in range(6)))
    assert found == [0] * 6


async def test_work_that_fails_after_its_client_has_gone_is_no_error_of_the_loop(numbers: Published) -> None:
    parts, _ = serve(numbers)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gone = threading.Event()

    def fail() -> None:
        gone.wait(20)
        raise ValueError("nobody hears this")

    task = asyncio.create_task(parts.plane.in_thread(fail))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts.plane.in_flight == 1
    gone.set()
    while parts.plane.in_flight:  # noqa: ASYNC110  the thread's end sets no event
        await asyncio.sleep(0.01)
    del task
    gc.collect()
    await asyncio.sleep(0.05)
    assert complaints == []
