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


def stored(cache: Cache, kind: str, name: str, *conditions: tuple[str, ...], **status: Any) -> None:
    """`conditions`: type and status, and the reason where it is not "Why"."""
    names = ("type", "status", "reason")
    listed = [{"reason": "Why", **dict(zip(names, c, strict=False))} for c in conditions]
    status |= {"conditions": listed} if conditions else {}
    meta = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    cache.put({"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "metadata": meta, "status": status})


def test_each_condition_of_the_kinds_that_are_shown_is_one_series() -> None:
    cache = Cache()
    stored(cache, "ModelMonitor", "a", ("Ready", "True"), ("DriftDetected", "Unknown", "NoJudgedWindow"))
    stored(cache, "ModelMonitor", "b")
    stored(cache, "ModelMonitor", "c", conditions=None)
    stored(cache, "TrainingRun", "r", ("Succeeded", "False"))
    stored(cache, "ModelVersion", "v", ("Approved", "True"))
    (family,) = ConditionsCollector(cache, ["ModelMonitor", "TrainingRun"], lambda: True).collect()
    assert family.name == NAME
    assert {(*s.labels.values(), s.value) for s in family.samples} == {
        ("ModelMonitor", "ns", "a", "Ready", "True", "Why", 1.0),
        ("ModelMonitor", "ns", "a", "DriftDetected", "Unknown", "NoJudgedWindow", 1.0),
        ("TrainingRun", "ns", "r", "Succeeded", "False", "Why", 1.0),
    }
    assert list(family.samples[0].labels) == ["kind", "namespace", "name", "type", "status", "reason"]
    cache.remove("ModelMonitor", "ns", "a")
    (family,) = ConditionsCollector(cache, ["ModelMonitor"], lambda: True).collect()
    assert family.samples == [], "an object that is gone has no series"


def test_only_the_leader_shows_conditions() -> None:
    cache, leads = Cache(), [False]
    stored(cache, "ModelMonitor", "a", ("Ready", "True"))
    collector = ConditionsCollector(cache, ["ModelMonitor"], lambda: leads[0])
    assert [len(family.samples) for family in collector.collect()] == [0]
    leads[0] = True
    assert [len(family.samples) for family in collector.collect()] == [1]


def test_labels_are_names_of_conditions_whatever_a_status_holds() -> None:
    cache = Cache()
    bad = [("Ready", "True", "a sentence, not a word"), ("Ready\n", "True"), ("x" * 65, "True"), ("Fine", "Maybe")]
    stored(cache, "ModelMonitor", "a", *bad, *((f"T{n}", "True") for n in range(1000)))
    stored(cache, "ModelMonitor", "b", ("Ready", "True"), ("Ready", "False"))
    (family,) = ConditionsCollector(cache, ["ModelMonitor"], lambda: True).collect()
    of_a = [s.labels for s in family.samples if s.labels["name"] == "a"]
    assert (of_a[0]["type"], of_a[0]["reason"]) == ("Ready", "")
    assert {s["type"] for s in of_a[1:]} <= {f"T{n}" for n in range(1000)} and len(of_a) <= 32
    assert [s.labels["status"] for s in family.samples if s.labels["name"] == "b"] == ["False"]
