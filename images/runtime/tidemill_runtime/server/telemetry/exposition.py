"""The metrics page: one for all processes of the server, from the shared counters and from /proc.

Runs when somebody scrapes, on the admin thread; nothing here is on the way of a request.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tidemill_contracts import metrics
from tidemill_contracts.metrics import Metric
from tidemill_runtime.server.telemetry import process_usage, shared_counters
from tidemill_runtime.server.telemetry.metrics import COMMON_STATUSES, FAILURES, STATUSES, Telemetry


class Page:
    """Renders the counters of a server."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Served(telemetry))
        self._registry.register(_Processes(telemetry))
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return the text."""
        return generate_latest(self._registry)


class _Served(Collector):
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        config = telemetry.config
        self._labels = (config.namespace, config.deployment, config.version)

    def collect(self) -> Iterator[Family]:
        telemetry, labels = self._telemetry, self._labels
        total, layout, config = telemetry.counters.total, telemetry.layout, telemetry.config
        predictions = _counter(metrics.PREDICTIONS)
        predictions.add_metric(labels, total(layout.rows))
        yield predictions
        requests = _counter(metrics.REQUESTS)
        requests.add_metric((*labels, "success"), self._counts(200)[-1])
        for outcome in FAILURES:
            requests.add_metric((*labels, outcome), total(layout.failure(outcome)))
        yield requests
        yield self._durations()
        in_flight = _gauge(metrics.IN_FLIGHT)
        in_flight.add_metric((config.deployment, config.version), total(shared_counters.IN_FLIGHT))
        yield in_flight
        for metric, column in (
            (metrics.RECORDS_DROPPED, shared_counters.RECORDS_DROPPED),
            (metrics.RECORDS_SENT, shared_counters.RECORDS_SENT),
            (metrics.BATCHES, shared_counters.BATCHES),
            (metrics.BATCHED_ROWS, shared_counters.BATCHED_ROWS),
            (metrics.TRACES_DROPPED, shared_counters.TRACES_DROPPED),
            (metrics.ACCESS_LINES_DROPPED, shared_counters.ACCESS_LINES_DROPPED),
        ):
            family = _counter(metric)
            family.add_metric(labels, total(column))
            yield family
        deaths = _counter(metrics.WORKER_DEATHS)
        deaths.add_metric(labels, telemetry.worker_deaths())
        yield deaths
        if telemetry.platform is not None:
            info = _gauge(metrics.MODEL_INFO)
            info.add_metric((*labels, config.digest, telemetry.platform), 1)
            yield info

    def _durations(self) -> HistogramMetricFamily:
        telemetry, metric = self._telemetry, metrics.REQUEST_DURATION
        total, layout = telemetry.counters.total, telemetry.layout
        bounds = [*(floatToGoString(edge) for edge in layout.edges), "+Inf"]  # type: ignore[no-untyped-call]
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for status in STATUSES:
            counts = self._counts(status)
            if counts[-1] or status in COMMON_STATUSES:
                buckets = list(zip(bounds, counts, strict=True))
                family.add_metric((*self._labels, str(status)), buckets, total(layout.durations(status)))
        return family

    def _counts(self, status: int) -> list[float]:
        """Return how many requests with this status took at most as long as each bound says; the last are all."""
        layout, total = self._telemetry.layout, self._telemetry.counters.total
        first = layout.durations(status)
        return list(accumulate(total(column) for column in range(first + 1, first + layout.width)))


class _Processes(Collector):
    """The names of prometheus_client's ProcessCollector; sums when there are several processes."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Family]:
        found = process_usage.usage(self._telemetry.worker_ids())
        if found is None:
            return
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", found.virtual_bytes)
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory size in bytes. With several processes, shared memory is counted once.",
            found.resident_bytes,
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", found.start_seconds
        )
        yield CounterMetricFamily(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds.", found.cpu_seconds
        )
        yield GaugeMetricFamily("process_open_fds", "Number of open file descriptors.", found.open_files)
        yield GaugeMetricFamily("process_max_fds", "Maximum number of open file descriptors.", found.max_files)


def _counter(metric: Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)


def _gauge(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
