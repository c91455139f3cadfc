"""OpenTelemetry traces: one server span a request, made after the answer, sent over OTLP/HTTP by the SDK's thread.

Off unless an endpoint is configured by OpenTelemetry's own variables; nothing of it is imported then. The trace
of a caller is continued (W3C Trace Context) and its decision to sample respected; samplers, headers, timeouts and
resource attributes are those of the standard variables. Never waits: what a slow collector leaves is dropped and
counted.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.telemetry.metrics import Cell

INTERVAL_SECONDS = 1.0
MAX_WAITING = 4096  # spans
MAX_BATCH = 512
Attributes = Mapping[str, str | int | float]
_log = logging.getLogger(__name__)


class Tracer:
    """Takes finished requests. `request` belongs to one thread, the event loop's; made in the process that serves."""

    def __init__(self, config: ServerConfig, dropped: Cell, exporter: SpanExporter | None = None) -> None:
        self._exporter = _CountingExporter(dropped, exporter)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MAX_WAITING,
            schedule_delay_millis=INTERVAL_SECONDS * 1000,
            max_export_batch_size=MAX_BATCH,
        )
        provider = TracerProvider(resource=_resource(config), shutdown_on_exit=False)  # OTEL_TRACES_SAMPLER decides
        provider.add_span_processor(self._processor)
        # What is wrong with the variables has been said by now; one line of ours says that a collector is away.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._tracer = provider.get_tracer("tidemill_runtime.server")
        self._propagator = TraceContextTextMapPropagator()

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
        span = self._tracer.start_span(
            name, context, kind=trace.SpanKind.SERVER, attributes=attributes, start_time=started_ns
        )
        found = span.get_span_context()
        if not found.trace_flags.sampled:
            return None
        if is_error:
            span.set_status(trace.StatusCode.ERROR)
        self._exporter.expect()
        span.end(ended_ns)
        return f"{found.trace_id:032x}"

    def close(self, timeout_seconds: float) -> None:
        """Send what is left, as far as that can be done in time."""
        # BatchSpanProcessor.shutdown takes no timeout: it may wait for half a minute.
        closing = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        closing.start()
        closing.join(timeout_seconds)
        self._exporter.give_up()


class _CountingExporter(SpanExporter):
    """Sends spans over OTLP and counts the lost ones: BatchSpanProcessor does not say how many it drops."""

    def __init__(self, dropped: Cell, exporter: SpanExporter | None) -> None:
        self._dropped = dropped
        self._counting = threading.Lock()
        self._exporter = exporter
        self._was_away = False
        self._expected = 0  # spans for the queue; written by the event loop
        self._overflowed = 0  # of these, displaced by later ones
        self._taken = 0  # of these, out of the queue; written by the thread that sends

    def expect(self) -> None:
        """Note that a span is about to enter the queue; when that is full, its oldest span makes room.

        A batch that just left the queue and has not reached `export` still counts as waiting, so that a few more may
        be counted than are lost.
        """
        if self._waiting() >= MAX_WAITING:
            self._overflowed += 1
            self._drop(1)
        self._expected += 1

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that the collector does not take are dropped."""
        self._taken += len(spans)
        try:
            if self._exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                self._exporter = OTLPSpanExporter()
            result = self._exporter.export(spans)
        except Exception:  # a fault here must cost spans, never predictions
            _log.exception("spans were lost")
            self._drop(len(spans))
            return SpanExportResult.FAILURE
        is_away = result is not SpanExportResult.SUCCESS
        if is_away:
            self._drop(len(spans))
        if is_away and not self._was_away:
            _log.warning("spans are dropped: the collector of traces does not take them")
        self._was_away = is_away
        return result

    def shutdown(self) -> None:
        """End a wait of the exporter for its next attempt."""
        if self._exporter is not None:
            self._exporter.shutdown()

    def give_up(self) -> None:
        """Count what still waits as dropped."""
        left = self._waiting()
        if left > 0:
            _log.warning("%d spans were not sent", left)
            self._drop(left)

    def _waiting(self) -> int:
        return self._expected - self._overflowed - self._taken

    def _drop(self, spans: int) -> None:
        with self._counting:
            self._dropped.inc(spans)


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
