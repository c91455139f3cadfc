"""How long labels take: the sketch against numpy, and what the monitor reports of it."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from tests.support.monitoring import DIGEST, START, Clock, batch, config, running

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import LabelDelays, PerformanceConfig
from tidemill_runtime.monitor import delays
from tidemill_runtime.monitor.service import Monitor

HOUR = 3600.0


@given(st.lists(st.floats(1, 1e8), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_right_to_9_percent(values: list[float], share: float) -> None:
    counts = Counter(map(delays.place, values))
    exact = float(np.quantile(values, share, method="lower"))
    assert delays.quantile(counts, share) == pytest.approx(exact, rel=0.09)


@pytest.mark.parametrize(
    ("seconds", "number"), [(-1e9, 0), (0, 0), (0.99, 0), (1, 1), (2, 5), (1e300, 108), (2.0**27, 108)]
)
def test_the_bins_are_bounded(seconds: float, number: int) -> None:
    assert delays.place(seconds) == number < delays.BINS


def test_without_labels_there_is_no_quantile() -> None:
    assert delays.quantile({}, 0.5) is None
    assert delays.quantile({0: 3}, 0.5) == 0.0


def delay(monitor: Monitor) -> LabelDelays | None:
    found = monitor.report(DIGEST).versions[0].performance
    assert found is not None
    return found.label_delays


def test_delays_are_those_of_predictions_that_are_old_enough_early_labels_included(tmp_path: Path) -> None:
    limits = PerformanceConfig(metric="accuracy", min=0.5, min_labels=1, label_delay_seconds=36_000)
    clock = Clock(START + 1)
    with running(config(tmp_path, performance=limits), clock) as monitor:
        monitor.add_feedback([Feedback(id="p0/0", label=1)]).result(10)  # comes before its prediction
        monitor.add_batch(batch(0, 10, at=START)).result(10)
        for row, after in ((1, 100.0), (2, 100.0), (3, 20_000.0)):
            clock.now = START + after
            monitor.add_feedback([Feedback(id=f"p0/{row}", label=1)]).result(10)
        assert delay(monitor) is None, "slow labels are not here yet"
        clock.now = START + 40_000
        monitor.add_feedback([Feedback(id="p0/4", label=1), Feedback(id="p0/4", label=1)]).result(10)
        found = delay(monitor)
        assert found is not None
        assert (found.labels, found.p50) == (5, pytest.approx(100, rel=0.09))
        assert (found.p90, found.p99) == (pytest.approx(20_000, rel=0.09), pytest.approx(20_000, rel=0.09))
        monitor.collector.update(monitor._evaluator.evaluate())
        registry = CollectorRegistry()
        registry.register(monitor.collector)
        text = generate_latest(registry).decode()
        lines = [line for line in text.splitlines() if line.startswith("tidemill_label_delay_seconds")]
        assert [line.split('quantile="')[1].split('"')[0] for line in lines] == ["0.5", "0.9", "0.99"]
        assert float(lines[0].split()[-1]) == found.p50
        assert 'tidemill_labels_ratio{deployment="churn"' in text
        assert math.isclose(float(text.split("tidemill_labels_ratio{")[1].split()[1]), 0.5)
