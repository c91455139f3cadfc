"""What other passes read of a large object is the same whether the cache holds all of it or a part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidemill.core import rollback_marks
from tidemill.kube.transform import is_truncated, transform
from tidemill.monitoring import observe as monitoring
from tidemill.serving import observe as serving
from tidemill.training import records
from tidemill.training.pipeline.observe import retrain_actions
from tidemill_contracts import signatures

Obj = dict[str, Any]
DIGEST = "sha256:" + "a" * 64
TIME = "2026-11-23T12:00:00Z"


def obj(kind: str, spec: Obj, status: Obj) -> Obj:
    meta = {"name": "churn", "namespace": "team", "uid": "u", "resourceVersion": "5", "creationTimestamp": TIME}
    conditions = [
        {"type": kind, "status": "True", "reason": "Because", "message": "m" * 300, "lastTransitionTime": TIME}
        for kind in ("Ready", "Succeeded", "Approved")
    ]
    whole = {"apiVersion": "tidemill.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    return {**whole, "status": {**status, "conditions": conditions}}


def monitor(message: int = 150, overrides: int = 0) -> Obj:
    """Twenty requests and twenty drifted features: what one has after some weeks."""
    common = {"cause": "Drift", "target": "churn", "version": "churn-12", "message": "m" * message, "time": TIME}
    actions = [
        {"id": f"{n:016}", "type": ("Retrain", "Rollback")[n % 2], **common, "evidence": {"start": TIME, "end": TIME}}
        for n in range(20)
    ]
    feature = {"test": "PSI", "score": 0.6, "threshold": 0.2, "missingRatio": 0.1, "unseenRatio": 0.0}
    features = [{"name": f"customer_tenure_{n}", **feature} for n in range(20)]
    tests = [{"name": f"customer_tenure_{n}", "test": "PSI", "threshold": 0.3} for n in range(overrides)]
    window = {"start": TIME, "end": TIME, "rows": 9, "driftedFeatures": features}
    return obj(
        "ModelMonitor",
        {"deployment": "churn", "drift": {"overrides": tests}},
        {"actions": actions, "window": window},
    )


@pytest.mark.parametrize("found", [monitor(), monitor(1024), monitor(1024, 500)], ids=["usual", "long", "very long"])
def test_a_monitors_newest_requests_reach_pipeline_and_deployment(found: Obj) -> None:
    cached = transform(found)
    assert is_truncated(cached)
    for read in (lambda o: retrain_actions(o)[-1], lambda o: vars_of(serving.rollback_requests([o], "churn")[-1])):
        whole, part = read(found), read(cached)
        assert whole.pop("message").startswith(part.pop("message")[:64])
        assert {k: v for k, v in whole.items() if k != "evidence"} == part


def vars_of(request: Any) -> Obj:
    return {name: getattr(request, name) for name in ("id", "version", "message", "time")}


def version(columns: int = 500, marks: int = 3) -> Obj:
    inputs = [{"name": f"column_{n}", "datatype": "FP64", "shape": [-1]} for n in range(columns)]
    entry = {"digest": DIGEST, "reason": "Aborted", "message": "m" * 1024, "time": TIME}
    spec = {"pipeline": "churn", "number": 3, "digest": DIGEST, "uri": "pvc://models/3", "formats": ["onnx", "skops"]}
    lineage = {"run": "churn-a", "parameters": {"notes": "n" * 200_000}}
    more = {"metrics": {f"m{n}": 0.5 for n in range(10)}, "signature": {"inputs": inputs}, "lineage": lineage}
    return obj("ModelVersion", {**spec, **more}, {"takenBack": {f"web-{n}": entry for n in range(marks)}})


@pytest.mark.parametrize("marks", [0, 1, 20])
def test_a_wide_versions_marks_count_for_followers_and_champion(marks: int) -> None:
    found = version(marks=marks)
    cached = transform(found)
    assert is_truncated(cached)
    assert set(rollback_marks.active(cached)) == set(rollback_marks.active(found))
    whole, part = serving.version(found), serving.version(cached)
    assert whole.signature is not None and part.columns is None
    assert part.signature_digest == signatures.digest(whole.signature), "what others compare of it is known"
    same = {"rolled_back": {}, "columns": None, "signature_digest": None}
    assert replace(whole, **same) == replace(part, **same)
    record, part_record = records.version_record(found), records.version_record(cached)
    assert replace(record, rolled_back=None) == replace(part_record, rolled_back=None)
    assert bool(record.rolled_back) == bool(part_record.rolled_back)


def test_what_a_large_deployment_serves_is_known() -> None:
    def role(number: int) -> Obj:
        return {"version": f"churn-{number}", "digest": DIGEST, "since": TIME, "runtimeReason": "r" * 200}

    entry = {"digest": DIGEST, "reason": "Aborted", "message": "m" * 1024, "time": TIME, "spec": DIGEST}
    status = {role_: role(n) for n, role_ in enumerate(("stable", "previous", "candidate"), 1)}
    histogram = {"latencyBounds": [float(n) for n in range(64)], "latencyCounts": list(range(65))}
    counters = [{"pod": "churn-router-a", **histogram}] * 32
    status["candidate"] |= {"baseline": "b" * 50_000, "baselineCounters": counters}
    status["candidate"] |= {"lastAnalysis": {"message": "m" * 1024}}
    status["candidate"] |= {"comparison": {"counters": counters}, "attemptReason": "a" * 1024}
    status["failedVersions"] = [{"version": f"churn-{n}", **entry} for n in range(2, 22)]  # type: ignore[assignment]
    status["rollbackVersions"] = [{"version": f"churn-{n}", "digest": DIGEST} for n in range(2, 12)]  # type: ignore[assignment]
    rollout = {"rollbackWindow": {"versions": 10}}
    found = obj("ModelDeployment", {"model": {"pipeline": "churn", "number": 3}, "rollout": rollout}, status)
    cached = transform(found)
    assert is_truncated(cached)
    bulky = {"baseline", "baselineCounters", "comparison", "lastAnalysis", "attemptReason"}
    assert not bulky & set(cached["status"]["candidate"])
    assert records.deployment_record(cached) == records.deployment_record(found)
    assert "churn-11" in records.deployment_record(cached).needed
    assert monitoring.served(cached, None) == monitoring.served(found, None)


def test_what_a_large_run_was_requested_and_read_is_known() -> None:
    columns = [{"name": f"column_{n}", "min": 0.0, "max": 1.0} for n in range(50)]
    data = [{"name": f"d{n}", "uri": "s3://b/x", "revision": DIGEST, "expectations": columns} for n in range(10)]
    trigger = {"type": "ManualRequested", "message": "m" * 300, "to": "y" * 1024, "time": TIME}
    spec = {"key": DIGEST, "trigger": trigger, "data": data, "code": {"digest": DIGEST}, "image": "trainer:1"}
    failure = {"category": "Infrastructure", "reason": "StorageUnavailable", "message": "m" * 300, "log": "l" * 4096}
    result = {"data": {f"d{n}": DIGEST for n in range(10)}, "warnings": ["w" * 500] * 5}
    more = {"parameters": {"notes": "n" * 186_000}, "keep": [DIGEST] * 100, "resources": {"limits": {"cpu": "1"}}}
    found = obj("TrainingRun", {**spec, **more}, {"failure": failure, "result": result, "completionTime": TIME})
    cached = transform(found)
    assert is_truncated(cached)
    whole, part = records.run_record(found), records.run_record(cached)
    failure.pop("log")
    assert replace(whole, failure={}) == replace(part, failure={}) and part.failure == failure
