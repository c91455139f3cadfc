"""What a server tells of single requests: spans to a real receiver of OTLP, lines on standard output."""

import http.client
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from tests.support import grpcclient, otlp, serverprocess
from tests.support.closedloop import BODY, INFER
from tests.support.serverprocess import ServerProcess, get
from tests.support.versions import Published
from tests.support.waiting import until

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.protocol.ids import MAX_ID
from tidemill_runtime.server.telemetry import access_log, observer, tracing
from tidemill_runtime.server.telemetry.access_log import AccessLog
from tidemill_runtime.server.telemetry.exposition import Page
from tidemill_runtime.server.telemetry.metrics import Telemetry
from tidemill_runtime.server.telemetry.observer import Finished, Observer

GRPC_PATH = "inference.GRPCInferenceService/ModelInfer"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONFIG = ServerConfig(namespace="n", deployment="d", version="v", number="1", digest="sha256:0", uri="file:///x")


def ask(server: ServerProcess, body: str = BODY, **headers: str) -> tuple[int, str]:
    """Send a request; return status and prediction id."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", INFER, body, {"user-agent": "tester", **headers})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status, reply.getheader("x-tidemill-prediction-id") or ""


@pytest.mark.parametrize("workers", [1, 2])
def test_each_request_is_a_span_that_continues_its_callers_trace(
    numbers: Published, tmp_path: Path, workers: int
) -> None:
    with (
        otlp.running() as collector,
        serverprocess.running(
            tmp_path,
            numbers.config(workers=workers),
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_RESOURCE_ATTRIBUTES="k8s.namespace.name=team-a",
        ) as server,
    ):
        server.wait_ready()
        before = time.time_ns()
        status, prediction = ask(server, traceparent=f"00-{TRACE}-{CALLER}-01", tracestate="vendor=1")
        assert status == 200
        assert ask(server, body="{")[0] == 400
        assert ask(server, traceparent=f"00-{TRACE}-{CALLER}-00")[0] == 200  # the caller does not sample
        assert ask(server, traceparent="00-nothing-to-read-01")[0] == 200  # a trace of its own
        assert get(server.url + "/v2/health/ready")[0] == 200
        server.terminate()
        assert server.wait() == 0
    assert len(collector.spans) == 3, "all are flushed at the end; neither probes nor unsampled requests are reported"
    by_trace = {span.trace_id.hex(): span for span in collector.spans}
    span = by_trace.pop(TRACE)
    assert (span.parent_span_id.hex(), span.trace_state) == (CALLER, "vendor=1")
    assert (span.name, span.kind) == (f"POST {INFER}", otlp.Span.SpanKind.SPAN_KIND_SERVER)
    assert before <= span.start_time_unix_nano <= span.end_time_unix_nano <= time.time_ns()
    found = otlp.values(span.attributes)
    expected = {
        "http.request.method": "POST",
        "http.route": INFER,
        "http.response.status_code": 200,
        "http.request.body.size": len(BODY),
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "user_agent.original": "tester",
        "tidemill.model.name": "demo",
        "tidemill.model.version": "7",
        "tidemill.rows": 1,
        "tidemill.prediction.id": prediction,
    }
    assert expected.items() <= found.items()
    others = [otlp.values(other.attributes)["http.response.status_code"] for other in by_trace.values()]
    assert sorted(others) == [200, 400]
    assert all(not other.parent_span_id for other in by_trace.values())
    resource = collector.resources[0]
    assert resource["service.name"] == "demo"
    assert resource["service.version"] == "demo-7"
    assert resource["k8s.namespace.name"] == "team-a"


def test_calls_over_grpc_are_reported_too(numbers: Published, tmp_path: Path) -> None:
    tensor = grpcclient.tensor("x", [1, 4], "FP64", fp64_contents=[0.5, -1, 0.25, 2])
    with otlp.running() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with serverprocess.running(tmp_path, numbers.config(workers=2, access_log_ratio=1.0), **variables) as server:
            server.wait_ready()
            with grpcclient.Client(server.grpc_target) as client:
                client.infer(grpcclient.request(tensor), metadata={"traceparent": f"00-{TRACE}-{CALLER}-01"})
                client.infer(grpcclient.request(tensor, model="another"))
            server.terminate()
            assert server.wait() == 0
            good, bad = sorted(lines(server), key=lambda line: int(line["status"]))
    found = {span.trace_id.hex(): otlp.values(span.attributes) for span in collector.spans}
    assert len(found) == 2
    attributes = found[TRACE]
    assert (attributes["rpc.system"], attributes["rpc.method"]) == ("grpc", "ModelInfer")
    assert attributes["rpc.service"] == "inference.GRPCInferenceService"
    assert attributes["rpc.grpc.status_code"] == 0
    assert (good["path"], good["grpc_status"], good["trace_id"]) == (GRPC_PATH, 0, TRACE)
    assert (bad["path"], bad["grpc_status"], bad["status"]) == (GRPC_PATH, 5, 404)


def test_the_standard_sampler_decides_and_a_collector_that_refuses_costs_spans_only(
    numbers: Published, tmp_path: Path
) -> None:
    with otlp.running() as collector:
        collector.status = 400
        variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
        with serverprocess.running(tmp_path, numbers.config(), **variables) as server:
            server.wait_ready()
            assert ask(server)[0] == 200
            name = "tidemill_trace_spans_dropped_total"
            line = f'{name}{{deployment="demo",namespace="team-a",version="demo-7"}} 1.0'
            until(lambda: line in get(server.admin + "/metrics")[1].decode())
            assert ask(server)[0] == 200
        never = {**variables, "OTEL_TRACES_SAMPLER": "always_off"}
        with serverprocess.running(tmp_path / "off", numbers.config(), **never) as server:
            server.wait_ready()
            collector.status = 200
            assert ask(server)[0] == 200
            server.terminate()
            assert server.wait() == 0
    assert collector.spans == []


def test_no_endpoint_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    assert observer.create(CONFIG, Telemetry(CONFIG)) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert observer.is_tracing()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not observer.is_tracing()
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not observer.is_tracing()


class Stuck(SpanExporter):
    """A collector that does not answer until it is let go."""

    def __init__(self) -> None:
        self.taken, self.let_go = 0, threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        self.let_go.wait(20)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_spans_for_a_collector_that_does_not_answer_are_bounded_and_counted_and_the_end_is_not_delayed() -> None:
    telemetry, collector = Telemetry(CONFIG), Stuck()
    tracer = tracing.Tracer(CONFIG, telemetry.traces_dropped, collector)

    def end_requests(count: int) -> None:
        for _ in range(count):
            assert tracer.request({}, "POST /x", 0, 1, {})

    def dropped() -> float:
        return float(telemetry.traces_dropped._cells[telemetry.traces_dropped._column])

    try:
        end_requests(tracing.MAX_BATCH)
        until(lambda: collector.taken == tracing.MAX_BATCH)
        end_requests(tracing.MAX_WAITING)
        assert dropped() == 0
        end_requests(7)
        assert dropped() == 7
        started = time.monotonic()
        tracer.close(0.2)
        assert time.monotonic() - started < 5
        assert dropped() == 7 + tracing.MAX_WAITING
    finally:
        collector.let_go.set()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "ten"}, "TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "sampler sometimes"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "resource attribute pair team"),
        ({"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "none-such"}, "none-such"),
    ],
)
def test_what_is_wrong_with_the_standard_variables_is_logged(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sdk, exporter = logging.getLogger("opentelemetry"), Mock(spec=SpanExporter)
    sdk.setLevel(logging.NOTSET)  # as in a new process
    tracing.Tracer(CONFIG, Telemetry(CONFIG).traces_dropped, exporter).close(20)
    assert said in caplog.text
    assert not sdk.isEnabledFor(logging.ERROR)


def test_an_exporter_that_raises_costs_spans_only() -> None:
    telemetry, broken = Telemetry(CONFIG), Mock(spec=SpanExporter)
    broken.export.side_effect = RuntimeError("boom")
    tracer = tracing.Tracer(CONFIG, telemetry.traces_dropped, broken)
    assert tracer.request({}, "POST /x", 0, 1, {})
    tracer.close(20)
    assert telemetry.traces_dropped._cells[telemetry.traces_dropped._column] == 1


def lines(server: ServerProcess) -> list[dict[str, Any]]:
    """Return the lines of the access log so far."""
    found = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in found if "method" in line]


def test_sampled_requests_have_a_line(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2, access_log_ratio=1.0)) as server:
        server.wait_ready()
        _, prediction = ask(server, traceparent=f"00-{TRACE}-{CALLER}-01")
        until(lambda: len(lines(server)) == 1)
        assert ask(server, body="[]")[0] == 400
        for _ in range(200):
            ask(server)
        server.terminate()
        assert server.wait() == 0
        first, *rest = lines(server)
    assert first.pop("time").endswith("Z")
    assert 0 < first.pop("seconds") < 10
    assert first.pop("bytes_out") > 50
    assert first == {
        "level": "info",
        "logger": "tidemill.access",
        "message": "request",
        "id": prediction,
        "method": "POST",
        "path": INFER,
        "status": 200,
        "bytes_in": len(BODY),
        "rows": 1,
        "trace_id": TRACE,
    }
    assert len(rest) == 201
    assert [line["status"] for line in rest].count(400) == 1
    assert not any(value is None for line in rest for value in line.values())


@pytest.mark.parametrize("form", ["v2", "grpc"])
def test_a_line_has_the_id_that_the_prediction_log_has(numbers: Published, tmp_path: Path, form: str) -> None:
    given = "grün\0" + "\1" * (MAX_ID - 5)  # no header holds it as it is
    with serverprocess.running(tmp_path, numbers.config(access_log_ratio=1.0)) as server:
        server.wait_ready()
        if form == "grpc":
            with grpcclient.Client(server.grpc_target) as client:
                tensor = grpcclient.tensor("x", [1, 4], "FP64", fp64_contents=[0.5, -1, 0.25, 2])
                assert client.infer(grpcclient.request(tensor, id=given)).id == given
        else:
            assert ask(server, json.dumps(json.loads(BODY) | {"id": given}))[0] == 200
        until(lambda: len(lines(server)) == 1)
        assert lines(server)[0]["id"] == given
        (line,) = [line for line in server.log.read_bytes().splitlines() if b'"method"' in line]
        assert len(line) < access_log._LINE_BYTES


async def test_lines_are_sampled_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Telemetry(CONFIG)
    read, write = os.pipe()
    log = AccessLog(0.1, counted.access_lines_dropped, write)
    reporter = Observer(CONFIG, None, log)
    for _ in range(1000):
        reporter.finished(Finished("POST", "/x", 503, 0.1))
    for _ in range(5):
        reporter.finished(Finished("POST", "/x", 500, 0.1))
    await reporter.close()
    written = os.read(read, 1 << 20).splitlines()
    assert 50 < len(written) - 5 < 160
    assert sum(json.loads(line)["status"] == 500 for line in written) == 5, "a fault of the server is always reported"
    monkeypatch.setattr(access_log, "MAX_WAITING", 3)
    full = AccessLog(1.0, counted.access_lines_dropped, write)
    for number in range(5):
        full.record(0.0, 200, {"number": number})
    await full.flush(5)
    assert [json.loads(line)["number"] for line in os.read(read, 1 << 16).splitlines()] == [2, 3, 4]
    assert b"access_log_lines_dropped_total" in Page(counted).render()
    assert counted.access_lines_dropped._cells[counted.access_lines_dropped._column] == 2


async def test_nobody_reads_the_access_log(tmp_path: Path) -> None:
    counted = Telemetry(CONFIG)
    read, write = os.pipe()
    log = AccessLog(1.0, counted.access_lines_dropped, write)
    for _ in range(2000):
        log.record(0.0, 200, {"path": "x" * 100})
    started = time.monotonic()
    await log.flush(5)
    assert 0.9 < time.monotonic() - started < 4
    lost = counted.access_lines_dropped._cells[counted.access_lines_dropped._column]
    assert 0 < lost < 2000
    os.close(read)
