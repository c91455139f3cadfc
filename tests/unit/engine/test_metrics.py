"""What the dashboards made for controller-runtime need: bounds of histograms, and conditions as series."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import Histogram

from tidemill.engine import metrics
from tidemill.engine.conditions_metric import NAME, ConditionsCollector
from tidemill.kube.cache import Cache

BOUNDS = "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1.0 2.5 5.0 10.0 30.0 60.0 +Inf"


@pytest.mark.parametrize("histogram", [metrics.RECONCILE_SECONDS, metrics.QUEUE_SECONDS, metrics.WORK_SECONDS])
def test_bounds_of_histograms_reach_from_five_milliseconds_to_a_minute(histogram: Histogram) -> None:
    histogram.labels("of-bounds").observe(0.1)
    (family,) = histogram.collect()
    mine = [s for s in family.samples if "of-bounds" in s.labels.values() and "le" in s.labels]
    assert " ".join(s.labels["le"] for s in mine) == BOUNDS


def stored(cache: Cache, kind: str, name: str, *conditions: tuple[str, str], **status: Any) -> None:
    status |= {"conditions": [{"type": type_, "status": value} for type_, value in conditions]} if conditions else {}
    meta = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    cache.put({"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "metadata": meta, "status": status})


def test_each_condition_of_the_kinds_that_are_shown_is_one_series() -> None:
    cache = Cache()
    stored(cache, "ModelMonitor", "a", ("Ready", "True"), ("DriftDetected", "Unknown"))
    stored(cache, "ModelMonitor", "b")
    stored(cache, "ModelMonitor", "c", conditions=None)
    stored(cache, "TrainingRun", "r", ("Succeeded", "False"))
    stored(cache, "ModelVersion", "v", ("Approved", "True"))
    (family,) = ConditionsCollector(cache, ["ModelMonitor", "TrainingRun"]).collect()
    assert family.name == NAME
    assert {(*s.labels.values(), s.value) for s in family.samples} == {
        ("ModelMonitor", "ns", "a", "Ready", "True", 1.0),
        ("ModelMonitor", "ns", "a", "DriftDetected", "Unknown", 1.0),
        ("TrainingRun", "ns", "r", "Succeeded", "False", 1.0),
    }
    assert list(family.samples[0].labels) == ["kind", "namespace", "name", "type", "status"]
