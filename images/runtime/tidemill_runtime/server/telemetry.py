"""The server's Prometheus metrics: names and labels from the contract, values set here.

Label children are made once, so that counting a request costs two increments. No request id, path or
feature value ever becomes a label.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from tidemill_contracts import metrics
from tidemill_contracts.inference import ServerConfig

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OUTCOME_OK = "success"
OUTCOMES = {400: "invalid", 404: "invalid", 405: "invalid", 408: "invalid", 413: "invalid", 503: "unavailable"}


class Telemetry:
    """Counts what the server does; one instance a process."""

    def __init__(self, config: ServerConfig) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody asked for
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._labels = (config.namespace, config.deployment, config.version)
        self._predictions = self._counter(metrics.PREDICTIONS)
        self._duration = Histogram(
            metrics.REQUEST_DURATION.name,
            metrics.REQUEST_DURATION.help,
            metrics.REQUEST_DURATION.labels,
            registry=self.registry,
            buckets=_BUCKETS,
        )
        in_flight = Gauge(
            metrics.IN_FLIGHT.name, metrics.IN_FLIGHT.help, metrics.IN_FLIGHT.labels, registry=self.registry
        )
        self._in_flight = in_flight.labels(config.deployment, config.version)
        self.records_dropped = self._counter(metrics.RECORDS_DROPPED).labels(*self._labels)
        self.records_sent = self._counter(metrics.RECORDS_SENT).labels(*self._labels)
        self._succeeded = self._predictions.labels(*self._labels, OUTCOME_OK)
        self._durations = {
            status: self._duration.labels(*self._labels, str(status)) for status in (200, *OUTCOMES, 500)
        }

    def _counter(self, metric: metrics.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def watch_in_flight(self, read: Callable[[], int]) -> None:
        """Read the number of requests in flight when somebody scrapes."""
        self._in_flight.set_function(read)

    def succeeded(self, rows: int, seconds: float) -> None:
        """Count an answered request."""
        self._succeeded.inc(rows)
        self._durations[200].observe(seconds)

    def failed(self, status: int, seconds: float) -> None:
        """Count a refused request: one, since how many rows it had may be unknown."""
        self._predictions.labels(*self._labels, OUTCOMES.get(status, "error")).inc()
        self._durations.get(status, self._durations[500]).observe(seconds)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
