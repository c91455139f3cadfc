"""Prometheus metrics of the last evaluation. Series are built anew at each scrape, so that those of a version, feature
or test that is gone are gone, too. Feature names are labels; feature values never are."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tidemill_contracts import metrics
from tidemill_contracts.metrics import Metric
from tidemill_contracts.monitoring import (
    ColumnScore,
    MonitorConfig,
    PerformanceReport,
    VersionReport,
    WindowReport,
)
from tidemill_runtime.monitor.evaluation import Evaluation

PREDICTION_LABEL: Final = "(prediction)"  # brackets keep it apart from a feature called prediction
PROBABILITY_LABEL: Final = "(probability)"
_MAX_FEATURES: Final = 200  # per version, worst first

_Samples = dict[tuple[str, ...], float]


class MonitorCollector(Collector):
    """Holds the last evaluation and renders it at each scrape."""

    def __init__(self, config: MonitorConfig) -> None:
        """Start without an evaluation: no series."""
        self._config = config
        self._evaluation: Evaluation | None = None

    def update(self, evaluation: Evaluation) -> None:
        """Replace the evaluation that scrapes show."""
        self._evaluation = evaluation

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing: names are known to be unique, and registering must not need an evaluation."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield one family a metric."""
        evaluation = self._evaluation
        if evaluation is None:
            return
        monitor = (self._config.namespace, self._config.monitor, self._config.deployment)
        samples: dict[Metric, _Samples] = {}
        for version in evaluation.report.versions:
            labels = (*monitor, version.version)
            _version_samples(samples, labels, version)
            samples.setdefault(metrics.LABELS_JOINED, {})[labels] = float(evaluation.labels.get(version.digest, 0))
            samples.setdefault(metrics.PREDICTIONS_DISCARDED, {})[labels] = float(version.discarded)
        if evaluation.report.retention is not None:
            unmatched = float(evaluation.report.retention.labels_unmatched)
            samples[metrics.LABELS_UNMATCHED] = {monitor: unmatched}
        samples[metrics.MONITOR_LAST_SUCCESS] = {monitor: evaluation.report.now}
        for metric, values in samples.items():
            family_type = CounterMetricFamily if metric.name.endswith("_total") else GaugeMetricFamily
            family = family_type(metric.name, metric.help, labels=metric.labels)
            for label_values, value in values.items():
                family.add_metric(label_values, value)
            yield family


def _version_samples(samples: dict[Metric, _Samples], labels: tuple[str, ...], version: VersionReport) -> None:
    open_rows = sum(window.rows for window in version.windows if not window.closed)
    samples.setdefault(metrics.WINDOW_ROWS, {})[labels] = open_rows
    if version.last_record_at is not None:
        samples.setdefault(metrics.LAST_RECORD, {})[labels] = version.last_record_at
    if version.performance is not None:
        _performance_samples(samples, (*labels, version.performance.metric), version.performance)
        _label_samples(samples, labels, version.performance)
    judged = [window for window in version.windows if window.closed and window.judged]
    if judged:
        _window_samples(samples, labels, judged[-1])


def _label_samples(samples: dict[Metric, _Samples], labels: tuple[str, ...], found: PerformanceReport) -> None:
    if found.labels_ratio is not None:
        samples.setdefault(metrics.LABELS_RATIO, {})[labels] = found.labels_ratio
    delays = found.label_delays
    for quantile, seconds in (("0.5", delays.p50), ("0.9", delays.p90), ("0.99", delays.p99)) if delays else ():
        if seconds is not None:
            samples.setdefault(metrics.LABEL_DELAY, {})[*labels, quantile] = seconds


def _performance_samples(samples: dict[Metric, _Samples], labels: tuple[str, ...], found: PerformanceReport) -> None:
    figures = {
        metrics.PERFORMANCE: found.value,
        metrics.PERFORMANCE_LOW: found.low,
        metrics.PERFORMANCE_HIGH: found.high,
        metrics.ESTIMATED_PERFORMANCE: found.estimate.value if found.estimate and found.estimate.trusted else None,
    }
    for metric, figure in figures.items():
        if figure is not None:
            samples.setdefault(metric, {})[labels] = figure


def _window_samples(samples: dict[Metric, _Samples], labels: tuple[str, ...], window: WindowReport) -> None:
    if window.drifted_share is not None:
        samples.setdefault(metrics.DRIFTED_SHARE, {})[labels] = window.drifted_share
    worst = sorted(window.features, key=lambda f: (f.drifted, f.score if f.score is not None else -1.0), reverse=True)
    for feature in worst[:_MAX_FEATURES]:
        _column_samples(samples, (*labels, feature.name), feature)
    if window.prediction is not None:
        _column_samples(samples, (*labels, PREDICTION_LABEL), window.prediction)
    if window.probability is not None:
        _column_samples(samples, (*labels, PROBABILITY_LABEL), window.probability)


def _column_samples(samples: dict[Metric, _Samples], labels: tuple[str, ...], column: ColumnScore) -> None:
    if column.score is not None and column.test is not None and column.threshold is not None:
        samples.setdefault(metrics.DRIFT_SCORE, {})[*labels, column.test] = column.score
        samples.setdefault(metrics.DRIFT_THRESHOLD, {})[*labels, column.test] = column.threshold
    ratios = {
        "missing": column.missing_ratio,
        "unseen": column.unseen_ratio,
        "out_of_range": column.out_of_range_ratio,
    }
    for problem, ratio in ratios.items():
        samples.setdefault(metrics.QUALITY_RATIO, {})[*labels, problem] = ratio
