"""What is counted, by one process and by several, is what Prometheus reads."""

import os
import signal
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.telemetry import metrics, process_usage, shared_counters
from tidemill_runtime.server.telemetry.exposition import Page
from tidemill_runtime.server.telemetry.metrics import Telemetry
from tidemill_runtime.server.telemetry.shared_counters import SharedCounters

CONFIG = ServerConfig(namespace="n", deployment="d", version="v", number="1", digest="sha256:0", uri="file:///x")


def page(counted: Telemetry) -> dict[tuple[str, str], float]:
    """Return the samples, by name and by the label that tells them apart."""
    return {
        (sample.name, sample.labels.get("le") or sample.labels.get("status") or sample.labels.get("outcome") or ""): (
            sample.value
        )
        for family in text_string_to_metric_families(Page(counted).render().decode())
        for sample in family.samples
        if sample.labels.get("status") in (None, "200") or "le" not in sample.labels
    }


def test_a_page_is_the_sum_of_all_rows() -> None:
    shared = SharedCounters(3, metrics.layout(CONFIG).columns)
    rows = [Telemetry(CONFIG, shared, row) for row in range(3)]
    rows[1].succeeded(5, 0.002)
    rows[2].succeeded(1, 0.004)
    rows[2].failed(503, 0.5)
    rows[2].failed(404, 0.5)
    rows[2].failed(418, 0.5)
    rows[1].records_sent.inc(3)
    rows[1].cells[shared_counters.IN_FLIGHT] = 2
    rows[2].cells[shared_counters.IN_FLIGHT] = 1
    found = page(rows[0])
    assert found["tidemill_predictions_total", ""] == 6  # rows, and nothing but rows
    assert found["tidemill_requests_total", "success"] == 2
    assert found["tidemill_requests_total", "unavailable"] == 1
    assert found["tidemill_requests_total", "invalid"] == 2
    assert found["tidemill_requests_total", "error"] == 0
    assert found["tidemill_requests_in_flight", ""] == 3
    assert found["tidemill_prediction_records_sent_total", ""] == 3
    assert found["http_request_duration_seconds_count", "200"] == 2
    assert found["http_request_duration_seconds_sum", "200"] == pytest.approx(0.006)
    assert found["http_request_duration_seconds_count", "503"] == 1
    assert found["http_request_duration_seconds_count", "400"] == 1  # what has no series of its own
    assert ("http_request_duration_seconds_count", "431") not in found
    assert found["http_request_duration_seconds_bucket", "0.001"] == 0
    assert found["http_request_duration_seconds_bucket", "0.0025"] == 1
    assert found["http_request_duration_seconds_bucket", "0.005"] == 2
    assert found["http_request_duration_seconds_bucket", "+Inf"] == 2


def test_a_bucket_ends_at_the_objective_and_holds_what_meets_it() -> None:
    counted = Telemetry(CONFIG.model_copy(update={"slo_seconds": 0.035}))
    counted.succeeded(1, 0.035)
    counted.succeeded(1, 0.0351)
    found = page(counted)
    assert found["http_request_duration_seconds_bucket", "0.035"] == 1
    assert found["http_request_duration_seconds_bucket", "0.05"] == 2
    assert ("http_request_duration_seconds_bucket", "0.035") not in page(Telemetry(CONFIG))


def test_the_model_is_reported_when_it_is_loaded() -> None:
    counted = Telemetry(CONFIG)
    assert b"tidemill_model_info" not in Page(counted).render()
    counted.platform = "sklearn"
    line = b'tidemill_model_info{deployment="d",digest="sha256:0",namespace="n",runtime="sklearn",version="v"} 1.0'
    assert line in Page(counted).render().splitlines()


def test_counters_outlive_the_process_that_wrote_them_and_gauges_do_not() -> None:
    shared = SharedCounters(2, metrics.layout(CONFIG).columns)
    child = os.fork()
    if child == 0:
        counted = Telemetry(CONFIG, shared, 1)
        counted.succeeded(7, 0.1)
        counted.cells[shared_counters.IN_FLIGHT] = 4
        State(cells=counted.cells).phase = "ready"
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert shared.values(shared_counters.PHASE) == [0, 1]
    shared.reset_gauges(1)
    found = page(Telemetry(CONFIG, shared))
    assert found["tidemill_predictions_total", ""] == 7
    assert found["tidemill_requests_in_flight", ""] == 0
    assert shared.values(shared_counters.PHASE) == [0, 0]


def test_memory_that_processes_share_counts_once_and_time_of_the_dead_stays() -> None:
    size = 64 * 2**20
    held = bytearray(os.urandom(1)) * size
    before = process_usage.usage([])
    assert before is not None
    assert before.resident_bytes > size
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        os.read(read, 1)
        os._exit(0)
    time.sleep(0.3)
    both = process_usage.usage([child])
    assert both is not None
    assert both.open_files > before.open_files
    assert both.resident_bytes < before.resident_bytes + size
    os.close(write)
    os.waitpid(child, 0)
    after = process_usage.usage([child])
    assert after is not None
    assert after.cpu_seconds >= before.cpu_seconds + 0.1
    assert len(held) == size
