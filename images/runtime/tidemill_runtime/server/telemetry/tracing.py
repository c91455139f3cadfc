"""OpenTelemetry traces: one server span a request, made after the answer, sent over OTLP/HTTP from a thread.

Off unless an endpoint is configured by OpenTelemetry's own variables; nothing of it is imported then. The trace
of a caller is continued (W3C Trace Context) and its decision to sample respected; samplers, headers, timeouts and
resource attributes are those of the standard variables. Never waits: what a slow collector leaves is dropped and
counted.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.telemetry.metrics import Cell

INTERVAL_SECONDS = 1.0
MAX_WAITING = 4096  # spans
MAX_BATCH = 512
Attributes = Mapping[str, str | int | float]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Finished:
    """A sampled request."""

    name: str
    context: Context
    trace_id: int
    started_ns: int
    ended_ns: int
    is_error: bool
    attributes: Attributes


class Tracer:
    """Takes finished requests. `request` belongs to one thread, the event loop's; made in the process that serves."""

    def __init__(self, config: ServerConfig, dropped: Cell, exporter: SpanExporter | None = None) -> None:
        standard = TracerProvider(resource=_resource(config), shutdown_on_exit=False)
        self._sampler = standard.sampler  # OTEL_TRACES_SAMPLER decides
        self._propagator = TraceContextTextMapPropagator()
        self._random = RandomIdGenerator()
        self._ids = _GivenIds()
        self._made = _Collector()
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=standard.resource, id_generator=self._ids, shutdown_on_exit=False
        )  # what it is given is sampled already
        provider.add_span_processor(self._made)
        self._tracer = provider.get_tracer("tidemill_runtime.server")
        self._dropped = dropped
        self._counting = threading.Lock()
        self._waiting: deque[_Finished] = deque(maxlen=MAX_WAITING)  # one side appends, the other takes
        self._exporter = exporter
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # one line says that a collector is away
        self._was_away = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def request(
        self,
        headers: Mapping[str, str],
        name: str,
        started_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        is_error: bool = False,
    ) -> str | None:
        """Note a finished request; `headers` hold traceparent and tracestate, where the caller sent them.

        Returns the id of its trace when it is sampled. Times are nanoseconds since the epoch.
        """
        context = self._propagator.extract(headers) if headers else Context()
        caller = trace.get_current_span(context).get_span_context()
        trace_id = caller.trace_id if caller.is_valid else self._random.generate_trace_id()
        decision = self._sampler.should_sample(context, trace_id, name, trace.SpanKind.SERVER, dict(attributes))
        if decision.decision is not Decision.RECORD_AND_SAMPLE:
            return None
        if len(self._waiting) == MAX_WAITING:
            self._count_dropped(1)
        self._waiting.append(_Finished(name, context, trace_id, started_ns, ended_ns, is_error, attributes))
        return f"{trace_id:032x}"

    def close(self, timeout_seconds: float) -> None:
        """Send what is left, as far as that can be done in time."""
        self._ending.set()
        self._thread.join(timeout_seconds)
        if self._waiting:
            _log.warning("%d spans were not sent", len(self._waiting))
            self._count_dropped(len(self._waiting))

    def _count_dropped(self, spans: int) -> None:
        with self._counting:
            self._dropped.inc(spans)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._ending.wait(INTERVAL_SECONDS)
            try:
                while self._waiting:
                    self._send()
            except Exception:  # a fault here must cost spans, never predictions
                _log.exception("spans were lost")

    def _send(self) -> None:
        spans = [self._span(self._waiting.popleft()) for _ in range(min(MAX_BATCH, len(self._waiting)))]
        if self._exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = OTLPSpanExporter()
        is_away = self._exporter.export(spans) is not SpanExportResult.SUCCESS
        if is_away:
            self._count_dropped(len(spans))
        if is_away and not self._was_away:
            _log.warning("spans are dropped: the collector of traces does not take them")
        self._was_away = is_away

    def _span(self, finished: _Finished) -> ReadableSpan:
        self._ids.trace_id = finished.trace_id
        span = self._tracer.start_span(
            finished.name,
            finished.context,
            kind=trace.SpanKind.SERVER,
            attributes=finished.attributes,
            start_time=finished.started_ns,
        )
        if finished.is_error:
            span.set_status(trace.StatusCode.ERROR)
        span.end(finished.ended_ns)
        return self._made.take()


class _GivenIds(IdGenerator):
    """The trace id that the sampler has decided on; random ids for spans."""

    trace_id = 0

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        return self.trace_id


class _Collector(SpanProcessor):
    """Keeps the span that just ended."""

    def __init__(self) -> None:
        self._ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.append(span)

    def take(self) -> ReadableSpan:
        return self._ended.pop()


def _resource(config: ServerConfig) -> Resource:
    """Return what the standard variables say of this service, and the model where they say nothing."""
    known: dict[str, Any] = {"service.namespace": config.namespace, "service.version": config.version}
    if "OTEL_SERVICE_NAME" not in os.environ:
        known["service.name"] = config.deployment
    given = Resource.create()
    stated = {key: value for key, value in given.attributes.items() if key != "service.name" or not _is_default(value)}
    return given.merge(Resource({k: v for k, v in known.items() if k not in stated}))


def _is_default(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("unknown_service")
